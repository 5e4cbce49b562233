"""Declarations of the extra features: those beyond the 43 that the desk asked for, each with its economic reason.

They follow the 43 in the frame. Whether one is used by a model is decided by out-of-fold evidence, not here.

Positions stand in the frame as contracts (the desk's four columns, which a network sees relative to their own
trailing mean) and, since a network's transformation sees the frame only and open interest is no column of it, as
shares of open interest in `cot_managed_money_net_zscore`.
"""

from __future__ import annotations

from typing import Final

from cbi_pipeline.features.declarations import (
    COT,
    CURVE,
    CURVE_HISTORY,
    D4_RINS,
    DTWEXBGS,
    HO,
    PALM_STOCKS,
    WASDE_STOCKS,
    WASDE_USE,
    WB_PALM_OIL,
    WB_SOYBEAN_OIL,
    ZL,
    ZM,
    ZS,
    Feature,
)

_F: Final = "cbi_pipeline.features.extras_"
_MOMENTUM: Final = _F + "prices.momentum_features"
_WARM_UP: Final = "warm-up; a return that is not known within the window"


def _momentum(months: int, sessions: int, reason: str) -> Feature:
    return Feature(
        f"momentum_{months}m",
        "prices",
        "log price",
        (ZL, CURVE_HISTORY),
        f"sum of log_returns over {sessions} sessions: {months} months, rolls taken out",
        "Moskowitz, Ooi and Pedersen (2012), Time series momentum",
        _MOMENTUM,
        "level",
        _WARM_UP,
        economic_reason=reason,
    )


def _season(name: str) -> Feature:
    return Feature(
        f"season_{name}",
        "supply_and_demand",
        "-1 to 1",
        (ZL,),
        f"{name}(2 pi x day of the year / 365.25) of the trade date",
        "definition",
        _F + "supply.season_features",
        "level",
        "never",
        economic_reason="two harvests a year and weather scares before each: supply news comes by the calendar",
    )


