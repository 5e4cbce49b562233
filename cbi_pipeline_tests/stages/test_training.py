from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cbi_pipeline import stages
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.contracts.references import FailedCellRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.benchmarks import market_from
from cbi_pipeline.features.catalogue import FEATURE_NAMES
from cbi_pipeline.modeling import training
from cbi_pipeline.modeling.config import TARGETS
from cbi_pipeline.modeling.networks import load_ensemble
from cbi_pipeline.modeling.volatility import density_sigma, state_at
from cbi_pipeline.stages.cell_inputs import cell_inputs, only_features
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.folds import load_market, load_scaler
from cbi_pipeline.stages.training import (
    cell_record,
    load_config,
    load_forecasts,
    load_member_medians,
    load_raw,
    load_residuals,
    load_weights,
)
from cbi_pipeline_tests.projects import flip_byte


def content_of(cell) -> dict[str, bytes]:
    """What a cell learned and forecasts; its record has wall-clock times beside it."""
    return {
        name: (cell.path / name).read_bytes()
        for name in ("anchored.safetensors", "raw.safetensors", "forecasts.parquet")
    }


def histories_of(cell):
    """Best epoch and losses by epoch of every member for both targets."""
    targets = cell_record(cell)["targets"]
    return {name: [(m["best_epoch"], m["history"]) for m in own["members"]] for name, own in targets.items()}


@pytest.fixture
def counted(monkeypatch):
    """Counts trainings (of one target each); `stop_at` makes that one end as an interrupted process does."""
    real = training.train_cell
    calls = {"n": 0, "stop_at": 0}

    def train_cell(*arguments, **named):
        calls["n"] += 1
        if calls["n"] == calls["stop_at"]:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(training, "train_cell", train_cell)
    return calls


# --- a cell --------------------------------------------------------------------------------------------------------


def test_a_cell_holds_both_targets_and_all_members(lineage):
    for cell in lineage.cells.values():
        assert cell.members == 2
        assert {target: len(epochs) for target, epochs in cell.best_epochs.items()} == {"anchored": 2, "raw": 2}
        record = cell_record(cell)
        assert (record["device"], record["torch"]) == ("cpu", torch.__version__)
        for target in TARGETS:
            config = load_config(cell, target)
            assert config.network.spread_inputs == FEATURE_NAMES
            assert config.network.residual_bound == (None if target == "raw" else 0.35)
            ensemble = load_ensemble(config, load_weights(cell, target))
            assert sum(p.numel() for p in ensemble.members[0].parameters()) == cell.n_parameters
            own = record["targets"][target]["members"]
            assert [member["seed"] for member in own] == [1, 2]
            assert [member["best_epoch"] for member in own] == list(cell.best_epochs[target])
            assert [epoch["epoch"] for epoch in own[0]["history"]][:2] == [0, 1]
            assert own[0]["history"][1]["train_loss"] != own[1]["history"][1]["train_loss"]
            for best, medians in zip(cell.best_epochs[target], load_member_medians(cell, target), strict=True):
                assert (medians == 0).all(axis=None) == (best == 0)
    assert any(max(cell.best_epochs["anchored"]) for cell in lineage.cells.values()), "every network is still untrained"


