from __future__ import annotations

import pytest

from cbi_pipeline import stages
from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.features.catalogue import FEATURE_NAMES
from cbi_pipeline.registry.artifacts import load_model
from cbi_pipeline.stages.selection import load_lock
from cbi_pipeline_tests.projects import flip_byte


def select(lineage, store=None, **changes):
    own = {"features": lineage.features, "anchors": lineage.anchors, "scalers": lineage.scalers, "cells": lineage.cells}
    return stages.select_chosen_features(
        **{**own, **changes}, profile=lineage.profile, seed=1, store=store or lineage.store
    )


def test_thirty_to_sixty_are_chosen_in_catalogue_order_with_all_that_the_network_reads(lineage):
    chosen = lineage.selection.chosen
    assert 30 <= len(chosen) <= 60
    assert chosen == tuple(name for name in FEATURE_NAMES if name in chosen)
    assert set(lineage.profile.training.mean_path_inputs) <= set(chosen)
    assert load_lock(lineage.selection).hash == lineage.selection.selected_hash


def test_the_record_says_why_for_every_feature_and_ranks_them_in_every_fold(lineage):
    record = stages.selection_record(lineage.selection)
    assert [row["feature"] for row in record["decisions"]] == list(FEATURE_NAMES)
    kept = {row["feature"] for row in record["decisions"] if row["decision"] != "left out"}
    assert kept == set(lineage.selection.chosen)
    assert list(record["ranks"]) == ["fold_1", "fold_2"]
    assert all(len(rows) == len(FEATURE_NAMES) for rows in record["ranks"].values())
    assert set(record["networks"]) == {"tcn|fold_1", "tcn|fold_2"}
    for values in record["networks"].values():
        assert list(values) == list(lineage.profile.training.mean_path_inputs)
    required = {row["feature"] for row in record["decisions"] if row["decision"] == "required by the network"}
    assert set(record["lock"]["required_by_network"]) == required


def test_the_same_inputs_give_the_same_bytes_and_are_found_again(lineage, other_store):
    assert select(lineage).reused
    again = select(lineage, other_store)
    assert not again.reused
    assert again.key == lineage.selection.key
    for name in ("selection.json",):
        assert (again.path / name).read_bytes() == (lineage.selection.path / name).read_bytes()
    flip_byte(again.path / "selection.json")
    with pytest.raises(ModelError, match="altered"):
        load_lock(again)


def test_cells_of_other_folds_are_refused(lineage):
    foreign = {name: cell.model_copy(update={"scalers_key": "0" * 64}) for name, cell in lineage.cells.items()}
    with pytest.raises(ModelError, match="other features, folds or scalers"):
        select(lineage, cells=foreign)


def test_the_champion_is_locked_to_the_selection(lineage, tmp_path):
    winner = stages.choose_winner(lineage.scorecard, lineage.cells)
    run = lineage.run(lineage.store)
    foreign = lineage.selection.model_copy(update={"features_key": "0" * 64})
    with pytest.raises(ModelError, match="different runs"):
        stages.refit_champion(winner, lineage.scorecard, foreign, run, tmp_path / "models")
    reference = stages.refit_champion(winner, lineage.scorecard, lineage.selection, run, tmp_path / "models")
    lock = load_model(reference.path).feature_lock
    assert (lock.names, lock.hash) == (lineage.selection.chosen, lineage.selection.selected_hash)


def test_a_lock_without_an_input_of_the_network_is_no_model(lineage, tmp_path, monkeypatch):
    from cbi_pipeline.features.lock import lock_features
    from cbi_pipeline.stages import serving

    short = lock_features(set(lineage.selection.chosen) - {"RSI_14"})
    monkeypatch.setattr(serving, "load_lock", lambda selection: short)
    winner = stages.choose_winner(lineage.scorecard, lineage.cells)
    with pytest.raises((ModelError, FeatureError), match="RSI_14"):
        stages.refit_champion(
            winner, lineage.scorecard, lineage.selection, lineage.run(lineage.store), tmp_path / "models"
        )
