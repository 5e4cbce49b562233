"""CBOT agriculture sessions, the trade date of a moment, and horizon target dates.

The sessions come from pandas-market-calendars (`CBOT_Agriculture`), corrected where the trade dates in
the providers' files show that it is wrong (`_CLOSED`, `_OPEN`). Dates are naive midnights,
moments are UTC; nothing here reads a file.

Clock times follow one rule for every symbol (`as_of_time`): a trade date is complete at 14:00 Chicago,
after soybean oil (13:15, 13:20 since 2015-07, 14:00 from 2012-05 to 2013-04) and WTI (13:30) settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import CbiError

EXCHANGE_ZONE: Final = "America/Chicago"
AS_OF_HOUR: Final = 14
"""Chicago hour at which a trade date is complete."""

FIRST_DAY: Final = pd.Timestamp("1985-01-01")
LAST_DAY: Final = pd.Timestamp("2035-12-31")

_CALENDAR: Final = "CBOT_Agriculture"

_CLOSED: Final[dict[str, str]] = {
    "1992-04-13": "Chicago Loop flood: trading stopped in mid-morning; no oil, meal or soybean price in term_structure",
    "1992-04-14": "Chicago Loop flood: shut until 15 April; no oil, meal or soybean price in term_structure",
    "1993-12-31": "New Year's Day on a Saturday, observed on the Friday until 2000; no price in term_structure",
    "1994-04-27": "mourning for R. M. Nixon (closure of the library)",
    "1999-12-31": "New Year's Day on a Saturday, observed on the Friday until 2000; no price in term_structure",
    "2001-09-12": "shut after the attacks of 11 September until the 13th; no price in term_structure",
    "2004-06-11": "mourning for R. Reagan (closure of the library)",
    "2007-01-02": "mourning for G. R. Ford (closure of the library)",
}
"""Weekdays on which the exchange was shut though no rule of a holiday says so, with the reason. Some are sessions of
the library; to those that it knows it gives no name."""

_OPEN: Final[dict[str, str]] = {
    "2018-12-05": "mourning for G. H. W. Bush shut equities only; 18,586 ZL contracts in the day session (Databento)",
    "2025-01-09": "mourning for J. Carter: agriculture closed early, at 12:15 Chicago (CME notice of 2024-12-30)",
}
"""Sessions that the library leaves out, with the reason."""

_NAMES: Final = {"July 4th": "Independence Day", "Juneteenth Starting at 2022": "Juneteenth"}
"""Holidays whose name in the library is not what people call them."""

_SATURDAY: Final = 5

Day = date | pd.Timestamp | np.datetime64 | str


def _midnight(day: Day) -> pd.Timestamp:
    """`day` as a naive midnight inside the calendar's span."""
    moment = pd.Timestamp(day)
    if moment.tzinfo is not None:
        raise CbiError(str(moment), "a calendar day carries no time zone.", "convert it to the Chicago date first.")
    midnight = moment.normalize()
    if not FIRST_DAY <= midnight <= LAST_DAY:
        raise CbiError(
            f"{midnight.date()}",
            f"the market calendar reaches from {FIRST_DAY.date()} to {LAST_DAY.date()}.",
            "ask for a day inside it, or extend FIRST_DAY and LAST_DAY in market_calendar.py and check the sessions.",
        )
    return midnight


@lru_cache(maxsize=1)
def _all_sessions() -> pd.DatetimeIndex:
    import pandas_market_calendars

    rules = pandas_market_calendars.get_calendar(_CALENDAR)
    once = pd.DatetimeIndex(rules.adhoc_holidays).tz_localize(None)
    closed = rules.regular_holidays.holidays(FIRST_DAY, LAST_DAY).union(once).to_numpy("datetime64[D]")
    every_day = pd.date_range(FIRST_DAY, LAST_DAY)  # what follows is `valid_days`, in a tenth of its time
    days = every_day[np.is_busday(every_day.to_numpy("datetime64[D]"), weekmask=rules.weekmask, holidays=closed)]
    days = days.union(pd.DatetimeIndex(list(_OPEN))).difference(pd.DatetimeIndex(list(_CLOSED)))
    return pd.DatetimeIndex(days, name=None)


@lru_cache(maxsize=1)
def _holiday_names() -> dict[pd.Timestamp, str]:
    """Names of the holidays that the library's rules make, by the day on which they are observed."""
    import pandas_market_calendars

    rules = pandas_market_calendars.get_calendar(_CALENDAR).regular_holidays
    named = rules.holidays(FIRST_DAY, LAST_DAY, return_name=True)
    return {day: _NAMES.get(name, name) for day, name in named.items()}


def sessions(start: Day, end: Day) -> pd.DatetimeIndex:
    """CBOT agriculture trade dates from `start` to `end`, both inclusive, as datetime64[ns] midnights.

    Raises:
        CbiError: a day lies outside 1985-01-01 to 2035-12-31.
    """
    days = _all_sessions()
    first, last = days.searchsorted(_midnight(start), side="left"), days.searchsorted(_midnight(end), side="right")
    return days[first:last]


