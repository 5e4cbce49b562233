"""The anchor's out-of-sample record, year by year: the figures that the design states and the README repeats.

Belongs here: one measurement, shared by `benchmarks/anchor_skill.py` and its test. The anchor is refitted on
the labels known before each test year.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import (
    ANCHOR,
    FUTURES_CURVE,
    LAST_PRICE,
    Market,
    forecast_frame,
)
from cbi_pipeline.evaluation.metrics import ALL_FOLDS, score
from cbi_pipeline.modeling.anchor import anchor_log_return, curve_log_return, fit_anchor

FULL_WEIGHT: Final = "anchor_w1"
HALF_CURVE: Final = "half_capped_curve"
ENTRIES: Final = (LAST_PRICE, FUTURES_CURVE, HALF_CURVE, ANCHOR, FULL_WEIGHT)

DESIGN_RMSE_RATIO: Final[dict[str, dict[int, float]]] = {
    ANCHOR: {3: 0.98, 6: 0.97, 9: 0.98, 12: 0.98},
    FULL_WEIGHT: {3: 0.96, 6: 0.95, 9: 0.97, 12: 0.97},
    FUTURES_CURVE: {3: 0.99, 6: 1.00, 9: 1.03, 12: 1.04},
}
"""RMSE ratios to last price, 2013-2024, that the design states."""

DESIGN_COVERAGE_80: Final[dict[int, float]] = {3: 0.84, 6: 0.81, 9: 0.80, 12: 0.78}
"""Coverage of the density's 80 % interval that the design states; it names no period."""


def anchor_record(market: Market, first_year: int, last_year: int) -> pd.DataFrame:
    """Out-of-fold rows (`OUT_OF_FOLD_COLUMNS`) of `ENTRIES`, one fold per calendar year of as-of dates.

    Raises:
        ModelError: too few labels are known before `first_year`.
    """
    frames = []
    for year in range(first_year, last_year + 1):
        inputs = market.inputs.loc[f"{year}-01-01" : f"{year}-12-31"]
        fit = fit_anchor(market.front, market.inputs, market.state, pd.Timestamp(year, 1, 1))
        returns = {
            LAST_PRICE: pd.DataFrame(0.0, index=inputs.index, columns=list(HORIZONS_MONTHS)),
            FUTURES_CURVE: curve_log_return(inputs, market.state, capped=False),
            HALF_CURVE: curve_log_return(inputs, market.state, capped=True),
            ANCHOR: anchor_log_return(fit, inputs, market.state),
            FULL_WEIGHT: anchor_log_return(fit, inputs, market.state, weight=1.0),
        }
        frames += [forecast_frame(market, entry, str(year), returns[entry]) for entry in ENTRIES]
    return pd.concat(frames, ignore_index=True)


def anchor_skill(record: pd.DataFrame) -> pd.DataFrame:
    """Metrics over all years of an `anchor_record`, index (entry, metric), one column per horizon in months."""
    scores = score(record)
    overall = scores[scores["fold"] == ALL_FOLDS]
    return overall.pivot(index=["entry", "metric"], columns="horizon_months", values="value")
