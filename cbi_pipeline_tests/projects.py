"""Project folders for tests: settings on the starter bundle, a smoke run, and copies of it to tamper with."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pytest
from filelock import FileLock

from cbi_pipeline import progress
from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE
from cbi_pipeline.contracts.references import CellRef
from cbi_pipeline.contracts.warehouse import PREDICTIONS
from cbi_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from cbi_pipeline.orchestration.run import RunOutcome

REPOSITORY = Path(__file__).resolve().parent.parent
STARTER = REPOSITORY / "data" / "starter"

Made = TypeVar("Made")


@dataclass(frozen=True)
class FinishedRun:
    """A retrain job that ended well: settings of its folder, what it returned, what it reported, what it stored."""

    settings: Settings
    outcome: RunOutcome
    events: dict[str, progress.ProgressEvent]
    stored: dict[str, list[tuple[Any, ...]]]


def forget_findings(bundle: Path) -> None:
    """Give a bundle the manifest that it had if it were from before there were findings."""
    old = read_manifest(bundle).model_copy(update={"schema_version": 1, "findings": None}).to_json()
    (bundle / MANIFEST_FILE).write_bytes(old)
    (bundle / SUCCESS_FILE).write_text(f"{sha256(old).hexdigest()}\n")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """What `make` gives in a folder of its own, made by the first worker of a test run that asks for it.

    Every worker reads the same folder: a test that changes anything takes a copy.
    """
    of_this_process = factory.getbasetemp()
    shared = of_this_process.parent if "PYTEST_XDIST_WORKER" in os.environ else of_this_process
    result = shared / f"{name}.pickle"
    with FileLock(shared / f"{name}.lock"):
        if not result.exists():
            (shared / name).mkdir()
            result.write_bytes(pickle.dumps(make(shared / name)))
        return pickle.loads(result.read_bytes())


def new_project(folder: Path, **values: Any) -> Settings:
    """Settings of an empty project folder on the starter bundle of the checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    return settings_of(folder, **values)


def settings_of(folder: Path, **values: Any) -> Settings:
    """Settings of a project folder: smoke profile, starter bundle, one CPU thread (a busy machine makes two slower)."""
    own = {"project_dir": folder, "starter_dir": STARTER, "profile": "smoke", "device": "cpu", "threads": 1}
    return load_settings(**{**own, **values})


def copy_project(finished: Settings, folder: Path, **values: Any) -> Settings:
    """A copy of a finished project (without Dagster's history), which a test may damage."""
    unneeded = shutil.ignore_patterns("history", "storage", "schedules")
    shutil.copytree(finished.project_dir, folder, ignore=unneeded, dirs_exist_ok=True)
    return settings_of(folder, **values)


def run_job(settings: Settings, job: str = "retrain") -> tuple[RunOutcome, dict[str, progress.ProgressEvent]]:
    """Run a job in this process; what it returned, and the last event of every stage that it finished."""
    from cbi_pipeline.orchestration.run import execute_job

    events: dict[str, progress.ProgressEvent] = {}

    def listen(event: progress.ProgressEvent) -> None:
        if event.finished:
            events[event.stage] = event

    with progress.listening(listen):
        outcome = execute_job(settings, job)
    return outcome, events


def stored(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every warehouse table, read by DuckDB itself."""
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            table: connection.sql(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for table in ("predictions", "metrics", "experiments")
        }


def forecasts(settings: Settings) -> list[dict[str, Any]]:
    """Every stored forecast row."""
    return [dict(zip(PREDICTIONS.column_names, row, strict=True)) for row in stored(settings)["predictions"]]


def without_stamps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Forecast rows without what only says when and by which run they were written."""
    return [{name: value for name, value in row.items() if name not in ("run_id", "created_at")} for row in rows]


def load_cells(settings: Settings) -> dict[str, CellRef]:
    """The trained cells by architecture; the smoke profile has one fold."""
    folder = settings.dagster_dir / "references" / "trained_models"
    cells = [CellRef.model_validate_json(file.read_text()) for file in folder.iterdir()]
    return {cell.architecture: cell for cell in cells}


def change_warehouse(settings: Settings, statement: str) -> None:
    """Alter stored rows behind the pipeline's back."""
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute(statement)


def flip_byte(path: Path, position: int | None = None) -> None:
    """Change one byte of a file, in its middle if no position is given; the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 0x01
    path.write_bytes(content)
