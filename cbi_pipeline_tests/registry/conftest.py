"""A small model, saved."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import torch

from cbi_pipeline.contracts.feature_lock import FeatureLock, lock_hash
from cbi_pipeline.modeling.config import TcnConfig, TrainingConfig
from cbi_pipeline.modeling.networks import build_ensemble
from cbi_pipeline.registry.artifacts import ModelContent, model_version, save_model


def lock_of(*names: str) -> FeatureLock:
    """A lock on some names, first version, float32."""
    versions = (1,) * len(names)
    return FeatureLock(
        names=names, formula_versions=versions, dtype="float32", hash=lock_hash(names, versions, "float32")
    )


@pytest.fixture
def content(tmp_path: Path) -> ModelContent:
    scaler = tmp_path / "fitted"
    scaler.write_bytes(b"bytes of a fitted scaler, opaque to the registry")
    network = TcnConfig(
        zl_inputs=("a",), context_inputs=("b",), spread_inputs=("a", "b"), filters=8, norm_groups=2, context_width=8
    )
    config = TrainingConfig(network=network, members=2)
    torch.manual_seed(1)
    return ModelContent(
        state_dict={name: 0.1 * torch.randn_like(w) for name, w in build_ensemble(config).state_dict().items()},
        config=config.model_dump(mode="json"),
        scaler_path=scaler,
        feature_names=("a", "b", "c"),
        feature_hash="f" * 64,
        feature_lock=lock_of("a", "b"),
        anchor={"weight": 0.5, "lambda": {"3": 0.0, "6": 0.1}},
        calibration={"3": {"density": "normal", "corrections": None, "reason": "nothing beats it"}},
        metrics={"scorecard_id": "s1", "entry": "tcn", "mape": {"3": 9.5, "6": None}},
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def saved(content: ModelContent, models: Path) -> Path:
    name = model_version("tcn", date(2024, 12, 31), content)
    return save_model(
        models,
        name,
        content,
        card="a card",
        provenance={"run_id": "1"},
        created_at=datetime(2025, 1, 2, 12, tzinfo=UTC),
    )
