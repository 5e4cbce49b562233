"""What is pruned and what never is: the newest, the newest sound one, and what models came from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.prune import plan_published, prune_bundles, prune_published
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.sync import sync_bundle
from cbi_pipeline.contracts.manifest import SUCCESS_FILE
from cbi_pipeline.errors import BundleError, SettingsError, StoreError

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


LATER = datetime.now(UTC) + timedelta(hours=25)


class Interrupted(Exception):
    """What stops a removal in these tests."""


@pytest.fixture
def store(bundle_uri: str) -> GcsBundleStore:
    return GcsBundleStore(bundle_uri)


@pytest.fixture
def published(versions: Path, store: GcsBundleStore) -> list[str]:
    """The four bundles in the bucket, newest first."""
    folders = LocalBundleStore(versions).folders()
    for folder in folders:
        for path in sorted(folder.iterdir(), key=lambda path: path.name == SUCCESS_FILE):
            store.create(folder.name, path.name, path.read_bytes())
    return [folder.name for folder in folders]


def blob(store: GcsBundleStore, version: str, name: str):
    return store._blob(version, name)


def test_of_a_bucket_the_newest_and_what_models_were_made_from_stay(store, published):
    needed = {published[2]: "lstm-20241231-00000000 was made from it", "20190101T000000Z-00000000": "gone already"}
    planned = plan_published(store, 1, needed)
    assert store.contents().keys() == set(published), "a plan removes nothing"
    assert planned.removed == (published[1], published[3])
    assert planned.kept == (
        (published[0], "one of the newest 1, the newest sound one"),
        (published[2], needed[published[2]]),
    )
    prune_published(store, planned)
    assert store.sealed() == (published[2], published[0])
    assert store.contents().keys() == {published[0], published[2]}
    assert plan_published(store, 1, needed).removed == ()
    with pytest.raises(SettingsError, match="at least one"):
        plan_published(store, 0, {})


def test_of_a_bucket_the_newest_sound_one_stays_however_many_broken_ones_are_newer(store, published):
    for version in published[:2]:
        blob(store, version, "policy.parquet").delete()
    planned = plan_published(store, 1, {}, now=LATER)
    assert dict(planned.kept) == {published[0]: "one of the newest 1", published[2]: "the newest sound one"}
    assert planned.removed == (published[1], published[3])


def test_an_upload_under_way_stays_and_what_is_left_of_one_goes(store, published):
    blob(store, published[0], SUCCESS_FILE).delete()
    kept = dict(plan_published(store, 1, {}).kept)
    assert kept[published[0]] == "it has no seal yet: its upload may be under way"
    assert kept[published[1]] == "one of the newest 1, the newest sound one"
    assert plan_published(store, 1, {}, now=LATER).removed == (published[0], *published[2:])


@pytest.mark.parametrize("deletions", [1, 5])
def test_a_removal_that_was_interrupted_leaves_no_bundle_and_is_finished_later(
    store, published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    from google.cloud.storage import Blob

    delete, deleted = Blob.delete, []

    def stops(self, **options):
        if len(deleted) == deletions:
            raise Interrupted
        deleted.append(self.name)
        assert options["if_generation_match"] == self.generation
        delete(self, **options)

    planned = plan_published(store, 3, {})
    with monkeypatch.context() as killed:
        killed.setattr(Blob, "delete", stops)
        with pytest.raises(Interrupted):
            prune_published(store, planned)
    assert deleted[0].endswith(f"{published[3]}/{SUCCESS_FILE}"), "the seal goes first"
    assert store.sealed() == tuple(reversed(published[:3]))
    with pytest.raises(BundleError, match=f"{published[3]}/"):
        sync_bundle(store, published[3], tmp_path / "here")
    assert not (tmp_path / "here" / published[3]).exists()
    prune_published(store, plan_published(store, 3, {}, now=LATER))
    assert store.contents().keys() == set(published[:3])


def test_what_is_written_during_a_removal_is_removed_too_or_the_removal_is_refused(
    store, published, versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a seal would stand over files that are gone."""
    below, writes = GcsBundleStore._below, [True, False]
    seal = (versions / published[3] / SUCCESS_FILE).read_bytes()

    def sealed_meanwhile(self, folder):
        if writes and writes.pop():
            blob(self, published[3], SUCCESS_FILE).upload_from_string(seal)
        return below(self, folder)

    monkeypatch.setattr(GcsBundleStore, "_below", sealed_meanwhile)
    store.remove(published[3])
    assert writes == []
    assert published[3] not in store.contents()
    writes.extend([True] * 10)
    with pytest.raises(BundleError, match="written to while"):
        store.remove(published[3])


def test_a_bucket_that_refuses_is_named(new_bucket, versions: Path) -> None:
    with pytest.raises(StoreError, match="404"):
        plan_published(GcsBundleStore(f"gs://{new_bucket()}-absent/cbi"), 1, {})
