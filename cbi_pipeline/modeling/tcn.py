"""The temporal convolutional network: windows [B, C, W] -> bounded residuals [B, 4].

After Bai, Kolter and Koltun (2018), "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
Sequence Modeling", with one convolution a block. Two things differ from common code, both for causality:

- padding is on the left only;
- GroupNorm takes its statistics over the channels of one time step. Applied to [B, C, T] it would average over time
  too, and every state would then depend on later inputs of its window.

Receptive field: block i has dilation 2**i, so the last state sees 1 + (kernel - 1) * (2**n_blocks - 1) sessions, 253
with kernel 5 and 6 blocks (dilations 1..32): the whole window of 252.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.heads import ResidualHeads


class CausalBlock(nn.Module):
    """Left-padded convolution, per-step GroupNorm, GELU, channel dropout, residual connection."""

    def __init__(self, in_channels: int, config: TrainingConfig) -> None:
        super().__init__()
        self.reach = config.kernel_size - 1
        self.convolution = nn.Conv1d(in_channels, config.filters, config.kernel_size)
        self.norm = nn.GroupNorm(config.norm_groups, config.filters)
        self.dropout = nn.Dropout1d(config.dropout)
        self.skip = nn.Identity() if in_channels == config.filters else nn.Conv1d(in_channels, config.filters, 1)

    def forward(self, x: Tensor, dilation: int = 1, stride: int = 1) -> Tensor:
        """[B, C_in, L] -> [B, filters, ceil(L / stride)]; kept steps are counted back from the last."""
        first = (x.shape[-1] - 1) % stride  # first kept step: the last step is always kept
        padded = F.pad(x, (self.reach * dilation - first, 0))  # left only
        weight, bias = self.convolution.weight, self.convolution.bias
        h = F.conv1d(padded, weight, bias, stride=stride, dilation=dilation)  # [B, H, L']
        by_step = h.transpose(1, 2)  # [B, L', H]
        normed = self.norm(by_step.reshape(-1, by_step.shape[-1]))  # [B * L', H]: over the channels of one step only
        h = normed.view_as(by_step).transpose(1, 2)  # [B, H, L']
        return self.skip(x[..., first::stride]) + self.dropout(F.gelu(h))


class TemporalConvolutionalNetwork(nn.Module):
    """Six causal blocks, a bottleneck over the last state, and a residual head per horizon.

    The last state reads every second step of block 0, every fourth of block 1, and so on. `forward` therefore computes
    only those: block i runs with dilation 1 and stride 2 on what block i - 1 kept. That is the same function as
    `states` with dilations 1..32, at about a sixth of the arithmetic (a test holds them equal).
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.input_limit = config.input_limit
        widths = [config.n_channels, *[config.filters] * config.n_blocks]
        self.blocks = nn.ModuleList(CausalBlock(width, config) for width in widths[:-1])
        self.bottleneck = nn.Sequential(
            nn.Linear(config.filters, config.filters), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.heads = ResidualHeads(config.filters, config.residual_bound)

    def states(self, x: Tensor) -> Tensor:
        """State at every step, the textbook dilated form: [B, C, W] -> [B, filters, W]; state t sees nothing later."""
        h = self._limited(x)
        for i, block in enumerate(self.blocks):
            h = block(h, dilation=2**i)
        return h

    def last_state(self, x: Tensor) -> Tensor:
        """State at the last step only: [B, C, W] -> [B, filters], equal to `states(x)[..., -1]`."""
        h = self._limited(x)
        for block in self.blocks:
            h = block(h, stride=2)
        return h[..., -1]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, W] -> [B, 4] residuals in units of sigma_h, columns in the order of HORIZONS_MONTHS."""
        return self.heads(self.bottleneck(self.last_state(x)))

    def _limited(self, x: Tensor) -> Tensor:
        """Clamp inputs, so that a value far outside the scaler's range cannot overflow or dominate."""
        return x.clamp(-self.input_limit, self.input_limit)


def load_network(config: TrainingConfig, state_dict: Mapping[str, Tensor]) -> TemporalConvolutionalNetwork:
    """Rebuild a trained network on the CPU, in evaluation mode (the reference for inference).

    Raises:
        ModelError: the weights do not fit the configuration.
    """
    with torch.device("meta"):  # shapes only: no initial weights are drawn from the global generator
        network = TemporalConvolutionalNetwork(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ModelError(
            f"weights {wrong[0]}",
            f"The shape is {found.get(wrong[0])}, the configuration needs {expected.get(wrong[0])}.",
            "load weights together with the config.json they were saved with, or train again.",
        )
    weights = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in state_dict.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval()
