"""Schedules: `daily_inference` requests one run of `daily` for each CBOT session, after it is complete."""

import dagster as dg

from cbi_pipeline.orchestration.jobs import DAILY, SESSION_TAG
from cbi_pipeline.settings import Settings

EXCHANGE_ZONE = "America/Chicago"
NAME = "daily_inference"


def daily_inference(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule, at the time of day that the settings name."""

    @dg.schedule(
        name=NAME,
        job_name=DAILY,
        cron_schedule=settings.daily_inference_cron,
        execution_timezone=EXCHANGE_ZONE,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="One run of `daily` for each CBOT session, on its evening. The run forecasts also the sessions "
        "that were missed before it; a holiday is passed over, with its name.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """The session of the date in Chicago at which the tick was due, also where it comes later."""
        from zoneinfo import ZoneInfo

        from cbi_pipeline.market_calendar import why_closed

        session = context.scheduled_execution_time.astimezone(ZoneInfo(EXCHANGE_ZONE)).date()
        if closed := why_closed(session):
            return dg.SkipReason(f"no CBOT session on {session}: {closed}")
        return dg.RunRequest(run_key=session.isoformat(), tags={SESSION_TAG: session.isoformat()})

    return schedule
