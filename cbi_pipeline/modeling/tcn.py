"""The temporal convolutional network.

After Bai, Kolter and Koltun (2018), "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
Sequence Modeling", with one convolution a block. Two things differ from common code, both for causality:

- padding is on the left only;
- GroupNorm takes its statistics over the channels of one time step. Applied to [B, C, T] it would average over time
  too, and every state would then depend on later inputs of its window.

Receptive field: block i has dilation 2**i, so the last state sees 1 + (kernel - 1) * (2**n_blocks - 1) steps, 253 with
kernel 5 and 6 blocks (dilations 1..32): the window of 252 sessions without the patch stem, five such windows with it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cbi_pipeline.modeling.base import FusedNetwork
from cbi_pipeline.modeling.config import TcnConfig


class CausalBlock(nn.Module):
    """Left-padded convolution, per-step GroupNorm, GELU, channel dropout, residual connection."""

    def __init__(self, channels: int, width: int, kernel_size: int, norm_groups: int, dropout: float) -> None:
        super().__init__()
        self.reach = kernel_size - 1
        self.convolution = nn.Conv1d(channels, width, kernel_size)
        self.norm = nn.GroupNorm(norm_groups, width)
        self.dropout = nn.Dropout1d(dropout)
        self.skip = nn.Identity() if channels == width else nn.Linear(channels, width)

    def forward(self, x: Tensor, dilation: int = 1, stride: int = 1) -> Tensor:
        """[B, L, channels] -> [B, ceil(L / stride), width]; kept steps are counted back from the last.

        Channels lie innermost in memory, so that neither the normalisation nor the convolution (as one over a height
        of 1) has to move anything.
        """
        first = (x.shape[1] - 1) % stride  # first kept step: the last step is always kept
        padded = F.pad(x, (0, 0, self.reach * dilation - first, 0))  # [B, L + padding, channels]: left only
        image = padded.transpose(1, 2)[:, :, None]  # [B, channels, 1, L + padding]
        weight, bias = self.convolution.weight[:, :, None], self.convolution.bias  # [width, channels, 1, kernel]
        h = F.conv2d(image, weight, bias, stride=(1, stride), dilation=(1, dilation))  # [B, width, 1, L']
        by_step = h[:, :, 0].transpose(1, 2)  # [B, L', width]
        normed = self.norm(by_step.reshape(-1, by_step.shape[-1]))  # [B * L', width]: over the channels of one step
        h = self.dropout(F.gelu(normed).view_as(by_step).transpose(1, 2))  # [B, width, L']: whole channels drop
        return self.skip(x[:, first::stride]) + h.transpose(1, 2)  # [B, L', width]


class CausalStack(nn.Module):
    """Causal blocks with dilations 1, 2, 4, ...: [B, channels, L] -> a state per step, or the last state alone."""

    def __init__(
        self, channels: int, width: int, *, n_blocks: int, kernel_size: int, norm_groups: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [channels, *[width] * n_blocks]
        self.blocks = nn.ModuleList(
            CausalBlock(before, width, kernel_size, norm_groups, dropout) for before in widths[:-1]
        )

    def states(self, x: Tensor) -> Tensor:
        """The textbook dilated form: [B, channels, L] -> [B, width, L]; state t sees nothing later."""
        h = x.transpose(1, 2)  # [B, L, channels]
        for i, block in enumerate(self.blocks):
            h = block(h, dilation=2**i)  # [B, L, width]
        return h.transpose(1, 2)  # [B, width, L]

    def last_state(self, x: Tensor) -> Tensor:
        """State at the last step only: [B, channels, L] -> [B, width], equal to `states(x)[..., -1]`.

        The last state reads every second step of block 0, every fourth of block 1, and so on: block i runs with
        dilation 1 and stride 2 on what block i - 1 kept, at about a sixth of the arithmetic.
        """
        h = x.transpose(1, 2)  # [B, L, channels]
        for block in self.blocks:
            h = block(h, stride=2)  # [B, ceil(L / 2), width], the next half of that, ...
        return h[:, -1]  # [B, width]


class TcnEncoder(nn.Module):
    """Causal stack, its last or mean state, a bottleneck."""

    def __init__(self, channels: int, width: int, summary_width: int, config: TcnConfig) -> None:
        super().__init__()
        self.readout = config.readout
        self.stack = CausalStack(
            channels,
            width,
            n_blocks=config.n_blocks,
            kernel_size=config.kernel_size,
            norm_groups=config.norm_groups,
            dropout=config.dropout,
        )
        self.bottleneck = nn.Sequential(nn.Linear(width, summary_width), nn.GELU(), nn.Dropout(config.dropout))

    def states(self, x: Tensor) -> Tensor:
        """[B, channels, L] -> [B, width, L]; state t sees nothing later."""
        return self.stack.states(x)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, L] -> [B, summary_width]."""
        last = self.readout == "last"
        state = self.stack.last_state(x) if last else self.stack.states(x).mean(dim=-1)  # [B, width]
        return self.bottleneck(state)  # [B, summary_width]


class TCN(FusedNetwork):
    """The bake-off's temporal convolutional network: a stack of `filters` over ZL, a narrower one over the context."""

    def __init__(self, config: TcnConfig) -> None:
        super().__init__(
            config,
            lambda channels, width, summary: TcnEncoder(channels, width, summary, config),
            patch_width=config.filters,
            width=config.filters,
            summary_width=config.bottleneck,
        )
