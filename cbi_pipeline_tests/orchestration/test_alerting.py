"""The sensors of alerts on runs that really fail: one message an event, whatever is repeated or restarted."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus

from cbi_pipeline import market_calendar
from cbi_pipeline.alerts import AlertBox, open_box
from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.orchestration.alerting import alerts, holds, run_failures, watch
from cbi_pipeline.orchestration.checks.live_skill import ERRORS
from cbi_pipeline.orchestration.due_sessions import sessions_without_run
from cbi_pipeline.orchestration.jobs import DATASET_VERSION_TAG, SESSION_TAG
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES
from cbi_pipeline.orchestration.resources import build_resources
from cbi_pipeline.settings import EMAIL_KEY, WEBHOOK_KEY
from cbi_pipeline_tests.orchestration.instigators import add_run, turn_on
from cbi_pipeline_tests.projects import STARTER
from cbi_pipeline_tests.webhook_server import webhook

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
END_OF_STARTER = read_manifest(STARTER).window.last_trade_date
STALE = str(market_calendar.sessions(END_OF_STARTER + timedelta(days=1), END_OF_STARTER + timedelta(days=30))[5].date())
NO_BUNDLE = {DATASET_VERSION_TAG: "20200102T000000Z-00000000"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in (WEBHOOK_KEY, EMAIL_KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def box(new_settings) -> AlertBox:
    return open_box(new_settings)


@contextmanager
def sensor_context(instance, settings, cursor=None):
    resources = {"run_settings": build_resources(settings)["run_settings"]}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        yield context


class Ticks:
    """A sensor of runs, by default that of failed ones, tick after tick."""

    def __init__(self, instance, settings, sensor=run_failures) -> None:
        self.instance, self.settings, self.sensor, self.cursor = instance, settings, sensor, None
        self.tick()

    def tick(self) -> None:
        with sensor_context(self.instance, self.settings, self.cursor) as context:
            self.cursor = self.sensor.evaluate_tick(context).cursor


@pytest.fixture
def failures(instance, new_settings) -> Ticks:
    return Ticks(instance, new_settings)


def run_raw(instance, settings, **tags):
    """Run the raw tables and the features after them."""
    definitions = build_definitions(settings)
    selection = dg.AssetSelection.assets(*RAW_ASSET_NAMES.values(), "curated_features")
    job = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        resources=definitions.resources,
        executor=definitions.executor,
        jobs=[dg.define_asset_job("daily", selection=selection)],
    ).resolve_job_def("daily")
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=tags, raise_on_error=False)
    assert not result.success
    return result.run_id


def test_a_failed_run_is_one_message_that_says_what_why_what_not_and_where_to_look(
    instance, new_settings, failures, box
):
    run_id = run_raw(instance, new_settings, **NO_BUNDLE)
    failures.tick()
    run_raw(instance, new_settings, **NO_BUNDLE, **{"dagster/root_run_id": run_id})
    failures.tick()
    Ticks(instance, new_settings).tick()
    (posted,) = box.read().values()
    assert posted.alert.key == f"run/{run_id}"
    title, reason, *_ = posted.alert.happened.splitlines()
    assert title == "the job daily failed"
    assert "20200102T000000Z-00000000" in reason
    assert "To fix:" in reason
    assert posted.alert.not_done.startswith("8 of 8 assets were not written: ")
    assert "raw_futures_daily" in posted.alert.not_done
    assert f"http://127.0.0.1:3000/runs/{run_id}" in posted.alert.look


def test_a_run_that_is_repeated_is_spoken_of_only_if_the_last_try_fails(instance, new_settings, failures, box):
    first = run_raw(instance, new_settings, **NO_BUNDLE, **{"dagster/will_retry": "true"})
    failures.tick()
    assert box.read() == {}
    run_raw(instance, new_settings, **NO_BUNDLE, **{"dagster/will_retry": "false", "dagster/root_run_id": first})
    failures.tick()
    assert list(box.read()) == [f"run/{first}"]


def test_stale_data_are_one_message_however_many_runs_they_stop(instance, new_settings, failures, box):
    for _ in range(2):
        run_id = run_raw(instance, new_settings, **{SESSION_TAG: STALE})
        failures.tick()
    (posted,) = box.read().values()
    assert posted.alert.key == f"stale-data/{END_OF_STARTER}"
    assert "they lack 6 sessions" in posted.alert.happened
    assert "cbi sources status" in posted.alert.look
    assert run_id not in posted.alert.look


def small_job(error: Exception | None):
    """A job of one asset with a gate that fails, or an error of Python."""

    @dg.asset
    def scorecard() -> int:
        if error:
            raise error
        return 1

    @dg.asset_check(asset=scorecard, blocking=True)
    def benchmark(scorecard: int) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="6 months failed: p = 0.01")

    @dg.asset(deps=[scorecard])
    def champion() -> None:
        """Never reached."""

    definitions = dg.Definitions([scorecard, champion], asset_checks=[benchmark], jobs=[dg.define_asset_job("retrain")])
    return definitions.resolve_job_def("retrain")


def test_gates_that_stop_a_run_are_named_and_so_is_what_was_not_written(instance, failures, box):
    run_id = small_job(None).execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False).run_id
    failures.tick()
    (posted,) = box.read().values()
    assert posted.alert.key == f"checks/{run_id}"
    assert posted.alert.happened.splitlines() == [
        "checks stopped the job retrain",
        "scorecard: benchmark (6 months failed: p = 0.01)",
    ]
    assert posted.alert.not_done.startswith("1 of 2 assets were not written: champion.")


def judged_job(severity: dg.AssetCheckSeverity | None):
    """A job whose check of live errors has a finding of that severity, or none."""

    @dg.asset(key=["warehouse", "live_skill"])
    def live_skill() -> None:
        """Matured figures."""

    @dg.asset_check(asset=live_skill, name=ERRORS)
    def within_bands() -> dg.AssetCheckResult:
        found = "live errors at 3 months are beyond their band"
        return dg.AssetCheckResult(
            passed=severity is None, severity=severity or dg.AssetCheckSeverity.ERROR, description=found
        )

    definitions = dg.Definitions([live_skill], asset_checks=[within_bands], jobs=[dg.define_asset_job("daily")])
    return definitions.resolve_job_def("daily")


def test_live_errors_that_leave_their_bands_are_one_message_until_they_were_back(instance, new_settings, box):
    sensor = Ticks(instance, new_settings, holds)
    red, yellow = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    ran = [
        judged_job(severity).execute_in_process(instance=instance, run_config=QUIET).run_id
        for severity in (None, red, red, yellow, red)
    ]
    sensor.tick()
    Ticks(instance, new_settings, holds).tick()
    assert list(box.read()) == [f"hold/{ERRORS}/{ran[1]}", f"hold/{ERRORS}/{ran[4]}"]
    alert = box.read()[f"hold/{ERRORS}/{ran[1]}"].alert
    assert alert.title == f"CBI: forecasts are on HOLD: {ERRORS} turned red"
    assert "live errors at 3 months are beyond their band" in alert.details
    assert f"http://127.0.0.1:3000/runs/{ran[1]}" in alert.look


def test_the_text_of_an_error_that_is_not_cbis_is_not_sent(instance, failures, box):
    secret = "https://provider.example.org?key=nobody-may-see-this"
    small_job(ValueError(secret)).execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
    failures.tick()
    (posted,) = box.read().values()
    assert posted.alert.happened == "the job retrain failed\nValueError; its text is in the log of the run."
    assert secret not in posted.model_dump_json()


def test_a_run_that_was_ended_from_outside_says_so(instance, failures, box):
    run = instance.create_run_for_job(small_job(None))
    instance.report_run_failed(run, "the machine was restarted")
    failures.tick()
    (posted,) = box.read().values()
    assert "ended from outside" in posted.alert.happened


def test_a_message_is_sent_at_once_or_by_a_later_tick_and_never_fails_one(
    instance, new_settings, failures, box, monkeypatch, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    with webhook(500, 500, 200) as server:
        secret = "/services/nobody-may-see-this"
        monkeypatch.setenv(WEBHOOK_KEY, server.url + secret)
        run_raw(instance, new_settings, **NO_BUNDLE)
        failures.tick()
        assert (len(server.asked), box.waiting()) == (1, 1)
        waits = []
        for _ in range(3):
            with sensor_context(instance, new_settings) as context:
                waits.append(alerts.evaluate_tick(context).skip_message)
        assert ["1 alerts wait" in text for text in waits] == [True, False, False]
        assert (len(server.asked), len(server.texts), box.waiting()) == (3, 1, 0)
    shown = caplog.text + "".join(capfd.readouterr()) + "".join(waits) + json.dumps(instance.info_dict(), default=str)
    assert "an alert could not be sent: webhook: The server answered 500." in shown
    assert secret not in shown


def test_sessions_that_were_due_and_have_no_run_are_missing(instance, new_settings):
    """Thanksgiving week of 2024: 25, 26, 27 and 29 November are sessions; 22:00 in Chicago is 04:00 UTC."""

    def missing(moment: str) -> list[str]:
        now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        return [str(day) for day in sessions_without_run(instance, new_settings, now)]

    assert missing("2024-11-30T05:00") == []
    turn_on(instance, datetime(2024, 11, 26, 12, tzinfo=UTC))
    assert missing("2024-11-27T03:59") == []
    assert missing("2024-11-27T04:00") == ["2024-11-26"]
    assert missing("2024-11-29T23:00") == ["2024-11-26", "2024-11-27"]
    add_run(instance, "2024-11-26")
    assert missing("2024-11-30T04:00") == ["2024-11-27", "2024-11-29"]
    add_run(instance, "2024-11-29")
    assert missing("2024-11-30T05:00") == []
    assert missing("2024-12-02T12:00") == []


def test_a_schedule_that_is_off_misses_nothing(instance, new_settings):
    turn_on(instance, datetime(2024, 11, 26, 12, tzinfo=UTC), InstigatorStatus.STOPPED)
    assert sessions_without_run(instance, new_settings, datetime(2024, 12, 3, tzinfo=UTC)) == []


def test_a_session_is_missed_after_a_while_awake_not_on_waking_up():
    day, start, cursor, said = date(2024, 11, 26), datetime(2024, 11, 27, 4, 1, tzinfo=UTC), None, []
    awake = [0, 1, 2, 3, *range(600, 620)]  # minutes; the machine slept from the fourth to the six-hundredth
    for minute in awake:
        cursor, missed = watch(cursor, [day], start + timedelta(minutes=minute))
        said += [minute] if missed else []
    assert said == list(range(615, 620))
    assert watch(cursor, [], start + timedelta(minutes=620))[1] == []


def test_a_missed_day_is_one_message(instance, new_settings, box):
    now = datetime.now(UTC)
    turn_on(instance, now - timedelta(days=30))
    missing = sessions_without_run(instance, new_settings, now)
    assert len(missing) >= 4
    long_ago = (now - timedelta(hours=1)).isoformat()
    cursor = json.dumps({"tick": now.isoformat(), "since": {str(missing[-1]): long_ago}})
    for _ in range(2):
        with sensor_context(instance, new_settings, cursor) as context:
            answer = alerts.evaluate_tick(context)
    assert str(missing[-1]) in answer.skip_message
    (posted,) = box.read().values()
    assert posted.alert.key == f"missed-day/{missing[-1]}"
    assert "cbi predict" in posted.alert.look


def test_alerts_are_on_from_the_start(new_settings):
    definitions = build_definitions(new_settings)
    for name in ("run_failures", "alerts"):
        assert definitions.get_sensor_def(name).default_status is dg.DefaultSensorStatus.RUNNING
