"""Every number that decides how a network is built and trained, in frozen, hashable models.

Imports neither torch nor pandas, so that settings, the command line and the Dagster code location
can read it at no cost. No training happens here; which profile uses which numbers is `profiles.py`.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cbi_pipeline.contracts import HORIZONS_MONTHS

Architecture = Literal["lstm_mha", "tcn", "nbeatsx"]
Target = Literal["anchored", "raw"]
"""What a network learns, in units of sigma_h: what the anchor leaves over, or the log return itself."""

ARCHITECTURES: Final[tuple[Architecture, ...]] = ("lstm_mha", "tcn", "nbeatsx")
TARGETS: Final[tuple[Target, ...]] = ("anchored", "raw")

ZL_INPUTS: Final[tuple[str, ...]] = ("log_returns", "MACD_signal", "RSI_14", "BB_width")
CONTEXT_INPUTS: Final[tuple[str, ...]] = (
    "palm_soybean_oil_spread",
    "soybean_crush_spread",
    "WTI_spread",
    "USD_BRL_returns",
    "VIX_zscore",
    "yield_curve_slope",
    "CFTC_managed_money_long",
    "CFTC_managed_money_short",
)
"""With `ZL_INPUTS` the dozen features on the path to the mean: own momentum and range, the prices that substitute for
or compete with soybean oil, currency, risk, rates and speculative positions. Chosen by economic reasoning before any
result was seen; weather, mandate and regime columns stay out: a training part of 756 sessions holds three crop years,
one to three mandates and a handful of regimes, too few to learn a mean from."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkConfig(_Frozen):
    """What all networks share: inputs, patch stem, fusion of the two encoders, heads.

    Attributes:
        zl_inputs, context_inputs: features on the path to the mean, at most twelve together; without context the ZL
            encoder stands alone.
        spread_inputs: features on the path to the spread; empty means all that the cell is given.
        window_sessions: sessions that the mean sees.
        patch_days: sessions per step after the stem; 1 turns it off.
        input_limit: scaled inputs are clamped to +- this, in robust-scaler units.
        context_width, fused_width, spread_width: widths of the context encoder, of the fused state and of the
            spread path's hidden layer.
        residual_bound: bound of the median, in units of sigma_h; None for none (the raw entries).
        spread_bound: each quantile gap stays within a factor exp(+-this) of the normal's.
    """

    zl_inputs: tuple[str, ...] = Field(default=ZL_INPUTS, min_length=1)
    context_inputs: tuple[str, ...] = CONTEXT_INPUTS
    spread_inputs: tuple[str, ...] = ()
    window_sessions: int = Field(default=252, ge=2)
    patch_days: int = Field(default=5, ge=1)
    input_limit: float = Field(default=10.0, gt=0)
    context_width: int = Field(default=32, ge=1)
    fused_width: int = Field(default=64, ge=1)
    spread_width: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    residual_bound: float | None = Field(default=0.35, gt=0)
    spread_bound: float = Field(default=1.0, gt=0)

    @property
    def mean_path_inputs(self) -> tuple[str, ...]:
        """Features on the path to the mean: the ZL inputs, then the context inputs."""
        return self.zl_inputs + self.context_inputs

    @property
    def n_steps(self) -> int:
        """Steps of a window after the patch stem; 51 by default."""
        return ceil(self.window_sessions / self.patch_days)

    @model_validator(mode="after")
    def _inputs_fit(self) -> NetworkConfig:
        for names in (self.mean_path_inputs, self.spread_inputs):
            if len(set(names)) != len(names):
                raise ValueError(f"an input is named twice in {names}")
        if len(self.mean_path_inputs) > 12:
            raise ValueError(f"the mean sees at most 12 inputs, got {len(self.mean_path_inputs)}")
        return self


class LstmMhaConfig(NetworkConfig):
    """LSTM layers with explicit dropout, then attention of the last state over all of them."""

    architecture: Literal["lstm_mha"] = "lstm_mha"
    hidden: int = Field(default=128, ge=1)
    layers: int = Field(default=2, ge=1)
    attention_heads: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> LstmMhaConfig:
        for width in (self.hidden, self.context_width):
            if width % self.attention_heads:
                raise ValueError(f"attention_heads {self.attention_heads} does not divide {width}")
        return self


