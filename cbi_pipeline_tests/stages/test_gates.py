"""The parity gates on real features, networks and a real warehouse; the models that a person handles."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from cbi_pipeline import stages
from cbi_pipeline.contracts.verdict import ROW_PARITY
from cbi_pipeline.errors import ModelError
from cbi_pipeline.features import build as features_build
from cbi_pipeline.features.lock import lock_features
from cbi_pipeline.registry.champion import Served, aliases, read_champion
from cbi_pipeline.stages import champion, parity, publishing, training
from cbi_pipeline.stages.gates import find_incumbent
from cbi_pipeline.stages.parity import replayed_features
from cbi_pipeline.stages.training_keys import shared_training_key
from cbi_pipeline_tests.stages.refits import judge, refit, settings_beside, warehouse_of


def test_features_of_past_days_are_made_again_and_one_that_moves_is_named(lineage, other_store, tmp_path, monkeypatch):
    raw = tuple(lineage.raw.values())
    assert replayed_features(lineage.features, raw, lineage.store) == {"2023-12-29": [], "2024-12-31": []}
    honest = features_build.build_features
    monkeypatch.setattr(features_build, "build_features", lambda tables: honest(tables).assign(RSI_14=1.0))
    found = replayed_features(lineage.features, raw, other_store)
    assert found == {"2023-12-29": ["RSI_14"], "2024-12-31": ["RSI_14"]}


def test_a_network_that_answers_otherwise_than_it_was_scored_fails_row_parity(lineage, tmp_path, monkeypatch):
    settings = settings_beside(tmp_path / "models")
    load_weights = parity.load_weights
    monkeypatch.setattr(parity, "load_weights", lambda cell: {n: w + 0.1 for n, w in load_weights(cell).items()})
    verdicts = [verdict for verdict in judge(lineage, settings).verdicts if verdict.name == ROW_PARITY]
    assert {verdict.outcome for verdict in verdicts} == {"failed"}


def test_the_same_judgement_twice_writes_nothing_new(lineage, tmp_path):
    settings = settings_beside(tmp_path / "models")
    first = judge(lineage, settings)
    assert judge(lineage, settings) == first


def another_lock(lineage, monkeypatch) -> None:
    """From now on the network is given one feature less: another model of the same scorecard."""
    shorter = lock_features(set(lineage.selection.chosen) - {lineage.selection.chosen[-1]})
    monkeypatch.setattr(champion, "load_lock", lambda selection: shorter)


@pytest.mark.parametrize("changed", ["seed", "profile", "threads", "code"])
def test_verdicts_on_the_scored_networks_speak_for_no_refit_that_was_made_otherwise(
    lineage, tmp_path, monkeypatch, changed
):
    run = lineage.run(lineage.store)
    if changed == "seed":
        run = lineage.run(lineage.store, seed=2)
    elif changed == "profile":
        run = replace(run, profile=run.profile.model_copy(update={"members": run.profile.members + 1}))
    elif changed == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    else:
        monkeypatch.setattr(training, "source_hash", lambda *parts: "another")
    models = tmp_path / "models"
    with pytest.raises(ModelError, match="the verdicts are not about it"):
        refit(lineage, models, run=run)
    assert not models.exists() or aliases(models) == {}


def test_cells_of_two_seeds_are_no_scorecard(lineage):
    cells = [cell for cell in lineage.cells.values() if cell.architecture == "tcn"]
    assert shared_training_key("tcn", cells) == lineage.scorecard.training_keys["tcn"]
    other = training.train_one("tcn", lineage.anchors.folds[0], lineage.run(lineage.store, seed=2))
    with pytest.raises(ModelError, match="trained by different settings"):
        shared_training_key("tcn", [*cells, other])


def test_stored_models_are_listed_and_differences_are_named(lineage, tmp_path, monkeypatch):
    models = tmp_path / "models"
    first = refit(lineage, models).model_version
    another_lock(lineage, monkeypatch)
    second = refit(lineage, models).model_version
    assert aliases(models) == {"champion": second, "previous": first, "candidate": second}
    listed = {row["model_version"]: (row["aliases"], row["problem"]) for row in stages.stored_models(models)}
    assert listed == {first: ("previous", None), second: ("champion, candidate", None)}
    differences = {name: (one, other) for name, one, other in stages.model_differences(models, first, second)}
    assert lineage.selection.chosen[-1] in differences["features"][0]
    assert lineage.selection.chosen[-1] not in differences["features"][1]
    assert "config.seed" not in differences
    (models / second / "anchor.json").write_text("{}")
    (altered,) = stages.stored_models(models, second)
    assert "altered" in altered["problem"]
    shutil.rmtree(models / first)
    assert [row["problem"] is None for row in stages.stored_models(models)] == [False, False]


def test_a_model_whose_manifest_is_not_the_one_signed_off_does_not_verify(lineage, tmp_path):
    models = tmp_path / "models"
    version = refit(lineage, models).model_version
    manifest = models / version / "manifest.json"
    manifest.write_text(manifest.read_text().replace(lineage.features.dataset_version, "20200101T000000Z-00000000"))
    (row,) = stages.stored_models(models)
    assert "signed off" in row["problem"]


def test_a_second_refit_of_a_scorecard_is_judged_against_what_the_first_replaced(lineage, tmp_path, monkeypatch):
    models = tmp_path / "models"
    refit(lineage, models)
    assert find_incumbent(models, lineage.scorecard.scorecard_id).label is None
    first = read_champion(models)
    assert find_incumbent(models, "another scorecard").served == first
    another_lock(lineage, monkeypatch)
    earlier = first.model_copy(update={"model_version": "tcn-20200101-00000000", "scorecard_id": "earlier"})
    served = Served(**{name: getattr(earlier, name) for name in Served.model_fields})
    alias = first.model_copy(update={"judged_against": served})
    (models / "champion.json").write_text(alias.model_dump_json())
    refit(lineage, models)
    assert find_incumbent(models, lineage.scorecard.scorecard_id).served == served


def test_an_alias_that_cannot_be_read_is_no_empty_place(lineage, tmp_path):
    models = tmp_path / "models"
    refit(lineage, models)
    (models / "champion.json").write_text("{")
    found = find_incumbent(models, lineage.scorecard.scorecard_id)
    assert (found.admission, found.served) == ("judged", None)
    with pytest.raises(ModelError, match="cannot be read"):
        refit(lineage, models)
    assert (models / "champion.json").read_text() == "{"


# --- rolled back -------------------------------------------------------------------------------------------------


def test_a_rollback_holds_until_a_person_lifts_it(lineage, tmp_path, monkeypatch):
    models = tmp_path / "models"
    settings = settings_beside(models)
    first = refit(lineage, models).model_version
    another_lock(lineage, monkeypatch)
    second = refit(lineage, models).model_version
    assert stages.roll_back(settings, reason="it was wrong").model_version == first
    again = refit(lineage, models)
    assert (again.model_version, again.scorecard_id) == (first, lineage.scorecard.scorecard_id)
    assert aliases(models) == {"champion": first, "previous": second, "candidate": second}
    assert stages.promote(second, settings).model_version == second
    assert refit(lineage, models).model_version == second
    registry = warehouse_of(settings).query("SELECT * FROM model_registry ORDER BY promoted_at").to_pylist()
    assert [(row["model_version"], row["action"], row["replaced"]) for row in registry] == [
        (first, "promote", None),
        (second, "promote", first),
        (first, "rollback", second),
        (second, "promote", first),
    ], "every change, those that no run published with them"
    assert read_champion(models).unpublished == ()


def test_a_change_that_was_published_and_not_dropped_is_published_once(lineage, tmp_path, monkeypatch):
    models = tmp_path / "models"
    settings = settings_beside(models)
    refit(lineage, models)
    warehouse = warehouse_of(settings)
    monkeypatch.setattr("cbi_pipeline.registry.champion.mark_published", lambda *_: None)
    for inserted in (1, 0):
        assert publishing.publish_registry(models, warehouse, run_id="a test").inserted == inserted
    monkeypatch.undo()
    assert publishing.publish_registry(models, warehouse, run_id="a test").inserted == 0
    assert publishing.publish_registry(models, warehouse, run_id="a test").rows == 1, "nothing is left to write"


@pytest.mark.parametrize("version", ["../models", "tcn-20241231-00000000"])
def test_a_version_that_is_not_stored_is_a_finding(tmp_path, version):
    if "/" in version:
        with pytest.raises(ModelError):
            stages.stored_models(tmp_path, version)
        return
    assert stages.stored_models(tmp_path, version)[0]["problem"]


def test_verdicts_about_other_data_than_the_scorecards_are_refused_and_not_stored(lineage, tmp_path):
    settings = settings_beside(tmp_path / "models")
    foreign = replace(lineage, features=lineage.features.model_copy(update={"key": "0" * 64}))
    with pytest.raises(ModelError, match="not those that the scorecard is made of"):
        judge(foreign, settings)
    assert warehouse_of(settings).query("SELECT * FROM gate_verdicts", {}).num_rows == 0