def last_complete_session(moment: datetime) -> date:
    """The last CBOT agriculture trade date that is complete at a moment."""
    now = pd.Timestamp(moment)
    today = now.tz_convert(EXCHANGE_ZONE).tz_localize(None).normalize()
    days = sessions(today - pd.Timedelta(days=14), today)
    return [day for day in days if as_of_time(day) <= now][-1].date()


def is_session(day: Day) -> bool:
    """Whether `day` is a CBOT agriculture trade date."""
    return _midnight(day) in _all_sessions()


def why_closed(day: Day) -> str | None:
    """Why `day` is no CBOT agriculture trade date: its weekday, its holiday's name, or the reason of a closure.

    Returns:
        None if it is one.

    Raises:
        CbiError: a day lies outside 1985-01-01 to 2035-12-31, or neither a rule nor a closure explains it.
    """
    midnight = _midnight(day)
    if midnight in _all_sessions():
        return None
    if midnight.dayofweek >= _SATURDAY:
        return midnight.day_name()
    name = _CLOSED.get(str(midnight.date())) or _holiday_names().get(midnight)
    if name is None:
        raise CbiError(
            f"{midnight.date()}",
            "the market calendar has neither a session nor a reason for its absence on this weekday.",
            "add the day with its reason to _CLOSED or _OPEN in market_calendar.py.",
        )
    return name


def session_on_or_after(day: Day) -> pd.Timestamp:
    """First trade date on or after `day`.

    Raises:
        CbiError: no session is left before the end of the calendar.
    """
    return sessions_on_or_after(pd.DatetimeIndex([_midnight(day)]))[0]


def sessions_on_or_after(days: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """For every naive midnight of `days` [n], in any order: the first trade date on or after it [n].

    Raises:
        CbiError: a day lies outside the calendar or after its last session.
    """
    if len(days):
        _midnight(days.min())
        _midnight(days.max())
    calendar = _all_sessions()
    positions = calendar.searchsorted(days, side="left")
    if len(days) and positions.max() == len(calendar):
        raise CbiError(str(days.max().date()), "no session of the calendar is left from it.", "ask for an earlier day.")
    return calendar[positions]


def add_months(day: Day, months: int) -> pd.Timestamp:
    """`day` plus calendar months; a day that the month lacks becomes its last (31 January + 1 = 28 February)."""
    return pd.Timestamp(day).normalize() + pd.DateOffset(months=months)


def target_date(as_of: Day, horizon_months: int) -> pd.Timestamp:
    """First trade date on or after `as_of` plus `horizon_months` calendar months."""
    return session_on_or_after(add_months(as_of, horizon_months))


def target_dates(index: pd.DatetimeIndex, horizons: Iterable[int] = HORIZONS_MONTHS) -> pd.DataFrame:
    """Target dates of every as-of date: index `index`, one datetime64[ns] column per horizon in months."""
    return pd.DataFrame(
        {horizon: sessions_on_or_after(index + pd.DateOffset(months=horizon)) for horizon in horizons}, index=index
    )


def calendar_phases(index: pd.DatetimeIndex, targets: pd.DataFrame) -> np.ndarray:
    """Phase of the year, `2 pi (day of year - 1) / 365.25`, of every as-of date and of its target dates.

    Args:
        index: as-of dates [T].
        targets: their target dates, index `index`, one column per horizon in months.

    Returns:
        [T, 1 + horizons] float32, radians.
    """
    dates = [index, *(pd.DatetimeIndex(targets.loc[index, horizon]) for horizon in HORIZONS_MONTHS)]
    day = np.stack([date.dayofyear.to_numpy(np.float64) for date in dates], axis=1)  # [T, 1 + horizons]
    return (2 * np.pi * (day - 1) / 365.25).astype(np.float32)


def as_of_times(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The moment, UTC, at which each naive date of `index` is complete: 14:00 Chicago."""
    return (index + pd.Timedelta(hours=AS_OF_HOUR)).tz_localize(EXCHANGE_ZONE).tz_convert("UTC").as_unit("ns")


def as_of_time(day: Day) -> pd.Timestamp:
    """The moment, UTC, at which `day` is complete: 14:00 Chicago."""
    return as_of_times(pd.DatetimeIndex([_midnight(day)]))[0]


def trade_dates(moments: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The trade date of trading at each UTC moment (for a bar: its start) [n].

    Trading before 14:00 Chicago belongs to that day, later trading to the next day; a day that is no
    session (weekend, holiday) hands its trading to the next session.

    Args:
        moments: time-zone-aware UTC moments, in any order.
    """
    shifted = moments.tz_convert(EXCHANGE_ZONE).tz_localize(None) + pd.Timedelta(hours=24 - AS_OF_HOUR)
    return sessions_on_or_after(pd.DatetimeIndex(shifted.normalize()))
