"""Copies of the starter bundle, real rows throughout, that tests may damage."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.read import load_tables, read_manifest
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, content_sha256
from cbi_pipeline.contracts.tables import RAW_TABLES

FIRST_DAY = {"weather_daily": "2024-01-01", "fundamentals": "2022-01-01", "policy": "2000-01-01"}
STATIONS = ["POWER Chicago", "POWER Buenos Aires", "A901 Cuiaba"]


@pytest.fixture
def store_dir(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


@pytest.fixture
def bundle(store_dir: Path, starter_dir: Path) -> Path:
    """The starter bundle as a member of a store, under its own version."""
    path = store_dir / read_manifest(starter_dir).dataset_version
    shutil.copytree(starter_dir, path)
    return path


@pytest.fixture(scope="session")
def small_bundle(_starter_tables, tmp_path_factory) -> Path:
    """A bundle of the newest of the starter's rows: real, sound, and small enough to damage a thousand times."""
    tables = {}
    for name, contract in RAW_TABLES.items():
        rows = _starter_tables[name]
        rows = rows[rows[contract.event_date] >= FIRST_DAY.get(name, "2023-06-01")]
        if name == "weather_daily":
            rows = rows[rows["station"].isin(STATIONS)]
        tables[name] = rows.reset_index(drop=True)
    return build_bundle(tables, tmp_path_factory.mktemp("small"), created_at=datetime(2025, 1, 2, tzinfo=UTC)).path


@pytest.fixture
def small_tables(small_bundle: Path) -> dict[str, pd.DataFrame]:
    """The raw tables of the small bundle, for what does not hang on how many rows there are."""
    return load_tables(small_bundle)


@pytest.fixture
def rewrite() -> Callable[[Path, str, Callable[[pa.Table], pa.Table]], None]:
    """Replace a table of a bundle by a changed one and make manifest and seal fit it again, so that
    only a rule about the content can refuse it."""

    def rewrite_table(bundle: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
        file = bundle / f"{name}.parquet"
        table = change(pq.read_table(file))
        pq.write_table(table, file, compression="zstd")
        text = table.schema.to_string(show_field_metadata=False, show_schema_metadata=False)
        _reseal(bundle, name, rows=table.num_rows, arrow_schema=text)

    return rewrite_table


def _reseal(bundle: Path, name: str, **fields: object) -> None:
    """Write size and hash of a table's file, and `fields`, into the manifest; then version and seal."""
    manifest = json.loads((bundle / MANIFEST_FILE).read_bytes())
    content = (bundle / f"{name}.parquet").read_bytes()
    manifest["tables"][name] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **fields}
    hashes = ((key, entry["sha256"]) for key, entry in manifest["tables"].items())
    manifest["dataset_version"] = manifest["dataset_version"][:17] + content_sha256(hashes)[:8]
    text = json.dumps(manifest).encode()
    (bundle / MANIFEST_FILE).write_bytes(text)
    (bundle / SUCCESS_FILE).write_text(hashlib.sha256(text).hexdigest())


@pytest.fixture
def reseal() -> Callable[..., None]:
    return _reseal


@pytest.fixture
def listing() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Every file below a folder with its size and time of change: what a write would alter."""

    def list_files(folder: Path) -> dict[str, tuple[int, int]]:
        found = folder.rglob("*") if folder.exists() else ()
        return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}

    return list_files
