"""Publication times against dates that the publishers really kept."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from cbi_pipeline.sources import release_times


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def days(*texts: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(texts)


def test_at_local_time_follows_daylight_saving() -> None:
    moments = release_times.at_local_time(days("2024-03-08", "2024-03-11", "2024-11-01", "2024-11-04"), "15:30")
    assert list(moments.strftime("%H:%M")) == ["20:30", "19:30", "19:30", "20:30"]


def test_at_local_time_takes_a_clock_time_per_day() -> None:
    moments = release_times.at_local_time(days("2012-12-11", "2013-01-11"), ["08:30", "12:00"])
    assert list(moments) == [utc("2012-12-11 13:30"), utc("2013-01-11 17:00")]


def test_next_business_day_skips_week_ends_and_holidays() -> None:
    # Wednesday before Thanksgiving, Friday before MLK day, New Year's Eve, a Saturday.
    after = release_times.next_business_day(days("2024-11-27", "2024-01-12", "2024-12-31", "2024-06-01"))
    assert list(pd.DatetimeIndex(after)) == list(days("2024-11-29", "2024-01-16", "2025-01-02", "2024-06-03"))


def test_on_or_after_business_day_keeps_a_business_day() -> None:
    moved = release_times.on_or_after_business_day(days("2024-07-03", "2024-07-04", "2024-07-06"))
    assert list(pd.DatetimeIndex(moved)) == list(days("2024-07-03", "2024-07-05", "2024-07-08"))


def test_third_business_day_of_next_month() -> None:
    # December 2024: 2, 3, 6 January 2025. August 2024: Labor Day 2 September, so 3, 4, 5.
    third = release_times.nth_business_day_of_next_month(days("2024-12-01", "2024-08-01", "2024-08-31"), 3)
    assert list(pd.DatetimeIndex(third)) == list(days("2025-01-06", "2024-09-05", "2024-09-05"))


def test_h10_appears_on_the_monday_after_the_week() -> None:
    # The whole week 20-24 May 2024 appears after Memorial Day, on Tuesday 28 May.
    after = release_times.monday_after(days("2024-05-13", "2024-05-17", "2024-05-20", "2024-05-24"))
    assert list(pd.DatetimeIndex(after)) == list(days("2024-05-20", "2024-05-20", "2024-05-28", "2024-05-28"))


@pytest.mark.parametrize(
    ("as_of", "published"),
    [
        ("2024-03-12", "2024-03-15 19:30"),  # an ordinary week
        ("2024-12-24", "2024-12-30 20:30"),  # Christmas
        ("2024-11-26", "2024-12-02 20:30"),  # Thanksgiving
        ("2015-06-30", "2015-07-06 19:30"),  # 3 July observed; CFTC announcement of 2015-06-30
        ("2018-07-03", "2018-07-09 19:30"),  # Independence Day on a Wednesday
        ("2020-12-21", "2020-12-28 20:30"),  # as of a Monday; CFTC announcement of 2020-12-28
        ("2021-06-15", "2021-06-21 19:30"),  # the first Juneteenth; CFTC announcement of 2021-06-17
        ("2024-05-28", "2024-05-31 19:30"),  # a holiday on Monday does not delay the report
        ("2009-11-09", "2009-11-16 20:30"),  # as of a Monday, Veterans Day
        ("2018-12-04", "2018-12-10 20:30"),  # day of mourning on Wednesday 5 December
    ],
)
def test_cot_release_without_recorded_exception(as_of: str, published: str) -> None:
    assert release_times.cot_release(days(as_of), {})[0] == utc(published)


def test_cot_release_takes_the_recorded_exception() -> None:
    assert release_times.cot_release(days("2023-01-31"), {date(2023, 1, 31): date(2023, 2, 24)})[0] == utc(
        "2023-02-24 20:30"
    )
    assert release_times.cot_release(days("2023-01-31"), {})[0] == utc("2023-02-03 20:30")


@pytest.mark.parametrize(
    ("as_of", "earliest"),
    [
        ("2013-10-01", "2013-11-08"),
        ("2013-10-22", "2013-11-08"),
        ("2018-12-24", "2019-03-12"),
        ("2019-02-26", "2019-03-12"),
    ],
)
def test_cot_release_waits_for_the_end_of_a_shutdown_backlog(as_of: str, earliest: str) -> None:
    assert release_times.cot_release(days(as_of), {})[0] >= utc(earliest)


@pytest.mark.parametrize(
    ("as_of", "published"), [("2013-09-24", "2013-09-27 19:30"), ("2018-12-18", "2018-12-21 20:30")]
)
def test_cot_release_before_a_shutdown_is_on_time(as_of: str, published: str) -> None:
    assert release_times.cot_release(days(as_of), {})[0] == utc(published)


def test_disaggregated_history_was_not_public_before_october_2009() -> None:
    published = release_times.cot_release(days("2006-06-13", "2009-10-13", "2009-10-20"), {})
    assert list(published) == [utc("2009-10-20 19:30"), utc("2009-10-20 19:30"), utc("2009-10-23 19:30")]


def test_cot_release_never_goes_back() -> None:
    weekly = pd.date_range("2006-06-13", "2024-12-31", freq="7D")
    published = release_times.cot_release(weekly, {})
    assert published.is_monotonic_increasing
    assert ((published - weekly.tz_localize("UTC")) >= pd.Timedelta(days=3)).all()
