"""What the state of a project on this machine is made of, and a copy of it that is whole at one moment.

State is what no run computes again: models and their aliases, the DuckDB warehouse, Dagster's history and references.
Features, scalers and cells are not: a run computes them again from the bundle.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cbi_pipeline.atomic import IGNORED_NAMES
from cbi_pipeline.errors import CbiError
from cbi_pipeline.settings import Settings

MODELS: Final = "models"
WAREHOUSE: Final = "warehouse.duckdb"
MARKER: Final = ".restoring.json"
"""In the project's folder while a restore replaces parts: what is in place then is not to be trusted."""
DAGSTER_PARTS: Final = ("references", "history", "schedules", "storage")
_OF_A_LOCK_OR_LOG: Final = (".aliases.lock", ".db-wal", ".db-shm", ".db-journal")
_SQLITE_WAIT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """A folder or file of the state: its name in an archive, and its place on this machine."""

    name: str
    path: Path


def parts(settings: Settings) -> tuple[Part, ...]:
    """Every part of the state; a warehouse in BigQuery is none."""
    found = [Part(MODELS, settings.models_dir)]
    found += [Part(f"dagster/{name}", settings.dagster_dir / name) for name in DAGSTER_PARTS]
    if settings.warehouse == "duckdb":
        found.append(Part(WAREHOUSE, settings.warehouse_path))
    return tuple(found)


def copy_state(settings: Settings, folder: Path) -> dict[str, Path]:
    """Copy every part that exists below `folder`; name in an archive to the file of the copy.

    Databases are copied by their own library, so that a copy holds all of a transaction or nothing of it, and models
    while nobody can change an alias. That no run is at work is the business of the caller.

    Raises:
        CbiError: a database cannot be read, or something is no plain file.
    """
    from cbi_pipeline.registry.champion import only_writer

    with only_writer(settings.models_dir):
        for part in parts(settings):
            if part.name == WAREHOUSE and part.path.exists():
                _copy_warehouse(part.path, folder / part.name)
            for file in _files(part.path) if part.path.is_dir() else ():
                target = folder / part.name / file.relative_to(part.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, target)
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        unfinished = any(name.startswith(".unfinished-") for name in path.relative_to(folder).parts)
        if unfinished or path.name in IGNORED_NAMES or path.name.endswith(_OF_A_LOCK_OR_LOG):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CbiError(str(path), "it is no plain file, and a backup holds no other.", "move it away.")
        if path.is_file():
            yield path


def _copy(source: Path, target: Path) -> None:
    if source.suffix != ".db":
        shutil.copyfile(source, target)
        return
    try:
        with (
            closing(sqlite3.connect(source, timeout=_SQLITE_WAIT_SECONDS)) as opened,
            closing(sqlite3.connect(target)) as copy,
        ):
            opened.backup(copy)
    except sqlite3.Error as error:
        rule = f"SQLite cannot copy it ({error})."
        raise CbiError(str(source), rule, "see `docs/runbook.md`, a database that cannot be read.") from error


def _copy_warehouse(source: Path, target: Path) -> None:
    from cbi_pipeline.warehouse.duckdb import DuckDBWarehouse

    DuckDBWarehouse(source).copy_to(target)


def newest_change(settings: Settings) -> float:
    """Seconds since 1970 of the last change of any file of the state; 0 if there is none."""
    files = [file for part in parts(settings) if part.path.is_dir() for file in _files(part.path)]
    files += [part.path for part in parts(settings) if part.path.is_file()]
    return max((os.stat(file).st_mtime for file in files), default=0.0)
