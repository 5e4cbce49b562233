"""The parity gates on real features, networks and a real warehouse; the models that a person handles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts.verdict import ROW_PARITY
from cbi_pipeline.errors import ModelError
from cbi_pipeline.features import build as features_build
from cbi_pipeline.registry.champion import aliases
from cbi_pipeline.stages import parity
from cbi_pipeline.stages.parity import replayed_features
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


def test_stored_models_are_listed_and_differences_are_named(lineage, tmp_path):
    models = tmp_path / "models"
    first = refit(lineage, models).model_version
    second = refit(lineage, models, run=lineage.run(lineage.store, seed=2)).model_version
    assert aliases(models) == {"champion": second, "previous": first, "candidate": second}
    listed = {row["model_version"]: (row["aliases"], row["problem"]) for row in stages.stored_models(models)}
    assert listed == {first: ("previous", None), second: ("champion, candidate", None)}
    differences = {name: (one, other) for name, one, other in stages.model_differences(models, first, second)}
    assert differences["config.seed"] == ("1", "2")
    assert stages.roll_back(settings_beside(models), reason="a test").model_version == first
    (models / second / "anchor.json").write_text("{}")
    (altered,) = stages.stored_models(models, second)
    assert "altered" in altered["problem"]


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
