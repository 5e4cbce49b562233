"""Which columns of the raw tables each feature is made of: the catalogue's inputs, one level finer.

Keys, dates and `available_at` choose the rows of every feature; they stand here only where a feature
calculates with them. Nothing but the standard library is imported. A test changes every raw column
and sees which features move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cbi_pipeline.features.declarations import Feature

VALUE_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "futures_daily": ("close",),
    "futures_curve": ("price",),
    "macro_series": ("value",),
    "policy": ("value",),
    "fundamentals": ("value",),
}
"""What a feature reads of a table, unless it is named below."""

_ADJUSTED: Final = {"futures_daily": ("close", "roll_ratio")}
_RETURNS: Final = {"futures_daily": ("close", "is_roll", "roll_ratio")}

COLUMNS_OF_FUNCTION: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "technical.technical_features": _ADJUSTED,
    "regime.regime_features": _RETURNS,
    "extras_prices.momentum_features": _RETURNS,
    "extras_prices.carry_features": {"futures_curve": ("price", "contract_month")},
    "extras_supply.season_features": {"futures_daily": ("trade_date",)},
    "extras_supply.net_position_features": {
        "cot_weekly": ("managed_money_long", "managed_money_short", "open_interest")
    },
    "weather.precipitation_features": {"weather_daily": ("precip_mm",)},
    "weather.growing_degree_features": {"weather_daily": ("tmax_c", "tmin_c")},
}
"""Function, without the package's name: the columns that all its features read."""

COLUMNS_OF_FEATURE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "close_returns": _RETURNS,
    "log_returns": _RETURNS,
    "high_low_spread": {"futures_daily": ("high", "low")},
    "open_close_spread": {"futures_daily": ("open", "close")},
    "ATR_14": {"futures_daily": ("high", "low", "close", "roll_ratio")},
    "ADX_14": {"futures_daily": ("high", "low", "close", "roll_ratio")},
    "CCI_14": {"futures_daily": ("high", "low", "close", "roll_ratio")},
    "CFTC_managed_money_long": {"cot_weekly": ("managed_money_long",)},
    "CFTC_managed_money_short": {"cot_weekly": ("managed_money_short",)},
    "CFTC_commercial_long": {"cot_weekly": ("commercial_long",)},
    "CFTC_commercial_short": {"cot_weekly": ("commercial_short",)},
}
"""Feature: columns where they differ from its function's."""


def raw_columns(feature: Feature) -> dict[str, tuple[str, ...]]:
    """Columns a feature is computed from, by raw table, in the order of its inputs.

    Raises:
        KeyError: the feature reads a table for which no column is named above.
    """
    function = feature.function.removeprefix("cbi_pipeline.features.")
    named = {**VALUE_COLUMNS, **COLUMNS_OF_FUNCTION.get(function, {}), **COLUMNS_OF_FEATURE.get(feature.name, {})}
    return {source.table: named[source.table] for source in feature.inputs}