class TcnConfig(NetworkConfig):
    """Causal dilated convolutions and a bottleneck over the last or the mean state."""

    architecture: Literal["tcn"] = "tcn"
    filters: int = Field(default=64, ge=1)
    kernel_size: int = Field(default=5, ge=2)
    n_blocks: int = Field(default=6, ge=1, description="block i has dilation 2**i")
    norm_groups: int = Field(default=8, ge=1)
    bottleneck: int = Field(default=64, ge=1)
    readout: Literal["last", "mean"] = "last"

    @property
    def receptive_field_sessions(self) -> int:
        """Sessions that the last state can see: patch_days * (1 + (kernel - 1) * (2**n_blocks - 1)); 1265 by default,
        253 without the patch stem."""
        return self.patch_days * (1 + (self.kernel_size - 1) * (2**self.n_blocks - 1))

    @model_validator(mode="after")
    def _consistent(self) -> TcnConfig:
        if self.receptive_field_sessions < self.window_sessions:
            raise ValueError(
                f"the receptive field ({self.receptive_field_sessions}) is shorter than the window "
                f"({self.window_sessions})"
            )
        for width in (self.filters, self.context_width):
            if width % self.norm_groups:
                raise ValueError(f"norm_groups {self.norm_groups} does not divide {width}")
        return self


class NbeatsxConfig(NetworkConfig):
    """Interpretable stacks of a trend, a seasonality and an exogenous block each, doubly residual."""

    architecture: Literal["nbeatsx"] = "nbeatsx"
    stacks: int = Field(default=2, ge=1)
    block_width: int = Field(default=128, ge=1)
    trend_degree: int = Field(default=2, ge=1)
    harmonics: int = Field(default=2, ge=1, description="of the year")
    norm_groups: int = Field(default=8, ge=1, description="of the small TCN over the context")
    kernel_size: int = Field(default=5, ge=2)
    n_blocks: int = Field(default=4, ge=1, description="of the small TCN over the context")

    @model_validator(mode="after")
    def _groups_divide(self) -> NbeatsxConfig:
        if self.context_width % self.norm_groups:
            raise ValueError(f"norm_groups {self.norm_groups} does not divide {self.context_width}")
        return self


AnyNetworkConfig = Annotated[LstmMhaConfig | TcnConfig | NbeatsxConfig, Field(discriminator="architecture")]


class LossConfig(_Frozen):
    """The training loss: Huber on the median, pinball on the quantiles, a smooth penalty on wrong directions.

    Attributes:
        huber_delta: where Huber turns from square to absolute error, in units of sigma_h.
        horizon_weights: in the order of HORIZONS_MONTHS.
        pinball_weight, direction_weight: of the two further terms beside Huber's 1.
        direction_scale: units of sigma_h over which the surrogate of a sign goes from -1 to 1.
        uniqueness: whether overlapping labels share their weight.
    """

    huber_delta: float = Field(default=1.0, gt=0)
    horizon_weights: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    pinball_weight: float = Field(default=1.0, ge=0)
    direction_weight: float = Field(default=0.1, ge=0)
    direction_scale: float = Field(default=0.25, gt=0)
    uniqueness: bool = True

    @model_validator(mode="after")
    def _one_weight_a_horizon(self) -> LossConfig:
        if len(self.horizon_weights) != len(HORIZONS_MONTHS) or min(self.horizon_weights) <= 0:
            raise ValueError(f"horizon_weights needs one positive weight for each of {HORIZONS_MONTHS}")
        return self


class FitConfig(_Frozen):
    """The training loop.

    Attributes:
        epochs: at most; one cosine cycle of the learning rate.
        patience: epochs without a better validation figure before training stops.
        stop_on: that figure: the loss, or the MAPE of the forecast price.
        batch_size: windows a step.
        train_stride, validation_stride: sessions between windows: labels overlap, so weekly is enough. Tests are daily.
        mixed_precision: float16 autocast with a gradient scaler. On the CPU bfloat16, which needs no scaler: a step of
            the LSTM takes 0.7 of the time where the processor has such instructions, the others gain nothing.
        compile: torch.compile, with a fallback to the plain network that is logged once. Compiling takes longer on a
            CPU than the training that it speeds up.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1.0, ge=0)
    epochs: int = Field(default=4, ge=1)
    patience: int = Field(default=10, ge=1)
    stop_on: Literal["loss", "mape"] = "loss"
    batch_size: int = Field(default=32, ge=1)
    train_stride: int = Field(default=5, ge=1)
    validation_stride: int = Field(default=5, ge=1)
    clip_norm: float = Field(default=1.0, gt=0)
    mixed_precision: bool = False
    compile: bool = False


class TrainingConfig(_Frozen):
    """All of one cell for one target: network, loss, loop, and its members, whose seeds are seed, seed + 1, ..."""

    target: Target = "anchored"
    network: AnyNetworkConfig
    loss: LossConfig = LossConfig()
    fit: FitConfig = FitConfig()
    seed: int = Field(default=20241231, ge=0)
    members: int = Field(default=1, ge=1)

    @property
    def architecture(self) -> Architecture:
        """Name of the network's architecture."""
        return self.network.architecture

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each member."""
        return tuple(range(self.seed, self.seed + self.members))
