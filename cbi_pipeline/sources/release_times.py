"""From the date that a value describes to the moment it could first be known.

What belongs here: vectorised calendar arithmetic of publication times, in UTC. Each reader picks the
rule of its provider. Clock times are local (New York unless named) and converted with their daylight
saving rules. US federal holidays come from pandas.

Where history does not tell the exact moment, the later one is used: a value that arrives late costs
a little freshness, a value that arrives early is look-ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Final

import numpy as np
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar

NEW_YORK: Final = "America/New_York"

EXTRA_FEDERAL_CLOSURES: Final = (
    *("2007-01-02", "2018-12-05"),  # days of mourning for presidents Ford and G. H. W. Bush
    *("2007-12-24", "2008-12-26", "2012-12-24", "2014-12-26", "2018-12-24", "2019-12-24", "2020-12-24", "2024-12-24"),
    *("2010-02-08", "2010-02-09", "2010-02-10", "2010-02-11", "2012-10-29", "2012-10-30", "2016-01-25", "2016-01-26"),
)
"""Days on which federal offices in Washington were closed by executive order or a storm; storms are not complete.

Row by row: days of mourning, Christmas, storms. A storm that is missing here makes a report known one business day
too early, unless the CFTC published in spite of it."""

DISAGGREGATED_HISTORY_PUBLISHED: Final = pd.Timestamp("2009-10-20")
"""CFTC published its first disaggregated report on 2009-09-04 and the history from 2006-06-13 on 2009-10-20."""

COT_SHUTDOWNS: Final = (
    ("2013-10-01", "2013-10-22", "2013-11-08"),
    ("2018-12-24", "2019-02-26", "2019-03-12"),
)
"""Government shutdowns: reports as of the first to the second date count as published no earlier than the third.

The CFTC published the backlog report by report (in 2019 one each Tuesday and Friday from 1 February); the
dates of 2013 are not recorded, so both backlogs are dated at their end."""


@cache
def _closed_days() -> np.ndarray:
    """Federal holidays 1970 to 2040 as datetime64[D]."""
    return USFederalHolidayCalendar().holidays("1970-01-01", "2040-12-31").to_numpy().astype("datetime64[D]")


@cache
def _closed_days_with_extras() -> np.ndarray:
    return np.union1d(_closed_days(), np.array(EXTRA_FEDERAL_CLOSURES, dtype="datetime64[D]"))


def _days(dates: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    return pd.DatetimeIndex(dates).to_numpy().astype("datetime64[D]")


def at_local_time(
    days: np.ndarray | pd.Series | pd.DatetimeIndex, clock: str | np.ndarray, zone: str = NEW_YORK
) -> pd.DatetimeIndex:
    """The given local clock time (`"15:30"`, or one per day) on each day, as UTC [n]."""
    offset = pd.to_timedelta(np.char.add(np.atleast_1d(clock), ":00")).to_numpy()
    local = np.asarray(days, dtype="datetime64[ns]") + offset
    return pd.DatetimeIndex(local).tz_localize(zone).tz_convert("UTC")


def on_or_after_business_day(dates: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """The first US federal business day on or after each date, datetime64[D] [n]."""
    return np.busday_offset(_days(dates), 0, roll="forward", holidays=_closed_days())


def next_business_day(dates: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """The first US federal business day after each date, datetime64[D] [n]."""
    return np.busday_offset(_days(dates) + 1, 0, roll="forward", holidays=_closed_days())


def nth_business_day_of_next_month(dates: pd.Series | pd.DatetimeIndex, n: int) -> np.ndarray:
    """The n-th (from 1) US federal business day of the month after each date's, datetime64[D] [n]."""
    first = (_days(dates).astype("datetime64[M]") + 1).astype("datetime64[D]")
    return np.busday_offset(first, n - 1, roll="forward", holidays=_closed_days())


def day_of_next_month(dates: pd.Series | pd.DatetimeIndex, day: int) -> np.ndarray:
    """A day (1 to 28) of the month after each date's, whatever weekday it is, datetime64[D] [n]."""
    return (_days(dates).astype("datetime64[M]") + 1).astype("datetime64[D]") + (day - 1)


def business_day_on_or_after(days: np.ndarray) -> np.ndarray:
    """Each day itself, or the first US federal business day after it, datetime64[D] [n]."""
    return np.busday_offset(days, 0, roll="forward", holidays=_closed_days())


def monday_after(dates: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """The Monday after each date's week, or the next business day where it is a holiday, datetime64[D] [n].

    This is the Federal Reserve's H.10 (exchange rates): a week's daily rates appear on the Monday after it.
    """
    days = _days(dates)
    weekday = pd.DatetimeIndex(days).dayofweek.to_numpy()
    return np.busday_offset(days + (7 - weekday), 0, roll="forward", holidays=_closed_days())


def cot_release(report_dates: pd.Series | pd.DatetimeIndex, exceptions: Mapping[date, date]) -> pd.DatetimeIndex:
    """When each Commitments of Traders report was published, UTC [n].

    Friday 15:30 New York after the as-of day (Tuesday, rarely Monday or Wednesday). A week with a federal
    holiday or closure from Tuesday to Friday: the business day after that Friday. A recorded exception
    (as-of date to true publication date) overrides both. Shutdown backlogs and the history published in
    2009 count from the end of the backlog. A report is never known before an older one, so that the
    newest publication is always the newest report.

    Args:
        report_dates: as-of dates of one market, increasing [n].
        exceptions: as-of date to publication date, from the CFTC's announcements.
    """
    as_of = _days(report_dates)
    weekday = pd.DatetimeIndex(as_of).dayofweek.to_numpy()
    tuesday, friday = as_of + (1 - weekday), as_of + (4 - weekday)
    closed = _closed_days_with_extras()
    open_days = np.busday_count(tuesday, friday + 1, holidays=closed)
    published = np.where(open_days == 4, friday, np.busday_offset(friday + 1, 0, roll="forward", holidays=closed))
    recorded = np.array([exceptions.get(day, None) for day in as_of.astype(object)], dtype="datetime64[D]")
    published = np.where(np.isnat(recorded), published, recorded)
    for first, last, not_before in COT_SHUTDOWNS:
        in_backlog = (as_of >= np.datetime64(first)) & (as_of <= np.datetime64(last))
        published = np.where(in_backlog, np.maximum(published, np.datetime64(not_before)), published)
    published = np.maximum(published, DISAGGREGATED_HISTORY_PUBLISHED.to_datetime64().astype("datetime64[D]"))
    return at_local_time(np.maximum.accumulate(published.astype("int64")).astype("datetime64[D]"), "15:30")
