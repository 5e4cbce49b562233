from __future__ import annotations

import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry.champion import CHAMPION_FILE
from cbi_pipeline.stages.bundles import datasets_in_service, datasets_of_models


def test_the_bundle_of_the_champion_is_in_service(finished_run):
    version = finished_run.outcome.data.dataset_version
    assert datasets_in_service(finished_run.settings.models_dir) == {
        version: "the champion and the candidate came from it"
    }


def test_without_models_nothing_is_in_service(tmp_path):
    assert datasets_in_service(tmp_path) == {}


def test_an_alias_that_cannot_be_read_protects_everything(copied_settings):
    (copied_settings.models_dir / CHAMPION_FILE).write_text("{")
    with pytest.raises(ModelError):
        datasets_in_service(copied_settings.models_dir)


def test_every_stored_model_names_its_bundle(copied_settings, tmp_path):
    models = copied_settings.models_dir
    (models / CHAMPION_FILE).unlink()
    (named,) = datasets_of_models(models).values()
    assert named.endswith("was made from it")
    with pytest.raises(ModelError, match="No model is stored"):
        datasets_of_models(tmp_path)
