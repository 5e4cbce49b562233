"""Sessions that the schedule `daily_inference` owes a run: due while it was on, and without one."""

from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from cbi_pipeline.orchestration.jobs import SESSION_TAG
from cbi_pipeline.settings import Settings

SCHEDULE = "daily_inference"
EXCHANGE_ZONE = "America/Chicago"
LOOK_BACK = timedelta(days=10)


def sessions_without_run(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> list[date]:
    """Sessions that were due since the schedule was turned on, and after the last one for which there is a run.

    A later session's run forecasts the earlier ones too, so that it stands for them.
    """
    since = _on_since(instance)
    if since is None:
        return []
    due = [day for day in _days(now) if since <= _due(day, settings) <= now]
    if not due:
        return []
    asked = {SESSION_TAG: [day.isoformat() for day in due]}
    runs = instance.get_runs(dg.RunsFilter(tags=asked))
    last = max((run.tags[SESSION_TAG] for run in runs), default="")
    return [day for day in due if day.isoformat() > last]


def _days(now: datetime) -> list[date]:
    from cbi_pipeline.market_calendar import sessions

    return [day.date() for day in sessions((now - LOOK_BACK).date(), now.date())]


def _due(day: date, settings: Settings) -> datetime:
    """The moment at which the schedule asks for the run of a session."""
    from zoneinfo import ZoneInfo

    minute, hour = settings.daily_inference_cron.split()[:2]
    return datetime.combine(day, time(int(hour), int(minute)), ZoneInfo(EXCHANGE_ZONE))


def _on_since(instance: dg.DagsterInstance) -> datetime | None:
    """When someone turned the schedule on; None while it is off."""
    from dagster._core.definitions.run_request import InstigatorType  # public only under these paths
    from dagster._core.scheduler.instigation import InstigatorStatus, ScheduleInstigatorData

    states = instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.RUNNING}
    )
    started = [
        state.instigator_data.start_timestamp
        for state in states
        if state.instigator_name == SCHEDULE and isinstance(state.instigator_data, ScheduleInstigatorData)
    ]
    moments = [moment for moment in started if moment is not None]
    return datetime.fromtimestamp(max(moments), UTC) if moments else None
