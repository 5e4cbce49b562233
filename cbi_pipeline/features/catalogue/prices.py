"""Prices of the ZL front contract, its curve, and what a longer look back at them says."""

from __future__ import annotations

from typing import Final

from cbi_pipeline.features.declarations import CURVE, CURVE_HISTORY, NEVER, NOT_NEGATIVE, ZL, Feature, Range

_F: Final = "cbi_pipeline.features."
_NO_HIGH_LOW: Final = "the provider's open, high and low contradict each other on that date (Yahoo, before 2010-06-07)"
_FIRST_ROW: Final = "first row, and rows after a hole of more than 7 days (none on file)"
_ROLL_RATIO: Final = "definition; roll ratio from futures_daily, before 2010-06-07 as the futures curve implies it"
_UNKNOWN_RETURN: Final = "warm-up; a return that is not known within the window"
_MOMENTUM: Final = "Moskowitz, Ooi and Pedersen (2012), Time series momentum"
_DAILY_LIMIT: Final[Range] = (-0.25, 0.25)
"""ZL's daily limit has been 5 to 10 % of the price, half as much again when expanded."""
WITHIN_ONE_CONTRACT: Final = (ZL.reading("close", "is_roll", "roll_ratio"), CURVE_HISTORY)
"""What a price change within one contract needs: before 2010-06-07 the curve tells where the front rolls."""

PRICES: Final[tuple[Feature, ...]] = (
    Feature(
        name="close",
        pillar="prices",
        unit="cents/lb",
        inputs=(ZL,),
        formula="ZL close, unadjusted front contract",
        reference="definition",
        function=_F + "prices.price_features",
        transformation="log_relative_to_trailing_mean",
        missing_because=NEVER,
        possible=(5.0, 200.0),
        by_definition=NOT_NEGATIVE,
    ),
    Feature(
        name="close_returns",
        pillar="prices",
        unit="fraction",
        inputs=WITHIN_ONE_CONTRACT,
        formula="close[t] / roll_ratio[t] / close[t-1] - 1",
        reference=_ROLL_RATIO,
        function=_F + "prices.price_features",
        transformation="level",
        missing_because=_FIRST_ROW,
        possible=_DAILY_LIMIT,
        by_definition=(-1.0, None),
        formula_version=2,
    ),
    Feature(
        name="log_returns",
        pillar="prices",
        unit="log price",
        inputs=WITHIN_ONE_CONTRACT,
        formula="ln(close[t] / roll_ratio[t] / close[t-1])",
        reference=_ROLL_RATIO,
        function=_F + "prices.price_features",
        transformation="level",
        missing_because=_FIRST_ROW,
        possible=_DAILY_LIMIT,
        formula_version=2,
    ),
    Feature(
        name="high_low_spread",
        pillar="prices",
        unit="cents/lb",
        inputs=(ZL.reading("high", "low"),),
        formula="high - low",
        reference="definition",
        function=_F + "prices.price_features",
        transformation="relative_to_close",
        missing_because=_NO_HIGH_LOW,
        possible=(0.0, 40.0),
        by_definition=NOT_NEGATIVE,
    ),
    Feature(
        name="open_close_spread",
        pillar="prices",
        unit="cents/lb",
        inputs=(ZL.reading("open", "close"),),
        formula="open - close",
        reference="definition",
        function=_F + "prices.price_features",
        transformation="relative_to_close",
        missing_because=_NO_HIGH_LOW,
        possible=(-40.0, 40.0),
    ),
    Feature(
        name="curve_carry_deseasonalised",
        pillar="prices",
        unit="log price per year",
        inputs=(CURVE.reading("price", "contract_month"),),
        formula="ln(second / nearest contract) / years between them, less its mean in the same calendar month of all "
        "earlier years (at least 5)",
        reference="Fama and French (1987), Commodity futures prices: some evidence on forecast power, premiums, and the"
        " theory of storage",
        function=_F + "extras_prices.carry_features",
        transformation="level",
        missing_because="the curve feed ends 2023-11-30; a date without a second contract for more than 7 days",
        possible=(-4.0, 4.0),
        economic_reason="backwardation beyond the season's usual says that oil is scarce now and dearer than later",
    ),
    Feature(
        name="momentum_3m",
        pillar="prices",
        unit="log price",
        inputs=WITHIN_ONE_CONTRACT,
        formula="sum of log_returns over 63 sessions: 3 months, rolls taken out",
        reference=_MOMENTUM,
        function=_F + "extras_prices.momentum_features",
        transformation="level",
        missing_because=_UNKNOWN_RETURN,
        possible=(-2.0, 2.0),
        economic_reason="stocks adjust slowly, so a shortage that lifts prices lasts more than one quarter",
    ),
    Feature(
        name="momentum_12m",
        pillar="prices",
        unit="log price",
        inputs=WITHIN_ONE_CONTRACT,
        formula="sum of log_returns over 252 sessions: 12 months, rolls taken out",
        reference=_MOMENTUM,
        function=_F + "extras_prices.momentum_features",
        transformation="level",
        missing_because=_UNKNOWN_RETURN,
        possible=(-3.0, 3.0),
        economic_reason="the longest horizon at which commodity momentum is documented; beyond it prices revert",
    ),
    Feature(
        name="distance_5y_mean",
        pillar="prices",
        unit="log price",
        inputs=(ZL, CURVE_HISTORY),
        formula="ln(close / mean close of the last five years); before futures_daily begins (2002-07-01) the nearest "
        "contract of the curve",
        reference="Bessembinder, Coughenour, Seguin and Smoller (1995), Mean reversion in equilibrium asset prices",
        function=_F + "extras_prices.distance_features",
        transformation="level",
        missing_because=NEVER,
        possible=(-2.0, 2.0),
        economic_reason="acreage and crush capacity answer high prices within a few seasons: levels revert to cost",
    ),
)
