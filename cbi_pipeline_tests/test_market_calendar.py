"""CBOT sessions against the trade dates in the providers' files; target dates; the trade date of a moment."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import CbiError

# Sessions that no file holds: the day is in the calendar, other products traded, the provider lost it.
GAPS_OF_TERM_STRUCTURE = {
    "1994-10-10",
    "1994-10-11",
    "1995-04-24",
    "1995-07-05",
    "1995-07-13",
    "1995-08-18",
    "1995-08-21",
}


def test_sessions_span_fifty_years_and_avoid_weekends_and_holidays() -> None:
    days = market_calendar.sessions("1985-01-01", "2035-12-31")
    assert days.dtype == "datetime64[ns]"
    assert days.is_monotonic_increasing
    assert days.is_unique
    assert set(days.dayofweek) == {0, 1, 2, 3, 4}
    per_year = pd.Series(1, days).groupby(days.year).size()
    assert list(per_year.index) == list(range(1985, 2036))
    assert per_year.between(250, 254).all()
    assert not market_calendar.is_session("2024-11-28")  # Thanksgiving
    assert market_calendar.is_session(date(2024, 11, 29))  # its half-day
    assert not market_calendar.is_session("2035-12-25")


def test_the_library_gives_the_same_days_the_slow_way() -> None:
    """`valid_days` steps from session to session; the documented exceptions are the only difference."""
    import pandas_market_calendars

    first, last = market_calendar.FIRST_DAY, market_calendar.LAST_DAY
    library = pandas_market_calendars.get_calendar("CBOT_Agriculture").valid_days(first, last, tz=None)
    ours = market_calendar.sessions(first, last)
    assert set(ours) - set(library) == set(pd.DatetimeIndex(list(market_calendar._OPEN)))
    assert set(library) - set(ours) <= set(pd.DatetimeIndex(list(market_calendar._CLOSED)))


@pytest.mark.parametrize(
    ("day", "open_"),
    [("2018-12-05", True), ("2025-01-09", True), ("1992-04-14", False), ("1999-12-31", False), ("2001-09-12", False)],
)
def test_documented_exceptions_of_the_library(day: str, open_: bool) -> None:
    assert market_calendar.is_session(day) is open_


@pytest.mark.parametrize(
    ("day", "why"),
    [
        ("2024-03-29", "Good Friday"),
        ("2024-11-28", "Thanksgiving Day"),
        ("2024-06-19", "Juneteenth"),
        ("2022-06-20", "Juneteenth"),  # on a Sunday, observed on the Monday
        ("2021-06-18", None),  # a Friday before the day was a holiday
        ("2023-01-02", "New Years Day"),
        ("2026-07-03", "Independence Day"),
        ("2004-06-11", "mourning for R. Reagan (closure of the library)"),
        ("1999-12-31", "New Year's Day on a Saturday, observed on the Friday until 2000; no price in term_structure"),
        ("2024-11-30", "Saturday"),
        ("2024-12-01", "Sunday"),
        ("2018-12-05", None),
        ("2025-01-09", None),
        ("2024-11-29", None),
    ],
)
def test_a_day_without_a_session_says_why(day: str, why: str | None) -> None:
    assert market_calendar.why_closed(day) == why


def test_every_day_is_a_session_or_has_a_reason() -> None:
    for day in pd.date_range(market_calendar.FIRST_DAY, market_calendar.LAST_DAY):
        assert (market_calendar.why_closed(day) is None) is market_calendar.is_session(day)


def test_a_weekday_without_session_and_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(market_calendar._CLOSED, "2004-06-11")
    with pytest.raises(CbiError, match="neither a session nor a reason"):
        market_calendar.why_closed("2004-06-11")


def _dates(provider_dir: Path, file: str, column: str) -> pd.DatetimeIndex:
    frame = pd.read_csv(provider_dir / file, usecols=[column], parse_dates=[column])
    return pd.DatetimeIndex(frame[column])


def test_sessions_equal_the_trade_dates_of_the_files_in_every_year(provider_dir: Path) -> None:
    first, last = pd.Timestamp("1985-01-01"), pd.Timestamp("2024-12-31")
    term_structure = _dates(provider_dir, "term_structure/SOYOIL.csv.gz", "date")
    yahoo = _dates(provider_dir, "yahoo/ZL=F_2000_2019.csv", "Date")
    observed = term_structure.union(yahoo).union(_dates(provider_dir, "yahoo/ZL=F_2015_on.csv", "Date"))
    observed = observed[(observed >= first) & (observed <= last)].unique()
    calendar = market_calendar.sessions(first, last)

    lost = {str(day.date()) for day in calendar.difference(observed)}
    assert lost == GAPS_OF_TERM_STRUCTURE

    # Yahoo alone repeats the last price on four days on which the exchange was shut.
    extra = {str(day.date()) for day in observed.difference(calendar)}
    assert extra == {"2001-09-12", "2004-06-11", "2005-11-24", "2006-11-23"}
    assert term_structure[term_structure >= first].difference(calendar).empty


def test_neighbours() -> None:
    assert market_calendar.session_on_or_after("2024-03-29") == pd.Timestamp("2024-04-01")  # Good Friday
    assert market_calendar.session_on_or_after("2024-03-28") == pd.Timestamp("2024-03-28")


def test_days_outside_the_calendar_are_refused() -> None:
    for call in (
        lambda: market_calendar.is_session("2036-01-02"),
        lambda: market_calendar.sessions("1984-12-31", "1990-01-01"),
        lambda: market_calendar.target_date("2035-06-01", 12),
        lambda: market_calendar.as_of_time(pd.Timestamp("2024-01-02", tz="UTC")),
    ):
        with pytest.raises(CbiError):
            call()


@pytest.mark.parametrize(
    ("as_of", "months", "target"),
    [
        ("2024-01-02", 3, "2024-04-02"),
        ("2023-12-29", 3, "2024-04-01"),  # 29 March 2024 is Good Friday
        ("2023-11-30", 3, "2024-02-29"),  # February has no 30th
        ("2022-11-30", 3, "2023-02-28"),
        ("2024-05-31", 6, "2024-12-02"),  # 30 November is a Saturday
        ("2024-12-31", 12, "2025-12-31"),
        ("2024-04-09", 9, "2025-01-09"),
    ],
)
def test_target_is_the_first_session_on_or_after_calendar_months(as_of: str, months: int, target: str) -> None:
    assert market_calendar.target_date(as_of, months) == pd.Timestamp(target)


def test_target_dates_agree_with_one_by_one() -> None:
    index = market_calendar.sessions("2007-12-20", "2008-03-05")
    frame = market_calendar.target_dates(index)
    assert list(frame.columns) == list(HORIZONS_MONTHS)
    assert frame.index.equals(index)
    for months in HORIZONS_MONTHS:
        assert list(frame[months]) == [market_calendar.target_date(day, months) for day in index]


def test_phases_of_the_year_by_hand() -> None:
    days = pd.DatetimeIndex(["2023-12-29", "2024-02-29"])
    phases = market_calendar.calendar_phases(days, market_calendar.target_dates(days))
    assert phases.shape == (2, 5)
    assert phases.dtype == np.float32
    # 2023-12-29 is day 363; its targets are 2024-04-01 (92), 2024-07-01 (183), 2024-09-30 (274), 2024-12-30 (365)
    # 2024-02-29 is day 60; its targets are 2024-05-29 (150), 2024-08-29 (242), 2024-11-29 (334), 2025-02-28 (59)
    day = np.array([[363, 92, 183, 274, 365], [60, 150, 242, 334, 59]])
    np.testing.assert_allclose(phases, 2 * np.pi * (day - 1) / 365.25, rtol=1e-6)


def test_phases_stay_within_a_year_and_hang_on_dates_alone() -> None:
    days = market_calendar.sessions("2005-01-03", "2024-12-31")
    targets = market_calendar.target_dates(days)
    phases = market_calendar.calendar_phases(days, targets)
    assert phases.min() == np.float32(2 * np.pi / 365.25), "2 January; the first is no session"
    assert phases.max() < 2 * np.pi
    some = days[100:110]
    assert np.array_equal(market_calendar.calendar_phases(some, targets), phases[100:110])


def test_as_of_is_14_00_chicago_in_winter_and_summer() -> None:
    assert market_calendar.as_of_time("2024-01-02") == pd.Timestamp("2024-01-02 20:00", tz="UTC")
    assert market_calendar.as_of_time("2024-07-02") == pd.Timestamp("2024-07-02 19:00", tz="UTC")
    days = pd.DatetimeIndex(["2024-03-08", "2024-03-11"])  # the clock changes on the Sunday between
    expected = pd.DatetimeIndex(["2024-03-08 20:00", "2024-03-11 19:00"], tz="UTC")
    assert market_calendar.as_of_times(days).equals(expected)


@pytest.mark.parametrize(
    ("moment", "trade_date"),
    [
        ("2024-01-02 19:00", "2024-01-02"),  # 13:00 CST, last bar of the day
        ("2024-01-02 20:00", "2024-01-03"),  # 14:00 CST, after the close
        ("2024-01-03 01:00", "2024-01-03"),  # 19:00 CST on 2 January: evening session of the 3rd
        ("2024-07-02 18:00", "2024-07-02"),  # 13:00 CDT
        ("2024-07-02 19:00", "2024-07-03"),  # 14:00 CDT
        ("2024-03-11 00:00", "2024-03-11"),  # Sunday 19:00 CDT, hours after the clock went forward
        ("2024-03-08 19:30", "2024-03-08"),  # 13:30 CST on the Friday before
        ("2024-03-11 19:30", "2024-03-12"),  # the same UTC time is 14:30 CDT on the Monday after
        ("2024-11-04 01:00", "2024-11-04"),  # Sunday 19:00 CST, after the clock went back
        ("2024-11-01 18:30", "2024-11-01"),  # 13:30 CDT on the Friday before
        ("2024-11-04 19:30", "2024-11-04"),  # 13:30 CST on the Monday after
        ("2024-07-05 23:00", "2024-07-08"),  # Friday evening belongs to Monday
        ("2024-07-04 15:00", "2024-07-05"),  # Independence Day
        ("2024-01-15 15:00", "2024-01-16"),  # Martin Luther King Day
        ("2024-11-29 18:00", "2024-11-29"),  # 12:00 CST on the Friday after Thanksgiving
        ("2024-12-31 23:30", "2025-01-02"),  # New Year's Eve
    ],
)
def test_trade_date_of_a_moment(moment: str, trade_date: str) -> None:
    found = market_calendar.trade_dates(pd.DatetimeIndex([pd.Timestamp(moment, tz="UTC")]))
    assert list(found) == [pd.Timestamp(trade_date)]


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ("2024-12-03T20:00", "2024-12-03"),  # 14:00 in winter
        ("2024-12-03T19:59", "2024-12-02"),
        ("2024-07-02T19:00", "2024-07-02"),  # 14:00 in summer
        ("2024-12-04T03:00", "2024-12-03"),  # 21:00, a day ahead in UTC
        ("2024-12-01T12:00", "2024-11-29"),  # Sunday
        ("2007-01-03T19:00", "2006-12-29"),  # after a closure of five days
    ],
)
def test_the_last_session_that_is_complete(moment: str, session: str) -> None:
    found = market_calendar.last_complete_session(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert found == date.fromisoformat(session)
