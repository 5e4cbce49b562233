"""Run a job in this process, as `cbi run` does: the same definitions and the same instance as the UI."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # public only under this path; dagster is pinned to 1.13
from pydantic import TypeAdapter

from cbi_pipeline.contracts.references import ModelRef, PredictionsRef, RawTableRef, Reference, WarehouseRef
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import CbiError
from cbi_pipeline.orchestration.assets.training import all_cells_tags
from cbi_pipeline.orchestration.checks.stopping import described, stopping_checks
from cbi_pipeline.orchestration.instance import open_instance, prepare_dagster_home
from cbi_pipeline.orchestration.io import read_reference
from cbi_pipeline.orchestration.jobs import REFIT, RETRAIN
from cbi_pipeline.orchestration.orphans import why_busy
from cbi_pipeline.processes import only_run
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.settings import Settings
from cbi_pipeline.warehouse import named_warehouse

T = TypeVar("T", bound=Reference)

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The terminal shows progress and the final error once; the run's whole log is in the UI."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a finished run left behind: published rows as the warehouse holds them, and where things are."""

    run_id: str
    forecast: list[dict[str, Any]]
    published: str
    model_path: Path
    data: RawTableRef


def execute_job(settings: Settings, job_name: str, days: tuple[date, date] | None = None) -> RunOutcome:
    """Run `retrain` or `daily` to its end.

    Args:
        days: first and last trade date to forecast; the newest, and those missed before it, by default.

    Raises:
        CbiError: the reason for which the run stopped, or another run is at work; its log stays visible in the UI.
        KeyboardInterrupt: someone stopped it.
    """
    run_id = _execute(settings, job_name, days)
    warehouse = named_warehouse(settings)  # its tables were put in place by the run
    write = load_reference(settings, "warehouse/predictions", WarehouseRef)
    return RunOutcome(
        run_id=run_id,
        forecast=warehouse.latest_forecast(),
        published=f"{write.inserted} new, {write.unchanged} already published",
        model_path=settings.models_dir / load_reference(settings, "daily_predictions", PredictionsRef).model_version,
        data=load_reference(settings, "raw_futures_daily", RawTableRef),
    )


def refit_candidate(settings: Settings) -> ModelRef:
    """Refit the winner of the last scorecard as candidate, whatever the gates said of it; raises as `execute_job`."""
    _execute(settings, REFIT)
    return load_reference(settings, "candidate", ModelRef)


def _execute(settings: Settings, job_name: str, days: tuple[date, date] | None = None) -> str:
    """Run a job to its end; its run id."""
    home = prepare_dagster_home(settings)
    definitions = build_definitions(settings)
    tags = all_cells_tags(get_profile(settings.profile)) if job_name == RETRAIN else {}
    run_id = str(uuid4())
    config = {**_QUIET, **({"ops": {"daily_predictions": {"config": _days(*days)}}} if days else {})}
    with only_run(home), open_instance(settings) as instance:
        if busy := why_busy(instance):
            fix = "wait until it ends, or stop it in the UI."
            raise CbiError(f"job {job_name}", f"{busy} in this project; two at once would train on one device.", fix)
        job = definitions.resolve_job_def(job_name)
        try:
            job.execute_in_process(instance=instance, tags=tags, run_config=config, raise_on_error=True, run_id=run_id)
        except DagsterAssetCheckFailedError as failed:
            raise CbiError(
                f"job {job_name}",
                f"{described(stopping_checks(instance, run_id))}. Nothing that depends on it was computed or "
                "published.",
                "mend it and run again, which keeps all that is finished; more is in the UI (`make ui`), under the "
                "checks of that asset. Where evidence alone stands against a model, a person may let it serve on HOLD: "
                "`cbi models refit`, then `cbi models promote VERSION --override-reason 'why'`.",
            ) from failed
        except dg.DagsterExecutionInterruptedError as stopped:
            raise KeyboardInterrupt from stopped
    return run_id


def _days(first: date, last: date) -> dict[str, str]:
    return {"first": first.isoformat(), "last": last.isoformat()}


def load_reference(settings: Settings, asset: str, kind: type[T]) -> T:
    """The last reference that an unpartitioned asset handed on.

    Raises:
        CbiError: the asset was never materialised on this machine.
    """
    return read_reference(reference_path(settings, asset), TypeAdapter(kind))


def reference_path(settings: Settings, asset: str) -> Path:
    """Where the reference of an unpartitioned asset is stored."""
    return settings.dagster_dir / "references" / f"{asset}.json"
