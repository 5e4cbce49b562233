"""What is pruned and what never is: the newest, the newest sound one, and what the models in service came from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.prune import prune_bundles
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.contracts.manifest import SUCCESS_FILE
from cbi_pipeline.errors import SettingsError

Listing = Callable[[Path], dict[str, tuple[int, int]]]


@pytest.fixture(scope="module")
def versions(_starter_tables, tmp_path_factory) -> Path:
    """Four sound bundles of 2020 to 2023, each without some of the last policy rows."""
    folder = tmp_path_factory.mktemp("versions")
    for year in range(2020, 2024):
        tables = {**_starter_tables, "policy": _starter_tables["policy"].iloc[: year - 2012]}
        build_bundle(tables, folder, created_at=datetime(year, 1, 2, tzinfo=UTC), compression_level=1)
    return folder


@pytest.fixture
def four(versions: Path, store_dir: Path) -> list[str]:
    """Their versions, newest first."""
    shutil.copytree(versions, store_dir)
    return [path.name for path in LocalBundleStore(store_dir).folders()]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".syncing.lock"}


def test_the_newest_stay(store_dir: Path, four: list[str]) -> None:
    pruned = prune_bundles(store_dir, 2, {})
    assert [folder.name for folder in pruned.removed] == four[2:]
    assert [version for version, _ in pruned.kept] == four[:2]
    assert names(store_dir) == set(four[:2])
    assert prune_bundles(store_dir, 2, {}).removed == ()


def test_a_dry_run_removes_nothing(store_dir: Path, four: list[str], listing: Listing) -> None:
    before = listing(store_dir)
    assert [folder.name for folder in prune_bundles(store_dir, 1, {}, dry_run=True).removed] == four[1:]
    assert {name: file for name, file in listing(store_dir).items() if "lock" not in name} == before


def test_the_newest_sound_one_stays_however_many_broken_ones_are_newer(store_dir: Path, four: list[str]) -> None:
    for version in four[:2]:
        (store_dir / version / SUCCESS_FILE).unlink()
    pruned = prune_bundles(store_dir, 1, {})
    assert dict(pruned.kept) == {four[0]: "one of the newest 1", four[2]: "the newest sound one"}
    assert names(store_dir) == {four[0], four[2]}


def test_what_a_model_in_service_came_from_stays(store_dir: Path, four: list[str]) -> None:
    in_service = {four[3]: "the champion came from it", "20190101T000000Z-00000000": "gone already"}
    pruned = prune_bundles(store_dir, 1, in_service)
    assert dict(pruned.kept)[four[3]] == "the champion came from it"
    assert names(store_dir) == {four[0], four[3]}


def test_leavings_of_interrupted_copies_go(store_dir: Path, four: list[str]) -> None:
    for name in (f".syncing-{four[0]}", f".broken-0-{four[1]}"):
        (store_dir / name).mkdir()
        (store_dir / name / "policy.parquet").write_bytes(b"half")
    (store_dir / "notes.txt").write_text("mine")
    pruned = prune_bundles(store_dir, 4, {})
    assert {folder.name for folder in pruned.removed} == {f".syncing-{four[0]}", f".broken-0-{four[1]}"}
    assert names(store_dir) == {*four, "notes.txt"}


def test_a_copy_under_way_is_waited_for(store_dir: Path, four: list[str]) -> None:
    staged = store_dir / f".syncing-{four[0]}"
    staged.mkdir()
    copying = (
        "import sys, time; from pathlib import Path; from cbi_pipeline.bundle.sync import only_copy\n"
        "with only_copy(Path(sys.argv[1])):\n    print('copying', flush=True); time.sleep(1); Path(sys.argv[2]).touch()"
    )
    done = store_dir.parent / "done"
    process = subprocess.Popen(
        [sys.executable, "-c", copying, str(store_dir), str(done)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    process.stdout.readline()
    prune_bundles(store_dir, 4, {})
    assert done.exists(), "it was pruned while a copy was under way"
    assert process.wait() == 0


@pytest.mark.parametrize("keep", [0, -1])
def test_nothing_kept_is_refused(store_dir: Path, four: list[str], keep: int) -> None:
    with pytest.raises(SettingsError, match="at least one"):
        prune_bundles(store_dir, keep, {})
    assert names(store_dir) == set(four)


def test_no_folder_is_nothing_to_prune(tmp_path: Path) -> None:
    assert prune_bundles(tmp_path / "absent", 3, {}).removed == ()
    assert not (tmp_path / "absent").exists()
