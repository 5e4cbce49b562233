"""Checks that any series of a raw table can be put to: holes, ends, repeats, first quotes, jumps, zeros.

A check measures and judges nothing: it returns one row for each place it looked at, with a `size` that the table of
rules compares with its limits. Nothing here knows a provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.contracts.tables import (
    COT_WEEKLY,
    FUNDAMENTALS,
    FUTURES_CURVE,
    FUTURES_DAILY,
    MACRO_SERIES,
    WEATHER_DAILY,
)

Tables = Mapping[str, pd.DataFrame]
"""Raw tables by name, as `TableContract.to_pandas` makes them, sorted by key; what is absent is not checked."""

SUBJECTS: Final[Mapping[str, str]] = {
    FUTURES_DAILY.name: "symbol",
    FUTURES_CURVE.name: "symbol",
    MACRO_SERIES.name: "series_id",
    COT_WEEKLY.name: "market_code",
    WEATHER_DAILY.name: "station",
    FUNDAMENTALS.name: "series_id",
}
"""Table to the column that names its series."""

_SEVERAL_ROWS_A_DAY: Final = (FUTURES_CURVE.name, FUNDAMENTALS.name)
VALUES: Final[Mapping[str, str]] = {FUTURES_DAILY.name: "close", MACRO_SERIES.name: "value"}
RANGE_ROWS: Final = 20
LEAST_RANGE: Final = 0.01
"""A range below one per cent of the value counts as that: twenty flat days would make any move infinite."""
MONTHLY_GAP_DAYS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a check returns.

    Args:
        rows: columns subject, day, size and the parts of `words`, named by their position.
        words: what stands there, with a place for each part; put together for the few rows that a finding names.
    """

    rows: pd.DataFrame
    words: str

    def of(self, at_fault: np.ndarray | pd.Series) -> Measured:
        """The rows of a mask alone."""
        return Measured(self.rows[at_fault], self.words)


def measured(subject: pd.Series, day: pd.Series, size: pd.Series, words: str, *parts: pd.Series) -> Measured:
    """Series of one index, put together; see `Measured`."""
    columns = {"subject": subject, "day": day, "size": size, **{str(at): part for at, part in enumerate(parts)}}
    return Measured(pd.DataFrame(columns).reset_index(drop=True), words)


def nothing() -> Measured:
    """The answer of a check that had nothing to look at."""
    empty = pd.Series(dtype="object")
    return measured(empty, empty, pd.Series(dtype="float64"), "")


def log(ratio: pd.Series) -> pd.Series:
    """The natural logarithm, as a series."""
    return pd.Series(np.log(ratio.to_numpy(dtype="float64")), index=ratio.index)


def holes(tables: Tables, table: str) -> Measured:
    """Each gap between two dates of a series, in units of its usual gap."""
    dates = _dates(tables, table)
    gap = dates.groupby("subject")["day"].diff().dt.days
    usual = gap.groupby(dates["subject"]).transform("median").clip(lower=1.0)
    return measured(dates["subject"], dates["day"], gap / usual, "no row in the {:.0f} days before", gap)


def early_ends(tables: Tables, table: str) -> Measured:
    """How long before the last ZL trade date each series ends, in units of its usual gap; in days, if of one row."""
    futures = tables.get(FUTURES_DAILY.name)
    if futures is None or not (futures["symbol"] == "ZL").any():
        return nothing()
    end = futures.loc[futures["symbol"] == "ZL", "trade_date"].max()
    dates = _dates(tables, table)
    usual = _usual_gaps(dates).clip(lower=1.0)
    last = dates.groupby("subject")["day"].max()
    late = (end - last).dt.days
    words = f"the last row, {{}} days before the prices end on {end:%Y-%m-%d}"
    return measured(last.index.to_series(), last, (late / usual).where(usual.notna(), late), words, late)


def repeats(tables: Tables, table: str) -> Measured:
    """Each run of one and the same value, by its number of rows; the first run of a series is `first_quotes`."""
    series, length, first = _runs(tables, table)
    later = first & series["subject"].eq(series["subject"].shift())
    return _run_rows(series[later], length[later])


def first_quotes(tables: Tables, table: str) -> Measured:
    """The run of one value with which each series begins, by its number of rows."""
    series, length, first = _runs(tables, table)
    begins = first & series["subject"].ne(series["subject"].shift())
    return _run_rows(series[begins], length[begins])


