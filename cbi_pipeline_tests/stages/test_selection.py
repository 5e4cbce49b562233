from __future__ import annotations

from dataclasses import replace

import pytest

from cbi_pipeline import stages
from cbi_pipeline.errors import FeatureError, ModelError
from cbi_pipeline.features.catalogue import FEATURE_NAMES
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.registry.artifacts import load_model
from cbi_pipeline.stages.selection import load_lock, required_features
from cbi_pipeline_tests.projects import flip_byte
from cbi_pipeline_tests.stages.refits import refit


def select(lineage, store=None, cells=None):
    return stages.select_chosen_features(cells or lineage.cells, lineage.run(store or lineage.store))


def test_thirty_to_sixty_are_chosen_in_catalogue_order_with_all_that_the_network_reads(lineage):
    chosen = lineage.selection.chosen
    assert 30 <= len(chosen) <= 60
    assert chosen == tuple(name for name in FEATURE_NAMES if name in chosen)
    assert set(required_features(lineage.run(lineage.store))) <= set(chosen)
    assert load_lock(lineage.selection).hash == lineage.selection.selected_hash


def test_the_record_says_why_for_every_feature_and_ranks_them_in_every_fold(lineage):
    record = stages.selection_record(lineage.selection)
    assert [row["feature"] for row in record["decisions"]] == list(FEATURE_NAMES)
    kept = {row["feature"] for row in record["decisions"] if row["decision"] != "left out"}
    assert kept == set(lineage.selection.chosen)
    assert list(record["ranks"]) == ["fold_1", "fold_2"]
    assert all(len(rows) == len(FEATURE_NAMES) for rows in record["ranks"].values())
    assert set(record["networks"]) == set(lineage.cells)
    for values in record["networks"].values():
        assert list(values) == [*lineage.profile.tcn.mean_path_inputs, "calendar"]
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


def test_attribution_is_nothing_for_an_untrained_network_alone_and_the_calendar_counts_where_it_is_used(lineage):
    networks = stages.selection_record(lineage.selection)["networks"]
    for name, values in networks.items():
        trained = lineage.cells[name].best_epochs["anchored"][0] > 0
        for feature, value in values.items():
            used = trained and (feature != "calendar" or name.startswith("nbeatsx"))
            assert (value > 0) == used, (name, feature)
    assert any(values["calendar"] > 0 for values in networks.values())


def test_every_input_of_every_network_is_required_once(lineage):
    run = lineage.run(lineage.store)
    other = run.profile.tcn.model_copy(update={"context_inputs": ("close", "WTI_spread")})
    run = replace(run, profile=run.profile.model_copy(update={"tcn": other}))
    expected = dict.fromkeys((*other.mean_path_inputs, *lineage.profile.nbeatsx.mean_path_inputs))
    assert required_features(run) == tuple(expected)


def test_cells_of_other_folds_are_refused(lineage):
    foreign = {name: cell.model_copy(update={"scalers_key": "0" * 64}) for name, cell in lineage.cells.items()}
    with pytest.raises(ModelError, match="other features, folds or scalers"):
        select(lineage, cells=foreign)


def test_the_champion_is_locked_to_the_selection(lineage, tmp_path):
    foreign = lineage.selection.model_copy(update={"features_key": "0" * 64})
    with pytest.raises(ModelError, match="different runs"):
        refit(lineage, tmp_path / "models", selection=foreign)
    reference = refit(lineage, tmp_path / "models")
    model = load_model(reference.path)
    lock = model.feature_lock
    assert (lock.names, lock.hash) == (lineage.selection.chosen, lineage.selection.selected_hash)
    config = TrainingConfig.model_validate(model.config)
    assert config.network.spread_inputs == lock.names, "the spread path is given no other feature"
    assert (config.target, config.members) == ("anchored", 2)


def test_a_lock_without_an_input_of_the_network_is_no_model(lineage, tmp_path, monkeypatch):
    from cbi_pipeline.features.lock import lock_features
    from cbi_pipeline.stages import champion

    short = lock_features(set(lineage.selection.chosen) - {"RSI_14"})
    monkeypatch.setattr(champion, "load_lock", lambda selection: short)
    with pytest.raises(FeatureError, match="RSI_14"):
        refit(lineage, tmp_path / "models")
