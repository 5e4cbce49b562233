from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest
import torch

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.tcn import TemporalConvolutionalNetwork, load_network
from cbi_pipeline.registry.artifacts import (
    CHAMPION_FILE,
    MANIFEST_FILE,
    SCALER_FILE,
    ModelContent,
    load_champion,
    load_model,
    model_version,
    read_champion,
    save_model,
    set_champion,
)

CONFIG = TrainingConfig(filters=8, norm_groups=2, mean_path_inputs=("a", "b"))
SESSION = date(2024, 12, 31)
NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def content(tmp_path: Path) -> ModelContent:
    scaler = tmp_path / "fitted"
    scaler.write_bytes(b"bytes of a fitted scaler, opaque to the registry")
    torch.manual_seed(1)
    return ModelContent(
        state_dict=TemporalConvolutionalNetwork(CONFIG).state_dict(),
        config=CONFIG.model_dump(mode="json"),
        scaler_path=scaler,
        feature_names=("a", "b", "c"),
        feature_hash="f" * 64,
        anchor={"weight": 0.5, "lambda": {"3": 0.0, "6": 0.1}},
        metrics={"mape": {"3": 9.5, "6": None}},
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def saved(content: ModelContent, models: Path) -> Path:
    return save_model(
        models, model_version("tcn", SESSION, content), content, provenance={"run_id": "1"}, created_at=NOON
    )


def test_a_model_comes_back_as_it_was_saved(content: ModelContent, saved: Path) -> None:
    model = load_model(saved)
    assert model.model_version == saved.name
    assert saved.name.startswith("tcn-20241231-")
    assert model.config == content.config
    assert model.feature_names == content.feature_names
    assert (model.feature_hash, model.anchor, model.metrics) == ("f" * 64, content.anchor, content.metrics)
    assert model.scaler_path.read_bytes() == content.scaler_path.read_bytes()
    assert model.manifest.provenance == {"run_id": "1"}
    assert set(model.manifest.packages) == {"python", "torch", "scikit-learn"}

    before = load_network(CONFIG, content.state_dict)
    after = load_network(TrainingConfig.model_validate(model.config), model.state_dict)
    x = torch.randn(3, CONFIG.n_channels, 252)
    assert torch.equal(before.last_state(x), after.last_state(x))


def test_same_content_is_reused_and_never_rewritten(content: ModelContent, models: Path, saved: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in saved.iterdir()}
    again = save_model(models, saved.name, content, provenance={"run_id": "2"})
    assert again == saved
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in saved.iterdir()} == before
    assert [path.name for path in models.iterdir()] == [saved.name]


def test_a_version_belongs_to_one_content(content: ModelContent, models: Path, saved: Path) -> None:
    other = replace(content, anchor={"weight": 1.0})
    assert model_version("tcn", SESSION, other) != saved.name
    with pytest.raises(ModelError, match="does not belong to this content"):
        save_model(models, saved.name, other)
    with pytest.raises(ModelError, match="<architecture>-<yyyymmdd>"):
        save_model(models, "../elsewhere", content)
    assert [path.name for path in models.iterdir()] == [saved.name]


def test_what_cannot_be_stored_leaves_nothing_behind(content: ModelContent, models: Path) -> None:
    with pytest.raises(ModelError, match=r"metrics\.json"):
        model_version("tcn", SESSION, replace(content, metrics={"mape": float("nan")}))
    broken = dict(content.state_dict)
    broken["bottleneck.0.bias"] = torch.full_like(broken["bottleneck.0.bias"], float("inf"))
    with pytest.raises(ModelError, match=r"weights bottleneck\.0\.bias"):
        model_version("tcn", SESSION, replace(content, state_dict=broken))
    with pytest.raises(ModelError, match="scaler file"):
        model_version("tcn", SESSION, replace(content, scaler_path=models / "absent"))
    assert not models.exists()


