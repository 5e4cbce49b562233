from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from cbi_pipeline.contracts.feature_lock import FeatureLock, lock_hash
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.networks import load_ensemble
from cbi_pipeline.registry import artifacts
from cbi_pipeline.registry.artifacts import (
    MANIFEST_FILE,
    SCALER_FILE,
    ModelContent,
    load_model,
    model_version,
    save_model,
)
from cbi_pipeline.registry.champion import load_champion, set_champion

SESSION = date(2024, 12, 31)


def test_a_model_comes_back_as_it_was_saved(content: ModelContent, saved: Path) -> None:
    model = load_model(saved)
    assert model.model_version == saved.name
    assert saved.name.startswith("tcn-20241231-")
    assert model.config == content.config
    assert model.feature_names == content.feature_names
    assert model.feature_lock == content.feature_lock
    assert (model.feature_hash, model.anchor, model.metrics) == ("f" * 64, content.anchor, content.metrics)
    assert model.scaler_path.read_bytes() == content.scaler_path.read_bytes()
    assert model.manifest.provenance == {"run_id": "1"}
    assert set(model.manifest.packages) == {"python", "torch", "scikit-learn"}

    config = TrainingConfig.model_validate(content.config)
    before = load_ensemble(config, content.state_dict)
    after = load_ensemble(TrainingConfig.model_validate(model.config), model.state_dict)
    inputs = [torch.randn(3, *shape) for shape in before.members[0].input_shapes().values()]
    for one, two in zip(before(*inputs), after(*inputs), strict=True):
        assert torch.equal(one, two)
    assert bool((before(*inputs).median != 0).all())


def test_the_card_is_kept_as_it_was_first_written(content: ModelContent, models: Path, saved: Path) -> None:
    assert save_model(models, saved.name, content, card="another card") == saved
    assert (saved / "model_card.md").read_text() == "a card"


def test_same_content_is_reused_and_never_rewritten(content: ModelContent, models: Path, saved: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in saved.iterdir()}
    again = save_model(models, saved.name, content, provenance={"run_id": "2"}, card="a card")
    assert again == saved
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in saved.iterdir()} == before
    assert [path.name for path in models.iterdir()] == [saved.name]


def test_what_the_finder_leaves_in_a_model_changes_nothing(content: ModelContent, models: Path, saved: Path) -> None:
    (saved / ".DS_Store").write_bytes(b"Finder")
    assert load_model(saved).model_version == saved.name
    assert save_model(models, saved.name, content, card="a card") == saved


