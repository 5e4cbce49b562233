"""Multi-horizon heads: one state vector -> one bounded residual per horizon.

A head gives the median of the residual only; the spread of a forecast comes from the density, not from here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cbi_pipeline.contracts import HORIZONS_MONTHS


class ResidualHeads(nn.Module):
    """`residual_h = bound * tanh(w_h . state + b_h)`, in units of sigma_h.

    The linear layers start at zero, so that an untrained network adds exactly nothing to the anchor, and the bound
    keeps a trained one from adding more than `bound` sigma. Keys are `horizon_3` ... `horizon_12`.
    """

    def __init__(self, width: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.horizons = nn.ModuleDict({f"horizon_{h}": nn.Linear(width, 1) for h in HORIZONS_MONTHS})
        for head in self.horizons.values():
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, state: Tensor) -> Tensor:
        """[B, width] -> [B, 4], columns in the order of HORIZONS_MONTHS, each within (-bound, bound)."""
        raw = torch.cat([self.horizons[f"horizon_{h}"](state) for h in HORIZONS_MONTHS], dim=1)  # [B, 4]
        return self.bound * torch.tanh(raw)
