from __future__ import annotations

import shutil

import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.evaluation.benchmarks import fold_anchor, prepare_market
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.folds import cut_folds, fold_named, load_anchor, load_market, load_scaler
from cbi_pipeline_tests.projects import flip_byte


@pytest.fixture(scope="module")
def market(_starter_tables):
    return prepare_market(_starter_tables)


def folds_of(lineage):
    return (*lineage.anchors.folds, lineage.anchors.serving)


def test_there_are_as_many_folds_as_the_profile_wants_and_one_that_serves(lineage, starter_features):
    assert [fold.name for fold in folds_of(lineage)] == ["fold_1", "fold_2", "serving"]
    assert set(lineage.anchors.sha256_by_fold) == set(lineage.scalers.sha256_by_fold) == {"fold_1", "fold_2", "serving"}
    assert pd.Timestamp(lineage.anchors.serving.test_start) == starter_features.index[-1]
    assert fold_named(lineage.anchors, "serving").test_end is None


def test_the_stored_market_is_what_the_pure_function_gives(lineage, market):
    stored = load_market(lineage.anchors)
    for name in ("front", "inputs", "state", "targets", "outcome"):
        one, two = getattr(stored, name), getattr(market, name)
        assert one.equals(two), name


def test_anchors_are_fitted_at_their_fold_start(lineage, market):
    fits = [load_anchor(lineage.anchors, fold) for fold in folds_of(lineage)]
    assert fits == [fold_anchor(market, fold) for fold in folds_of(lineage)]
    assert len({fit.model_dump_json() for fit in fits}) == 3


def test_scalers_are_fitted_on_the_training_part(lineage, starter_features):
    for fold in folds_of(lineage):
        drivers = load_scaler(lineage.scalers, fold)
        expected = fit_driver_set(starter_features, fold.train_start, fold.train_end)
        assert (drivers.train_start, drivers.train_end) == (fold.train_start, fold.train_end)
        assert (drivers.transform(starter_features) == expected.transform(starter_features))[-1].any()
        assert (drivers.center == expected.center).all()


def test_other_folds_are_another_artifact(lineage):
    again, _ = stages.fit_anchors(lineage.features, lineage.market_tables, lineage.profile, lineage.store)
    assert again.reused
    assert again.key == lineage.anchors.key
    one_fold, _ = stages.fit_anchors(lineage.features, lineage.market_tables, get_profile("smoke"), lineage.store)
    assert one_fold.key != lineage.anchors.key


def test_folds_of_the_full_profile_are_twelve_years_that_train_from_the_first_session(starter_features):
    folds, serving = cut_folds(starter_features.index, get_profile("full"))
    assert [fold.name for fold in folds] == list(get_profile("full").fold_names)
    assert {pd.Timestamp(fold.train_start) for fold in (*folds, serving)} == {starter_features.index[0]}
    assert pd.Timestamp(serving.test_start) == starter_features.index[-1]
    rolling, of_quick = cut_folds(starter_features.index, get_profile("quick"))
    assert len(rolling) == 5
    assert of_quick.train_start > serving.train_start


def test_an_altered_anchor_is_refused(lineage, tmp_path):
    folder = tmp_path / "anchor"
    shutil.copytree(lineage.anchors.path, folder)
    altered = lineage.anchors.model_copy(update={"path": folder})
    flip_byte(folder / "fold_1.json")
    with pytest.raises(ModelError, match="altered"):
        load_anchor(altered, lineage.anchors.folds[0])
    with pytest.raises(ModelError, match="altered"):
        load_market(altered)


def test_an_altered_scaler_is_refused_before_it_is_unpickled(lineage, tmp_path):
    folder = tmp_path / "scaler"
    shutil.copytree(lineage.scalers.path, folder)
    flip_byte(folder / "fold_1" / "driver_set.joblib")
    with pytest.raises(FeatureError, match="it was not read"):
        load_scaler(lineage.scalers.model_copy(update={"path": folder}), lineage.scalers.folds[0])
