"""What a cell (architecture x fold) is given and what comes out of its training. No training happens here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor

OnEpoch = Callable[[int, int, int, float, float], None]
"""Called after each epoch with (member from 0, epoch from 1, epochs, train loss, validation loss)."""


class Forecast(NamedTuple):
    """What a trained ensemble says of some rows, as numpy float32.

    Attributes:
        median: [n, 4] in units of sigma_h, in the order of HORIZONS_MONTHS.
        offsets: [n, 4, 7] quantile less median, in units of the density's sigma.
    """

    median: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, slots=True)
class CellInputs:
    """All that one cell learns from and is asked for. Columns of [T, 4] are in the order of HORIZONS_MONTHS.

    Args:
        feature_names: F names in column order.
        features: [T, F] float32, scaled on the training part, NaN where missing.
        calendar: [T, 5] float32, phase of the year in radians: of the as-of date and of the four target dates.
        targets: [T, 4] what the median is to be, in units of sigma_h; NaN where unknown.
        base: [T, 4] forecast log return less the median, in units of sigma_h: the anchor, or 0.
        sigma: [T, 4] sigma_h, log price.
        density_ratio: [T, 4] sigma of the density over sigma_h.
        label_end: [T, 4] int64, row at which the label is known; -1 beyond the data.
        train_mask, validation_mask: [T, 4] bool, purged per horizon.
        prediction_rows: [n] rows whose forecast is wanted (the test span, or the last session).

    Raises:
        ModelError: shapes disagree, a used label lacks a number, or train and validation overlap.
    """

    feature_names: tuple[str, ...]
    features: np.ndarray
    calendar: np.ndarray
    targets: np.ndarray
    base: np.ndarray
    sigma: np.ndarray
    density_ratio: np.ndarray
    label_end: np.ndarray
    train_mask: np.ndarray
    validation_mask: np.ndarray
    prediction_rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        expected = (len(self.features), len(HORIZONS_MONTHS))
        for name in ("targets", "base", "sigma", "density_ratio", "label_end", "train_mask", "validation_mask"):
            shape = getattr(self, name).shape
            if shape != expected:
                raise ModelError(
                    f"cell {name}",
                    f"The shape is {shape}, not {expected}.",
                    "pass one row a session, one column a horizon.",
                )
        for name in ("train_mask", "validation_mask"):
            if getattr(self, name).dtype != np.bool_:
                raise ModelError(f"cell {name}", "The mask is not boolean.", "pass a bool array.")
        if (self.train_mask & self.validation_mask).any():
            raise ModelError(
                "cell masks", "A label is used for training and for validation.", "make the masks with fold_masks."
            )
        used = self.known(self.train_mask | self.validation_mask)
        for name in ("targets", "base", "sigma", "density_ratio"):
            if not np.isfinite(getattr(self, name)[used]).all():
                raise ModelError(
                    f"cell {name}",
                    "A value of a used label is infinite or missing.",
                    "check sigma_h, the anchor and the prices they were made from.",
                )
        for name in ("sigma", "density_ratio"):
            if not (getattr(self, name)[used] > 0).all():
                raise ModelError(f"cell {name}", "A value of a used label is not positive.", "check the volatilities.")

    def known(self, mask: np.ndarray) -> np.ndarray:
        """[T, 4] bool: labels of a mask that are known."""
        return mask & ~np.isnan(self.targets)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Figures after an epoch; epoch 0 is the untrained network, whose median is exactly zero.

    `train_loss` is the mean over the epoch's steps, in training mode; of epoch 0, in evaluation mode.
    `validation_mape` is of the forecast price, in percent.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation_mape: float


@dataclass(frozen=True, slots=True)
class TrainedMember:
    """One seed's best weights and how they came about.

    Args:
        seed: of initial weights, dropout and order of batches.
        state_dict: best weights, float32 on the CPU.
        history: epoch 0 (untrained) and every epoch trained.
        best_epoch: epoch of the weights; 0 means that no epoch beat the untrained network on validation.
        seconds: wall-clock time of training.
    """

    seed: int
    state_dict: dict[str, Tensor]
    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainedCell:
    """The members of a cell and what each says of the rows asked for.

    Args:
        config: what it was trained with; its spread inputs are named.
        feature_names: features of the matrix it reads, in column order.
        members: in the order of `config.seeds`.
        state_dict: weights of all members, keys `members.0. ...`, float32 on the CPU.
        n_parameters: trainable parameters of one member.
        n_train, n_validation: windows used.
        device: device type that trained it.
        seconds: wall-clock time of training and prediction.
        prediction_rows: [n] rows as asked.
        medians: [n, members, 4] float32, units of sigma_h.
        offsets: [n, members, 4, 7] float32, units of the density's sigma.
    """

    config: TrainingConfig
    feature_names: tuple[str, ...]
    members: tuple[TrainedMember, ...]
    state_dict: dict[str, Tensor]
    n_parameters: int
    n_train: int
    n_validation: int
    device: str
    seconds: float
    prediction_rows: np.ndarray
    medians: np.ndarray
    offsets: np.ndarray
