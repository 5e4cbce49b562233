"""Columns that stand still although their market or their weather moves every day."""

from __future__ import annotations

from typing import Final

import pandas as pd

from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import CURVE, RFS, ZL, Feature
from cbi_pipeline.features.validation.findings import Finding, Severity

CHECK: Final = "constant"
FUTURES_TABLES: Final = (ZL.table, CURVE.table)
WINDOW_SESSIONS: Final = 252
MINIMUM_OBSERVED: Final = 126
"""Of the window; below that the column is missing rather than constant, and the staleness check says so."""


def may_stand_still(feature: Feature) -> bool:
    """A year without a change is ordinary for a market state and for the mandate, which EPA left alone for years."""
    return feature.transformation == "one_hot" or RFS in feature.inputs


def severity_of(feature: Feature) -> Severity:
    """A futures price that does not move for a year is a defect; a slower series may, once, be the provider's doing."""
    return "error" if all(source.table in FUTURES_TABLES for source in feature.inputs) else "warning"


def check_constant(frame: pd.DataFrame) -> list[Finding]:
    """Features that have one value in the last 252 rows: errors if made of futures prices alone, warnings otherwise.

    Args:
        frame: [T, F] from `build_features`.

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    check_frame(frame)
    window = frame.iloc[-WINDOW_SESSIONS:]
    observed, values = window.notna().sum(), window.nunique()
    return [
        Finding(
            CHECK,
            severity_of(feature),
            feature.name,
            float(window[feature.name].dropna().iloc[-1]),
            "at least 2 values",
            f"Every one of {observed[feature.name]} values in the last {len(window)} rows is the same.",
        )
        for feature in CATALOGUE
        if not may_stand_still(feature) and observed[feature.name] >= MINIMUM_OBSERVED and values[feature.name] == 1
    ]