@pytest.mark.parametrize(
    "name",
    [
        "weights.safetensors",
        "config.json",
        SCALER_FILE,
        "features.json",
        "anchor.json",
        "metrics.json",
        "model_card.md",
    ],
)
def test_one_altered_byte_in_any_file_is_refused(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    with pytest.raises(ModelError, match=rf"{name}: The sha256"):
        load_model(saved)


def _drop(folder: Path) -> None:
    (folder / "anchor.json").unlink()


def _add(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"x")


def _link(folder: Path) -> None:
    target = folder.parent.parent / "anchor_elsewhere"
    (folder / "anchor.json").rename(target)
    (folder / "anchor.json").symlink_to(target)


def _no_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()


def _manifest_not_json(folder: Path) -> None:
    (folder / MANIFEST_FILE).write_text("{")


def _manifest_altered_with_the_file(folder: Path) -> None:
    """Altered metrics with a manifest that fits them: the version's own digest still tells."""
    import hashlib

    (folder / "metrics.json").write_text('{"mape": {"3": 0.1}}')
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"]["metrics.json"]["sha256"] = hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def _other_packages(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["packages"]["scikit-learn"] = "0.24.2"
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_drop, r"anchor\.json: The file is missing"),
        (_add, r"extra\.pkl: The file is not in the manifest"),
        (_link, r"anchor\.json: It is not a plain file"),
        (_no_manifest, "There is no manifest"),
        (_manifest_not_json, "The manifest is not valid"),
        (_manifest_altered_with_the_file, "not those that the version was named after"),
        (_other_packages, r"scikit-learn 0\.24\.2.*To fix: install scikit-learn 0\.24\.2"),
    ],
)
def test_a_damaged_model_is_refused(saved: Path, damage: Callable[[Path], None], rule: str) -> None:
    damage(saved)
    with pytest.raises(ModelError, match=rule):
        load_model(saved)


def test_a_renamed_model_is_refused(saved: Path) -> None:
    renamed = saved.rename(saved.with_name("tcn-20250101-00000000"))
    with pytest.raises(ModelError, match="belongs to tcn-20241231"):
        load_model(renamed)


def test_a_patch_release_of_a_package_is_accepted(saved: Path) -> None:
    manifest = json.loads((saved / MANIFEST_FILE).read_text())
    major, minor, *_ = manifest["packages"]["torch"].split(".")
    manifest["packages"]["torch"] = f"{major}.{minor}.99+other"
    (saved / MANIFEST_FILE).write_text(json.dumps(manifest))
    assert load_model(saved).model_version == saved.name


def test_champion_is_an_alias_that_holds_its_manifest(content: ModelContent, models: Path, saved: Path) -> None:
    assert read_champion(models) is None
    with pytest.raises(ModelError, match="No model was promoted"):
        load_champion(models)
    champion = set_champion(models, saved.name, promoted_at=NOON)
    assert read_champion(models) == champion
    assert load_champion(models).model_version == saved.name

    manifest = saved / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"run_id": "1"', '"run_id": "2"'))
    load_model(saved)  # consistent in itself, but not what was signed off
    with pytest.raises(ModelError, match="not the one that was signed off"):
        load_champion(models)


def test_a_model_that_does_not_verify_is_not_promoted(content: ModelContent, models: Path, saved: Path) -> None:
    set_champion(models, saved.name, promoted_at=NOON)
    other = replace(content, anchor={"weight": 1.0})
    second = save_model(models, model_version("tcn", SESSION, other), other)
    (second / "metrics.json").write_text("{}")
    for name in (second.name, "tcn-20200101-00000000", "../models"):
        with pytest.raises(ModelError):
            set_champion(models, name)
    assert load_champion(models).model_version == saved.name


@pytest.mark.parametrize("text", ["", "{}", '{"model_version": "x", "manifest_sha256": "y"}'])
def test_an_unreadable_alias_is_an_error_not_an_absence(models: Path, text: str) -> None:
    models.mkdir()
    (models / CHAMPION_FILE).write_text(text)
    with pytest.raises(ModelError, match="alias is not valid"):
        read_champion(models)


def test_scaler_of_a_model_is_read_by_the_features_package(
    starter_features: pd.DataFrame, content: ModelContent, models: Path, tmp_path: Path
) -> None:
    from cbi_pipeline.features.driver_set import FILE_NAME, fit_driver_set, load_driver_set

    fitted = fit_driver_set(starter_features, date(2015, 1, 2), date(2018, 12, 31))
    fitted.save(tmp_path)
    with_scaler = replace(content, scaler_path=tmp_path / FILE_NAME)
    model = load_model(save_model(models, model_version("tcn", SESSION, with_scaler), with_scaler))
    served = load_driver_set(model.path, model.scaler_sha256)
    assert served.transform(starter_features).tobytes() == fitted.transform(starter_features).tobytes()
