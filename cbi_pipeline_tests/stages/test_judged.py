"""Bundles judged before: the rules are asked once about the same bytes, and never less than the bytes are checked."""

from __future__ import annotations

import shutil

import pytest

from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.errors import BundleError
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages import judged
from cbi_pipeline.stages.judged import JudgedBundles
from cbi_pipeline_tests.projects import flip_byte


@pytest.fixture
def asked(monkeypatch):
    """The bundles about which the rules were asked."""
    folders = []

    def recorded(bundle, manifest, contents):
        folders.append(bundle)
        return _judge_rows(bundle, manifest, contents)

    _judge_rows = judged.judge_rows
    monkeypatch.setattr(judged, "judge_rows", recorded)
    return folders


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def bundle(starter_dir, tmp_path):
    return shutil.copytree(starter_dir, tmp_path / "bundle")


def test_the_rules_are_asked_once_about_the_same_bytes_wherever_they_lie(
    bundle, starter_dir, starter_tables, store, asked
):
    manifest = JudgedBundles(store).verify(bundle)
    assert manifest == read_manifest(bundle)
    again = JudgedBundles(store)  # as another process would
    assert again.verify(starter_dir) == manifest
    assert again.warnings(starter_dir, manifest) == judge(starter_tables).warnings
    assert asked == [bundle]


def test_a_byte_that_changes_afterwards_is_found(bundle, store):
    JudgedBundles(store).verify(bundle)
    flip_byte(bundle / "policy.parquet")
    with pytest.raises(BundleError, match=r"policy\.parquet.*altered"):
        JudgedBundles(store).verify(bundle)


def test_a_file_that_appears_afterwards_is_found(bundle, store):
    JudgedBundles(store).verify(bundle)
    (bundle / "more.parquet").touch()
    with pytest.raises(BundleError, match=r"more\.parquet"):
        JudgedBundles(store).verify(bundle)


def test_other_code_and_an_altered_record_ask_again(bundle, store, asked, monkeypatch):
    JudgedBundles(store).verify(bundle)
    monkeypatch.setattr(judged, "source_hash", lambda: "of other code")
    JudgedBundles(store).verify(bundle)
    assert len(asked) == 2
    for record in store.root.rglob("warnings.json"):
        record.write_text("[]")
    assert JudgedBundles(store).warnings(bundle, read_manifest(bundle))
    assert len(asked) == 3


def test_a_refusal_is_not_kept(bundle, store, monkeypatch):
    monkeypatch.setattr("cbi_pipeline.bundle.verify.read_manifest", lambda _: _changed(bundle))
    for _ in range(2):
        with pytest.raises(BundleError, match="window"):
            JudgedBundles(store).verify(bundle)
    assert not list(store.root.rglob("artifact.json"))


def _changed(bundle):
    manifest = read_manifest(bundle)
    window = manifest.window.model_copy(update={"first_trade_date": manifest.window.last_trade_date})
    return manifest.model_copy(update={"window": window})
