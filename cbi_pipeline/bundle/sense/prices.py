"""Checks of futures prices: the order within a bar, rolls, and agreement with other sources of the same price.

As in `series.py`, a check measures; the table of rules judges.
"""

from __future__ import annotations

import pandas as pd

from cbi_pipeline.bundle.sense.series import Measured, Tables, log, measured, nothing
from cbi_pipeline.contracts.tables import FUTURES_CURVE, FUTURES_DAILY, MACRO_SERIES

TONNES: dict[str, float] = {"ZL": 22.0462}
"""Cents a pound to USD a tonne."""
SECOND_OPINIONS = "second_opinions"
"""Name under which `judge` hands the checks what other sources say; it is no raw table."""


def bar_order(tables: Tables) -> Measured:
    """How far a low is above, or a high below, the open or close of its row."""
    prices = tables[FUTURES_DAILY.name]
    ends = prices[["open", "close"]]
    above = prices["low"] - ends.min(axis=1)
    below = ends.max(axis=1) - prices["high"]
    four = [prices[name] for name in ("open", "high", "low", "close")]
    words = "open {:g}, high {:g}, low {:g}, close {:g}"
    return measured(prices["symbol"], prices["trade_date"], above.where(above >= below, below), words, *four)


def flat_bars(tables: Tables) -> Measured:
    """The share of a symbol's bars whose four prices are one and the same."""
    prices = tables[FUTURES_DAILY.name]
    quoted = prices[prices["open"].notna()]
    flat = quoted[["open", "high", "low"]].eq(quoted["close"], axis=0).all(axis=1)
    share = flat.groupby(quoted["symbol"]).mean()
    last = quoted.groupby("symbol")["trade_date"].max()
    return measured(share.index.to_series(), last, share, "{:.0%} of its bars have one price", share)


def roll_gaps(tables: Tables) -> Measured:
    """The logarithm of each roll ratio: what the new contract costs more or less than the old one."""
    prices = tables[FUTURES_DAILY.name]
    rolls = prices[prices["roll_ratio"].notna()]
    size = log(rolls["roll_ratio"].where(rolls["roll_ratio"] > 0)).abs()
    words = "new contract at {:.3f} of the old one"
    return measured(rolls["symbol"], rolls["trade_date"], size, words, rolls["roll_ratio"])


def back_adjustment(tables: Tables) -> Measured:
    """How far the back-adjusted close moves differently from the close within a contract, relative."""
    prices = tables[FUTURES_DAILY.name]
    factor = prices["back_adjusted_close"] / prices["close"].where(prices["close"] != 0)
    same = prices["symbol"].eq(prices["symbol"].shift())
    expected = factor.shift() / prices["roll_ratio"].where(prices["roll_ratio"].notna(), 1.0)
    size = (factor / expected - 1.0).abs().where(same)
    adjusted = prices["back_adjusted_close"]
    return measured(prices["symbol"], prices["trade_date"], size, "back-adjusted {:g}", adjusted)


def curve_and_close(tables: Tables) -> Measured:
    """The logarithm of the nearest contract of the curve over the ZL close of the same date."""
    if FUTURES_DAILY.name not in tables:
        return nothing()
    prices = tables[FUTURES_DAILY.name]
    nearest = tables[FUTURES_CURVE.name].drop_duplicates(["symbol", "trade_date"])
    both = nearest.merge(prices[["symbol", "trade_date", "close"]], on=["symbol", "trade_date"])
    return _compared(both["symbol"], both["trade_date"], both["price"], both["close"])


def monthly_mean_and_world_bank(tables: Tables, symbol: str, series_id: str) -> Measured:
    """The logarithm of a month's mean future, in USD a tonne, over the World Bank's price of that month."""
    prices, macro = tables.get(FUTURES_DAILY.name), tables.get(MACRO_SERIES.name)
    if prices is None or macro is None:
        return nothing()
    close = prices.loc[prices["symbol"] == symbol].set_index("trade_date")["close"]
    if symbol == "FCPO":
        rate = macro.loc[macro["series_id"] == "USDMYR"].set_index("date")["value"]
        dollars = (close / rate.reindex(close.index)).dropna()
    else:
        dollars = close * TONNES[symbol]
    mean = dollars.groupby(pd.DatetimeIndex(dollars.index).to_period("M").to_timestamp()).mean()
    bank = macro.loc[macro["series_id"] == series_id].set_index("date")["value"].reindex(mean.index)
    day = mean.index.to_series()
    return _compared(pd.Series(symbol, index=mean.index), day, mean, bank)


def second_opinion(tables: Tables, table: str, subject: str) -> Measured:
    """The logarithm of what a table says over what another source says, on common dates."""
    opinions = tables.get(SECOND_OPINIONS)
    if opinions is None:
        return nothing()
    names = {FUTURES_DAILY.name: ("symbol", "trade_date", "close"), MACRO_SERIES.name: ("series_id", "date", "value")}
    key, day, value = names[table]
    ours = tables[table].loc[tables[table][key] == subject, [day, value]].set_axis(["date", "ours"], axis=1)
    theirs = opinions.loc[opinions["subject"] == subject, ["date", "value"]]
    both = ours.merge(theirs, on="date")
    return _compared(pd.Series(subject, index=both.index), both["date"], both["ours"], both["value"])


def _compared(subject: pd.Series, day: pd.Series, ours: pd.Series, theirs: pd.Series) -> Measured:
    """A price that is not positive has no logarithm: it counts as far as its distance in units of the other."""
    positive = (ours > 0) & (theirs > 0)
    ratio = ours.where(positive) / theirs.where(positive)
    size = log(ratio).abs().where(positive, (ours - theirs).abs() / theirs.abs())
    return measured(subject, day, size, "{:.6g} against {:.6g}", ours, theirs)
