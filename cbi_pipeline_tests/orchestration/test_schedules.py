"""The schedule on real days: one run a session, on its evening in Chicago; a holiday is passed over with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import SettingsError
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.orchestration.schedules import daily_inference
from cbi_pipeline.settings import load_settings
from cbi_pipeline_tests.orchestration.instigators import add_run, turn_on
from cbi_pipeline_tests.projects import change_warehouse, forecasts

CHICAGO = ZoneInfo("America/Chicago")


@pytest.fixture(scope="module")
def tick() -> Iterator[Callable[..., dg.RunRequest | str]]:
    """What the schedule answers at a moment: its run, or the reason to have none. No other run is known by default."""

    def answer(moment: datetime, instance: dg.DagsterInstance | None = None) -> dg.RunRequest | str:
        known = instance or idle
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dg.DagsterInstance, "from_ref", lambda ref: nullcontext(known))  # opening takes twenty ticks
            with dg.build_schedule_context(instance=known, scheduled_execution_time=moment) as context:
                data = daily_inference(load_settings()).evaluate_tick(context)
        if data.skip_message:
            return data.skip_message
        (request,) = data.run_requests
        return request

    with dg.instance_for_test() as idle:
        yield answer


def in_chicago(day: str, hour: int = 22) -> datetime:
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=CHICAGO)


@pytest.mark.parametrize(
    "day",
    [
        "2024-03-08",  # winter time, the Friday before the change
        "2024-03-11",  # summer time
        "2024-11-01",
        "2024-11-04",  # winter time again
        "2024-11-29",  # half day after Thanksgiving
        "2024-12-24",  # half day
        "2018-12-05",  # mourning that shut equities only
        "2025-01-09",  # mourning, agriculture closed early
        "2021-06-18",  # Juneteenth is a holiday from 2022 on
    ],
)
def test_a_session_gets_one_run_that_is_named_after_it(tick, day):
    request = tick(in_chicago(day).astimezone(UTC))
    assert request.run_key == day
    assert request.tags["cbi/session"] == day


@pytest.mark.parametrize(
    ("day", "name"),
    [
        ("2024-11-28", "Thanksgiving Day"),
        ("2024-03-29", "Good Friday"),
        ("2024-06-19", "Juneteenth"),
        ("2022-06-20", "Juneteenth"),
        ("2024-12-25", "Christmas"),
        ("2004-06-11", "mourning for R. Reagan"),
        ("1992-04-14", "Chicago Loop flood"),
    ],
)
def test_a_day_without_session_is_passed_over_with_its_name(tick, day, name):
    assert f"no CBOT session on {day}: {name}" in tick(in_chicago(day).astimezone(UTC))


def test_the_tick_of_a_holiday_makes_up_for_a_session_that_the_machine_slept_over(tick):
    """Asleep from 22 December 2024 on and awake on the 26th, Dagster evaluates the tick of the 25th alone."""
    christmas = in_chicago("2024-12-25")
    with dg.instance_for_test() as instance:
        turn_on(instance, in_chicago("2024-12-20"))
        assert tick(christmas, instance).run_key == "2024-12-24"
        add_run(instance, "2024-12-24")
        assert "no CBOT session on 2024-12-25: Christmas" in tick(christmas, instance)


def test_the_date_is_chicagos_also_where_utc_is_a_day_ahead(tick):
    assert tick(datetime(2024, 3, 12, 3, 0, tzinfo=UTC)).run_key == "2024-03-11"
    assert tick(datetime(2024, 3, 9, 4, 0, tzinfo=UTC)).run_key == "2024-03-08"


@pytest.mark.parametrize("year", [2018, 2024, 2025])
def test_the_ticks_of_a_year_request_exactly_its_sessions_after_each_is_complete(tick, year):
    """Dagster's own reading of the cron line, through both changes of the clock."""
    schedule = daily_inference(load_settings())
    start, end = in_chicago(f"{year}-01-01", 0), in_chicago(f"{year + 1}-01-01", 0)
    ticks = []
    for moment in schedule_ticks(schedule, start):
        if moment >= end:
            break
        ticks.append(moment)
    assert {moment.astimezone(CHICAGO).hour for moment in ticks} == {22}
    requested = [answer.run_key for moment in ticks if not isinstance(answer := tick(moment), str)]
    assert requested == [str(day.date()) for day in market_calendar.sessions(f"{year}-01-01", f"{year}-12-31")]
    complete = {str(moment.astimezone(CHICAGO).date()): moment for moment in ticks}
    assert all(complete[day] - market_calendar.as_of_time(day) == timedelta(hours=8) for day in requested)


def schedule_ticks(schedule, start):
    from dagster._utils.schedules import schedule_execution_time_iterator

    return schedule_execution_time_iterator(start.timestamp(), schedule.cron_schedule, schedule.execution_timezone)


def test_the_schedule_is_off_until_someone_turns_it_on_and_starts_the_daily_job(new_settings):
    definitions = build_definitions(new_settings)
    schedule = definitions.get_schedule_def("daily_inference")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert (schedule.job_name, schedule.execution_timezone) == ("daily", "America/Chicago")
    assert schedule.cron_schedule == "0 22 * * 1-5"


def test_the_time_is_a_setting_that_cannot_lie_before_the_day_is_complete(monkeypatch):
    monkeypatch.setenv("CBI_DAILY_INFERENCE_CRON", "30 15 * * MON-FRI")
    assert daily_inference(load_settings()).cron_schedule == "30 15 * * MON-FRI"
    for wrong in ("0 13 * * 1-5", "0 22 * * *", "0 24 * * 1-5", "60 22 * * 1-5", "", "* 22 * * 1-5"):
        monkeypatch.setenv("CBI_DAILY_INFERENCE_CRON", wrong)
        with pytest.raises(SettingsError, match="CBI_DAILY_INFERENCE_CRON"):
            load_settings()


@pytest.mark.slow
def test_a_scheduled_run_forecasts_as_far_as_the_data_go_and_stops_where_that_is_too_far_back(tick, copied_settings):
    """The starter bundle ends on 2024-12-31; the sessions after it are 2, 3, 6, 7, 8, 9 and 10 January 2025."""
    change_warehouse(copied_settings, "DELETE FROM predictions")
    prepare_dagster_home(copied_settings)
    job = build_definitions(copied_settings).resolve_job_def("daily")

    def run(day: str):
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.get() as instance:
            result = job.execute_in_process(
                instance=instance, run_config=quiet, tags=tick(in_chicago(day)).tags, raise_on_error=False
            )
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        return result.success, checks["data_reach_the_session"]

    success, check = run("2025-01-10")
    assert (success, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert forecasts(copied_settings) == []
    success, check = run("2025-01-03")
    assert (success, check.passed, check.severity) == (True, False, dg.AssetCheckSeverity.WARN)
    assert "there is no forecast of 2025-01-02, 2025-01-03" in check.description
    assert {str(row["as_of_date"]) for row in forecasts(copied_settings)} == {"2024-12-31"}
    change_warehouse(copied_settings, "UPDATE predictions SET model_version = 'another'")
    success, _ = run("2025-01-03")
    assert success
    assert {row["model_version"] for row in forecasts(copied_settings)} == {"another"}
