"""What is listed of a bucket: finished and unfinished bundles, and what is wrong with each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.cloud import storage

from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.listing import HERE, STARTER, local_bundles, remote_bundles
from cbi_pipeline.contracts.manifest import SUCCESS_FILE


@pytest.fixture
def published(bundle_uri: str, bundle: Path) -> GcsBundleStore:
    store = GcsBundleStore(bundle_uri)
    store.publish(bundle)
    return store


def blob(store: GcsBundleStore, version: str, name: str) -> storage.Blob:
    bucket, prefix = store.location.removeprefix("gs://").split("/")
    return storage.Client(project="test").bucket(bucket).blob(f"{prefix}/{version}/{name}")


def test_a_sound_bundle_is_listed_with_what_it_holds(published: GcsBundleStore, bundle: Path) -> None:
    (one,) = remote_bundles(published)
    assert (one.version, one.where, one.problem) == (bundle.name, published.location, None)
    assert one.rows == 367_201
    assert one.bytes == sum(file.stat().st_size for file in bundle.glob("*.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (SUCCESS_FILE, None, "unfinished"),
        ("policy.parquet", None, "it has none"),
        ("policy.parquet", b"half", "it has 4"),
        ("manifest.json", b"{}", "sha256"),
    ],
)
def test_a_bundle_that_is_not_sound_says_why(
    published: GcsBundleStore, bundle: Path, name: str, content: bytes | None, problem: str
) -> None:
    file = blob(published, bundle.name, name)
    file.delete()
    if content is not None:
        file.upload_from_string(content)
    (one,) = remote_bundles(published)
    assert one.manifest is None
    assert problem in str(one.problem)


def test_local_bundles_and_the_starter(bundle: Path, store_dir: Path, starter_dir: Path, tmp_path: Path) -> None:
    broken = store_dir / "20200101T000000Z-00000000"
    shutil.copytree(bundle, broken)
    (broken / SUCCESS_FILE).unlink()
    found = local_bundles(store_dir, starter_dir)
    assert [(one.where, one.problem is None) for one in found] == [(HERE, True), (HERE, False), (STARTER, True)]
    assert SUCCESS_FILE in str(found[1].problem)
    assert local_bundles(store_dir, tmp_path)[-1].problem is not None
