"""Profiles: how many folds, which networks, how much training and selection. One place, read by settings' `profile`.

Light to import: partitions of the Dagster code location are made from it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cbi_pipeline.modeling.config import (
    ARCHITECTURES,
    AnyNetworkConfig,
    Architecture,
    FitConfig,
    LossConfig,
    LstmMhaConfig,
    NbeatsxConfig,
    Target,
    TcnConfig,
    TrainingConfig,
)

ProfileName = Literal["quick", "full", "smoke"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RollingFolds(_Frozen):
    """Consecutive test spans of equal length, the newest ending with the last known 12-month label; in sessions."""

    kind: Literal["rolling"] = "rolling"
    n_splits: int = Field(5, ge=1)
    train_sessions: int = Field(756, ge=253)
    validation_sessions: int = Field(
        378, ge=253, description="longer than 12 months, or no 12-month label is known in it"
    )
    test_sessions: int = Field(252, ge=1)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the folds, oldest first."""
        return tuple(f"fold_{number}" for number in range(1, self.n_splits + 1))


class ExpandingFolds(_Frozen):
    """One test span a calendar year; training always starts with the data, validation is the span before the test."""

    kind: Literal["expanding"] = "expanding"
    first_test_year: int = 2013
    last_test_year: int = 2024
    validation_sessions: int = Field(378, ge=253)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the folds, oldest first."""
        return tuple(f"test_{year}" for year in range(self.first_test_year, self.last_test_year + 1))


class Profile(_Frozen):
    """The walk-forward, the networks that compete in it, and how each is trained for each target."""

    name: str
    architectures: tuple[Architecture, ...] = ARCHITECTURES
    folds: Annotated[RollingFolds | ExpandingFolds, Field(discriminator="kind")] = RollingFolds()
    members: int = Field(1, ge=1)
    lstm_mha: LstmMhaConfig = LstmMhaConfig()
    tcn: TcnConfig = TcnConfig()
    nbeatsx: NbeatsxConfig = NbeatsxConfig()
    loss: LossConfig = LossConfig()
    anchored: FitConfig = FitConfig()
    raw: FitConfig = FitConfig(weight_decay=1e-4, epochs=12)
    selection_shifts: tuple[float, ...] = Field(
        (0.25, 0.35, 0.45, 0.55, 0.65, 0.75),
        min_length=2,
        description="shares of a training part by which targets are moved to see what importance means nothing",
    )

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Names of the walk-forward folds, oldest first."""
        return self.folds.names

    def training(self, architecture: Architecture, target: Target, seed: int) -> TrainingConfig:
        """How a network of this profile is built and trained. A raw network has no bound on its median."""
        network: AnyNetworkConfig = getattr(self, architecture)
        if target == "raw":
            network = network.model_copy(update={"residual_bound": None})
        return TrainingConfig(
            target=target,
            network=network,
            loss=self.loss,
            fit=self.anchored if target == "anchored" else self.raw,
            seed=seed,
            members=self.members,
        )


_SMALL: Final[dict[str, Any]] = {"context_width": 8, "fused_width": 8, "spread_width": 8}
_SHORT: Final = FitConfig(epochs=2, patience=1, train_stride=20)

_PROFILES: Final[dict[ProfileName, Profile]] = {
    "quick": Profile(name="quick"),
    "full": Profile(
        name="full",
        folds=ExpandingFolds(),
        members=3,
        anchored=FitConfig(batch_size=128),
        raw=FitConfig(weight_decay=1e-4, epochs=12, batch_size=128),
    ),
    "smoke": Profile(
        name="smoke",
        folds=RollingFolds(n_splits=1),
        lstm_mha=LstmMhaConfig(**_SMALL, hidden=16, attention_heads=4),
        tcn=TcnConfig(**_SMALL, filters=16, norm_groups=4, bottleneck=16),
        nbeatsx=NbeatsxConfig(**_SMALL, block_width=16, norm_groups=4),
        anchored=_SHORT,
        raw=_SHORT.model_copy(update={"weight_decay": 1e-4}),
        selection_shifts=(0.35, 0.65),
    ),
}
"""`quick`: five folds, one seed, what `make run` uses. `full`: twelve test years, an expanding window, three seeds.
`smoke`: one fold, two epochs, small networks, a third of the shifts, for tests."""


def get_profile(name: ProfileName) -> Profile:
    """The profile of that name."""
    return _PROFILES[name]
