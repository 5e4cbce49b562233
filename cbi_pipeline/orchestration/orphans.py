"""Runs whose process is no more, after a reboot or a kill: marked as failed, so that nothing waits for them."""

import dagster as dg

from cbi_pipeline.processes import is_alive

_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs as failed that were at work in a process that has ended; their ids.

    A run tells its process in its log, whether `cbi run` or the daemon started it. One that has not told it yet is
    left to `run_monitoring` in dagster.yaml.
    """
    orphans = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK)):
        worker = _worker(instance, run.run_id)
        if worker is None or is_alive(*worker):
            continue
        message = (
            f"Process {worker[0]} of this run has ended without finishing it: the machine was restarted, or the "
            "process was killed. What was finished is kept; the next run goes on from there."
        )
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        orphans.append(run.run_id)
    return orphans


def why_busy(instance: dg.DagsterInstance) -> str | None:
    """The runs that are at work, in words; None if there is none. Runs whose process is no more are failed first."""
    fail_orphans(instance)
    at_work = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, *_AT_WORK]))
    return f"run {', '.join(run.run_id[:8] for run in at_work)} is at work" if at_work else None


def _worker(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Number of the process that executes a run, and when it said so; None if none has."""
    told = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None:
            told = int(str(pid.value)), entry.timestamp
    return told
