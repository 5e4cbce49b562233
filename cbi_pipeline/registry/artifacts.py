"""Model artifacts: `models/<model_version>/`. Which of them serves is the business of `champion.py`.

A model folder is immutable, written whole or not at all, and read only after the sha256 of every file was checked.
Weights are safetensors; nothing is unpickled here (the scaler is handed on as a verified path with its sha256).
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from cbi_pipeline.atomic import IGNORED_NAMES, publish_directory, unfinished_directory, write_synced
from cbi_pipeline.contracts.feature_lock import FeatureLock
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig

SCALER_FILE: Final = "driver_set.joblib"
"""The fitted scaler, under the name that `features.driver_set.load_driver_set` reads in a model's folder."""
MANIFEST_FILE: Final = "manifest.json"
CARD_FILE: Final = "model_card.md"
_WEIGHTS, _CONFIG, _FEATURES, _ANCHOR, _METRICS = (
    "weights.safetensors",
    "config.json",
    "features.json",
    "anchor.json",
    "metrics.json",
)
_CALIBRATION: Final = "calibration.json"
_FILES: Final = frozenset({_WEIGHTS, _CONFIG, SCALER_FILE, _FEATURES, _ANCHOR, _CALIBRATION, _METRICS, CARD_FILE})
_VERSION_NAME: Final = re.compile(r"^[a-z][a-z0-9_]*-\d{8}-(?P<content>[0-9a-f]{8})$")
_VERSIONED_PACKAGES: Final = ("torch", "scikit-learn")
_SAVE_AGAIN: Final = "move that model's folder away, then run `cbi run`; or restore the folder from its source."


@dataclass(frozen=True, slots=True)
class ModelContent:
    """All that makes a model: it decides the version.

    Args:
        state_dict: weights.
        config: the `TrainingConfig`, its spread inputs named, as JSON values.
        scaler_path: joblib file of the fitted driver set.
        feature_names: order of the columns that the scaler and the network read.
        feature_hash: hash of the feature catalogue they were made by.
        feature_lock: the chosen among them, which the network may read, locked by names, order, dtype and hash.
        anchor: the fitted anchor and lambda per horizon, JSON values.
        calibration: density and corrections per horizon (`evaluation.densities.ServedDensity`), JSON values.
        metrics: out-of-fold figures, JSON values; None where a figure is not defined (never NaN).
    """

    state_dict: Mapping[str, Tensor]
    config: Mapping[str, Any]
    scaler_path: Path
    feature_names: tuple[str, ...]
    feature_hash: str
    feature_lock: FeatureLock
    anchor: Mapping[str, Any]
    calibration: Mapping[str, Any]
    metrics: Mapping[str, Any]


class ModelFile(BaseModel):
    """Size and sha256 of one file of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class ModelManifest(BaseModel):
    """`manifest.json` of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: Literal[4] = 4
    model_version: str
    feature_hash: str
    files: dict[str, ModelFile]
    packages: dict[str, str]
    created_at: datetime
    provenance: dict[str, str]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified model. `scaler_path` was verified against `scaler_sha256` and has not been unpickled."""

    path: Path
    manifest: ModelManifest
    manifest_sha256: str
    state_dict: dict[str, Tensor]
    config: dict[str, Any]
    feature_names: tuple[str, ...]
    feature_lock: FeatureLock
    anchor: dict[str, Any]
    calibration: dict[str, Any]
    metrics: dict[str, Any]
    scaler_path: Path = field(init=False)
    scaler_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scaler_path", self.path / SCALER_FILE)
        object.__setattr__(self, "scaler_sha256", self.manifest.files[SCALER_FILE].sha256)

    @property
    def model_version(self) -> str:
        """Name of the model's folder."""
        return self.manifest.model_version

    @property
    def feature_hash(self) -> str:
        """Hash of the feature catalogue that the model reads."""
        return self.manifest.feature_hash


def model_version(architecture: str, last_session: date, content: ModelContent) -> str:
    """`<architecture>-<last session yyyymmdd>-<8 hex of content>`: one content, one name.

    Raises:
        ModelError: a value cannot be stored, or the architecture cannot be part of a folder name.
    """
    return checked_name(f"{architecture}-{last_session:%Y%m%d}-{_content_digest(_sha256s(_content_files(content)))}")


