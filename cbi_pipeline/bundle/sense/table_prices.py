"""The rows of the table of rules about prices and macro series."""

from __future__ import annotations

from functools import partial
from typing import Final

from cbi_pipeline.bundle.sense import prices, series
from cbi_pipeline.bundle.sense.rule import ABOVE_ZERO, FIRST_DATES, Rule
from cbi_pipeline.contracts.tables import FUTURES_CURVE, FUTURES_DAILY, MACRO_SERIES

_NEVER_ZERO_MACRO: Final = ("VIXCLS", "DTWEXBGS", "DEXBZUS", "USDMYR", "WB_PALM_OIL", "WB_SOYBEAN_OIL")
_NEVER_ZERO: Final = {
    FUTURES_DAILY.name: ("ZL", "ZS", "ZM", "CL", "HO", "FCPO"),
    MACRO_SERIES.name: (*_NEVER_ZERO_MACRO, "EPA_D4_RINS", "MPOB_PALM_STOCKS"),
}


def price_rules() -> tuple[Rule, ...]:
    """Of futures, the curve, and what compares them with other sources."""
    name, macro, curve = FUTURES_DAILY.name, MACRO_SERIES.name, FUTURES_CURVE.name
    return (
        Rule(
            "bar_order",
            name,
            "low must not be above open or close, high must not be below them",
            "a bar that contradicts itself has a wrong number in it and nothing says which; readers null such bars.",
            prices.bar_order,
            None,
            ABOVE_ZERO,
        ),
        Rule(
            "flat_bars",
            name,
            "a bar has a range between its low and its high",
            "open = high = low = close throughout is one quote written four times: ranges and ATR made of it are 0.",
            prices.flat_bars,
            0.1,
            0.5,
            "share of bars",
        ),
        Rule(
            "jump",
            name,
            "a close stays within reach of the 20-day range",
            "the largest move of six contracts in 24 years is 2.1 ranges; beyond five it is another unit or contract.",
            partial(series.jumps, table=name),
            1.5,
            5,
            "20-day ranges",
        ),
        Rule(
            "roll_gap",
            name,
            "a roll changes the price by the carry between two contracts",
            "old crop against new moves soybeans and meal by up to 25 %, crude oil by 37 % in 2020-04; a factor of two "
            "is another product.",
            prices.roll_gaps,
            0.1,
            0.7,
            "log ratio",
        ),
        Rule(
            "back_adjustment",
            name,
            "the back-adjusted close moves as the close does within a contract",
            "returns and P&L are made of it; a chain that is broken invents a gain at the break.",
            prices.back_adjustment,
            None,
            1e-6,
            "relative",
        ),
        Rule(
            "stale",
            name,
            "a close changes from day to day",
            "three equal closes on end are the most in 24 years of six contracts; ten are a feed that stands still.",
            partial(series.repeats, table=name),
            4,
            10,
            "rows",
        ),
        Rule(
            "first_quote",
            name,
            "a series does not begin with one price repeated",
            "a price that is filled back before the first quote is a value from the future.",
            partial(series.first_quotes, table=name),
            4,
            5,
            "rows",
        ),
        Rule(
            "zero",
            name,
            "no price is exactly zero",
            "crude oil has been negative, nothing has traded at 0: it stands for a value that is missing.",
            partial(series.zeros, table=name, never_zero=_NEVER_ZERO[name]),
            None,
            1,
        ),
        Rule(
            "curve_and_close",
            curve,
            "the nearest contract of the curve and the ZL close of that date are one market",
            "two contracts a few months apart differ by 8 % at most here; 25 % is a wrong unit, date or product.",
            prices.curve_and_close,
            0.1,
            0.25,
            "log ratio",
        ),
        Rule(
            "palm_and_world_bank",
            name,
            "a month's mean FCPO, in USD a tonne, is near the World Bank's palm oil price",
            "they differ by 1 to 30 % (place and date of delivery); more is dollars for ringgit, or a wrong month.",
            partial(prices.monthly_mean_and_world_bank, symbol="FCPO", series_id="WB_PALM_OIL"),
            0.35,
            0.6,
            "log ratio",
        ),
        Rule(
            "soybean_oil_and_world_bank",
            name,
            "a month's mean ZL, in USD a tonne, is near the World Bank's soybean oil price",
            "Chicago and Rotterdam differ by up to 24 %; more is a wrong unit or month.",
            partial(prices.monthly_mean_and_world_bank, symbol="ZL", series_id="WB_SOYBEAN_OIL"),
            0.35,
            0.6,
            "log ratio",
        ),
        Rule(
            "vix_cboe_and_fred",
            macro,
            "FRED's VIX is Cboe's close",
            "equal on every one of 6,812 common days; FRED takes it from Cboe.",
            partial(prices.second_opinion, table=macro, subject="VIXCLS"),
            0.001,
            0.05,
            "log ratio",
        ),
        Rule(
            "databento_and_yahoo",
            name,
            "Databento's most active ZL contract is within the contract difference of Yahoo's nearest",
            "they follow different contracts for weeks before a delivery: up to 15 %, in 2023-07.",
            partial(prices.second_opinion, table=name, subject="ZL"),
            0.08,
            0.25,
            "log ratio",
        ),
        Rule(
            "crude_and_spot",
            name,
            "the CL close is within the contract difference of the WTI spot price (EIA, by FRED)",
            "contango reached 35 % in 2020-03 and 25 % in 2008-12; spot alone was negative on 2020-04-20.",
            partial(prices.second_opinion, table=name, subject="CL"),
            0.2,
            4,
            "log ratio",
        ),
        Rule(
            "ringgit_and_yahoo",
            macro,
            "the ringgit rate is Yahoo's of the same date",
            "two collections of one spot market, taken at different hours.",
            partial(prices.second_opinion, table=macro, subject="USDMYR"),
            0.03,
            0.2,
            "log ratio",
        ),
    )


def macro_rules() -> tuple[Rule, ...]:
    """Of rates, indices and monthly series."""
    name = MACRO_SERIES.name
    return (
        Rule(
            "jump",
            name,
            "a value stays within reach of the 20-row range",
            "the real of 1999-01-13 moved 9 ranges, the VIX of 2007-02-27 4.5; beyond 20 it is another unit.",
            partial(series.jumps, table=name),
            3,
            20,
            "20-row ranges",
        ),
        Rule(
            "stale",
            name,
            "a value changes from row to row",
            "two-year yields have stood for 8 rows, the ringgit was pegged at 3.80 until 2005-07; no other rate stands "
            "9.",
            partial(series.repeats, table=name),
            9,
            250,
            "rows",
        ),
        Rule(
            "first_quote",
            name,
            "a series does not begin with one value repeated",
            "a value that is filled back before the first observation is a value from the future.",
            partial(series.first_quotes, table=name),
            5,
            20,
            "rows",
        ),
        Rule(
            "before_first_quote",
            name,
            "no row is older than its series",
            "what is dated before the publisher's first value was made by somebody else.",
            partial(series.older_than_series, table=name, first=FIRST_DATES[name]),
            None,
            1,
            "days",
        ),
        Rule(
            "zero",
            name,
            "no rate, index, price or stock is exactly zero",
            "zero stands for a value that is missing; yields alone may be 0.",
            partial(series.zeros, table=name, never_zero=_NEVER_ZERO[name]),
            None,
            1,
        ),
    )
