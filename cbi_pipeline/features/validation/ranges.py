"""Values that cannot be: outside the definition (`features/schema.py`) or outside what the catalogue calls possible.

Errors look at every row. A warning says that the newest row is a record by far: further out than all earlier
rows, in the form that a network sees.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.contracts.tables import import_pandera
from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES
from cbi_pipeline.features.schema import feature_schema
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.features.validation.findings import Finding

CHECK: Final = "range"
HISTORY_SESSIONS: Final = 756
"""Observed rows below which a record means little: three years."""
HISTORY_MARGIN: Final = 0.05
"""Of the earlier span. From 2008-07 to 2024-12 some feature sets a plain record on 11.3 % of days, and one by more than
5 % of the span on 2.0 %."""


def check_ranges(frame: pd.DataFrame) -> list[Finding]:
    """Impossible values of any row (errors) and far records of the newest row (warnings).

    Args:
        frame: [T, F] from `build_features`.

    Raises:
        FeatureError: the frame is not the catalogue's.
    """
    check_frame(frame)
    return [*_against_definition(frame), *_against_possible(frame), *_against_history(frame)]


def _against_definition(frame: pd.DataFrame) -> list[Finding]:
    pandera = import_pandera()
    try:
        feature_schema().validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as failed:
        cases = failed.failure_cases
        subjects = cases["column"].where(cases["column"].isin(FEATURE_NAMES), "feature frame").astype(str)
        findings = []
        for (subject, rule), rows in cases.groupby([subjects, cases["check"].astype(str)], sort=False):
            newest = rows.iloc[-1]
            found = newest["failure_case"]
            value = float(found) if isinstance(found, (int, float, np.number)) else str(found)
            number = rows["index"].nunique()
            reason = f"{number} rows break this rule of the definition, the newest on {_day(newest['index'])}."
            findings.append(Finding(CHECK, "error", subject, value, rule, reason))
        return findings
    return []


def _against_possible(frame: pd.DataFrame) -> list[Finding]:
    findings = []
    for feature in CATALOGUE:
        limits = feature.possible
        column = frame[feature.name]
        outside = column[(column < limits[0]) | (column > limits[1])]
        if outside.empty:
            continue
        worst = outside.iloc[int((outside - sum(limits) / 2).abs().argmax())]
        newest = _day(outside.index[-1])
        reason = f"{len(outside)} rows hold a value that cannot be ({feature.unit}), the newest on {newest}."
        threshold = f"{limits[0]:g} to {limits[1]:g}"
        findings.append(Finding(CHECK, "error", feature.name, float(worst), threshold, reason))
    return findings


def _against_history(frame: pd.DataFrame) -> list[Finding]:
    seen = network_view(frame)
    earlier, newest = seen.iloc[:-1], seen.iloc[-1]
    low, high = earlier.min(), earlier.max()
    margin = HISTORY_MARGIN * (high - low)
    long_enough = earlier.notna().sum() >= HISTORY_SESSIONS
    outside = ((newest < low - margin) | (newest > high + margin)) & long_enough
    return [
        Finding(
            CHECK,
            "warning",
            name,
            float(newest[name]),
            f"{low[name]:.4g} to {high[name]:.4g}",
            f"The newest row ({_day(frame.index[-1])}) lies outside all of history by more than {HISTORY_MARGIN:.0%} "
            "of its span (as the network sees it).",
        )
        for name in outside.index[outside]
    ]


def _day(moment: object) -> str:
    return str(moment)[:10]
