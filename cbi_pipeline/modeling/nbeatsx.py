"""N-BEATSx in its interpretable form: a forecast that is a sum of named parts.

After Oreshkin, Carpov, Chapados and Bengio (2020), "N-BEATS" (doubly residual stacks of basis expansions), and
Olivares, Challu, Marcjasz, Weron and Dubrawski (2023), "Neural basis expansion analysis with exogenous variables:
Forecasting electricity prices with NBEATSx", International Journal of Forecasting 39(2). What differs:

- the series is read at patch ends, and the forecast basis is taken at the four target dates only;
- a head per horizon weighs the parts, since the median is in units of sigma_h and starts at zero;
- one causal convolutional stack over the context serves all exogenous blocks.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.base import ForecastNetwork, PatchStem
from cbi_pipeline.modeling.config import NbeatsxConfig
from cbi_pipeline.modeling.tcn import CausalStack
from cbi_pipeline.modeling.volatility import SESSIONS_PER_YEAR

SERIES = "log_returns"
LEVEL = "level"


class Basis(NamedTuple):
    """What a block's coefficients weigh: `past` [B or 1, n_steps, K], `ahead` [B or 1, 4, K]."""

    past: Tensor
    ahead: Tensor


class Decomposition(NamedTuple):
    """A pass through the blocks: `series` = sum of `backcasts` + `residual`; forecasts before the heads.

    Attributes:
        series: [B, n_steps].
        backcasts: [blocks, B, n_steps].
        residual: [B, n_steps].
        forecasts: [B, 4, blocks].
    """

    series: Tensor
    backcasts: Tensor
    residual: Tensor
    forecasts: Tensor


