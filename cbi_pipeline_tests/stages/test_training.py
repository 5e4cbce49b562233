from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.benchmarks import market_from
from cbi_pipeline.modeling import training
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.folds import load_market, load_scaler
from cbi_pipeline.stages.training import cell_inputs, load_residuals, load_weights
from cbi_pipeline_tests.projects import flip_byte


def weights_of(cell) -> bytes:
    return (cell.path / "weights.safetensors").read_bytes()


@pytest.fixture
def counted(monkeypatch):
    """Counts trainings; `stop_at` makes that one end as a killed process does."""
    real = training.train_cell
    calls = {"n": 0, "stop_at": 0}

    def train_cell(*arguments, **named):
        calls["n"] += 1
        if calls["n"] == calls["stop_at"]:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(training, "train_cell", train_cell)
    return calls


def test_a_killed_run_goes_on_where_it_stopped(lineage, other_store, counted):
    counted["stop_at"] = 2
    with pytest.raises(KeyboardInterrupt):
        lineage.train(other_store)
    assert len(list((other_store.root / "cells").iterdir())) == 1
    counted.update(n=0, stop_at=0)
    resumed = lineage.train(other_store)
    assert counted["n"] == 1
    assert [cell.reused for cell in resumed] == [True, False]
    undisturbed = list(lineage.cells.values())
    assert [cell.key for cell in resumed] == [cell.key for cell in undisturbed]
    for one, two in zip(resumed, undisturbed, strict=True):
        assert one.path != two.path
        assert weights_of(one) == weights_of(two)
        assert load_residuals(one).equals(load_residuals(two))


def test_what_is_trained_already_is_found(lineage, counted):
    again = lineage.train(lineage.store)
    assert counted["n"] == 0
    assert all(cell.reused for cell in again)
    assert [cell.key for cell in again] == [cell.key for cell in lineage.cells.values()]


def test_another_seed_is_another_network(lineage, other_store):
    (other,) = lineage.train(other_store, [("tcn", "fold_1")], seed=2)
    same = lineage.cells["tcn|fold_1"]
    assert other.key != same.key
    assert other.path.joinpath("cell.json").read_text() != same.path.joinpath("cell.json").read_text()


def test_an_altered_cell_is_refused_and_trained_again(lineage, other_store, counted):
    (cell,) = lineage.train(other_store, [("tcn", "fold_1")])
    before = weights_of(cell)
    flip_byte(cell.path / "weights.safetensors")
    for load in (load_weights, load_residuals):
        with pytest.raises(ModelError, match="altered"):
            load(cell)
    (again,) = lineage.train(other_store, [("tcn", "fold_1")])
    assert (again.reused, counted["n"]) == (False, 2)
    assert weights_of(again) == before


def test_a_cell_forecasts_every_session_of_its_test_span(lineage, starter_features):
    for cell, fold in zip(lineage.cells.values(), lineage.anchors.folds, strict=True):
        residuals = load_residuals(cell)
        expected = starter_features.loc[pd.Timestamp(fold.test_start) : pd.Timestamp(fold.test_end)].index
        assert residuals.index.equals(expected)
        assert list(residuals.columns) == [3, 6, 9, 12]
        assert residuals.notna().all(axis=None)
        assert residuals.abs().to_numpy().max() <= get_profile("smoke").training.residual_bound


def test_no_label_of_a_part_is_known_only_after_the_next_begins(lineage):
    frame, market = load_features(lineage.features), load_market(lineage.anchors)
    for fold in lineage.anchors.folds:
        cell = cell_inputs(frame, fold, market, load_scaler(lineage.scalers, fold))
        known_on = market.targets.loc[frame.index, [3, 6, 9, 12]].to_numpy("datetime64[ns]")
        assert known_on[cell.train_mask].max() < np.datetime64(fold.validation_start)
        assert known_on[cell.validation_mask].max() < np.datetime64(fold.test_start)
        assert cell.train_mask.any(axis=0).all()
        assert cell.validation_mask.any(axis=0).all()


def test_targets_of_a_fold_hang_on_nothing_after_its_test_start(lineage):
    """Prices that come later may be anything: the targets of used rows do not move."""
    frame, market, fold = load_features(lineage.features), load_market(lineage.anchors), lineage.anchors.folds[0]
    drivers = load_scaler(lineage.scalers, fold)
    clean = cell_inputs(frame, fold, market, drivers)
    later = market.front.index >= pd.Timestamp(fold.test_start)
    changed = market_from(market.front.where(~later, market.front * 3.0), market.inputs, market.state)
    other = cell_inputs(frame, fold, changed, drivers)
    used = clean.train_mask | clean.validation_mask
    assert np.array_equal(clean.targets[used], other.targets[used], equal_nan=True)
    assert not np.array_equal(clean.targets, other.targets, equal_nan=True)
