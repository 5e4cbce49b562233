from __future__ import annotations

import shutil

import pytest

from cbi_pipeline import stages
from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.features.catalogue import FEATURE_NAMES
from cbi_pipeline.stages.features import load_features
from cbi_pipeline_tests.projects import flip_byte


def test_the_stored_frame_is_what_the_pure_function_gives(lineage, starter_features):
    assert load_features(lineage.features).equals(starter_features)
    assert lineage.features.rows == len(starter_features)
    assert str(lineage.features.last_date) == "2024-12-31"


def test_the_same_tables_are_not_computed_twice(lineage):
    again, availability = stages.build_curated_features(tuple(lineage.raw.values()), lineage.store)
    assert again == lineage.features.model_copy(update={"reused": True})
    assert [record["feature"] for record in availability] == list(FEATURE_NAMES)


def test_an_altered_frame_is_refused_and_computed_again(lineage, other_store):
    shutil.copytree(lineage.store.root / "features", other_store.root / "features")
    raw = tuple(lineage.raw.values())
    reference, _ = stages.build_curated_features(raw, other_store)
    assert reference.reused
    file = reference.path / "features.parquet"
    before = file.read_bytes()
    flip_byte(file)
    with pytest.raises(ModelError, match="altered"):
        load_features(reference)
    again, _ = stages.build_curated_features(raw, other_store)
    assert not again.reused
    assert file.read_bytes() == before


def test_features_of_another_catalogue_are_refused(lineage):
    with pytest.raises(FeatureError, match="not those of this version"):
        load_features(lineage.features.model_copy(update={"feature_hash": "0" * 64}))