def publish_a_copy_first(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Let another process publish the same model, then `change` it, just before this one does."""
    publish = artifacts.publish_directory

    def publish_after_another(unfinished: Path, final: Path) -> None:
        shutil.copytree(unfinished, final)
        change(final)
        publish(unfinished, final)

    monkeypatch.setattr(artifacts, "publish_directory", publish_after_another)


def test_a_model_that_another_process_saved_meanwhile_is_reused(
    content: ModelContent, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_a_copy_first(monkeypatch, lambda other: None)
    saved = save_model(models, model_version("tcn", SESSION, content), content, card="a card")
    assert load_model(saved).metrics == content.metrics
    assert list(models.iterdir()) == [saved]


def test_a_damaged_model_that_appeared_meanwhile_is_not_reused(
    content: ModelContent, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_a_copy_first(monkeypatch, lambda other: (other / "anchor.json").unlink())
    with pytest.raises(ModelError, match=r"anchor\.json: The file is missing"):
        save_model(models, model_version("tcn", SESSION, content), content, card="a card")


def test_what_a_refusal_advises_makes_the_model_loadable_again(
    content: ModelContent, models: Path, saved: Path
) -> None:
    """Saving again without the folder moved away would be refused for the same reason."""
    (saved / "metrics.json").write_text("{}")
    for again in (lambda: load_model(saved), lambda: save_model(models, saved.name, content, card="a card")):
        with pytest.raises(ModelError, match="move that model's folder away, then run `cbi run`"):
            again()
    saved.rename(models.parent / "moved away")
    assert load_model(save_model(models, saved.name, content, card="a card")).metrics == content.metrics


def test_a_version_belongs_to_one_content(content: ModelContent, models: Path, saved: Path) -> None:
    other = replace(content, anchor={"weight": 1.0})
    assert model_version("tcn", SESSION, other) != saved.name
    with pytest.raises(ModelError, match="does not belong to this content"):
        save_model(models, saved.name, other, card="a card")
    with pytest.raises(ModelError, match="<architecture>-<yyyymmdd>"):
        save_model(models, "../elsewhere", content, card="a card")
    assert [path.name for path in models.iterdir()] == [saved.name]


def test_what_cannot_be_stored_leaves_nothing_behind(content: ModelContent, models: Path) -> None:
    with pytest.raises(ModelError, match=r"metrics\.json"):
        model_version("tcn", SESSION, replace(content, metrics={"mape": float("nan")}))
    broken = dict(content.state_dict)
    broken["members.1.fusion.0.bias"] = torch.full_like(broken["members.1.fusion.0.bias"], float("inf"))
    with pytest.raises(ModelError, match=r"weights members\.1\.fusion\.0\.bias"):
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
        "calibration.json",
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
    (folder / "metrics.json").write_text('{"mape": {"3": 0.1}}')
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"]["metrics.json"]["sha256"] = hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def _other_packages(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["packages"]["scikit-learn"] = "0.24.2"
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_another_lock_is_another_model(content: ModelContent) -> None:
    other = replace(content, feature_lock=relocked(content.feature_lock, names=("a", "b", "c")))
    assert model_version("tcn", SESSION, other) != model_version("tcn", SESSION, content)


def relocked(lock: FeatureLock, **changes: Any) -> FeatureLock:
    """The lock with other content and the hash that belongs to it."""
    own = {"names": lock.names, "dtype": lock.dtype, **changes}
    own["formula_versions"] = changes.get("formula_versions", (1,) * len(own["names"]))
    return FeatureLock(**own, hash=lock_hash(own["names"], own["formula_versions"], own["dtype"]))


@pytest.mark.parametrize(
    "names", [pytest.param(("b", "a"), id="another order"), ("a", "b", "d"), pytest.param(("a", "c"), id="b is read")]
)
def test_a_lock_that_does_not_fit_the_model_is_refused(
    content: ModelContent, models: Path, names: tuple[str, ...]
) -> None:
    unfit = replace(content, feature_lock=relocked(content.feature_lock, names=names))
    name = model_version("tcn", SESSION, unfit)
    with pytest.raises(ModelError, match="feature lock does not fit"):
        load_model(save_model(models, name, unfit, card="a card"))


def test_a_network_whose_spread_reads_what_is_not_locked_is_refused(content: ModelContent, models: Path) -> None:
    network = {**content.config["network"], "spread_inputs": ["a", "b", "c"]}
    unfit = replace(content, config={**content.config, "network": network})
    with pytest.raises(ModelError, match=r"inputs that are not locked: \['c'\]"):
        load_model(save_model(models, model_version("tcn", SESSION, unfit), unfit, card="a card"))


def test_a_lock_whose_hash_is_not_its_own_is_refused(content: ModelContent, models: Path) -> None:
    """As if written by hand: the files' own hashes fit, the lock's does not."""
    forged = content.feature_lock.model_copy(update={"hash": "0" * 64})
    unfit = replace(content, feature_lock=forged)
    with pytest.raises(ModelError, match="feature lock is not valid"):
        load_model(save_model(models, model_version("tcn", SESSION, unfit), unfit, card="a card"))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_drop, r"anchor\.json: The file is missing"),
        (_add, r"extra\.pkl: The file is not in the manifest"),
        (_link, r"anchor\.json: It is not a plain file"),
        (_no_manifest, "There is no manifest"),
        (_manifest_not_json, "The manifest is not valid"),
        (_manifest_altered_with_the_file, "not those that the version was named after"),
        (_other_packages, r"scikit-learn 0\.24\.2.*To fix: install scikit-learn 0\.24\.2; or move that folder away"),
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


def test_scaler_of_a_model_is_read_by_the_features_package(
    starter_features: pd.DataFrame, content: ModelContent, models: Path, tmp_path: Path
) -> None:
    from cbi_pipeline.features.driver_set import FILE_NAME, fit_driver_set, load_driver_set

    fitted = fit_driver_set(starter_features, date(2015, 1, 2), date(2018, 12, 31))
    fitted.save(tmp_path)
    with_scaler = replace(content, scaler_path=tmp_path / FILE_NAME)
    model = load_model(save_model(models, model_version("tcn", SESSION, with_scaler), with_scaler, card="a card"))
    served = load_driver_set(model.path, model.scaler_sha256)
    assert served.transform(starter_features).tobytes() == fitted.transform(starter_features).tobytes()


class Payload:
    """Writes a file the moment it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def _scaler_swapped(saved: Path, content: bytes) -> None:
    """Another scaler, and a manifest that vouches for it."""
    (saved / SCALER_FILE).write_bytes(content)
    manifest = json.loads((saved / MANIFEST_FILE).read_text())
    manifest["files"][SCALER_FILE] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (saved / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_payload_in_place_of_the_scaler_does_not_run(saved: Path, models: Path, tmp_path: Path) -> None:
    from cbi_pipeline.errors import FeatureError
    from cbi_pipeline.features.driver_set import load_driver_set

    marker, honest = tmp_path / "it ran", load_model(saved)
    payload = pickle.dumps(Payload(marker))
    pickle.loads(payload)
    assert marker.exists(), "the payload works"
    marker.unlink()
    set_champion(models, saved.name, admission="judged", by="a test", reason="why not", replacing=None)

    (saved / SCALER_FILE).write_bytes(payload)
    for read in (lambda: load_model(saved), lambda: load_champion(models)):
        with pytest.raises(ModelError, match="altered"):
            read()
    with pytest.raises(FeatureError):
        load_driver_set(saved, honest.scaler_sha256)
    _scaler_swapped(saved, payload)
    with pytest.raises(ModelError, match="not those that the version was named after"):
        load_model(saved)
    with pytest.raises(ModelError, match="signed off"):
        load_champion(models)
    assert not marker.exists()


def test_the_scaler_of_another_model_is_refused(content: ModelContent, saved: Path, models: Path) -> None:
    _scaler_swapped(saved, b"bytes of another fitted scaler")
    with pytest.raises(ModelError, match="not those that the version was named after"):
        load_model(saved)


def test_an_edited_order_of_features_is_refused_though_the_manifest_vouches_for_it(saved: Path) -> None:
    features = json.loads((saved / "features.json").read_text())
    features["feature_names"].reverse()
    edited = json.dumps(features).encode()
    (saved / "features.json").write_bytes(edited)
    manifest = json.loads((saved / MANIFEST_FILE).read_text())
    manifest["files"]["features.json"] = {"bytes": len(edited), "sha256": hashlib.sha256(edited).hexdigest()}
    (saved / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="not those that the version was named after"):
        load_model(saved)
