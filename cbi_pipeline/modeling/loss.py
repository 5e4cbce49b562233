"""The training loss: Huber on the median, pinball on the quantiles, a smooth penalty on wrong directions.

Everything is in units of sigma_h. Labels that are not known have weight 0 and pass no number on, NaN included.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.modeling.config import LossConfig
from cbi_pipeline.modeling.heads import NetworkOutput

_PERCENT: Final = 100.0
_ROOTS: Final = tuple((h / HORIZONS_MONTHS[0]) ** 0.5 for h in HORIZONS_MONTHS)


class Labels(NamedTuple):
    """What a batch is measured against; [B, 4] each, in the order of HORIZONS_MONTHS.

    Attributes:
        target: what the median is to be, in units of sigma_h; NaN where unknown.
        base: what is added to the median to make the forecast log return, in units of sigma_h.
        sigma: sigma_h, log price.
        density_ratio: density sigma over sigma_h.
        weight: horizon weight times sample weight; 0 where the label is not used.
    """

    target: Tensor
    base: Tensor
    sigma: Tensor
    density_ratio: Tensor
    weight: Tensor

    def rows(self, chosen: Tensor) -> Labels:
        """Some rows of the batch."""
        return Labels(*(tensor[chosen] for tensor in self))

    def known(self) -> Labels:
        """The same with neutral numbers at weight 0, so that arithmetic there stays finite and its gradient 0."""
        used = self.weight > 0
        neutral = (0.0, 0.0, 1.0, 1.0, 0.0)
        return Labels(*(torch.where(used, tensor, value) for tensor, value in zip(self, neutral, strict=True)))


def training_loss(output: NetworkOutput, labels: Labels, config: LossConfig) -> Tensor:
    """Weighted mean over the used labels of Huber + pinball + direction, each with its weight. A scalar.

    A batch without a used label gives NaN, as does an output that is not a number.
    """
    labels = labels.known()
    count = (labels.weight > 0).sum()
    median, offsets = output.median.float(), output.offsets.float()
    error = F.huber_loss(median, labels.target, reduction="none", delta=config.huber_delta)  # [B, 4]
    if config.pinball_weight > 0:
        scaled = (labels.target - median) / labels.density_ratio  # [B, 4]
        error = error + config.pinball_weight * pinball(scaled, offsets)
    loss = (error * labels.weight).sum() / count
    if config.direction_weight > 0:
        loss = loss + config.direction_weight * direction_loss(median, labels, config.direction_scale)
    return loss


def pinball(value: Tensor, quantiles: Tensor) -> Tensor:
    """Mean pinball loss over the levels QUANTILES (Koenker and Bassett 1978): [...] and [..., 7] -> [...]."""
    levels = _constant(QUANTILES, quantiles.device)  # [7]
    gap = value.unsqueeze(-1) - quantiles  # [..., 7]
    return torch.maximum(levels * gap, (levels - 1) * gap).mean(dim=-1)


def direction_loss(median: Tensor, labels: Labels, scale: float) -> Tensor:
    """Smooth share of wrong directions: of the forecast itself, plus of its step from one horizon to the next.

    Steps are differences of log returns in units of the sigma of three months: sigma_h grows with the square root of
    the horizon, so that a log return of f_h sigma_h is f_h sqrt(h / 3) such units. A step counts where both its labels
    are used. A sum of two means, each in (0, 1) times the weights; one half each where the forecast is zero.

    Args:
        median: [B, 4].
        labels: as of `Labels.known`.
        scale: units of sigma over which the sign is smoothed.
    """
    forecast, outcome = labels.base + median, labels.base + labels.target  # [B, 4]
    used = labels.weight > 0
    level = smooth_disagreement(forecast, outcome, scale) * labels.weight  # [B, 4]
    roots = _constant(_ROOTS, median.device)  # [4]
    steps = smooth_disagreement((forecast * roots).diff(dim=1), (outcome * roots).diff(dim=1), scale)  # [B, 3]
    both = used[:, 1:] & used[:, :-1]  # [B, 3]
    step_loss = (steps * labels.weight[:, 1:] * both).sum() / both.sum().clamp(min=1)
    return level.sum() / used.sum() + step_loss


def smooth_disagreement(forecast: Tensor, outcome: Tensor, scale: float) -> Tensor:
    """`(1 - tanh(f / scale) tanh(y / scale)) / 2`: 0 for a sure right sign, 1 for a sure wrong one, with a gradient.

    It replaces `sign(f) != sign(y)`, whose gradient is zero wherever it exists, and is sign disagreement in the limit
    of a small scale.
    """
    return (1 - torch.tanh(forecast / scale) * torch.tanh(outcome / scale)) / 2


def mape(median: Tensor, labels: Labels) -> Tensor:
    """Mean absolute percentage error of the forecast price over the used labels, in percent; every label alike.

    Forecast over realised price is exp(sigma_h (median - target)): base and today's price cancel.
    """
    labels = labels.known()
    used = labels.weight > 0
    ratio = torch.exp(labels.sigma * (median.float() - labels.target))  # [B, 4]
    return _PERCENT * ((ratio - 1).abs() * used).sum() / used.sum()


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Copied to the device once, not in every step. Never an inference tensor, which no gradient could pass."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device)