def test_a_cell_forecasts_every_session_of_its_test_span(lineage, starter_features):
    for cell in lineage.cells.values():
        fold = next(fold for fold in lineage.anchors.folds if fold.name == cell.fold)
        expected = starter_features.loc[pd.Timestamp(fold.test_start) : pd.Timestamp(fold.test_end)].index
        rows = load_forecasts(cell)
        assert len(rows) == 2 * 2 * len(expected) * 4
        assert rows.notna().all(axis=None)
        assert (rows[[f"offset_{name}" for name in QUANTILE_COLUMNS]].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
        assert (rows["offset_q50"] == 0).all()
        for load in (load_residuals, load_raw):
            medians = load(cell)
            assert medians.index.equals(expected)
            assert list(medians.columns) == [3, 6, 9, 12]
        assert load_residuals(cell).abs().to_numpy().max() <= 0.35


def test_stored_forecasts_are_those_of_the_stored_weights(lineage):
    """Within float32 rounding: a row alone goes through other kernels than a row of a batch."""
    cell, fold = lineage.cells["nbeatsx|fold_2"], lineage.anchors.folds[1]
    frame, market = load_features(lineage.features), load_market(lineage.anchors)
    for target, load in (("anchored", load_residuals), ("raw", load_raw)):
        given = cell_inputs(frame, fold, market, load_scaler(lineage.scalers, fold), target)
        asked = given.prediction_rows[[0, 100, -1]]
        weights = load_weights(cell, target)
        inputs = (given.features, given.feature_names, given.calendar, asked)
        forecast = training.reference_forecast(load_config(cell, target), weights, *inputs)
        stored = load(cell).loc[frame.index[asked]]
        assert stored.abs().to_numpy().max() > 0
        np.testing.assert_allclose(stored, forecast.median, atol=1e-5)


def test_the_mean_of_the_members_is_what_is_added_to_the_anchor(lineage):
    cell = lineage.cells["tcn|fold_2"]
    for target, load in (("anchored", load_residuals), ("raw", load_raw)):
        members = np.stack([own.to_numpy() for own in load_member_medians(cell, target)])
        np.testing.assert_allclose(load(cell), members.mean(axis=0), rtol=1e-12)


# --- what is trained, and what is not ------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(lineage, other_store, counted):
    counted["stop_at"] = 4  # the raw target of the second cell
    with pytest.raises(KeyboardInterrupt):
        lineage.train(other_store)
    assert len(list((other_store.root / "cells").iterdir())) == 1
    counted.update(n=0, stop_at=0)
    resumed = lineage.train(other_store)
    assert counted["n"] == 2 * 3
    assert [cell.reused for cell in resumed] == [True, False, False, False]
    for one, two in zip(resumed, lineage.cells.values(), strict=True):
        assert one.key == two.key
        assert one.path != two.path
        assert content_of(one) == content_of(two)
        assert histories_of(one) == histories_of(two)


def test_what_is_trained_already_is_found(lineage, counted):
    again = lineage.train(lineage.store)
    assert counted["n"] == 0
    assert again == [cell.model_copy(update={"reused": True}) for cell in lineage.cells.values()]


def test_another_seed_is_another_network(lineage, other_store):
    (other,) = lineage.train(other_store, [("tcn", "fold_1")], seed=3)
    same = lineage.cells["tcn|fold_1"]
    assert other.key != same.key
    for target, members in histories_of(other).items():
        assert all(history not in histories_of(same)[target] for history in members)


def test_an_altered_cell_is_refused_and_trained_again(lineage, other_store, counted):
    (cell,) = lineage.train(other_store, [("tcn", "fold_1")])
    before = content_of(cell)
    flip_byte(cell.path / "raw.safetensors")
    for load in (load_weights, load_residuals, load_raw, cell_record):
        with pytest.raises(ModelError, match="altered"):
            load(cell)
    (again,) = lineage.train(other_store, [("tcn", "fold_1")])
    assert (again.reused, counted["n"]) == (False, 4)
    assert content_of(again) == before


def test_a_cell_whose_loss_is_no_number_is_recorded_and_the_others_go_on(lineage, other_store, monkeypatch):
    """The learning rate of one architecture is out of all bounds: its weights overflow in the first epoch."""
    run = lineage.run(other_store)
    config = type(run).config

    def broken(self, architecture, target):
        own = config(self, architecture, target)
        wild = own.fit.model_copy(update={"learning_rate": 1e30})
        return own.model_copy(update={"fit": wild}) if architecture == "tcn" else own

    monkeypatch.setattr(type(run), "config", broken)
    told = []
    failed, trained = stages.train_cells([("tcn", "fold_1"), ("nbeatsx", "fold_1")], run, on_cell=told.append)
    assert told == [failed, trained]
    assert isinstance(failed, FailedCellRef)
    assert (failed.architecture, failed.fold, failed.features_key) == ("tcn", "fold_1", lineage.features.key)
    assert failed.reason.startswith("cell tcn, fold_1, anchored")
    assert "nan" in failed.reason or "inf" in failed.reason
    assert trained.key == lineage.cells["nbeatsx|fold_1"].key
    assert [path.name for path in (other_store.root / "cells").iterdir()] == [trained.path.name]


def test_damaged_inputs_stop_the_run_instead_of_failing_every_cell(lineage, other_store):
    gone = lineage.anchors.model_copy(update={"path": other_store.root / "gone"})
    run = replace(lineage.run(other_store), anchors=gone)
    with pytest.raises(ModelError, match="missing or was altered"):
        stages.train_cells([("tcn", "fold_1")], run)


# --- what a cell learns from ---------------------------------------------------------------------------------------


def test_no_label_of_a_part_is_known_only_after_the_next_begins(lineage):
    frame, market = load_features(lineage.features), load_market(lineage.anchors)
    for fold in lineage.anchors.folds:
        cell = cell_inputs(frame, fold, market, load_scaler(lineage.scalers, fold), "anchored")
        known_on = market.targets.loc[frame.index, [3, 6, 9, 12]].to_numpy("datetime64[ns]")
        assert known_on[cell.train_mask].max() < np.datetime64(fold.validation_start)
        assert known_on[cell.validation_mask].max() < np.datetime64(fold.test_start)
        assert cell.train_mask.any(axis=0).all()
        assert cell.validation_mask.any(axis=0).all()


@pytest.mark.parametrize("target", TARGETS)
def test_targets_of_a_fold_hang_on_nothing_after_its_test_start(lineage, target):
    """Prices that come later may be anything: the targets of used rows do not move."""
    frame, market, fold = load_features(lineage.features), load_market(lineage.anchors), lineage.anchors.folds[0]
    drivers = load_scaler(lineage.scalers, fold)
    clean = cell_inputs(frame, fold, market, drivers, target)
    later = market.front.index >= pd.Timestamp(fold.test_start)
    changed = market_from(market.front.where(~later, market.front * 3.0), market.inputs, market.state)
    other = cell_inputs(frame, fold, changed, drivers, target)
    used = clean.train_mask | clean.validation_mask
    assert np.array_equal(clean.targets[used], other.targets[used], equal_nan=True)
    assert not np.array_equal(clean.targets, other.targets, equal_nan=True)
    for name in ("base", "sigma", "density_ratio"):
        assert np.array_equal(getattr(clean, name), getattr(other, name), equal_nan=True), name


def test_base_plus_target_is_the_realised_return_in_units_of_sigma(lineage):
    frame, market, fold = load_features(lineage.features), load_market(lineage.anchors), lineage.anchors.folds[0]
    anchored, raw = (cell_inputs(frame, fold, market, load_scaler(lineage.scalers, fold), target) for target in TARGETS)
    row = frame.index.get_loc(pd.Timestamp("2019-05-15"))
    for h, months in enumerate((3, 6, 9, 12)):
        day = market.targets.loc["2019-05-15", months]
        realised = np.log(market.front[day] / market.front["2019-05-15"]) / raw.sigma[row, h]
        assert raw.base[row, h] == 0
        assert anchored.base[row, h] != 0
        for cell in (anchored, raw):
            assert cell.base[row, h] + cell.targets[row, h] == pytest.approx(realised)
            assert frame.index[cell.label_end[row, h]] == day
            assert cell.label_end[-1, h] == -1
            assert cell.calendar[row, 1 + h] == pytest.approx(2 * np.pi * (day.dayofyear - 1) / 365.25)
    spread = density_sigma(state_at(market.state, frame.index[[row]]))[[3, 6, 9, 12]].to_numpy()
    np.testing.assert_allclose(raw.density_ratio[[row]] * raw.sigma[[row]], spread)


def test_a_network_that_is_given_some_features_sees_no_other(lineage):
    frame, market, fold = load_features(lineage.features), load_market(lineage.anchors), lineage.anchors.folds[0]
    cell = cell_inputs(frame, fold, market, load_scaler(lineage.scalers, fold), "anchored")
    few = only_features(cell, ("RSI_14", "close"))
    columns = [FEATURE_NAMES.index("RSI_14"), FEATURE_NAMES.index("close")]
    assert few.feature_names == ("RSI_14", "close")
    assert np.array_equal(few.features, cell.features[:, columns], equal_nan=True)