def older_than_series(tables: Tables, table: str, first: Mapping[str, pd.Timestamp]) -> Measured:
    """Rows dated before the first date that their series can have; size is days."""
    dates = _dates(tables, table)
    begins = dates["subject"].map(first)
    days = (begins - dates["day"]).dt.days
    return measured(dates["subject"], dates["day"], days, "the series begins on {:%Y-%m-%d}", begins)


def jumps(tables: Tables, table: str) -> Measured:
    """The move from the row before, within one contract, in ranges of the twenty rows before."""
    series = _values(tables, table)
    value, subject = series["value"], series["subject"]
    before = value.groupby(subject).shift()
    if "roll_ratio" in series:
        before = before * series["roll_ratio"].where(series["roll_ratio"].notna(), 1.0)
    rolling = value.groupby(subject).rolling(RANGE_ROWS)
    ends = (part.reset_index(level=0, drop=True) for part in (rolling.max(), rolling.min()))
    high, low = (part.groupby(subject).shift() for part in ends)
    size = (value - before).abs() / (high - low).clip(lower=LEAST_RANGE * before.abs())
    return measured(subject, series["day"], size, "{:.6g} after {:.6g}", value, before)


def zeros(tables: Tables, table: str, never_zero: tuple[str, ...]) -> Measured:
    """Values that are exactly zero in series that never are."""
    series = _values(tables, table)
    at_fault = series["value"].eq(0.0) & series["subject"].isin(never_zero)
    return measured(series["subject"], series["day"], at_fault.astype(float), "0")


def weekends(tables: Tables, table: str) -> Measured:
    """Rows dated a Saturday or Sunday."""
    dates = _dates(tables, table)
    at_fault = (dates["day"].dt.dayofweek >= 5).astype(float)
    return measured(dates["subject"], dates["day"], at_fault, "a {:%A}", dates["day"])


def within_months(tables: Tables, table: str) -> Measured:
    """Rows dated another day than the first of a month."""
    dates = _dates(tables, table)
    at_fault = (dates["day"].dt.day != 1).astype(float)
    return measured(dates["subject"], dates["day"], at_fault, "dated {:%Y-%m-%d}", dates["day"])


def is_monthly(tables: Tables, table: str) -> pd.Series:
    """Series id to whether its usual gap is that of months."""
    return _usual_gaps(_dates(tables, table)) >= MONTHLY_GAP_DAYS


def of_cadence(found: Measured, monthly: pd.Series, wanted: bool) -> Measured:
    """The rows of monthly series, or those of all others."""
    return found.of(found.rows["subject"].map(monthly).eq(wanted))


def _usual_gaps(dates: pd.DataFrame) -> pd.Series:
    """Series to the median of days between its rows."""
    return dates.groupby("subject")["day"].diff().dt.days.groupby(dates["subject"]).median()


def _dates(tables: Tables, table: str) -> pd.DataFrame:
    frame = tables[table]
    day = "release_date" if table == FUNDAMENTALS.name else _day_column(frame)
    rows = pd.DataFrame({"subject": frame[SUBJECTS[table]], "day": frame[day]})
    if table in _SEVERAL_ROWS_A_DAY:
        rows = rows.drop_duplicates().sort_values(["subject", "day"])
    return rows.reset_index(drop=True)


def _day_column(frame: pd.DataFrame) -> str:
    return next(name for name in ("trade_date", "date", "report_date") if name in frame)


def _values(tables: Tables, table: str) -> pd.DataFrame:
    frame = tables[table]
    columns = {"subject": frame[SUBJECTS[table]], "day": frame[_day_column(frame)], "value": frame[VALUES[table]]}
    if "roll_ratio" in frame:
        columns["roll_ratio"] = frame["roll_ratio"]
    return pd.DataFrame(columns).reset_index(drop=True)


def _runs(tables: Tables, table: str) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """The series, the length of the run that each row is in, and whether it is the first of its run."""
    series = _values(tables, table)
    first = series["value"].ne(series["value"].shift()) | series["subject"].ne(series["subject"].shift())
    run = first.cumsum()
    length = pd.Series(np.bincount(run)[run], index=series.index, dtype="float64")
    return series, length, first


def _run_rows(rows: pd.DataFrame, length: pd.Series) -> Measured:
    return measured(rows["subject"], rows["day"], length, "{:.6g} in {:.0f} rows on end", rows["value"], length)
