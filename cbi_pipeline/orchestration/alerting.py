"""Sensors of alerts: a run that failed or was stopped, forecasts put on HOLD, a session for which no run began.

`run_failures` sees each run that failed, `holds` each that ended well though a check of live skill turned red, `alerts`
looks for missed days and sends again what could not be sent. All are on from the start: where settings name no way to
send, alerts wait in `.dagster/alerts.json`. A message that cannot be sent is an error in the log of the tick and fails
nothing.
"""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cbi_pipeline.orchestration.assets.serving import INPUTS, STALE
from cbi_pipeline.orchestration.checks import live_skill
from cbi_pipeline.orchestration.checks.raw import REACH
from cbi_pipeline.orchestration.checks.stopping import described, stopping_checks, turned_red
from cbi_pipeline.orchestration.due_sessions import SCHEDULE, sessions_without_run
from cbi_pipeline.orchestration.resources import SettingsResource
from cbi_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation

    from cbi_pipeline.alerts import Alert

WATCH = timedelta(minutes=15)
"""A run must have been missing for so long, seen by sensors that were at work all the while."""
ASLEEP = timedelta(minutes=5)
"""Ticks further apart than this: the machine slept, and the schedule makes up for its own ticks first."""
_WILL_RETRY = "dagster/will_retry"
_ROOT = "dagster/root_run_id"
_LONGEST = 600


@dg.run_failure_sensor(
    name="run_failures",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="One alert for each run that failed, or that gates or stale data stopped; retries of it add none.",
)
def run_failures(context: dg.RunFailureSensorContext, run_settings: SettingsResource) -> None:
    """Post the alert of a failed run and send what waits; a run that Dagster will repeat is not spoken of yet."""
    if context.dagster_run.tags.get(_WILL_RETRY) != "true":
        _post_and_send(run_settings.load(), [alert_of_run(context)], datetime.now(UTC), context.log)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="holds",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="One alert when matured errors or inputs of the model leave their bands; none while they stay outside.",
)
def holds(context: dg.RunStatusSensorContext, run_settings: SettingsResource) -> None:
    """Post an alert for each check of live skill that turned red in a run that ended well."""
    red = turned_red(context.instance, context.dagster_run.run_id, (live_skill.ERRORS, live_skill.INPUTS))
    if red:
        found = [_hold(check, context.dagster_run.run_id) for check in red]
        _post_and_send(run_settings.load(), found, datetime.now(UTC), context.log)


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="One alert for each session whose run the schedule did not start; sends alerts that could not be sent.",
)
def alerts(context: dg.SensorEvaluationContext, run_settings: SettingsResource) -> dg.SensorResult:
    """Look for sessions without a run, post their alerts, send what waits."""
    settings, now = run_settings.load(), datetime.now(UTC)
    missing = sessions_without_run(context.instance, settings, now)
    cursor, missed = watch(context.cursor, missing, now)
    waiting = _post_and_send(settings, [_missed_day(session) for session in missed], now, context.log)
    parts = [
        f"no run yet for {', '.join(map(str, missing))}" if missing else "no session is without its run",
        f"{waiting} alerts wait to be sent" if waiting else "no alert waits",
    ]
    return dg.SensorResult(skip_reason=dg.SkipReason("; ".join(parts)), cursor=cursor)


def _post_and_send(settings: Settings, found: "Sequence[Alert]", now: datetime, log: logging.Logger) -> int:
    """Put alerts into the project's box and send what is in it; how many wait afterwards."""
    from cbi_pipeline.alerts import channels, open_box
    from cbi_pipeline.sources.fetch.keys import find_key

    box = open_box(settings)
    for alert in found:
        if box.post(alert, now):
            log.warning(f"{alert.title}\n{alert.details}")
    if not box.waiting():
        return 0
    for problem in box.send(channels(settings, find_key), now):
        log.error(f"an alert could not be sent: {problem}")
    return box.waiting()


def alert_of_run(context: dg.RunFailureSensorContext) -> "Alert":
    """What stopped the run: stale data, checks, or an error. Retries of a run have its key."""
    from cbi_pipeline.alerts import Alert

    run, instance = context.dagster_run, context.instance
    root = run.tags.get(_ROOT, run.run_id)
    look = f"`cbi ui`, then http://127.0.0.1:3000/runs/{run.run_id}"
    checks = stopping_checks(instance, run.run_id)
    for check in checks:
        if check.check_name == REACH:
            return _stale_data(check, look)
        if check.check_name == INPUTS:
            return _stale_inputs(check, look)
    not_done = _not_written(instance, run.run_id)
    if checks:
        return Alert(
            key=f"checks/{root}",
            happened=f"checks stopped the job {run.job_name}\n{_short(described(checks))}",
            not_done=f"{not_done}. The model that served before goes on serving.",
            look=look,
        )
    return Alert(
        key=f"run/{root}", happened=f"the job {run.job_name} failed\n{_reason(context)}", not_done=not_done, look=look
    )