EXTRAS: Final[tuple[Feature, ...]] = (
    Feature(
        "curve_carry_deseasonalised",
        "prices",
        "log price per year",
        (CURVE,),
        "ln(second / nearest contract) / years between them, less its mean in the same calendar month of all earlier "
        "years (at least 5)",
        "Fama and French (1987), Commodity futures prices: some evidence on forecast power, premiums, and the theory "
        "of storage",
        _F + "prices.carry_features",
        "level",
        "the curve feed ends 2023-11-30; a date without a second contract for more than 7 days",
        economic_reason="backwardation beyond the season's usual says that oil is scarce now and dearer than later",
    ),
    Feature(
        "wasde_stocks_to_use_deviation",
        "supply_and_demand",
        "log ratio",
        (WASDE_STOCKS, WASDE_USE),
        "ln(ending stocks / total use) of the newest US marketing year, less its mean over the releases of the last "
        "five years (at least 36)",
        "Wright (2011), The economics of grain price volatility; USDA WASDE as released",
        _F + "supply.wasde_features",
        "level",
        "no release in the last 62 days",
        economic_reason="low stocks against use leave no buffer: prices are high and fall back as supply answers",
    ),
    Feature(
        "wasde_stocks_to_use_surprise",
        "supply_and_demand",
        "log ratio",
        (WASDE_STOCKS, WASDE_USE),
        "ln(ending stocks / total use) less that of the release before, for the newest marketing year in both; stands "
        "until the next release",
        "USDA WASDE as released",
        _F + "supply.wasde_features",
        "level",
        "no release in the last 62 days",
        economic_reason="USDA smooths its revisions, so one revision tends to be followed by another of the same sign",
    ),
    Feature(
        "palm_soybean_oil_ratio_deviation",
        "substitution_and_macro",
        "log ratio",
        (WB_PALM_OIL, WB_SOYBEAN_OIL),
        "ln(palm / soybean oil), monthly USD/t, less its mean over 36 months, this one included",
        "World Bank Pink Sheet: monthly means reach back to 1980, daily FCPO only to 2006",
        _F + "supply.palm_ratio_features",
        "level",
        "no month published in the last 75 days",
        economic_reason="buyers switch to the cheaper oil: a dear palm oil pulls soybean oil up over the next months",
    ),
    _momentum(3, 63, "stocks adjust slowly, so a shortage that lifts prices lasts more than one quarter"),
    _momentum(6, 126, "trend followers and hedgers adjust over months: half-year trends in commodities persist"),
    _momentum(12, 252, "the longest horizon at which commodity momentum is documented; beyond it prices revert"),
    Feature(
        "distance_5y_mean",
        "prices",
        "log price",
        (ZL, CURVE_HISTORY),
        "ln(close / mean close of the last five years); before futures_daily begins (2002-07-01) the nearest "
        "contract of the curve",
        "Bessembinder, Coughenour, Seguin and Smoller (1995), Mean reversion in equilibrium asset prices",
        _F + "prices.distance_features",
        "level",
        "never",
        economic_reason="acreage and crush capacity answer high prices within a few seasons: levels revert to cost",
    ),
    Feature(
        "realised_volatility_3m",
        "prices",
        "log price per sqrt(year)",
        (ZL, CURVE_HISTORY),
        "standard deviation of log_returns over 63 sessions (at least 60 known) x sqrt(252)",
        "definition",
        _MOMENTUM,
        "log",
        _WARM_UP,
        economic_reason="volatility is high when stocks are low, and clusters: it sets the width of the forecast",
    ),
    Feature(
        "crush_margin_trend",
        "substitution_and_macro",
        "USD/bu",
        (ZM, ZL, ZS),
        "mean gross crush margin of the last 21 sessions (at least 18) less that of the 21 sessions ending 63 "
        "sessions earlier",
        "CME Group, Soybean crush reference guide",
        _F + "prices.crush_trend_features",
        "level",
        "warm-up; no row of the other legs on the same trade date",
        economic_reason="a rising margin brings more crushing, hence more oil to sell a quarter or two later",
    ),
    Feature(
        "d4_rin_growth",
        "supply_and_demand",
        "log ratio",
        (D4_RINS,),
        "ln(D4 RINs generated in the month / in the same month a year before)",
        "EPA EMTS, RIN generation",
        _F + "supply.d4_features",
        "level",
        "before 2011-08: EMTS begins 2010-07",
        economic_reason="biomass-based diesel is the marginal buyer of soybean oil: its growth is demand growth",
    ),
    Feature(
        "malaysia_palm_stocks_change",
        "supply_and_demand",
        "log ratio",
        (PALM_STOCKS,),
        "ln(Malaysian palm-oil closing stocks / those of the same month a year before)",
        "MPOB monthly statistics",
        _F + "supply.palm_stocks_features",
        "level",
        "before 2017-02: the stocks on file begin 2016-01",
        economic_reason="palm stocks buffer the world's vegetable-oil market: when they fall, substitutes rise",
    ),
    Feature(
        "dollar_index_change",
        "substitution_and_macro",
        "log index",
        (DTWEXBGS,),
        "ln(DTWEXBGS[i] / DTWEXBGS[i-63]) between observations: 3 months",
        "Federal Reserve H.10, broad dollar index (published since 2019; before, the Fed's own back history)",
        _F + "supply.dollar_features",
        "level",
        "before 2006-04: the index begins 2006-01-02; H.10 later than 14 days",
        economic_reason="a stronger dollar makes US oil dearer abroad and competitors' supply cheaper",
    ),
    Feature(
        "heating_oil_spread",
        "substitution_and_macro",
        "USD/gal",
        (ZL, HO),
        "soybean oil - heating oil per gallon: ZL x 7.7 lb/gal / 100 - HO",
        "BOHO spread; soybean oil 7.7 lb/gal as in WTI_spread",
        _F + "prices.heating_oil_features",
        "difference_from_trailing_mean",
        "HO begins 2010-06-07; no HO row in the last 4 days",
        economic_reason="what biodiesel's feedstock costs above the diesel it replaces: a wide gap cuts blending",
    ),
    _season("sin"),
    _season("cos"),
    Feature(
        "cot_managed_money_net_zscore",
        "positioning_and_regime",
        "standard deviations",
        (COT,),
        "(managed_money_long - managed_money_short) / open_interest, less its mean over the trailing 156 reports "
        "(3 years, this one included), in their standard deviations",
        "Kang, Rouwenhorst and Tang (2020), A tale of two premiums; CFTC Disaggregated COT, futures only, 007601",
        _F + "supply.net_position_features",
        "level",
        "before 2009-10-21 and in the gaps of the CFTC_ columns",
        economic_reason="crowded speculative positions unwind; as shares of open interest they compare across years",
    ),
)
"""Every extra feature, in order."""
