"""What a trained network's forecasts rest on: SHAP values by expected gradients, summed per feature.

Reported beside the ranks of `feature_selection`, and no part of them: a network sees a fixed dozen of inputs, its
epoch is chosen on the validation part, and one that never beat the anchor attributes exactly nothing.

Reference:
    Erion et al. (2021), Nature Machine Intelligence 3: expected gradients, `shap.GradientExplainer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.device import REFERENCE_DEVICE
from cbi_pipeline.modeling.tcn import load_network
from cbi_pipeline.modeling.windows import cut_windows, usable_rows

EXPLAINED: Final = 16
"""Rows explained, and as many to compare with, spread evenly over the training rows."""
_SAMPLES: Final = 16


def network_attribution(
    config: TrainingConfig,
    state_dict: Mapping[str, Tensor],
    features: np.ndarray,
    feature_names: tuple[str, ...],
    rows: np.ndarray,
    seed: int,
) -> pd.Series:
    """Mean |SHAP| of each mean-path input on some rows, over sessions of the window, value and mask, and horizons.

    Args:
        config, state_dict: of the network.
        features: [T, F] scaled, NaN where missing.
        feature_names: F names.
        rows: [n] training rows; those without a full window are left out.
        seed: of the sampled points between a row and its reference rows.

    Returns:
        By name of the mean-path input, in units of sigma_h; all zero for a network whose head is still zero.
    """
    names = list(config.mean_path_inputs)
    windows = cut_windows(features, feature_names, config, REFERENCE_DEVICE)
    network = load_network(config, state_dict)
    wanted = np.zeros(len(features), dtype=bool)
    wanted[rows] = True
    usable = usable_rows(wanted, config.window_sessions)
    spread = np.unique(np.linspace(0, len(usable) - 1, EXPLAINED).round().astype(int))
    inputs = windows.batch(torch.from_numpy(usable[spread])).contiguous()
    with torch.no_grad():
        if bool((network(inputs) == 0).all()):
            return pd.Series(0.0, index=names)
    import shap

    explainer = shap.GradientExplainer(network, inputs)
    values = np.asarray(explainer.shap_values(inputs, nsamples=_SAMPLES, rseed=seed))  # [n, 2M, W, 4]
    per_channel = np.abs(values).mean(axis=(0, 3)).sum(axis=1)  # [2M]
    return pd.Series(per_channel[: len(names)] + per_channel[len(names) :], index=names)