def _stale_data(check: "AssetCheckEvaluation", look: str) -> "Alert":
    """One alert for data that end on the same day, however many runs they stop."""
    from cbi_pipeline.alerts import Alert

    last = check.metadata["last_trade_date"].value
    return Alert(
        key=f"stale-data/{last}",
        happened=f"the data are stale, they end on {last}\n{check.description}",
        not_done=f"any forecast after {last}. Until newer data are there, scheduled runs stop without another message.",
        look=f"`cbi bundle list` shows the bundles that are there, `cbi sources status` the age of each source; {look}",
    )


def _stale_inputs(check: "AssetCheckEvaluation", look: str) -> "Alert":
    """One alert for the same newest values of the same sources, however many runs they stop."""
    from cbi_pipeline.alerts import Alert

    ends = check.metadata[STALE].value
    return Alert(
        key=f"stale-inputs/{ends}",
        happened=f"sources that the model needs are stale: {ends}\n{_short(check.description or '')}",
        not_done="any forecast: none was made, none was written. Until newer data are there, runs stop without another "
        "message.",
        look=f"`cbi sources status` shows the age of each source, `cbi bundle list` the bundles that are there; {look}",
    )


def _hold(check: "AssetCheckEvaluation", run_id: str) -> "Alert":
    from cbi_pipeline.alerts import Alert

    return Alert(
        key=f"hold/{check.check_name}/{run_id}",
        happened=f"forecasts are on HOLD: {check.check_name} turned red\n{_short(check.description or '')}",
        not_done="a forecast to act on: the rows are written, on HOLD, with the reason. There is no other message "
        "while the check stays red.",
        look="`vw_live_skill` in the warehouse has figures and bands; `cbi ui`, then "
        f"http://127.0.0.1:3000/runs/{run_id}",
    )


def _missed_day(session: date) -> "Alert":
    from cbi_pipeline.alerts import Alert

    return Alert(
        key=f"missed-day/{session}",
        happened=f"no run was started for the session of {session}\nThe schedule {SCHEDULE} is on, but began none.",
        not_done=f"the forecast of {session}; the next run that finds data makes it up.",
        look="`cbi predict` makes it now; `cbi ui`, then http://127.0.0.1:3000/automation shows the ticks of "
        f"{SCHEDULE}",
    )


def _not_written(instance: dg.DagsterInstance, run_id: str) -> str:
    """The assets that the run was to write and did not."""
    kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.ASSET_MATERIALIZATION}
    planned, written = dict[str, None](), set()
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.get_dagster_event()
        if event.asset_key is None:
            continue
        name = event.asset_key.to_user_string()
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            written.add(name)
        else:
            planned[name] = None
    missing = [name for name in planned if name not in written]
    return f"{len(missing)} of {len(planned)} assets were not written: {_short(', '.join(missing))}"


def _reason(context: dg.RunFailureSensorContext) -> str:
    """The error that stopped the run. Only errors that CBI raises are quoted: any other may hold what is secret."""
    from cbi_pipeline.errors import CbiError

    errors = [event.step_failure_data.error for event in context.get_step_failure_events()]
    error = errors[0] if errors else None
    if error is None:
        return "It was ended from outside: a crash, a reboot, or a time limit."
    while error.cause is not None:
        error = error.cause
    own = {CbiError.__name__, *(kind.__name__ for kind in CbiError.__subclasses__())}
    if error.cls_name not in own:
        return f"{error.cls_name}; its text is in the log of the run."
    return _short(error.message.strip())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def watch(cursor: str | None, missing: Sequence[date], now: datetime) -> tuple[str, list[date]]:
    """Which of the sessions without a run have been so for `WATCH`, while ticks came one after the other.

    Args:
        cursor: what the tick before handed on.
        missing: sessions without a run at this tick.

    Returns:
        The cursor to hand on, and the sessions that are missed.
    """
    before = json.loads(cursor) if cursor else {"tick": None, "since": {}}
    awake = before["tick"] is not None and now - datetime.fromisoformat(before["tick"]) <= ASLEEP
    known = before["since"] if awake else {}
    since = {str(day): known.get(str(day), now.isoformat()) for day in missing}
    missed = [day for day in missing if now - datetime.fromisoformat(since[str(day)]) >= WATCH]
    return json.dumps({"tick": now.isoformat(), "since": since}), missed
