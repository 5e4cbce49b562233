"""What a network gives out: a median per horizon and the distances of its quantiles from it.

Belongs here: the heads alone. They start at zero, so that an untrained network adds exactly nothing to the anchor and
states exactly the normal density; what the two states that they read are made of is the network's business.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.modeling.config import NetworkConfig

NORMAL_QUANTILES: Final[tuple[float, ...]] = tuple(NormalDist().inv_cdf(level) for level in QUANTILES)
_MEDIAN: Final = QUANTILES.index(0.5)


class NetworkOutput(NamedTuple):
    """Forecast of a batch, horizons in the order of HORIZONS_MONTHS.

    Attributes:
        median: [B, 4] in units of sigma_h.
        offsets: [B, 4, 7] quantile less median in units of the density's sigma, strictly increasing, 0 at the median.
    """

    median: Tensor
    offsets: Tensor


class HorizonHead(nn.Module):
    """One horizon: linear in the state of the mean path and in the state of the spread path, both from zero."""

    def __init__(self, width: int, spread_width: int) -> None:
        super().__init__()
        self.median = nn.Linear(width, 1)
        self.gaps = nn.Linear(spread_width, len(QUANTILES) - 1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class HorizonHeads(nn.Module):
    """The heads `horizon_3` ... `horizon_12`, evaluated together.

    - median: `bound * tanh(raw)`, or `raw` without a bound.
    - offsets: each of the six gaps between neighbouring quantiles is the standard normal's times
      `exp(b * tanh(raw / b))`, b = spread_bound: always positive, so that quantiles never cross.
    """

    normal: Tensor
    reach: Tensor

    def __init__(self, width: int, config: NetworkConfig) -> None:
        super().__init__()
        self.bound, self.spread_bound = config.residual_bound, config.spread_bound
        self.horizons = nn.ModuleDict(
            {f"horizon_{h}": HorizonHead(width, config.spread_width) for h in HORIZONS_MONTHS}
        )
        normal = torch.tensor(NORMAL_QUANTILES)  # [7]
        gap, quantile = torch.arange(len(QUANTILES) - 1)[:, None], torch.arange(len(QUANTILES))  # [6, 1], [7]
        above = ((gap >= _MEDIAN) & (quantile > gap)).float()  # [6, 7]: gaps between the median and a quantile above
        below = ((gap < _MEDIAN) & (quantile <= gap)).float()  # [6, 7]
        self.register_buffer("normal", normal, persistent=False)
        self.register_buffer("reach", (above - below) * normal.diff()[:, None], persistent=False)

    def _stacked(self, part: str) -> tuple[Tensor, Tensor]:
        """Weights [4 * out, in] and biases [4 * out] of one part of all heads."""
        layers = [getattr(head, part) for head in self.horizons.values()]
        return torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])

    def median(self, state: Tensor) -> Tensor:
        """[B, width] -> [B, 4]."""
        return self.bounded(F.linear(state, *self._stacked("median")).float())

    def contributions(self, parts: Tensor) -> Tensor:
        """A state of its own for each horizon, [B, 4, width], before the bound: [B, 4, width + 1], the bias last.

        `bounded` of their sum is the median.
        """
        weight, bias = self._stacked("median")  # [4, width], [4]
        return torch.cat([parts * weight, bias[:, None].expand_as(parts[..., :1])], dim=-1)  # [B, 4, width + 1]

    def bounded(self, raw: Tensor) -> Tensor:
        """Any shape -> same shape, within (-bound, bound)."""
        return raw if self.bound is None else self.bound * torch.tanh(raw)

    def offsets(self, state: Tensor) -> Tensor:
        """[B, spread_width] -> [B, 4, 7]."""
        raw = F.linear(state, *self._stacked("gaps")).float()  # [B, 4 * 6]
        bounded = self.spread_bound * torch.tanh(raw / self.spread_bound)  # [B, 4 * 6]: log of the gap's factor
        change = torch.expm1(bounded).unflatten(1, (len(self.horizons), -1))  # [B, 4, 6]: 0 leaves the normal as it is
        return self.normal + (change[..., None] * self.reach).sum(dim=-2)  # [B, 4, 7]