def save_model(
    models_dir: Path,
    name: str,
    content: ModelContent,
    *,
    card: str,
    provenance: Mapping[str, str] | None = None,
    created_at: datetime | None = None,
) -> Path:
    """Write `models_dir/name`, atomically; an identical model that is already there is re-used.

    Args:
        name: as `model_version` gives it.
        card: markdown for people; like provenance it is recorded, and no part of the version.
        provenance: dataset_version, code commit, run id and the like; recorded, not part of the version.
        created_at: time of saving, with time zone; now if not given.

    Raises:
        ModelError: the name does not belong to this content, a value cannot be stored (NaN in JSON, weights that are
            not finite), or another model holds the name. Nothing is written then.
    """
    files = _content_files(content)
    if _content_digest(_sha256s(files)) != _name_digest(name):
        raise ModelError(name, "The name does not belong to this content.", "name the model with model_version().")
    final = models_dir / name
    if final.exists():
        return _identical(final, files)
    files[CARD_FILE] = card.encode()
    manifest = ModelManifest(
        model_version=name,
        feature_hash=content.feature_hash,
        files={n: ModelFile(bytes=len(b), sha256=hashlib.sha256(b).hexdigest()) for n, b in sorted(files.items())},
        packages=_packages(),
        created_at=created_at or datetime.now(UTC),
        provenance=dict(provenance or {}),
    )
    models_dir.mkdir(parents=True, exist_ok=True)
    with unfinished_directory(models_dir) as folder:
        for filename, file_content in files.items():
            write_synced(folder / filename, file_content)
        write_synced(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
        try:
            publish_directory(folder, final)
        except FileExistsError:  # another process published it meanwhile
            return _identical(final, files)
    return final


def load_model(path: Path, *, manifest_sha256: str | None = None) -> LoadedModel:
    """Verify a model folder, then read it: no file but the manifest is interpreted before its sha256 was checked.

    Args:
        path: the model's folder.
        manifest_sha256: sha256 of the manifest that was signed off, where one is known (the champion's).

    Raises:
        ModelError: a file is missing, altered or extra, the manifest is not the one signed off, the feature lock does
            not fit its hash or the model, or Python, torch or scikit-learn have another major.minor version than the
            model was saved with.
    """
    manifest, manifest_found = _read_manifest(path)
    if manifest_sha256 is not None and manifest_found != manifest_sha256:
        raise ModelError(str(path / MANIFEST_FILE), "The manifest is not the one that was signed off.", _SAVE_AGAIN)
    if manifest.model_version != path.name:
        raise ModelError(
            str(path), f"The manifest belongs to {manifest.model_version}.", "give the folder its own name back."
        )
    contents = _verified_contents(path, manifest)
    digest = _content_digest({name: file.sha256 for name, file in manifest.files.items() if name != CARD_FILE})
    if digest != _name_digest(manifest.model_version):
        raise ModelError(str(path), "The files are not those that the version was named after.", _SAVE_AGAIN)
    _check_packages(path, manifest)

    features, config = json.loads(contents[_FEATURES]), json.loads(contents[_CONFIG])
    if features["feature_hash"] != manifest.feature_hash:
        raise ModelError(str(path / _FEATURES), "Its feature_hash is not the manifest's.", _SAVE_AGAIN)
    return LoadedModel(
        path=path,
        manifest=manifest,
        manifest_sha256=manifest_found,
        state_dict=safetensors.torch.load(contents[_WEIGHTS]),
        config=config,
        feature_names=tuple(features["feature_names"]),
        feature_lock=_read_lock(path, features, config),
        anchor=json.loads(contents[_ANCHOR]),
        calibration=json.loads(contents[_CALIBRATION]),
        metrics=json.loads(contents[_METRICS]),
    )


def _read_lock(path: Path, features: Mapping[str, Any], config: Mapping[str, Any]) -> FeatureLock:
    """The feature lock, whose hash is that of its content, and which fits the model's features and its network."""
    try:
        lock = FeatureLock.model_validate(features["lock"])
    except ValidationError as error:
        rule = f"The feature lock is not valid ({error.errors()[0]['msg']})."
        raise ModelError(str(path / _FEATURES), rule, _SAVE_AGAIN) from error
    in_order = tuple(name for name in features["feature_names"] if name in set(lock.names))
    network = TrainingConfig.model_validate(config).network
    unlocked = sorted({*network.mean_path_inputs, *network.spread_inputs} - set(lock.names))
    if in_order != lock.names or unlocked:
        rule = f"The feature lock does not fit the model (order, or inputs that are not locked: {unlocked})."
        raise ModelError(str(path / _FEATURES), rule, _SAVE_AGAIN)
    return lock


def _identical(final: Path, files: Mapping[str, bytes]) -> Path:
    """The folder of a stored model, which verifies and has exactly these files."""
    kept = load_model(final)
    decides = {name: content for name, content in files.items() if name != CARD_FILE}
    if {name: kept.manifest.files[name].sha256 for name in decides} != _sha256s(decides):
        raise ModelError(
            str(final),
            "Another model holds this version.",
            "remove it by hand if it is not needed, or save under its own version.",
        )
    return final


def _content_files(content: ModelContent) -> dict[str, bytes]:
    """The files that decide the version, as bytes."""
    unfit = [name for name, tensor in content.state_dict.items() if not bool(torch.isfinite(tensor).all())]
    if unfit:
        raise ModelError(
            f"weights {unfit[0]}", "A weight is not finite.", "train again; look at the loss history of the cell."
        )
    if not content.scaler_path.is_file():
        raise ModelError(str(content.scaler_path), "The scaler file is not there.", "save the fitted driver set first.")
    weights = {name: tensor.detach().to("cpu").contiguous() for name, tensor in content.state_dict.items()}
    features = {
        "feature_hash": content.feature_hash,
        "feature_names": list(content.feature_names),
        "lock": content.feature_lock.model_dump(mode="json"),
    }
    return {
        _WEIGHTS: safetensors.torch.save(weights),
        _CONFIG: _json(_CONFIG, content.config),
        SCALER_FILE: content.scaler_path.read_bytes(),
        _FEATURES: _json(_FEATURES, features),
        _ANCHOR: _json(_ANCHOR, content.anchor),
        _CALIBRATION: _json(_CALIBRATION, content.calibration),
        _METRICS: _json(_METRICS, content.metrics),
    }


def _json(filename: str, value: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise ModelError(
            filename,
            f"A value cannot be stored as JSON ({error}).",
            "pass plain JSON values, None for an undefined figure.",
        ) from error


def _sha256s(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _content_digest(sha256s: Mapping[str, str]) -> str:
    """First 8 hex digits of the sha256 over names and hashes, in order of name."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sha256s.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:8]


def model_names(models_dir: Path) -> list[str]:
    """Names of the model folders of `models_dir`, sorted; none of them is verified."""
    if not models_dir.is_dir():
        return []
    return sorted(path.name for path in models_dir.iterdir() if path.is_dir() and _VERSION_NAME.fullmatch(path.name))


def checked_name(name: str) -> str:
    """The name, which is one that a model can have; so it is no path to elsewhere.

    Raises:
        ModelError: it is none.
    """
    _name_digest(name)
    return name


def _name_digest(name: str) -> str:
    match = _VERSION_NAME.fullmatch(name)
    if match is None:
        raise ModelError(
            name, "A version is <architecture>-<yyyymmdd>-<8 hex digits>.", "name the model with model_version()."
        )
    return match["content"]


def _read_manifest(path: Path) -> tuple[ModelManifest, str]:
    file = path / MANIFEST_FILE
    if not file.is_file():
        raise ModelError(str(file), "There is no manifest, so this is no finished model.", _SAVE_AGAIN)
    content = file.read_bytes()
    try:
        return ModelManifest.model_validate_json(content), hashlib.sha256(content).hexdigest()
    except ValidationError as error:
        raise ModelError(str(file), f"The manifest is not valid ({error.errors()[0]['msg']}).", _SAVE_AGAIN) from error


def _verified_contents(path: Path, manifest: ModelManifest) -> dict[str, bytes]:
    """Contents of every file, each checked against the manifest; the very bytes that were checked are returned."""
    if set(manifest.files) != _FILES:
        raise ModelError(
            str(path / MANIFEST_FILE), f"A model has exactly the files {', '.join(sorted(_FILES))}.", _SAVE_AGAIN
        )
    found = {entry.name for entry in path.iterdir()} - IGNORED_NAMES
    expected = _FILES | {MANIFEST_FILE}
    if found != expected:
        odd = sorted(found ^ expected)[0]
        state = "is not in the manifest" if odd in found else "is missing"
        raise ModelError(
            str(path / odd), f"The file {state}.", "remove what does not belong there." if odd in found else _SAVE_AGAIN
        )
    contents = {}
    for name, file in manifest.files.items():
        if (path / name).is_symlink() or not (path / name).is_file():
            raise ModelError(str(path / name), "It is not a plain file.", _SAVE_AGAIN)
        contents[name] = (path / name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != file.sha256:
            raise ModelError(
                str(path / name), "The sha256 is not the one in the manifest: the file was altered.", _SAVE_AGAIN
            )
    return contents


def _packages() -> dict[str, str]:
    """Versions that decide whether stored weights and the scaler's pickle mean what they meant."""
    return {"python": platform.python_version(), **{package: version(package) for package in _VERSIONED_PACKAGES}}


def _check_packages(path: Path, manifest: ModelManifest) -> None:
    for package, here in _packages().items():
        saved = manifest.packages.get(package, "unknown")
        if saved.split(".")[:2] != here.split(".")[:2]:
            raise ModelError(
                str(path),
                f"It was saved with {package} {saved}, here is {here}.",
                f"install {package} {saved}; or move that folder away, then run `cbi run`.",
            )
