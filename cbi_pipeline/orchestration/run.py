"""Run a job in this process, as `cbi run` does: the same definitions and the same instance as the UI."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError

from cbi_pipeline.contracts.references import ModelRef, Reference, WarehouseRef
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import CbiError
from cbi_pipeline.orchestration.assets.training import all_cells_tags
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.orchestration.io import ReferenceIOManager
from cbi_pipeline.orchestration.jobs import RETRAIN
from cbi_pipeline.orchestration.resources import WarehouseResource
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.settings import Settings

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


def execute_job(settings: Settings, job_name: str) -> RunOutcome:
    """Run `retrain` or `daily` to its end.

    Raises:
        CbiError: the reason for which the run stopped; the run and its log stay visible in the UI.
        KeyboardInterrupt: someone stopped it.
    """
    prepare_dagster_home(settings)
    definitions = build_definitions(settings)
    tags = all_cells_tags(get_profile(settings.profile)) if job_name == RETRAIN else {}
    with dg.DagsterInstance.get() as instance:
        job = definitions.resolve_job_def(job_name)
        try:
            result = job.execute_in_process(instance=instance, tags=tags, run_config=_QUIET, raise_on_error=True)
        except DagsterAssetCheckFailedError as failed:
            raise CbiError(
                f"job {job_name}",
                f"{failed}. Nothing that depends on it was computed or published.",
                "read why in the UI (`make ui`), under the checks of that asset.",
            ) from failed
        except dg.DagsterExecutionInterruptedError as stopped:
            raise KeyboardInterrupt from stopped
    warehouse = WarehouseResource(location=str(settings.warehouse_path)).open()
    write = load_reference(settings, "warehouse/predictions", WarehouseRef)
    return RunOutcome(
        run_id=result.run_id,
        forecast=warehouse.latest_forecast(),
        published=f"{write.inserted} new, {write.unchanged} already published",
        model_path=load_reference(settings, "champion", ModelRef).path,
    )


def load_reference(settings: Settings, asset: str, kind: type[T]) -> T:
    """The last reference that an unpartitioned asset handed on.

    Raises:
        CbiError: the asset was never materialised on this machine.
    """
    path = settings.dagster_dir / "references" / f"{asset}.json"
    return kind.model_validate(ReferenceIOManager.read(path))
