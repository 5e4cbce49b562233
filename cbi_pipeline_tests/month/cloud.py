"""The side that exports bundles: real rows of the starter bundle, as they could be known at a moment."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline_tests.projects import STARTER, flip_byte

_ARRIVING = ".arriving-"


@dataclass(frozen=True)
class Stopped:
    """A source that delivers nothing from a day on: the rows of a table, or those with some values in a column."""

    table: str
    since: date
    column: str | None = None
    values: tuple[str, ...] = ()

    def without(self, name: str, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table that are delivered nonetheless."""
        if name != self.table:
            return rows
        late = rows[RAW_TABLES[name].event_date] >= pd.Timestamp(self.since)
        return rows[~(late & rows[self.column].isin(self.values) if self.column else late)]


class Cloud:
    """Exports into the folder in which a machine finds its bundles."""

    def __init__(self, store_dir: Path) -> None:
        self._store_dir = store_dir
        self._tables = load_tables(STARTER)

    def prepare(self, at: datetime, *, stopped: Stopped | None = None, damaged: bool = False) -> Path:
        """A bundle of what is known at a moment, not yet where a machine sees it.

        Args:
            damaged: one byte of a table is another than it was.
        """
        known = {name: rows[rows["available_at"] <= at] for name, rows in self._tables.items()}
        if stopped:
            known = {name: stopped.without(name, rows) for name, rows in known.items()}
        self._store_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            bundle = build_bundle(known, Path(folder), created_at=at, compression_level=1).path
            if damaged:
                flip_byte(bundle / "macro_series.parquet")
            return Path(shutil.copytree(bundle, self._store_dir / f"{_ARRIVING}{bundle.name}"))

    def publish(self, bundle: Path) -> str:
        """The bundle appears whole; its dataset_version."""
        version = bundle.name.removeprefix(_ARRIVING)
        bundle.rename(self._store_dir / version)
        return version
