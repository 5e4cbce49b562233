"""The training loss: Huber on the anchored residual, weighted by horizon, over known labels only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cbi_pipeline.errors import ModelError


def masked_huber(residual: Tensor, target: Tensor, known: Tensor, weights: Tensor, delta: float) -> Tensor:
    """Mean over known labels of `weight_h * huber(residual - target)`.

    A label that is not known (a recent row may have a 3-month label and no 12-month one) is replaced by the prediction
    itself *before* the arithmetic: its difference is exactly zero and no NaN reaches the gradient.

    Args:
        residual: [B, 4] bounded network output, in units of sigma_h.
        target: [B, 4] (y - anchor) / sigma_h, NaN where unknown.
        known: [B, 4] bool; True only where the target is a number that may be used.
        weights: [4] weight of each horizon.
        delta: where Huber turns from square to absolute error, in units of sigma_h (Huber 1964).

    Returns:
        a scalar; NaN only if a label marked as known, or the prediction, is not a number.

    Raises:
        ModelError: no label of the batch is known.
    """
    n_known = known.sum()
    if int(n_known) == 0:
        raise ModelError("loss", "No label of the batch is known.", "pass only rows with at least one known label.")
    safe_target = torch.where(known, target, residual.detach())  # [B, 4]
    element = F.huber_loss(residual, safe_target, reduction="none", delta=delta)  # [B, 4]
    return (element * weights).sum() / n_known
