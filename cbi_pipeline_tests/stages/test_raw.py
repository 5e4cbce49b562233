from __future__ import annotations

import shutil

import pytest

from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.errors import BundleError
from cbi_pipeline.stages.raw import content_of, load_raw_tables
from cbi_pipeline_tests.projects import flip_byte


def test_references_repeat_the_manifest(lineage, starter_dir):
    manifest = read_manifest(starter_dir)
    assert set(lineage.raw) == set(manifest.tables)
    for name, reference in lineage.raw.items():
        assert reference.table == name
        assert reference.sha256 == manifest.tables[name].sha256
        assert reference.rows == manifest.tables[name].rows
        assert reference.origin == "starter"
        assert reference.dataset_version == manifest.dataset_version


def test_tables_are_loaded_as_the_bundle_holds_them(lineage, starter_tables):
    loaded = load_raw_tables(lineage.raw.values())
    assert set(loaded) == set(starter_tables)
    for name, table in loaded.items():
        assert table.equals(starter_tables[name]), name


def test_what_a_reader_does_to_a_table_stays_with_that_reader(lineage):
    one = load_raw_tables([lineage.raw["policy"]])["policy"]
    one["value"] = -1.0
    assert (load_raw_tables([lineage.raw["policy"]])["policy"]["value"] != -1.0).all()


def test_tables_of_two_bundles_do_not_mix(lineage):
    other = lineage.raw["policy"].model_copy(update={"dataset_version": "20250101T000000Z-00000000"})
    with pytest.raises(BundleError, match="different bundles"):
        load_raw_tables([lineage.raw["cot_weekly"], other])


def test_a_bundle_that_was_replaced_since_is_refused(lineage):
    reference = lineage.raw["policy"].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(BundleError, match="not the one that was verified"):
        load_raw_tables([reference])


def test_a_table_that_was_altered_since_is_refused(lineage, starter_dir, tmp_path):
    shutil.copytree(starter_dir, tmp_path / "bundle")
    flip_byte(tmp_path / "bundle" / "policy.parquet")
    reference = lineage.raw["policy"].model_copy(update={"bundle_path": tmp_path / "bundle"})
    with pytest.raises(BundleError, match=r"policy\.parquet"):
        load_raw_tables([reference])


def test_content_does_not_hang_on_where_the_bundle_lies(lineage, tmp_path):
    moved = [r.model_copy(update={"bundle_path": tmp_path, "dataset_version": "x"}) for r in lineage.raw.values()]
    assert content_of(moved) == content_of(lineage.raw.values())
    assert len(set(content_of(moved).values())) == 7
