"""Values that cannot be: outside the definition (`features/schema.py`) or outside what the world allows.

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
from cbi_pipeline.features.declarations import WEATHER
from cbi_pipeline.features.schema import feature_schema
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.features.validation.findings import Finding

CHECK: Final = "range"
HISTORY_SESSIONS: Final = 756
"""Observed rows below which a record means little: three years."""
HISTORY_MARGIN: Final = 0.05
"""Of the earlier span. From 2008-07 to 2024-12 some feature sets a plain record on 11.8 % of days, and one by more than
5 % of the span on 2.0 %."""

_Range = tuple[float, float]
_LARGEST_CCI: Final = 14 / 2 / 0.015
"""CCI of n points is at most n / 2 mean absolute deviations, over 0.015."""
_DEGREE_DAYS: Final = 40.0 * 214
"""(55 + 45) / 2 - 10 by the weather contract's limits, on every day of the longest season."""
_POSITION: Final[_Range] = (0.0, 2e6)
_RETURN: Final[_Range] = (-0.25, 0.25)
"""ZL's daily limit has been 5 to 10 % of the price, half as much again when expanded."""

POSSIBLE: Final[dict[str, _Range]] = {
    "close": (5.0, 200.0),
    "close_returns": _RETURN,
    "log_returns": _RETURN,
    "high_low_spread": (0.0, 40.0),
    "open_close_spread": (-40.0, 40.0),
    "RSI_14": (0.0, 100.0),
    "MACD_signal": (-40.0, 40.0),
    "ATR_14": (0.0, 20.0),
    "BB_upper": (5.0, 400.0),
    "BB_lower": (-100.0, 200.0),
    "BB_width": (0.0, 2.0),
    "ADX_14": (0.0, 100.0),
    "CCI_14": (-_LARGEST_CCI, _LARGEST_CCI),
    "palm_price": (5.0, 200.0),
    "palm_spread": (-150.0, 150.0),
    "palm_soybean_oil_spread": (-150.0, 150.0),
    "soybean_crush_spread": (-10.0, 15.0),
    "soybean_meal_spread": (-25.0, 25.0),
    "WTI_price": (-100.0, 500.0),
    "WTI_spread": (-10.0, 15.0),
    "USD_BRL": (0.5, 30.0),
    "USD_BRL_returns": (-1.0, 1.0),
    "VIX_level": (5.0, 200.0),
    "yield_curve_slope": (-6.0, 6.0),
    "renewable_diesel_mandate": (0.1, 20.0),
    **{f"{region}_GDD_base10C": (0.0, _DEGREE_DAYS) for region in WEATHER},
    **{f"CFTC_{group}_{side}": _POSITION for group in ("managed_money", "commercial") for side in ("long", "short")},
    "curve_carry_deseasonalised": (-4.0, 4.0),
    "wasde_stocks_to_use_deviation": (-3.0, 3.0),
    "wasde_stocks_to_use_surprise": (-2.0, 2.0),
    "palm_soybean_oil_ratio_deviation": (-2.0, 2.0),
    "momentum_3m": (-2.0, 2.0),
    "momentum_6m": (-2.5, 2.5),
    "momentum_12m": (-3.0, 3.0),
    "distance_5y_mean": (-2.0, 2.0),
    "realised_volatility_3m": (0.0, 3.0),
    "crush_margin_trend": (-15.0, 15.0),
    "d4_rin_growth": (-4.0, 4.0),
    "malaysia_palm_stocks_change": (-3.0, 3.0),
    "dollar_index_change": (-0.5, 0.5),
    "heating_oil_spread": (-15.0, 15.0),
    "season_sin": (-1.0, 1.0),
    "season_cos": (-1.0, 1.0),
}
"""Smallest and largest value that is not a defect, in the feature's unit: limits of the raw tables carried through the
formula, and of the exchange. A record of twice the past stays inside; a wrong unit or a lost decimal point does not."""
POSSIBLE_BY_UNIT: Final[dict[str, _Range]] = {"standard deviations": (-16.0, 16.0), "0 or 1": (0.0, 1.0)}
"""A z-score within its own window of 252 is at most 251 / sqrt(252) = 15.8."""


def possible_range(name: str, unit: str) -> _Range | None:
    """The possible range of a feature; None if nothing is stated for it or for its unit."""
    return POSSIBLE.get(name, POSSIBLE_BY_UNIT.get(unit))


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
        limits = possible_range(feature.name, feature.unit)
        if limits is None:
            continue
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
