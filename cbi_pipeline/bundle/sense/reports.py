"""Checks of published reports: Commitments of Traders, WASDE, and when each value could be known.

As in `series.py`, a check measures; the table of rules judges.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.bundle.sense.series import Measured, Tables, log, measured
from cbi_pipeline.contracts.tables import (
    COT_WEEKLY,
    FUNDAMENTALS,
    FUTURES_CURVE,
    FUTURES_DAILY,
    MACRO_SERIES,
    POLICY,
    WEATHER_DAILY,
)
from cbi_pipeline.sources import bursa, epa, fred, mpob, release_times, wasde, weather, worldbank

GROUPS: Final = ("commercial", "swap", "managed_money", "other_reportable", "non_reportable")
POSITIONS: Final = tuple(f"{group}_{side}" for group in GROUPS for side in ("long", "short"))


def report_weekday(tables: Tables) -> Measured:
    """Reports as of another day than Tuesday, or the Monday or Wednesday beside it."""
    rows = tables[COT_WEEKLY.name]
    at_fault = (rows["report_date"].dt.dayofweek > 2).astype(float)
    return measured(rows["market_code"], rows["report_date"], at_fault, "as of a {:%A}", rows["report_date"])


def other_days(tables: Tables) -> Measured:
    """The share of a market's reports that are not as of a Tuesday."""
    rows = tables[COT_WEEKLY.name]
    share = (rows["report_date"].dt.dayofweek != 1).groupby(rows["market_code"]).mean()
    last = rows.groupby("market_code")["report_date"].max()
    return measured(share.index.to_series(), last, share, "{:.0%} of its reports are not as of a Tuesday", share)


def sides_balance(tables: Tables) -> Measured:
    """By how many contracts all longs and all shorts of a report differ."""
    rows = tables[COT_WEEKLY.name]
    known = rows[rows[list(POSITIONS)].notna().all(axis=1)]
    long, short = (known[[f"{group}_{side}" for group in GROUPS]].sum(axis=1) for side in ("long", "short"))
    size = (long - short).abs().astype(float)
    return measured(known["market_code"], known["report_date"], size, "{} long, {} short", long, short)


def above_open_interest(tables: Tables) -> Measured:
    """By how many contracts a side of a group exceeds the open interest."""
    rows = tables[COT_WEEKLY.name]
    largest = rows[list(POSITIONS)].astype("float64").max(axis=1)
    size, interest = largest - rows["open_interest"].astype(float), rows["open_interest"]
    return measured(rows["market_code"], rows["report_date"], size, "{:.0f} of {}", largest, interest)


def empty_group(tables: Tables, group: str) -> Measured:
    """Runs of reports in which a group holds nothing on either side, by their number."""
    rows = tables[COT_WEEKLY.name]
    empty = (rows[f"{group}_long"].eq(0) & rows[f"{group}_short"].eq(0)).astype("boolean").eq(True)
    same = rows["market_code"].eq(rows["market_code"].shift()) & empty.eq(empty.shift())
    run = (~same).cumsum()
    length = pd.Series(np.bincount(run)[run], index=rows.index, dtype="float64")
    begins = empty.to_numpy(dtype=bool) & ~same.to_numpy(dtype=bool)
    rows, length = rows[begins], length[begins]
    words = f"{group} long and short are 0 in {{:.0f}} reports on end"
    return measured(rows["market_code"], rows["report_date"], length, words, length)


def repeated_report(tables: Tables) -> Measured:
    """Reports in which no number differs from the report before."""
    rows = tables[COT_WEEKLY.name]
    numbers = rows[["market_code", "open_interest", *POSITIONS]].astype("object")
    values = numbers.where(numbers.notna(), None).to_numpy().tolist()
    same = pd.Series([False, *(one == other for one, other in pairwise(values))], dtype="float64")
    words = "every number as in the report before"
    return measured(rows["market_code"], rows["report_date"], same, words)


def few_vintages(tables: Tables) -> Measured:
    """Twelve over the usual number of releases that tell of a marketing year: 12 where only one does."""
    rows = tables[FUNDAMENTALS.name]
    counts = rows.groupby(["series_id", "marketing_year"])["release_date"].nunique()
    usual = counts.groupby("series_id").median()
    last = rows.groupby("series_id")["release_date"].max()
    return measured(usual.index.to_series(), last, 12 / usual, "{:g} releases of a marketing year", usual)


