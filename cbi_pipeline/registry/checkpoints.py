"""Trained cells on disk, content-addressed, so that a crash or a second run repeats no training.

A cell is an artifact of kind `cells`, found by the sha256 of everything that decides the result: inputs,
configuration, device type, source of the training code and torch version. `ArtifactStore` writes it whole or not at all
and verifies it before it is used again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict

from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.training import CellInputs, EpochRecord, OnEpoch, TrainedCell, train_cell
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import Artifact, ArtifactStore, verify_artifact

CELL_KIND: Final = "cells"
_CODE: Final = tuple(f"modeling/{name}" for name in ("config", "heads", "loss", "tcn", "training", "windows"))
_WEIGHTS, _PREDICTIONS, _RECORD = "weights.safetensors", "predictions.safetensors", "cell.json"


class _CellRecord(BaseModel):
    """What a trained cell holds beside its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: TrainingConfig
    feature_names: tuple[str, ...]
    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    n_parameters: int
    n_train: int
    n_validation: int
    device: str


def cell_identity(cell: CellInputs, config: TrainingConfig, device: torch.device) -> dict[str, Any]:
    """All that decides the weights and predictions of a cell, as JSON values (arrays by their sha256)."""
    arrays = ("features", "targets", "train_mask", "validation_mask", "prediction_rows")
    return {
        "feature_names": list(cell.feature_names),
        "config": config.model_dump(mode="json"),
        "device": device.type,
        "torch": torch.__version__,
        "code": source_hash(*_CODE, "registry/checkpoints"),
        **{name: _array_sha256(getattr(cell, name)) for name in arrays},
    }


def train_or_reuse(
    store: ArtifactStore,
    cell: CellInputs,
    config: TrainingConfig,
    device: torch.device,
    on_epoch: OnEpoch | None = None,
) -> tuple[TrainedCell, Artifact]:
    """Train a cell and keep it, or take the kept result of an identical cell; `Artifact.reused` says which.

    Raises:
        ModelError, FeatureError: as `train_cell`; nothing is kept then.
    """
    artifact = store.get_or_build(
        CELL_KIND,
        cell_identity(cell, config, device),
        lambda folder: _write_cell(folder, train_cell(cell, config, device, on_epoch)),
    )
    return read_cell(artifact.path), artifact


def read_cell(path: Path) -> TrainedCell:
    """Verify and read a kept cell.

    Raises:
        ModelError: the folder is missing or was altered.
    """
    folder = verify_artifact(path)
    record = _CellRecord.model_validate_json((folder / _RECORD).read_bytes())
    results = safetensors.torch.load((folder / _PREDICTIONS).read_bytes())
    return TrainedCell(
        **{name: getattr(record, name) for name in _CellRecord.model_fields},
        state_dict=safetensors.torch.load((folder / _WEIGHTS).read_bytes()),
        prediction_rows=results["prediction_rows"].numpy(),
        predictions=results["predictions"].numpy(),
    )


def _write_cell(folder: Path, trained: TrainedCell) -> None:
    record = _CellRecord(**{name: getattr(trained, name) for name in _CellRecord.model_fields})
    results = {
        "prediction_rows": torch.from_numpy(np.array(trained.prediction_rows, dtype=np.int64)),
        "predictions": torch.from_numpy(np.array(trained.predictions, dtype=np.float32)),
    }
    (folder / _WEIGHTS).write_bytes(safetensors.torch.save(trained.state_dict))
    (folder / _PREDICTIONS).write_bytes(safetensors.torch.save(results))
    (folder / _RECORD).write_text(record.model_dump_json(indent=2))


def _array_sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
