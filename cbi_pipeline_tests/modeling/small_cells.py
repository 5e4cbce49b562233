"""Cells for tests of the loop: a small one with a known answer, one cut from the starter bundle, small networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.modeling.cells import CellInputs
from cbi_pipeline.modeling.config import (
    AnyNetworkConfig,
    Architecture,
    FitConfig,
    LossConfig,
    LstmMhaConfig,
    NbeatsxConfig,
    TcnConfig,
    TrainingConfig,
)

_SMALL: dict[str, Any] = {
    "zl_inputs": ("log_returns", "a"),
    "context_inputs": ("b", "c"),
    "window_sessions": 20,
    "dropout": 0.0,
    "context_width": 8,
    "fused_width": 8,
    "spread_width": 8,
}
_OWN: dict[Architecture, dict[str, Any]] = {
    "lstm_mha": {"hidden": 16, "layers": 2, "attention_heads": 4},
    "tcn": {"filters": 8, "norm_groups": 2, "n_blocks": 3, "bottleneck": 8},
    "nbeatsx": {"block_width": 16, "norm_groups": 2, "n_blocks": 2, "stacks": 1},
}
_MODELS = {"lstm_mha": LstmMhaConfig, "tcn": TcnConfig, "nbeatsx": NbeatsxConfig}


def small_network(architecture: Architecture = "tcn", **changes: Any) -> AnyNetworkConfig:
    """A network of some hundred weights on the four features of `small_cell`."""
    network: AnyNetworkConfig = _MODELS[architecture](**(_SMALL | _OWN[architecture] | changes))
    return network


def small_config(architecture: Architecture = "tcn", **changes: Any) -> TrainingConfig:
    """`network`, `loss` and `fit` in `changes` are dicts of single settings."""
    fit = {
        "train_stride": 1,
        "validation_stride": 1,
        "epochs": 6,
        "patience": 6,
        "weight_decay": 0.0,
        "learning_rate": 5e-3,
    }
    return TrainingConfig(
        network=small_network(architecture, **changes.pop("network", {})),
        loss=LossConfig(**changes.pop("loss", {})),
        fit=FitConfig(**(fit | changes.pop("fit", {}))),
        **changes,
    )


def small_cell(sessions: int = 260) -> CellInputs:
    """The newest value of feature b tells the target's sign; the other features are noise, c with gaps."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(sessions, 4)).astype(np.float32)
    features[rng.random(sessions) < 0.2, 3] = np.nan
    targets = np.repeat(0.3 * np.sign(features[:, 2:3]), 4, axis=1).astype(np.float64)
    targets[-20:, 3] = np.nan
    train, validation = np.zeros((sessions, 4), dtype=bool), np.zeros((sessions, 4), dtype=bool)
    train[:150], validation[170:240] = True, True
    return CellInputs(
        feature_names=("log_returns", "a", "b", "c"),
        features=features,
        calendar=_phases(sessions),
        targets=targets,
        base=np.full_like(targets, 0.1),
        sigma=np.tile([0.1, 0.14, 0.17, 0.2], (sessions, 1)),
        density_ratio=np.full_like(targets, 0.9),
        label_end=np.arange(sessions)[:, None] + np.array([3, 6, 9, 12]),
        train_mask=train,
        validation_mask=validation,
        prediction_rows=np.arange(240, sessions),
    )


def _phases(sessions: int) -> np.ndarray:
    days = np.arange(sessions)[:, None] * 365.25 / 252 + np.array([0, 91, 182, 274, 365])
    return (2 * np.pi * (days % 365.25) / 365.25).astype(np.float32)


def real_cell(tables: dict[str, pd.DataFrame], frame: pd.DataFrame, windows: int = 64) -> CellInputs:
    """Features and realised scaled log returns of the starter bundle, `windows` training rows 15 sessions apart."""
    from cbi_pipeline.evaluation.benchmarks import prepare_market
    from cbi_pipeline.features.driver_set import fit_driver_set
    from cbi_pipeline.modeling.volatility import density_sigma, sigma_h, state_at

    sessions, market, horizons = pd.DatetimeIndex(frame.index), prepare_market(tables), list(HORIZONS_MONTHS)
    state = state_at(market.state, sessions)
    sigma = sigma_h(state)[horizons].to_numpy()
    log_return = market.outcome.loc[sessions, horizons].sub(np.log(market.front.loc[sessions]), axis=0).to_numpy()
    targets = log_return / sigma
    last = len(sessions) - 600  # every label from here back is known
    train, validation = np.zeros(targets.shape, dtype=bool), np.zeros(targets.shape, dtype=bool)
    train[last - 15 * windows : last : 15] = True
    validation[last + 20] = True
    return CellInputs(
        feature_names=tuple(frame.columns),
        features=fit_driver_set(frame, sessions[last - 1000].date(), sessions[last].date()).transform(frame),
        calendar=_phases(len(sessions)),
        targets=targets,
        base=np.zeros_like(targets),
        sigma=sigma,
        density_ratio=density_sigma(state)[horizons].to_numpy() / sigma,
        label_end=np.searchsorted(sessions, market.targets.loc[sessions, horizons].to_numpy()),
        train_mask=train,
        validation_mask=validation,
    )
