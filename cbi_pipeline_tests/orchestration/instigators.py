"""States that an instance keeps of the schedule: turned on since when, and for which sessions there are runs."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType  # public only under these paths
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData

from cbi_pipeline.orchestration.jobs import SESSION_TAG


def turn_on(instance, since: datetime, status=InstigatorStatus.RUNNING) -> None:
    location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="cbi")
    origin = RemoteRepositoryOrigin(location, "__repository__").get_instigator_origin("daily_inference")
    data = ScheduleInstigatorData("0 22 * * 1-5", since.timestamp())
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, status, data))


def add_run(instance, session: str) -> None:
    instance.add_run(dg.DagsterRun(job_name="daily", run_id=str(uuid4()), tags={SESSION_TAG: session}))