class BasisBlock(nn.Module):
    """A small perceptron that gives the coefficients of one basis, for the past and for the horizons.

    The last block of a network has no backcast (`is_last`): nothing would read it, and its weights would never learn.
    """

    def __init__(self, inputs: int, coefficients: int, width: int, dropout: float, *, is_last: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()
        )
        self.ahead = nn.Linear(width, coefficients)
        self.past = None if is_last else nn.Linear(width, coefficients)

    def forward(self, residual: Tensor, beside: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
        """[B, n_steps], [B, N] -> backcast [B, n_steps], forecast [B, 4]."""
        hidden = self.layers(torch.cat([residual, beside], dim=1))  # [B, width]
        forecast = _weighted(basis.ahead, self.ahead(hidden))  # [B, 4]
        backcast = torch.zeros_like(residual) if self.past is None else _weighted(basis.past, self.past(hidden))
        return backcast, forecast


def _weighted(basis: Tensor, coefficients: Tensor) -> Tensor:
    """[B or 1, N, K], [B, K] -> [B, N]."""
    return (basis @ coefficients[..., None]).squeeze(-1)


def _kind(name: str) -> str:
    return name.split("_")[0]


class NBEATSx(ForecastNetwork):
    """`stacks` times (trend, seasonality, exogenous), each block explaining what those before it left over.

    The series: log price relative to the as-of date, read at the end of each patch: minus the sum of the scaled log
    returns after it, over the root of a year's sessions. An absent return counts as 0 (the median return), and the
    presence mask beside it says so. All ZL channels, through the patch stem, are inputs of every block beside the
    residual. Bases:

    - trend: powers 0..trend_degree of time in years from the as-of date;
    - seasonality: cosine and sine of `harmonics` of the year; phases of the target dates come from the calendar, the
      only input known ahead;
    - exogenous: states of a causal stack over the context; ahead, projections of the last state to the horizons.

    Raises:
        ModelError: as ForecastNetwork; the first ZL input is not log_returns.
    """

    uses_calendar: ClassVar[bool] = True
    years_past: Tensor
    trend_past: Tensor
    trend_ahead: Tensor
    harmonic: Tensor

    def __init__(self, config: NbeatsxConfig) -> None:
        if config.zl_inputs[0] != SERIES:
            raise ModelError(
                f"zl_inputs {config.zl_inputs}",
                f"The network rebuilds the path of the price from {SERIES}, which must be the first ZL input.",
                f"put {SERIES} first in zl_inputs.",
            )
        kinds = ("trend", "seasonality", "exogenous") if config.context_inputs else ("trend", "seasonality")
        names = [f"{kind}_{stack}" for stack in range(1, config.stacks + 1) for kind in kinds]
        super().__init__(config, len(names))
        self.patch_days = config.patch_days
        n_steps = config.n_steps
        sizes = {
            "trend": config.trend_degree + 1,
            "seasonality": 2 * config.harmonics,
            "exogenous": config.context_width,
        }

        self.zl_stem = PatchStem(2 * len(config.zl_inputs), len(config.zl_inputs), config)
        if config.context_inputs:
            width = config.context_width
            self.context_stem = PatchStem(2 * len(config.context_inputs), width, config)
            self.context_stack = CausalStack(
                self.context_stem.width,
                width,
                n_blocks=config.n_blocks,
                kernel_size=config.kernel_size,
                norm_groups=config.norm_groups,
                dropout=config.dropout,
            )
            self.context_ahead = nn.Linear(width, len(HORIZONS_MONTHS) * width)
        inputs = n_steps * (1 + self.zl_stem.width)
        self.blocks = nn.ModuleDict(
            {
                name: BasisBlock(
                    inputs, sizes[_kind(name)], config.block_width, config.dropout, is_last=name == names[-1]
                )
                for name in names
            }
        )
        years_past = torch.arange(1 - n_steps, 1) * config.patch_days / SESSIONS_PER_YEAR  # [n_steps], the last is 0
        years_ahead = torch.tensor(HORIZONS_MONTHS) / 12  # [4]
        powers = torch.arange(config.trend_degree + 1)  # [degree + 1]
        self.register_buffer("years_past", years_past, persistent=False)
        self.register_buffer("trend_past", years_past[:, None] ** powers, persistent=False)  # [n_steps, degree + 1]
        self.register_buffer("trend_ahead", years_ahead[:, None] ** powers, persistent=False)  # [4, degree + 1]
        self.register_buffer("harmonic", torch.arange(1.0, config.harmonics + 1), persistent=False)  # [harmonics]

    def median(self, history: Tensor, calendar: Tensor) -> Tensor:
        """[B, 2M, W], [B, 5] -> [B, 4] in units of sigma_h."""
        forecasts = self.decompose(history, calendar).forecasts  # [B, 4, blocks]
        return self.heads.bounded(self.heads.contributions(forecasts).sum(dim=-1))  # [B, 4]

    def components(self, history: Tensor, calendar: Tensor) -> dict[str, Tensor]:
        """The median in named parts, [B, 4] each, that sum to it: the blocks in order, then `level`, the heads' bias.

        The bound is shared out in proportion: each part is scaled by bound * tanh(x) / x, x the sum of all parts.
        """
        parts = self.heads.contributions(self.decompose(history, calendar).forecasts)  # [B, 4, blocks + 1]
        total = parts.sum(dim=-1, keepdim=True)  # [B, 4, 1]
        if self.heads.bound is not None:
            divisor = torch.where(total == 0, 1.0, total)  # [B, 4, 1]: where the sum is 0, tanh(x) / x is 1
            parts = parts * self.heads.bound * torch.where(total == 0, 1.0, torch.tanh(total) / divisor)
        return dict(zip([*self.blocks, LEVEL], parts.unbind(dim=-1), strict=True))

    def decompose(self, history: Tensor, calendar: Tensor) -> Decomposition:
        """The doubly residual pass: [B, 2M, W], [B, 5] -> series, backcasts, residual and forecasts of the blocks."""
        self._check(history=history, calendar=calendar)
        zl, context = self._split(history)  # [B, 2Z, W], [B, 2(M - Z), W]
        series = self._series(zl[:, 0])  # [B, n_steps]
        beside = self.zl_stem(zl).flatten(1)  # [B, width * n_steps]
        bases = self._bases(context, calendar)
        residual, backcasts, forecasts = series, [], []
        for name, block in self.blocks.items():
            backcast, forecast = block(residual, beside, bases[_kind(name)])  # [B, n_steps], [B, 4]
            residual = residual - backcast  # [B, n_steps]
            backcasts.append(backcast)
            forecasts.append(forecast)
        return Decomposition(series, torch.stack(backcasts), residual, torch.stack(forecasts, dim=-1))

    def _series(self, returns: Tensor) -> Tensor:
        """Scaled log returns [B, W] -> path relative to the as-of date at patch ends [B, n_steps], the last being 0."""
        path = returns.flip(1).cumsum(dim=1)  # [B, W]: entry k sums the returns of the last k + 1 sessions
        later = F.pad(path, (1, 0))[:, :-1]  # [B, W]: entry k sums the returns after the session k sessions back
        return later[:, :: self.patch_days].flip(1) / -sqrt(SESSIONS_PER_YEAR)  # [B, n_steps]

    def _bases(self, context: Tensor, calendar: Tensor) -> dict[str, Basis]:
        """Basis of each kind of block."""
        past = calendar[:, :1] + 2 * pi * self.years_past  # [B, n_steps]: phase of the year at each patch end
        bases = {
            "trend": Basis(self.trend_past[None], self.trend_ahead[None]),  # [1, n_steps, K], [1, 4, K]
            "seasonality": Basis(self._waves(past), self._waves(calendar[:, 1:])),  # [B, n_steps, K], [B, 4, K]
        }
        if self.config.context_inputs:
            states = self.context_stack.states(self.context_stem(context)).transpose(1, 2)  # [B, n_steps, K]
            ahead = self.context_ahead(states[:, -1]).unflatten(1, (len(HORIZONS_MONTHS), -1))  # [B, 4, K]
            bases["exogenous"] = Basis(states, ahead)
        return bases

    def _waves(self, phase: Tensor) -> Tensor:
        """Phases of the year [B, N] -> cosine and sine of each harmonic [B, N, 2 * harmonics]."""
        angle = phase[..., None] * self.harmonic  # [B, N, harmonics]
        return torch.cat([angle.cos(), angle.sin()], dim=-1)
