"""The one declaration of every feature: name, pillar, unit, inputs, formula and how a network sees it.

The data dictionary, the column lineage, the schema check and `feature_hash` are all made from here.
To add a feature: one `Feature` entry in CATALOGUE and one pure function that returns its column.
Nothing is computed here and nothing but the standard library is imported.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cbi_pipeline.features.catalogue_extras import EXTRAS
from cbi_pipeline.features.declarations import (
    CL,
    COT,
    CURVE_HISTORY,
    DEXBZUS,
    DGS2,
    DGS10,
    FCPO,
    HO,
    RFS,
    USDMYR,
    VIXCLS,
    WEATHER,
    ZL,
    ZM,
    ZS,
    Feature,
    Input,
    Pillar,
    Transformation,
)

DTYPE: Final = "float32"

_F: Final = "cbi_pipeline.features."
_NO_HIGH_LOW: Final = "the provider's open, high and low contradict each other on that date (Yahoo, before 2010-06-07)"
_FIRST_ROW: Final = "first row, and rows after a hole of more than 7 days (none on file)"
_WARM_UP: Final = "warm-up of the indicator"
_WILDER: Final = "Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib "
_FORWARD: Final = " on prices forward-adjusted by the roll ratios known so far, rescaled to the contract held today"


_ONE_CONTRACT: Final = (ZL, CURVE_HISTORY)
"""What a price change within one contract needs: before 2010-06-07 the curve tells where the front rolls."""


def _price(name: str, unit: str, formula: str, transformation: Transformation, missing: str) -> Feature:
    function = _F + "prices.price_features"
    return Feature(name, "prices", unit, (ZL,), formula, "definition", function, transformation, missing)


def _return(name: str, unit: str, formula: str) -> Feature:
    reference = "definition; roll ratio from futures_daily, before 2010-06-07 as the futures curve implies it"
    function = _F + "prices.price_features"
    return Feature(name, "prices", unit, _ONE_CONTRACT, formula, reference, function, "level", _FIRST_ROW, 2)


def _technical(
    name: str, unit: str, formula: str, reference: str, transformation: Transformation, missing: str
) -> Feature:
    function = _F + "technical.technical_features"
    return Feature(name, "technical", unit, _ONE_CONTRACT, formula, reference, function, transformation, missing, 2)


def _macro_feature(
    name: str,
    unit: str,
    inputs: tuple[Input, ...],
    formula: str,
    reference: str,
    function: str,
    transformation: Transformation,
    missing: str,
) -> Feature:
    return Feature(
        name,
        "substitution_and_macro",
        unit,
        inputs,
        formula,
        reference,
        _F + "substitution." + function,
        transformation,
        missing,
    )


_PRICES: Final = (
    _price("close", "cents/lb", "ZL close, unadjusted front contract", "log_relative_to_trailing_mean", "never"),
    _return("close_returns", "fraction", "close[t] / roll_ratio[t] / close[t-1] - 1"),
    _return("log_returns", "log price", "ln(close[t] / roll_ratio[t] / close[t-1])"),
    _price("high_low_spread", "cents/lb", "high - low", "relative_to_close", _NO_HIGH_LOW),
    _price("open_close_spread", "cents/lb", "open - close", "relative_to_close", _NO_HIGH_LOW),
)

_TECHNICAL: Final = (
    _technical("RSI_14", "0 to 100", "relative strength index, 14 sessions", _WILDER + "RSI", "level", _WARM_UP),
    _technical(
        "MACD_signal",
        "cents/lb",
        "EMA 9 of (EMA 12 - EMA 26) of close" + _FORWARD,
        "Appel (2005); TA-Lib MACD",
        "relative_to_close",
        _WARM_UP,
    ),
    _technical(
        "ATR_14",
        "cents/lb",
        "average true range, 14 sessions" + _FORWARD,
        _WILDER + "ATR",
        "relative_to_close",
        f"{_WARM_UP}; {_NO_HIGH_LOW}",
    ),
    _technical(
        "BB_upper",
        "cents/lb",
        "SMA 20 + 2 standard deviations of close" + _FORWARD,
        "Bollinger (2001); TA-Lib BBANDS",
        "log_relative_to_close",
        _WARM_UP,
    ),
    _technical(
        "BB_lower",
        "cents/lb",
        "SMA 20 - 2 standard deviations of close" + _FORWARD,
        "Bollinger (2001); TA-Lib BBANDS",
        "log_relative_to_close",
        _WARM_UP,
    ),
    _technical("BB_width", "fraction", "(BB_upper - BB_lower) / SMA 20", "Bollinger (2001)", "log", _WARM_UP),
    _technical(
        "ADX_14",
        "0 to 100",
        "average directional index, 14 sessions",
        _WILDER + "ADX",
        "level",
        f"{_WARM_UP}; {_NO_HIGH_LOW}",
    ),
    _technical(
        "CCI_14",
        "index",
        "commodity channel index, 14 sessions",
        "Lambert (1980); TA-Lib CCI",
        "level",
        f"{_WARM_UP}; {_NO_HIGH_LOW}",
    ),
)

_FCPO_STARTS: Final = "FCPO begins 2006-04-12; Kuala Lumpur holidays longer than 7 days"
_NO_SAME_DAY: Final = "no row of the other leg on the same trade date"
_SUBSTITUTION: Final = (
    _macro_feature(
        "palm_price",
        "US cents/lb",
        (FCPO, USDMYR),
        "FCPO third month MYR/t / USDMYR / 22.0462",
        "2204.62 lb per tonne",
        "palm_features",
        "log_relative_to_trailing_mean",
        _FCPO_STARTS,
    ),
    _macro_feature(
        "palm_spread",
        "US cents/lb",
        (FCPO, USDMYR, HO),
        "palm_price - HO USD/gal x 100 x 312.9 gal/t / 2204.62 lb/t",
        "palm oil - gasoil (POGO) spread on NY Harbor ULSD; 7.45 bbl = 312.9 gal/t as in ICE Heating Oil Arb futures",
        "palm_features",
        "difference_from_trailing_mean",
        "HO begins 2010-06-07; " + _FCPO_STARTS,
    ),
    _macro_feature(
        "palm_soybean_oil_spread",
        "US cents/lb",
        (FCPO, USDMYR, ZL),
        "palm_price - close",
        "definition",
        "palm_features",
        "difference_from_trailing_mean",
        _FCPO_STARTS,
    ),
    _macro_feature(
        "soybean_crush_spread",
        "USD/bu",
        (ZM, ZL, ZS),
        "ZM x 0.022 + ZL x 0.11 - ZS / 100",
        "CME Group, Soybean crush reference guide: 44 lb meal and 11 lb oil per bushel",
        "soybean_complex_features",
        "difference_from_trailing_mean",
        _NO_SAME_DAY,
    ),
    _macro_feature(
        "soybean_meal_spread",
        "USD/bu",
        (ZL, ZM),
        "oil value - meal value of one bushel: ZL x 0.11 - ZM x 0.022",
        "CME Group, Soybean crush reference guide",
        "soybean_complex_features",
        "difference_from_trailing_mean",
        _NO_SAME_DAY,
    ),
    _macro_feature(
        "WTI_price",
        "USD/bbl",
        (CL,),
        "CL close",
        "definition",
        "energy_features",
        "log_relative_to_trailing_mean",
        "no CL row in the last 4 days",
    ),
    _macro_feature(
        "WTI_spread",
        "USD/gal",
        (ZL, CL),
        "soybean oil - crude per gallon: ZL x 7.7 lb/gal / 100 - CL / 42",
        "soybean oil 7.7 lb/gal (biodiesel trade convention); 42 gal per barrel",
        "energy_features",
        "difference_from_trailing_mean",
        "no CL row in the last 4 days",
    ),
    _macro_feature(
        "USD_BRL",
        "BRL per USD",
        (DEXBZUS,),
        "DEXBZUS as last published",
        "Federal Reserve H.10",
        "dollar_real_features",
        "log_relative_to_trailing_mean",
        "H.10 later than 14 days",
    ),
    _macro_feature(
        "USD_BRL_returns",
        "log price",
        (DEXBZUS,),
        "ln(DEXBZUS[i] / DEXBZUS[i-21]) between observations, since H.10 comes weekly",
        "Federal Reserve H.10",
        "dollar_real_features",
        "level",
        "H.10 later than 14 days",
    ),
    _macro_feature(
        "VIX_level",
        "index",
        (VIXCLS,),
        "VIXCLS",
        "Cboe VIX via FRED",
        "vix_features",
        "log",
        "no value in the last 7 days",
    ),
    _macro_feature(
        "VIX_zscore",
        "standard deviations",
        (VIXCLS,),
        "(VIX - mean) / standard deviation of the trailing 252 observations",
        "definition",
        "vix_features",
        "level",
        "no value in the last 7 days",
    ),
    _macro_feature(
        "yield_curve_slope",
        "percentage points",
        (DGS10, DGS2),
        "DGS10 - DGS2 of the same date",
        "Federal Reserve H.15",
        "yield_curve_features",
        "level",
        "no value in the last 7 days",
    ),
    _macro_feature(
        "renewable_diesel_mandate",
        "billion gallons",
        (RFS,),
        "biomass-based diesel obligation of the calendar year of t if published by t, else of the last year published",
        "EPA Renewable Fuel Standard final rules, 40 CFR 80",
        "mandate_features",
        "log_relative_to_trailing_mean",
        "before 2010-03-26, the first rule on record (its 1.15 covers 2009 and 2010 together)",
    ),
)


_OWN_CLIMATOLOGY: Final = "standard score; window, tolerance of missing days and years needed are our own choice"
_SEASONS: Final = {
    "brazil": "1 October to 30 April",
    "argentina": "1 October to 30 April",
    "midwest": "1 April to 31 October",
}


_THIN: Final = {
    "brazil": ": since 2021 only Cuiaba (from 2015) and, with long gaps, Castro report",
    "argentina": "",
    "midwest": "",
}


def _precipitation(region: str, days: int, needed: int) -> Feature:
    formula = (
        f"per station: mean mm/day of the last {days} days (at least {needed} observed) against the same station's "
        "windows that end within 15 days of that calendar date in all earlier years (at least 8), as a z-score; "
        "then the mean over stations"
    )
    missing = f"no station with {needed} of {days} days observed, 8 earlier years and a row in the last 7 days"
    function = _F + "weather.precipitation_features"
    name = f"{region}_precip_{days}d_zscore"
    return Feature(
        name,
        "weather",
        "standard deviations",
        (WEATHER[region],),
        formula,
        _OWN_CLIMATOLOGY,
        function,
        "level",
        missing + _THIN[region],
    )


def _growing_degrees(region: str) -> Feature:
    formula = (
        "sum over the crop season so far of the stations' mean of max(0, (tmax + tmin) / 2 - 10), "
        f"through the day three days before t; 0 outside {_SEASONS[region]}"
    )
    missing = f"a day of the season so far on which no station of the region has both temperatures{_THIN[region]}"
    reference = "McMaster and Wilhelm (1997), Growing degree-days: one equation, two interpretations (method 1)"
    function = _F + "weather.growing_degree_features"
    return Feature(
        f"{region}_GDD_base10C",
        "weather",
        "degree-days C",
        (WEATHER[region],),
        formula,
        reference,
        function,
        "level",
        missing,
    )


_WEATHER: Final = (
    *(_precipitation(region, days, needed) for region in WEATHER for days, needed in ((7, 6), (30, 27))),
    *(_growing_degrees(region) for region in WEATHER),
)


def _position(name: str, column: str) -> Feature:
    formula = f"{column} of the newest report, as reported"
    reference = "CFTC Disaggregated Commitments of Traders, futures only, 007601"
    missing = (
        "before 2009-10-21 (the CFTC first published this report in autumn 2009); no report in the last 14 days: "
        "shutdowns of 2013 and 2018-19, the ION outage of 2023"
    )
    function = _F + "positioning.positioning_features"
    pillar: Pillar = "positioning_and_regime"
    seen_as: Transformation = "log_relative_to_trailing_mean"
    return Feature(name, pillar, "contracts", (COT,), formula, reference, function, seen_as, missing)


def _regime(name: str, rule: str) -> Feature:
    reference = "trailing trend and volatility states; thresholds are expanding quantiles of strictly earlier sessions"
    missing = "63 sessions of returns, then 252 sessions of history for the thresholds; all four are missing together"
    function = _F + "regime.regime_features"
    pillar: Pillar = "positioning_and_regime"
    return Feature(name, pillar, "0 or 1", _ONE_CONTRACT, rule, reference, function, "one_hot", missing, 2)


_POSITIONING_AND_REGIME: Final = (
    _position("CFTC_managed_money_long", "managed_money_long"),
    _position("CFTC_managed_money_short", "managed_money_short"),
    _position("CFTC_commercial_long", "commercial_long"),
    _position("CFTC_commercial_short", "commercial_short"),
    _regime("regime_bullish", "not volatile and 63-session trend above the past median of its absolute value"),
    _regime("regime_bearish", "not volatile and 63-session trend below minus the past median of its absolute value"),
    _regime("regime_sideways", "neither volatile, bullish nor bearish"),
    _regime("regime_volatile", "21-session volatility above its past 80th percentile; wins over the other three"),
)

CATALOGUE: Final[tuple[Feature, ...]] = (
    *_PRICES,
    *_TECHNICAL,
    *_SUBSTITUTION,
    *_WEATHER,
    *_POSITIONING_AND_REGIME,
    *EXTRAS,
)
"""Every feature, in the locked order of the frame: the 43 that the desk asked for, then the extras."""

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in CATALOGUE)


def feature_hash() -> str:
    """sha256 (hex) of the ordered names, dtypes and formula versions; a model refuses another hash."""
    return sha256("\n".join(f"{f.name}:{DTYPE}:{f.formula_version}" for f in CATALOGUE).encode()).hexdigest()