def revisions(tables: Tables) -> Measured:
    """The logarithm of a marketing year's value over that of the release before."""
    rows = tables[FUNDAMENTALS.name].sort_values(["series_id", "marketing_year", "release_date"])
    same = rows[["series_id", "marketing_year"]].eq(rows[["series_id", "marketing_year"]].shift()).all(axis=1)
    before = rows["value"].shift().where(same)
    size = log(rows["value"].where(rows["value"] > 0) / before.where(before > 0)).abs()
    parts = (rows["marketing_year"], before, rows["value"])
    return measured(rows["series_id"], rows["release_date"], size, "{}: {:g} became {:g}", *parts)


def known_too_early(tables: Tables, table: str) -> Measured:
    """By how many hours `available_at` precedes the provider's calendar; weather of an unknown network has none."""
    rows = tables[table]
    due = _DUE[table](rows)
    hours = (due - rows["available_at"]).dt.total_seconds() / 3600
    key, day = _NAMES[table]
    words = "known {:%Y-%m-%d %H:%M}, published {:%Y-%m-%d %H:%M} UTC at the earliest"
    return measured(rows[key], rows[day], hours, words, rows["available_at"], due)


def _series(moments: pd.DatetimeIndex, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(moments, index=rows.index)


def _prices_due(rows: pd.DataFrame) -> pd.Series:
    due = _series(market_calendar.as_of_times(pd.DatetimeIndex(rows["trade_date"])), rows)
    palm = (rows["trade_date"] + bursa.CLOSE_UTC).dt.tz_localize("UTC")
    return due.where(rows["symbol"] != "FCPO", palm)


def _macro_due(rows: pd.DataFrame) -> pd.Series:
    parts = []
    for series_id, part in rows.groupby("series_id", sort=False):
        moments = _MACRO[str(series_id)](part["date"])
        parts.append(pd.Series(pd.DatetimeIndex(moments), index=part.index))
    return pd.concat(parts).reindex(rows.index)


def _reports_due(rows: pd.DataFrame) -> pd.Series:
    parts = [
        _series(release_times.cot_release(part["report_date"], {}), part)
        for _, part in rows.sort_values("report_date").groupby("market_code")
    ]
    return pd.concat(parts).reindex(rows.index)


def _weather_due(rows: pd.DataFrame) -> pd.Series:
    lag = pd.to_timedelta(rows["source"].map(weather.PUBLICATION_LAG_DAYS), unit="D")
    return (rows["date"] + lag).dt.tz_localize("UTC")


_MACRO: Final[dict[str, Callable[[pd.Series], pd.DatetimeIndex]]] = {
    **{name: partial(fred.release_moments, name) for name in (*fred.DAILY_SERIES, *fred.H10_SERIES)},
    "USDMYR": bursa.rate_release,
    **dict.fromkeys(worldbank.SERIES.values(), worldbank.release_moments),
    epa.RIN_SERIES_ID: epa.rin_release_moments,
    mpob.SERIES_ID: mpob.release_moments,
}
_DUE: Final[dict[str, Callable[[pd.DataFrame], pd.Series]]] = {
    FUTURES_DAILY.name: _prices_due,
    FUTURES_CURVE.name: _prices_due,
    MACRO_SERIES.name: _macro_due,
    COT_WEEKLY.name: _reports_due,
    WEATHER_DAILY.name: _weather_due,
    POLICY.name: lambda rows: _series(epa.rule_release(rows["published_on"]), rows),
    FUNDAMENTALS.name: lambda rows: _series(wasde.release_time(rows["release_date"]), rows),
}
_NAMES: Final = {
    FUTURES_DAILY.name: ("symbol", "trade_date"),
    FUTURES_CURVE.name: ("symbol", "trade_date"),
    MACRO_SERIES.name: ("series_id", "date"),
    COT_WEEKLY.name: ("market_code", "report_date"),
    WEATHER_DAILY.name: ("station", "date"),
    POLICY.name: ("series", "published_on"),
    FUNDAMENTALS.name: ("series_id", "release_date"),
}
