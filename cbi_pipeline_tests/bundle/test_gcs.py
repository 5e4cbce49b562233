"""Bundles through a bucket: published whole or not at all, copied whole or not at all, resumed where they stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.cloud import storage

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.locate import find_remote_bundle
from cbi_pipeline.bundle.sync import sync_bundle, sync_newest
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError, StoreError
from cbi_pipeline_tests.gcs_server import free_port
from cbi_pipeline_tests.projects import flip_byte, new_project

FILES = [*(f"{name}.parquet" for name in RAW_TABLES), MANIFEST_FILE, SUCCESS_FILE]


class Interrupted(Exception):
    """What stops a transfer in these tests."""


class StopsAfter(GcsBundleStore):
    """A store whose connection breaks for good after a number of files; it counts what it transferred."""

    def __init__(self, uri: str, files: int = len(FILES)) -> None:
        super().__init__(uri)
        self.left, self.names = files, []

    def read(self, version: str, name: str) -> bytes:
        self._count(name)
        return super().read(version, name)

    def _put(self, version: str, name: str, content: bytes) -> bool:
        self._count(name)
        return super()._put(version, name, content)

    def _count(self, name: str) -> None:
        if self.left == 0:
            raise Interrupted
        self.left -= 1
        self.names.append(name)


@pytest.fixture
def store(bundle_uri: str) -> GcsBundleStore:
    return GcsBundleStore(bundle_uri)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


@pytest.fixture(scope="session")
def older_bundle(_starter_tables, tmp_path_factory) -> Path:
    tables = {**_starter_tables, "policy": _starter_tables["policy"].iloc[:-1]}
    folder = tmp_path_factory.mktemp("older")
    return build_bundle(tables, folder, created_at=datetime(2020, 1, 2, tzinfo=UTC), compression_level=1).path


def objects(store: GcsBundleStore) -> dict[str, int]:
    """Generation of every object of the bucket by name: it changes if an object is replaced."""
    bucket = store.location.removeprefix("gs://").split("/")[0]
    return {blob.name: blob.generation for blob in storage.Client(project="test").list_blobs(bucket)}


def replace(store: GcsBundleStore, version: str, name: str, content: bytes) -> None:
    bucket, prefix = store.location.removeprefix("gs://").split("/")
    storage.Client(project="test").bucket(bucket).blob(f"{prefix}/{version}/{name}").upload_from_string(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES}


def test_what_is_published_comes_back_byte_for_byte(store, bundle, here):
    assert store.sealed() == ()
    assert store.publish(bundle)
    assert store.sealed() == (bundle.name,)
    assert store.sealed(after=bundle.name) == ()
    copy = sync_bundle(store, bundle.name, here)
    assert (copy.path, copy.reused) == (here / bundle.name, False)
    assert contents(copy.path) == contents(bundle)
    assert sorted(contents(copy.path)) == sorted(FILES)
    assert sync_bundle(store, bundle.name, here).reused


def test_publishing_again_changes_nothing(store, bundle):
    store.publish(bundle)
    before = objects(store)
    assert len(before) == len(FILES)
    assert not store.publish(bundle)
    assert objects(store) == before


def test_eight_publishers_yield_one_bundle(store, bundle, here):
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: GcsBundleStore(store.location).publish(bundle), range(8)))
    assert sealed.count(True) == 1
    assert len(objects(store)) == len(FILES)
    assert verify_bundle(sync_bundle(store, bundle.name, here).path) == verify_bundle(bundle)


def test_a_broken_bundle_is_not_published(store, bundle):
    flip_byte(bundle / "policy.parquet")
    with pytest.raises(BundleError, match=r"policy\.parquet"):
        store.publish(bundle)
    assert objects(store) == {}


def test_other_bytes_under_the_same_name_are_never_replaced(store, bundle):
    replace(store, bundle.name, "policy.parquet", b"another publisher's")
    with pytest.raises(BundleError, match="never replaced"):
        store.publish(bundle)
    assert store.read(bundle.name, "policy.parquet") == b"another publisher's"
    assert store.sealed() == ()


@pytest.mark.parametrize("files", [0, 1, len(FILES) - 2, len(FILES) - 1])
def test_an_interrupted_upload_is_absent_and_goes_on(store, bundle, here, files):
    with pytest.raises(Interrupted):
        StopsAfter(store.location, files).publish(bundle)
    assert store.sealed() == ()
    before = objects(store)
    assert len(before) == files
    assert store.publish(bundle)
    assert before.items() <= objects(store).items()
    assert contents(sync_bundle(store, bundle.name, here).path) == contents(bundle)


@pytest.mark.parametrize("files", [0, 1, 2, 5, len(FILES) - 1])
def test_an_interrupted_copy_is_absent_and_goes_on(store, bundle, here, files):
    store.publish(bundle)
    with pytest.raises(Interrupted):
        sync_bundle(first := StopsAfter(store.location, files), bundle.name, here)
    assert not (here / bundle.name).exists()
    again = StopsAfter(store.location)
    assert contents(sync_bundle(again, bundle.name, here).path) == contents(bundle)
    tables = [name for name in again.names if name not in (MANIFEST_FILE, SUCCESS_FILE)]
    assert not set(tables) & set(first.names)
    assert [path.name for path in here.iterdir() if path.is_dir()] == [bundle.name]


def test_a_staged_file_that_was_altered_is_copied_again(store, bundle, here):
    store.publish(bundle)
    with pytest.raises(Interrupted):
        sync_bundle(StopsAfter(store.location, 4), bundle.name, here)
    flip_byte(next((here / f".syncing-{bundle.name}").glob("*.parquet")))
    assert contents(sync_bundle(store, bundle.name, here).path) == contents(bundle)


@pytest.mark.parametrize("name", ["policy.parquet", MANIFEST_FILE])
def test_an_altered_file_in_the_bucket_is_refused_by_name(store, bundle, here, name):
    store.publish(bundle)
    altered = bytearray(store.read(bundle.name, name))
    altered[len(altered) // 2] ^= 1
    replace(store, bundle.name, name, bytes(altered))
    with pytest.raises(BundleError, match=f"{bundle.name}/{name}"):
        sync_bundle(store, bundle.name, here)
    assert not (here / bundle.name).exists()


def test_rows_are_verified_before_a_copy_counts(store, bundle, here, rewrite: Callable):
    """Hashes fit, a key is not unique: the rule about rows refuses it, and the staging folder goes."""
    rewrite(bundle, "policy", lambda table: table.take([0, *range(table.num_rows - 1)]))
    for file in bundle.iterdir():
        replace(store, version := verify_version(bundle), file.name, file.read_bytes())
    with pytest.raises(BundleError, match=r"policy\.parquet"):
        sync_bundle(store, version, here)
    assert not [path for path in here.iterdir() if path.is_dir()]


def verify_version(bundle: Path) -> str:
    from cbi_pipeline.bundle.read import read_manifest

    return read_manifest(bundle).dataset_version


def test_a_broken_local_copy_is_moved_aside_and_copied_again(store, bundle, here):
    store.publish(bundle)
    copy = sync_bundle(store, bundle.name, here).path
    flip_byte(copy / "policy.parquet")
    broken = contents(copy)
    assert not sync_bundle(store, bundle.name, here).reused
    assert contents(copy) == contents(bundle)
    assert contents(here / f".broken-0-{bundle.name}") == broken


def test_the_newest_sound_bundle_is_used_and_a_broken_one_is_named(store, bundle, older_bundle, tmp_path):
    store.publish(older_bundle)
    store.publish(bundle)
    assert store.sealed() == (older_bundle.name, bundle.name)
    assert sync_newest(store, tmp_path / "one")[0].path.name == bundle.name
    replace(store, bundle.name, "policy.parquet", b"cut")
    settings = new_project(tmp_path / "project", bundle_uri=store.location)
    found = find_remote_bundle(settings)
    assert (found.path.name, found.origin) == (older_bundle.name, "built")
    assert store.location in found.why
    assert f"Passed over bundle {bundle.name}" in found.why
    with pytest.raises(BundleError, match="policy"):
        find_remote_bundle(settings, bundle.name)


def test_an_empty_bucket_is_an_error_and_no_reason_for_the_starter(store, tmp_path):
    with pytest.raises(BundleError, match="no sound bundle"):
        find_remote_bundle(new_project(tmp_path / "project", bundle_uri=store.location))


@pytest.mark.parametrize("version", ["../elsewhere", "20250101T000000Z-00000000/..", ""])
def test_a_version_cannot_leave_the_folder(store, here, version):
    with pytest.raises(BundleError, match="no dataset_version"):
        sync_bundle(store, version, here)
    assert not here.exists()


def test_a_missing_bucket_is_one_clear_error(store):
    with pytest.raises(StoreError, match="404 NotFound") as refusal:
        GcsBundleStore("gs://no-such-bucket/cbi").sealed()
    assert "CBI_BUNDLE_URI" in refusal.value.fix


def test_a_store_that_does_not_answer_ends_in_one_clear_error(store, bundle, here, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    silent = GcsBundleStore(store.location, retry_seconds=0.5)
    for attempt in (silent.sealed, lambda: silent.publish(bundle), lambda: sync_bundle(silent, bundle.name, here)):
        with pytest.raises(StoreError, match="no whole answer"):
            attempt()
    assert not (here / bundle.name).exists()
    shutil.rmtree(here)


def test_half_a_file_of_a_killed_copy_is_no_obstacle(store: GcsBundleStore, bundle: Path, here: Path) -> None:
    """Killed between writing a file and renaming it; the process id in its name may be another process's by now."""
    store.publish(bundle)
    staging = here / f".syncing-{bundle.name}"
    staging.mkdir(parents=True)
    (staging / ".unfinished-1-0123abcd").write_bytes(b"half")
    assert sync_bundle(store, bundle.name, here).path == here / bundle.name
    assert not staging.exists()
