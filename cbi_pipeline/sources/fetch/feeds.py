"""Every product of the raw tables: how its files come, how old its last value is and when the next is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa, epa, weather
from cbi_pipeline.sources import fred as fred_files
from cbi_pipeline.sources import mpob as mpob_files
from cbi_pipeline.sources import term_structure as curve_files
from cbi_pipeline.sources import wasde as wasde_files
from cbi_pipeline.sources import worldbank as worldbank_files
from cbi_pipeline.sources import yahoo as yahoo_files
from cbi_pipeline.sources.fetch import (
    alfred,
    cftc,
    databento,
    emts,
    facts,
    fred,
    ghcn,
    mpob,
    power,
    term_structure,
    wasde,
    worldbank,
    yahoo,
)
from cbi_pipeline.sources.fetch.install import Fetched

Agree = Callable[[float], bool]
State = Literal["current", "late", "missing", "unreadable", "ended"]
_DAYS_A_MONTH: Final = 31


@dataclass(frozen=True, slots=True)
class Feed:
    """One product.

    Args:
        name: what `cbi sources fetch` calls it.
        source: how the `source` of its rows starts, a key of `SOURCES`.
        last: date of the last value under a data folder; SourceError if there is no readable file.
        lag_days: age in days of the last value that the slowest regular release leaves; None for a history that ended.
        fetch: brings the files; None where they are put into the folder by hand.
        key: name of the key it needs; None for a keyless service.
        adds: what a keyed service gives that the keyless ones do not.
        folder: where its files lie under the data folder, if that is not the folder of its product.
    """

    name: str
    source: str
    last: Callable[[Path], date]
    lag_days: int | None
    fetch: Callable[[Path, datetime, Agree], Iterator[Fetched]] | None = None
    key: str | None = None
    adds: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """Where a feed stands: last value, age in days, the day by which the next is expected, and what is wrong."""

    feed: Feed
    state: State
    last: date | None = None
    age_days: int | None = None
    next_by: date | None = None
    problem: str = ""


def _newest(read: Callable[[Path], pd.DataFrame], column: str = "date", source: str = "") -> Callable[[Path], date]:
    def last(data_dir: Path) -> date:
        rows = read(data_dir)
        rows = rows[rows["source"].str.startswith(source)]
        if rows.empty:
            raise SourceError(str(data_dir), f"There is no row of {source}.", "put its files there.")
        return rows[column].max().date()

    return last


def _last_of_weather(source: str) -> Callable[[Path], date]:
    return _newest(weather.read_weather_daily, source=source)


_FRED_SERIES: Final = (*fred_files.DAILY_SERIES, *fred_files.H10_SERIES)
"""Without the ringgit rate, which another file may hold."""


def _last_of_fred(data_dir: Path) -> date:
    return min(fred.last_date(data_dir / "fred" / f"{name}.csv", name) for name in _FRED_SERIES).date()


FEEDS: Final[tuple[Feed, ...]] = (
    Feed("fred", "FRED", _last_of_fred, 12, lambda folder, now, _: fred.fetch(folder, now)),
    Feed(
        "alfred",
        "FRED",
        alfred.newest,
        12,
        lambda folder, now, _: alfred.fetch(folder, now),
        alfred.KEY,
        "the values of FRED as first published, so that no revision of the dollar index reaches the past (free)",
        fred_files.VINTAGES,
    ),
    Feed("cftc", "CFTC disaggregated COT", cftc.newest_report, 13, lambda folder, now, _: cftc.fetch(folder, now)),
    Feed(
        "databento",
        "databento GLBX.MDP3",
        databento.newest_day,
        4,
        lambda folder, _, agree: databento.fetch(folder, agree),
        databento.KEY,
        "the most active contract of every session since 2010-06, its rolls and volume, where Yahoo has the nearest "
        "contract and says little of rolls (it costs money)",
    ),
    Feed(
        "yahoo",
        "yahoo",
        _newest(lambda folder: yahoo_files.read_daily(folder, "ZL"), "trade_date"),
        4,
        lambda folder, now, _: yahoo.fetch(folder, now),
    ),
    Feed("fcpo", "bursa malaysia", _newest(bursa.read_fcpo, "trade_date"), 4),
    Feed("usdmyr", "usdmyr", _newest(bursa.read_usdmyr), 4),
    Feed(
        "term_structure",
        "term structure",
        _newest(curve_files.read_futures_curve, "trade_date"),
        4,
        lambda folder, now, _: term_structure.fetch(folder, now),
    ),
    Feed(
        "worldbank",
        "World Bank Pink Sheet",
        _newest(worldbank_files.read_macro_series),
        2 * _DAYS_A_MONTH + 5,
        lambda folder, now, _: worldbank.fetch(folder, now),
    ),
    Feed(
        "wasde",
        "USDA WASDE",
        _newest(wasde_files.read_fundamentals, "release_date"),
        36,
        lambda folder, now, _: wasde.fetch(folder, now),
    ),
    Feed(
        "rfs",
        "EPA RFS",
        _newest(epa.read_policy, "published_on"),
        3 * 366,
        lambda folder, *_: facts.put_rfs(folder),
    ),
    Feed(
        "emts",
        "EPA EMTS",
        _newest(epa.read_macro_series),
        2 * _DAYS_A_MONTH + 20,
        lambda folder, now, _: emts.fetch(folder, now),
    ),
    Feed(
        "mpob",
        "MPOB",
        _newest(mpob_files.read_macro_series),
        2 * _DAYS_A_MONTH + 15,
        lambda folder, now, _: mpob.fetch(folder, now),
    ),
    Feed("ghcn", "NOAA GHCN-Daily", _last_of_weather("NOAA"), 5, lambda folder, now, _: ghcn.fetch(folder, now)),
    Feed("inmet", "INMET", _last_of_weather("INMET"), 5),
    Feed("inta", "INTA", _last_of_weather("INTA"), 5),
    Feed("power", "NASA POWER", _last_of_weather("NASA"), 5, lambda folder, now, _: power.fetch(folder, now)),
)
"""At least one for every entry of `SOURCES`."""


def find_feed(name: str) -> Feed:
    """The feed of that name.

    Raises:
        SourceError: there is none.
    """
    for feed in FEEDS:
        if feed.name == name:
            return feed
    raise SourceError(
        name,
        "There is no such source.",
        f"name one of {', '.join(feed.name for feed in FEEDS)}, as `cbi sources list` does.",
    )


def status_of(feed: Feed, data_dir: Path, folder: str, today: date) -> FeedStatus:
    """Read a feed's files and judge their age.

    Args:
        folder: the product's folder under `data_dir`.
    """
    place = data_dir / (feed.folder or folder)
    if not place.is_dir():
        return FeedStatus(feed, "missing", problem=f"no folder {place}")
    try:
        last = feed.last(data_dir)
    except SourceError as error:
        return FeedStatus(feed, "unreadable", problem=f"{error.subject}: {error.rule}")
    age = (today - last).days
    if feed.lag_days is None:
        return FeedStatus(feed, "ended", last, age)
    next_by = (pd.Timestamp(last) + pd.Timedelta(days=feed.lag_days)).date()
    return FeedStatus(feed, "current" if age <= feed.lag_days else "late", last, age, next_by)
