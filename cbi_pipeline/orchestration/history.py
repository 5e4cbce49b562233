"""Old runs of Dagster's history: which may go, and their deletion with events and captured logs."""

import shutil
import time
from pathlib import Path

import dagster as dg

from cbi_pipeline.operation.prune import OldRuns, Prunable, size_of
from cbi_pipeline.settings import Settings

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def old_runs(settings: Settings, instance: dg.DagsterInstance) -> OldRuns:
    """Finished runs beyond their days, oldest first, but those that hold the last materialisation of an asset."""
    made = (record.asset_entry.last_materialization for record in instance.get_asset_records())
    last = {event.run_id for event in made if event is not None}
    oldest = time.time() - settings.keep_days_of_logs * 24 * 3600.0
    records = instance.get_run_records(dg.RunsFilter(statuses=_FINISHED), ascending=True)
    ids = [
        record.dagster_run.run_id
        for record in records
        if record.create_timestamp.timestamp() < oldest and record.dagster_run.run_id not in last
    ]
    found = tuple(Prunable("run", run_id, sum(map(size_of, _files(settings, run_id)))) for run_id in ids)

    def delete(run_id: str) -> None:
        instance.delete_run(run_id)
        for path in _files(settings, run_id):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    return OldRuns(found, delete)


def _files(settings: Settings, run_id: str) -> list[Path]:
    """Where Dagster keeps the events and the captured output of a run."""
    events = settings.dagster_dir / "history" / "runs" / f"{run_id}.db"
    logs = [events.with_name(events.name + suffix) for suffix in ("-wal", "-shm")]
    return [events, *logs, settings.dagster_dir / "storage" / run_id]
