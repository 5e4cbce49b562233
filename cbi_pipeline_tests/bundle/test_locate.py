"""Which data a run finds: the newest sound bundle, else provider files, else the starter; and what it says."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.bundle import locate
from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.locate import find_bundle
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.manifest import SUCCESS_FILE
from cbi_pipeline.errors import BundleError, SourceError

NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Folders:
    data_dir: Path
    bundles_dir: Path
    starter_dir: Path


@pytest.fixture
def folders(tmp_path: Path, store_dir: Path, starter_dir: Path) -> Folders:
    return Folders(tmp_path / "market", store_dir, starter_dir)


def test_starter_is_the_last_resort_and_says_so(folders: Folders) -> None:
    found = find_bundle(folders)
    assert (found.origin, found.path) == ("starter", folders.starter_dir)
    assert str(found.manifest.window.last_trade_date) in found.why
    assert "cbi bundle build" in found.why
    assert "CBI_DATA_DIR" in found.why
    assert not folders.bundles_dir.exists()


def test_newest_bundle_wins_and_broken_ones_are_named(folders: Folders, small_tables: dict[str, pd.DataFrame]) -> None:
    old = build_bundle(small_tables, folders.bundles_dir, created_at=NOON)
    small_tables["policy"] = small_tables["policy"].iloc[:-1]
    new = build_bundle(small_tables, folders.bundles_dir, created_at=NOON + timedelta(days=1))
    assert find_bundle(folders).path == new.path
    (new.path / SUCCESS_FILE).unlink()
    found = find_bundle(folders)
    assert (found.path, found.origin) == (old.path, "built")
    assert old.path.name in found.why
    assert f"Passed over bundle {new.path.name}" in found.why
    assert "the file is missing" in found.why
    (old.path / SUCCESS_FILE).unlink()
    found = find_bundle(folders)
    assert found.origin == "starter"
    assert new.path.name in found.why
    assert old.path.name in found.why


def test_changed_provider_files_are_mentioned_but_the_bundle_wins(
    folders: Folders, small_tables: dict[str, pd.DataFrame]
) -> None:
    built = build_bundle(small_tables, folders.bundles_dir, created_at=NOON)
    file = folders.data_dir / "fred" / "DGS10.csv"
    file.parent.mkdir(parents=True)
    file.write_text("observation_date,DGS10\n")
    os.utime(file, (NOON.timestamp() - 60, NOON.timestamp() - 60))
    assert "changed later" not in find_bundle(folders).why
    os.utime(file, (NOON.timestamp() + 60, NOON.timestamp() + 60))
    found = find_bundle(folders)
    assert found.path == built.path
    assert "changed later (2025-01-02 12:01 UTC): `cbi bundle build`" in found.why


def test_unreadable_provider_files_are_an_error_not_a_reason_for_the_starter(folders: Folders) -> None:
    (folders.data_dir / "databento").mkdir(parents=True)
    (folders.data_dir / "databento" / ".DS_Store").write_bytes(b"Finder")
    assert find_bundle(folders).origin == "starter"
    (folders.data_dir / "databento" / "notes.txt").write_text("no bars here")
    with pytest.raises(SourceError):
        find_bundle(folders)
    assert not folders.bundles_dir.exists()


def test_provider_files_are_built_once(
    folders: Folders, small_tables: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readers have their own tests; here they hand over real rows of the starter."""
    (folders.data_dir / "fred").mkdir(parents=True)
    (folders.data_dir / "fred" / "DGS10.csv").write_text("observation_date,DGS10\n")
    monkeypatch.setattr(locate, "build_raw_tables", lambda data_dir, progress: small_tables)
    said: list[str] = []
    found = find_bundle(folders, said.append)
    assert found.origin == "provider_files"
    assert str(folders.data_dir) in found.why
    assert any("weather_daily" in line for line in said)
    assert verify_bundle(found.path) == found.manifest
    again = find_bundle(folders)
    assert (again.origin, again.path) == ("built", found.path)


def test_no_data_at_all_names_the_starter(folders: Folders, tmp_path: Path) -> None:
    nowhere = Folders(folders.data_dir, folders.bundles_dir, tmp_path / "starter")
    with pytest.raises(BundleError, match="starter"):
        find_bundle(nowhere)


def test_provider_files_become_a_bundle(folders: Folders, provider_dir: Path) -> None:
    found = find_bundle(Folders(provider_dir, folders.bundles_dir, folders.starter_dir))
    assert found.origin == "provider_files"
    assert verify_bundle(found.path) == found.manifest


def test_a_broken_starter_is_refused(folders: Folders, tmp_path: Path) -> None:
    copy = tmp_path / "starter"
    shutil.copytree(folders.starter_dir, copy)
    (copy / "policy.parquet").unlink()
    with pytest.raises(BundleError, match=r"policy\.parquet"):
        find_bundle(Folders(folders.data_dir, folders.bundles_dir, copy))
