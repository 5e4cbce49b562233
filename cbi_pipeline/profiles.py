"""Profiles: how many folds, which networks, how much training. One place, read by settings' `profile`.

Light to import: partitions of the Dagster code location are made from it.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from cbi_pipeline.modeling.config import PROFILES as TRAINING_PROFILES
from cbi_pipeline.modeling.config import TrainingConfig


class Profile(BaseModel):
    """The walk-forward (in CBOT sessions) and the networks that compete in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architectures: tuple[str, ...] = ("tcn",)
    n_splits: int = Field(5, ge=1)
    train_sessions: int = Field(756, ge=253)
    validation_sessions: int = Field(
        378, ge=253, description="longer than 12 months, or no 12-month label is known in it"
    )
    test_sessions: int = Field(252, ge=1)
    training: TrainingConfig

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Names of the walk-forward folds, oldest first."""
        return tuple(f"fold_{number}" for number in range(1, self.n_splits + 1))

    @property
    def training_spans(self) -> dict[str, int]:
        """Lengths of the training and validation parts, as `walk_forward.serving_fold` takes them."""
        return {"train_sessions": self.train_sessions, "validation_sessions": self.validation_sessions}

    @property
    def spans(self) -> dict[str, int]:
        """Number and lengths of all parts, as `walk_forward.make_folds` takes them."""
        return {**self.training_spans, "n_splits": self.n_splits, "test_sessions": self.test_sessions}


_PROFILES: Final[dict[str, Profile]] = {
    "quick": Profile(name="quick", training=TRAINING_PROFILES["quick"]),
    "smoke": Profile(name="smoke", n_splits=1, training=TRAINING_PROFILES["smoke"]),
}
"""`quick`: five folds, one seed, what `make run` uses. `smoke`: one fold, two epochs, for tests."""


def get_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        KeyError: there is none (settings refuse other names before).
    """
    return _PROFILES[name]
