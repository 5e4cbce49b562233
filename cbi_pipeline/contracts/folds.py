"""The walk-forward fold: dates only, so that every part cuts the same history the same way."""

from __future__ import annotations

from datetime import date
from typing import Final

from pydantic import BaseModel, ConfigDict, model_validator

SERVING_FOLD: Final = "serving"
"""Name of the fold from which the champion is fitted."""


class FoldSpec(BaseModel):
    """One rolling-origin fold. All dates are CBOT sessions, all spans inclusive.

    A row is used for horizon h in training only if its label is known before `validation_start`,
    in validation only if its label is known before `test_start` (purge per horizon).
    The serving fold, from which the champion is fitted, has no test span: its `test_start` is the
    last session of the data and `test_end` is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    train_start: date
    train_end: date
    validation_start: date
    validation_end: date
    test_start: date
    test_end: date | None = None

    @model_validator(mode="after")
    def _spans_in_order(self) -> FoldSpec:
        ordered = [self.train_start, self.train_end, self.validation_start, self.validation_end, self.test_start]
        if self.test_end is not None:
            ordered.append(self.test_end)
        if (
            ordered != sorted(ordered)
            or self.train_end == self.validation_start
            or self.validation_end >= self.test_start
        ):
            raise ValueError(f"fold {self.name}: train, validation and test must follow each other, got {ordered}")
        return self
