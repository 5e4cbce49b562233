"""What the three networks share: the interface, the patch stem, the fusion of two encoders, the spread path.

Two paths that never meet: the mean path sees the history of at most twelve chosen inputs, the spread path sees all
features of the as-of session. What is particular to an architecture is in its own module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import NetworkConfig
from cbi_pipeline.modeling.heads import HorizonHeads, NetworkOutput


class PatchStem(nn.Module):
    """`patch_days` sessions -> one step, by a convolution whose kernel is its stride; none for patches of one session.

    Patches are counted back from the last session, which is always the end of one. A window that is no multiple is
    extended on its old side by sessions that are absent: value 0, mask 0.
    """

    def __init__(self, channels: int, width: int, config: NetworkConfig) -> None:
        super().__init__()
        self.patch_days = config.patch_days
        self.width = width if config.patch_days > 1 else channels
        if config.patch_days > 1:
            self.convolution = nn.Conv1d(channels, width, config.patch_days, stride=config.patch_days)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, W] -> [B, width, ceil(W / patch_days)]; step j sees nothing after its own patch."""
        if self.patch_days == 1:
            return x
        return self.convolution(F.pad(x, (-x.shape[-1] % self.patch_days, 0)))  # [B, width, n_steps]


class SpreadPath(nn.Sequential):
    """All features of the as-of session -> the state that the quantile gaps are read from: [B, 2S] -> [B, width]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(
            nn.Linear(2 * len(config.spread_inputs), config.spread_width),
            nn.LayerNorm(config.spread_width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )


class ForecastNetwork(nn.Module, ABC):
    """A network of the bake-off: history, current features and calendar -> median and quantile offsets per horizon.

    Inputs, see `windows.NetworkInputs`: history [B, 2M, W] float32, values of the M mean-path inputs, then their
    presence masks; current [B, 2S] float32, values and masks of the S spread inputs in the as-of session; calendar
    [B, 5] float32, phase of the year in radians of the as-of date and of the four target dates.

    Args:
        config: with spread_inputs named.
        width: of the state that the heads of the median read.

    Raises:
        ModelError: spread_inputs is empty; in use: an input has another shape than `input_shapes`.
    """

    uses_calendar: ClassVar[bool] = False

    def __init__(self, config: NetworkConfig, width: int) -> None:
        super().__init__()
        if not config.spread_inputs:
            raise ModelError(
                "spread_inputs",
                "The inputs of the spread path are not named, so that their number is not known.",
                "name them; all features that the cell is given is the usual choice.",
            )
        self.config = config
        self.heads = HorizonHeads(width, config)
        self.spread = SpreadPath(config)

    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input of `forward`, without the batch dimension."""
        return {
            "history": (2 * len(self.config.mean_path_inputs), self.config.window_sessions),
            "current": (2 * len(self.config.spread_inputs),),
            "calendar": (1 + len(HORIZONS_MONTHS),),
        }

    def forward(self, history: Tensor, current: Tensor, calendar: Tensor) -> NetworkOutput:
        """[B, 2M, W], [B, 2S], [B, 5] -> median [B, 4], offsets [B, 4, 7]."""
        self._check(current=current)
        spread = self.spread(self._limited(current))  # [B, spread_width]
        return NetworkOutput(self.median(history, calendar), self.heads.offsets(spread))

    @abstractmethod
    def median(self, history: Tensor, calendar: Tensor) -> Tensor:
        """The mean path alone: [B, 2M, W], [B, 5] -> [B, 4] in units of sigma_h."""

    def _split(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 2M, W] -> ZL [B, 2Z, W] and context [B, 2(M - Z), W], values before masks, clamped."""
        n_zl, n_context = len(self.config.zl_inputs), len(self.config.context_inputs)
        limited = self._limited(history)  # [B, 2M, W]
        zl, context, zl_masks, context_masks = limited.split([n_zl, n_context, n_zl, n_context], dim=1)
        return torch.cat([zl, zl_masks], dim=1), torch.cat([context, context_masks], dim=1)

    def _limited(self, x: Tensor) -> Tensor:
        """Clamp inputs, so that a value far outside the scaler's range cannot overflow or dominate."""
        return x.clamp(-self.config.input_limit, self.config.input_limit)

    def _check(self, **inputs: Tensor) -> None:
        for name, tensor in inputs.items():
            expected = self.input_shapes()[name]
            if tuple(tensor.shape[1:]) != expected:
                raise ModelError(
                    f"{name} of shape {tuple(tensor.shape)}",
                    f"The network was built for {('batch', *expected)}.",
                    "cut windows with the configuration that the network was built with.",
                )


class FusedNetwork(ForecastNetwork):
    """Two encoders of one kind, ZL at full size and context narrower; their last summaries are fused.

    Args:
        encoder: (channels, width of the encoder, width of its summary) -> module [B, channels, steps] -> [B, summary].
        patch_width, width, summary_width: of the ZL encoder's patches, states and summary. The context encoder has
            context_width in all three places.
    """

    def __init__(
        self,
        config: NetworkConfig,
        encoder: Callable[[int, int, int], nn.Module],
        *,
        patch_width: int,
        width: int,
        summary_width: int,
    ) -> None:
        super().__init__(config, config.fused_width)
        self.zl_stem = PatchStem(2 * len(config.zl_inputs), patch_width, config)
        self.zl_encoder = encoder(self.zl_stem.width, width, summary_width)
        summaries = summary_width
        if config.context_inputs:
            narrow = config.context_width
            self.context_stem = PatchStem(2 * len(config.context_inputs), narrow, config)
            self.context_encoder = encoder(self.context_stem.width, narrow, narrow)
            summaries += narrow
        self.fusion = nn.Sequential(
            nn.Linear(summaries, config.fused_width),
            nn.LayerNorm(config.fused_width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )

    def median(self, history: Tensor, calendar: Tensor) -> Tensor:
        """[B, 2M, W] -> [B, 4] in units of sigma_h; the calendar is not used."""
        self._check(history=history, calendar=calendar)
        zl, context = self._split(history)  # [B, 2Z, W], [B, 2(M - Z), W]
        state = self.zl_encoder(self.zl_stem(zl))  # [B, summary_width]
        if self.config.context_inputs:
            beside = self.context_encoder(self.context_stem(context))  # [B, context_width]
            state = torch.cat([state, beside], dim=1)  # [B, summary_width + context_width]
        return self.heads.median(self.fusion(state))  # [B, 4]
