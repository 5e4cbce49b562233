from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.training import CellInputs
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.registry.checkpoints import cell_identity, read_cell, train_or_reuse

CPU = torch.device("cpu")
CONFIG = TrainingConfig(
    mean_path_inputs=("a",), window_sessions=8, filters=4, norm_groups=2, n_blocks=2, epochs=2, train_stride=1
)


@pytest.fixture
def cell() -> CellInputs:
    rng = np.random.default_rng(3)
    train = np.zeros((80, 4), dtype=bool)
    train[:40] = True
    validation = np.zeros_like(train)
    validation[45:65] = True
    features = rng.normal(size=(80, 1)).astype(np.float32)
    features[5, 0] = np.nan
    return CellInputs(("a",), features, 0.3 * rng.normal(size=(80, 4)), train, validation, np.arange(70, 80))


def test_a_second_run_trains_nothing(tmp_path: Path, cell: CellInputs) -> None:
    store = ArtifactStore(tmp_path)
    epochs: list[int] = []
    first, made = train_or_reuse(store, cell, CONFIG, CPU, lambda epoch, *rest: epochs.append(epoch))
    second, kept = train_or_reuse(store, cell, CONFIG, CPU, lambda epoch, *rest: epochs.append(epoch))
    assert (made.reused, kept.reused, epochs) == (False, True, [1, 2])
    assert kept.path == made.path
    for name in ("config", "feature_names", "history", "best_epoch", "seconds", "n_parameters", "n_train", "device"):
        assert getattr(first, name) == getattr(second, name)
    assert all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)
    assert np.array_equal(first.predictions, second.predictions)
    assert np.array_equal(first.prediction_rows, second.prediction_rows)


def test_whatever_decides_the_result_changes_the_identity(cell: CellInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    other_value, other_mask = cell.features.copy(), cell.train_mask.copy()
    other_value[79, 0] += 1
    other_mask[0, 0] = False
    variants = [
        cell_identity(cell, CONFIG, CPU),
        cell_identity(replace(cell, features=other_value), CONFIG, CPU),
        cell_identity(replace(cell, targets=cell.targets + 1), CONFIG, CPU),
        cell_identity(replace(cell, train_mask=other_mask), CONFIG, CPU),
        cell_identity(replace(cell, validation_mask=np.roll(cell.validation_mask, 1, axis=0)), CONFIG, CPU),
        cell_identity(replace(cell, prediction_rows=cell.prediction_rows[1:]), CONFIG, CPU),
        cell_identity(replace(cell, feature_names=("b",)), CONFIG, CPU),
        cell_identity(cell, CONFIG.model_copy(update={"seed": 1}), CPU),
        cell_identity(cell, CONFIG, torch.device("cuda")),
    ]
    monkeypatch.setattr("cbi_pipeline.registry.checkpoints.source_hash", lambda *parts: "other code")
    variants.append(cell_identity(cell, CONFIG, CPU))
    assert len({str(identity) for identity in variants}) == len(variants)
    monkeypatch.undo()
    assert cell_identity(replace(cell, features=cell.features.copy()), CONFIG, CPU) == variants[0]


def test_an_altered_checkpoint_is_trained_again_and_refused_by_readers(tmp_path: Path, cell: CellInputs) -> None:
    store = ArtifactStore(tmp_path)
    first, made = train_or_reuse(store, cell, CONFIG, CPU)
    weights = made.path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="altered"):
        read_cell(made.path)
    again, remade = train_or_reuse(store, cell, CONFIG, CPU)
    assert not remade.reused
    assert all(torch.equal(first.state_dict[name], again.state_dict[name]) for name in first.state_dict)


def test_a_cell_that_fails_leaves_nothing(tmp_path: Path, cell: CellInputs) -> None:
    unusable = replace(cell, targets=np.full_like(cell.targets, np.nan))
    with pytest.raises(ModelError, match="training part"):
        train_or_reuse(ArtifactStore(tmp_path), unusable, CONFIG, CPU)
    assert list((tmp_path / "cells").iterdir()) == []
