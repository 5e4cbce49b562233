"""Every number that decides how a network is built and trained, in one frozen, hashable model.

Imports neither torch nor pandas, so that settings, the command line and the Dagster code location
can read it at no cost. No training happens here.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cbi_pipeline.contracts import HORIZONS_MONTHS

Profile = Literal["quick", "smoke"]

MEAN_PATH_INPUTS: Final[tuple[str, ...]] = (
    "log_returns",
    "MACD_signal",
    "RSI_14",
    "BB_width",
    "palm_soybean_oil_spread",
    "soybean_crush_spread",
    "WTI_spread",
    "USD_BRL_returns",
    "VIX_zscore",
    "yield_curve_slope",
    "CFTC_managed_money_long",
    "CFTC_managed_money_short",
)
"""The dozen features that the network may use for its mean: own momentum and range, the prices that substitute for
or compete with soybean oil, currency, risk, rates and speculative positions. Chosen by economic reasoning before any
result was seen; weather, mandate and regime columns stay out: a training part of 756 sessions holds three crop years,
one to three mandates and a handful of regimes, too few to learn a mean from."""


class TrainingConfig(BaseModel):
    """Architecture, loss and optimisation of one cell (architecture x fold).

    Raises:
        pydantic.ValidationError: an unknown name, a value out of range, more than twelve or repeated mean-path
            inputs, a receptive field shorter than the window, or groups that do not divide the filters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["tcn"] = "tcn"
    mean_path_inputs: tuple[str, ...] = Field(default=MEAN_PATH_INPUTS, min_length=1, max_length=12)
    window_sessions: int = Field(default=252, ge=2)
    input_limit: float = Field(
        default=10.0, gt=0, description="scaled inputs are clamped to +- this, in robust-scaler units"
    )

    filters: int = Field(default=64, ge=1)
    kernel_size: int = Field(default=5, ge=2)
    n_blocks: int = Field(default=6, ge=1, description="block i has dilation 2**i")
    norm_groups: int = Field(default=8, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    residual_bound: float = Field(default=0.35, gt=0, description="bound of the residual, in units of sigma_h")

    huber_delta: float = Field(default=1.0, gt=0, description="in units of sigma_h")
    horizon_weights: tuple[float, ...] = Field(
        default=(1.0, 0.9, 0.8, 0.7), description="in the order of HORIZONS_MONTHS"
    )

    seed: int = Field(default=20241231, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1.0, ge=0)
    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=3, ge=1, description="epochs without a better validation loss before training stops")
    batch_size: int = Field(
        default=32, ge=1, description="a fold has 139 weekly windows: 128 would leave two steps an epoch"
    )
    train_stride: int = Field(
        default=5, ge=1, description="sessions between training windows: labels overlap, so weekly is enough"
    )
    clip_norm: float = Field(default=1.0, gt=0)

    @property
    def receptive_field(self) -> int:
        """Sessions that the last state sees: 1 + (kernel - 1) * (1 + 2 + ... + 2**(n_blocks - 1)); 253 by default."""
        return 1 + (self.kernel_size - 1) * (2**self.n_blocks - 1)

    @property
    def n_channels(self) -> int:
        """Input channels: one of values and one of presence for each mean-path input."""
        return 2 * len(self.mean_path_inputs)

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if len(set(self.mean_path_inputs)) != len(self.mean_path_inputs):
            raise ValueError("mean_path_inputs names a feature twice")
        if len(self.horizon_weights) != len(HORIZONS_MONTHS) or min(self.horizon_weights) <= 0:
            raise ValueError(f"horizon_weights needs one positive weight for each of {HORIZONS_MONTHS}")
        if self.receptive_field < self.window_sessions:
            raise ValueError(
                f"the receptive field ({self.receptive_field}) is shorter than the window ({self.window_sessions})"
            )
        if self.filters % self.norm_groups:
            raise ValueError(f"norm_groups {self.norm_groups} does not divide filters {self.filters}")
        return self


PROFILES: Final[dict[Profile, TrainingConfig]] = {
    "quick": TrainingConfig(),
    "smoke": TrainingConfig(filters=16, norm_groups=4, epochs=2, patience=1, train_stride=20),
}
"""`quick` is the full recipe, which a laptop trains in seconds a cell; `smoke` only proves that every step runs."""
