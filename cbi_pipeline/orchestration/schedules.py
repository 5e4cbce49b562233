"""Schedules: `daily_inference` requests one run of `daily` for each CBOT session, after it is complete."""

import dagster as dg

from cbi_pipeline.orchestration.due_sessions import EXCHANGE_ZONE, SCHEDULE, sessions_without_run
from cbi_pipeline.orchestration.jobs import DAILY, SESSION_TAG
from cbi_pipeline.settings import Settings


def daily_inference(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule, at the time of day that the settings name."""

    @dg.schedule(
        name=SCHEDULE,
        job_name=DAILY,
        cron_schedule=settings.daily_inference_cron,
        execution_timezone=EXCHANGE_ZONE,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="One run of `daily` for each CBOT session, on its evening. The run forecasts also the sessions "
        "that were missed before it; a holiday is passed over, with its name.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """The session of the date in Chicago at which the tick was due, also where it comes later.

        After a sleep Dagster makes up for the last tick alone: where that is a holiday's, it asks for the run of the
        session before it, if the schedule owes one.
        """
        from zoneinfo import ZoneInfo

        from cbi_pipeline.market_calendar import why_closed

        due = context.scheduled_execution_time
        session = due.astimezone(ZoneInfo(EXCHANGE_ZONE)).date()
        if closed := why_closed(session):
            reason = f"no CBOT session on {session}: {closed}"
            owed = sessions_without_run(context.instance, settings, due)
            if not owed:
                return dg.SkipReason(reason)
            session = owed[-1]
            context.log.info(f"{reason}; a run of {session}, for which there was none, is made up")
        return dg.RunRequest(run_key=session.isoformat(), tags={SESSION_TAG: session.isoformat()})

    return schedule
