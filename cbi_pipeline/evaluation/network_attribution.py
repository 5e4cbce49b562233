"""What a trained network's forecasts rest on: SHAP values by expected gradients, summed per feature.

Reported beside the ranks of `feature_selection`, and no part of them: a network sees a fixed dozen of inputs, its
epoch is chosen on the validation part, and one that never beat the anchor attributes exactly nothing. The first member
of an ensemble stands for it, since every member costs as much and the figure decides nothing.

Reference:
    Erion et al. (2021), Nature Machine Intelligence 3: expected gradients, `shap.GradientExplainer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cbi_pipeline.modeling.base import ForecastNetwork
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.device import REFERENCE_DEVICE
from cbi_pipeline.modeling.networks import load_ensemble
from cbi_pipeline.modeling.windows import cut_windows, usable_rows

EXPLAINED: Final = 16
"""Rows explained, and as many to compare with, spread evenly over the training rows."""
CALENDAR: Final = "calendar"
"""Name of what is known in advance in the result; it is nothing for a network that does not use it."""
_SAMPLES: Final = 16


class _Median(nn.Module):
    """The mean path of a network, of the inputs that it uses."""

    def __init__(self, network: ForecastNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, history: Tensor, *calendar: Tensor) -> Tensor:
        """[B, 2M, W] and, if it is used, [B, 5] -> [B, 4]."""
        unused = history.new_zeros(len(history), self.network.input_shapes()["calendar"][0])
        return self.network.median(history, *(calendar or (unused,)))


def network_attribution(
    config: TrainingConfig,
    state_dict: Mapping[str, Tensor],
    features: np.ndarray,
    feature_names: tuple[str, ...],
    calendar: np.ndarray,
    rows: np.ndarray,
    seed: int,
) -> pd.Series:
    """Mean |SHAP| of each mean-path input on some rows, over sessions of the window, value and mask, and horizons.

    Args:
        config, state_dict: of the trained networks, the spread inputs named.
        features: [T, F] scaled, NaN where missing.
        feature_names: F names.
        calendar: [T, 5] phases of the year.
        rows: [n] training rows; those without a full window are left out.
        seed: of the sampled points between a row and its reference rows.

    Returns:
        By name of the mean-path input, then `calendar`, in units of sigma_h; all zero for a network whose head is
        still zero.
    """
    names = [*config.network.mean_path_inputs, CALENDAR]
    windows = cut_windows(features, feature_names, calendar, config.network, REFERENCE_DEVICE)
    network = load_ensemble(config, state_dict).members[0]
    assert isinstance(network, ForecastNetwork)
    wanted = np.zeros(len(features), dtype=bool)
    wanted[rows] = True
    usable = usable_rows(wanted, config.network.window_sessions)
    spread = np.unique(np.linspace(0, len(usable) - 1, EXPLAINED).round().astype(int))
    batch = windows.batch(torch.from_numpy(usable[spread]))
    inputs = [batch.history.contiguous(), *([batch.calendar] if network.uses_calendar else [])]
    median = _Median(network)
    with torch.no_grad():
        if bool((median(*inputs) == 0).all()):
            return pd.Series(0.0, index=names)
    import shap

    explainer = shap.GradientExplainer(median, inputs)
    found = explainer.shap_values(inputs, nsamples=_SAMPLES, rseed=seed)
    by_input = found if isinstance(found, list) else [found]  # [n, 2M, W, 4] and, if it is used, [n, 5, 4]
    history, *ahead = (np.abs(own).mean(axis=(0, -1)) for own in by_input)  # [2M, W], [5]
    per_channel = history.sum(axis=1)  # [2M]
    n = len(names) - 1
    return pd.Series([*(per_channel[:n] + per_channel[n:]), sum(own.sum() for own in ahead)], index=names)
