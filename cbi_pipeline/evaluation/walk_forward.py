"""Rolling-origin and expanding folds, the rows each part of a fold may use, and realised outcomes.

Belongs here: every decision on which row may teach, select or test at which horizon. Dates only; no
model and no metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import SERVING_FOLD, FoldSpec
from cbi_pipeline.errors import ModelError
from cbi_pipeline.market_calendar import target_dates


@dataclass(frozen=True, slots=True)
class FoldMasks:
    """Rows that each part of a fold may use. T rows in the order of `sessions`, H horizons of `HORIZONS_MONTHS`.

    Attributes:
        train: bool [T, H]; the label is known before `validation_start`.
        validation: bool [T, H]; the label is known before `test_start`.
        test: bool [T]; rows that are forecast. Their inputs may reach back over a boundary.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def make_folds(
    sessions: pd.DatetimeIndex,
    *,
    n_splits: int,
    train_sessions: int,
    validation_sessions: int,
    test_sessions: int,
) -> list[FoldSpec]:
    """Rolling folds, oldest first, with consecutive test spans.

    The last test span ends at the last session whose label at the longest horizon is known, so that all
    horizons are scored on the same rows. Validation comes right before test, training right before it.

    Args:
        sessions: sorted trade dates [T] on which a price is known.
        n_splits, train_sessions, validation_sessions, test_sessions: number of folds, sessions of each part.

    Raises:
        ModelError: `sessions` are not sorted and unique, or too few.
    """
    _require_sorted(sessions)
    longest = pd.DatetimeIndex(target_dates(sessions, [max(HORIZONS_MONTHS)])[max(HORIZONS_MONTHS)])
    scored = int((longest <= sessions[-1]).sum())
    first = scored - n_splits * test_sessions - validation_sessions - train_sessions
    if first < 0:
        raise ModelError(
            f"{len(sessions)} sessions to {sessions[-1].date()}",
            f"{n_splits} folds need {-first} more sessions with a known {max(HORIZONS_MONTHS)}-month label.",
            "use a bundle with a longer history, or fewer or shorter folds.",
        )
    test_starts = range(scored - n_splits * test_sessions, scored, test_sessions)
    return [
        _fold(f"fold_{k}", sessions, start, start + test_sessions - 1, train_sessions, validation_sessions)
        for k, start in enumerate(test_starts, start=1)
    ]


def make_expanding_folds(
    sessions: pd.DatetimeIndex,
    *,
    first_test_year: int,
    last_test_year: int,
    validation_sessions: int,
) -> list[FoldSpec]:
    """One fold a calendar year, oldest first, whose test span is the year and whose training starts with the data.

    Validation comes right before test. The label of a late test row may not be known at every horizon yet: entries and
    horizons are compared on the common rows of `metrics.score`.

    Args:
        sessions: sorted trade dates [T] on which a price is known.
        first_test_year, last_test_year: test years, both inclusive.
        validation_sessions: sessions of the validation part.

    Raises:
        ModelError: `sessions` are not sorted and unique, a year has none, or too few come before the first year.
    """
    _require_sorted(sessions)
    folds = []
    for year in range(first_test_year, last_test_year + 1):
        test = np.flatnonzero(sessions.year == year)
        if not len(test):
            raise ModelError(
                f"{len(sessions)} sessions to {sessions[-1].date()}",
                f"none is in the test year {year}.",
                "use a bundle that reaches that year, or other test years.",
            )
        first, last = int(test[0]), int(test[-1])
        folds.append(_fold(f"test_{year}", sessions, first, last, None, validation_sessions))
    return folds


def serving_fold(
    sessions: pd.DatetimeIndex,
    *,
    train_sessions: int | None,
    validation_sessions: int,
) -> FoldSpec:
    """The fold from which the champion is fitted: its test part is the last session of the data, open-ended.

    Args:
        sessions: sorted trade dates [T] on which a price is known.
        train_sessions: sessions of the training part; None for all that come before validation.
        validation_sessions: sessions of the validation part.

    Raises:
        ModelError: `sessions` are not sorted and unique, or too few.
    """
    _require_sorted(sessions)
    missing = (train_sessions or 1) + validation_sessions + 1 - len(sessions)
    if missing > 0:
        raise ModelError(
            f"{len(sessions)} sessions",
            f"the serving fold needs {missing} more.",
            "use a bundle with a longer history.",
        )
    return _fold(SERVING_FOLD, sessions, len(sessions) - 1, None, train_sessions, validation_sessions)


def _require_sorted(sessions: pd.DatetimeIndex) -> None:
    if sessions.empty or not (sessions.is_monotonic_increasing and sessions.is_unique):
        raise ModelError("sessions", "trade dates must be sorted and unique, at least one.", "sort the index first.")


def _fold(
    name: str, sessions: pd.DatetimeIndex, test_start: int, test_end: int | None, train: int | None, validation: int
) -> FoldSpec:
    """The fold whose test part begins at row `test_start`; training has `train` sessions, or all that there are."""
    validation_start = test_start - validation
    if validation_start < 1:
        raise ModelError(
            f"fold {name}",
            f"no session is left to train on: {test_start} come before its test, {validation} are for validation.",
            "use a bundle with a longer history, or later folds.",
        )
    return FoldSpec(
        name=name,
        train_start=sessions[0 if train is None else validation_start - train].date(),
        train_end=sessions[validation_start - 1].date(),
        validation_start=sessions[validation_start].date(),
        validation_end=sessions[test_start - 1].date(),
        test_start=sessions[test_start].date(),
        test_end=None if test_end is None else sessions[test_end].date(),
    )


def fold_masks(fold: FoldSpec, sessions: pd.DatetimeIndex, targets: pd.DataFrame) -> FoldMasks:
    """Rows that each part of `fold` may use, purged per horizon.

    Args:
        fold: the fold.
        sessions: trade dates [T].
        targets: target dates, index `sessions`, one column per horizon in months (`market_calendar.target_dates`).

    Returns:
        Masks over `sessions`. They speak of dates only: a row whose features or label are missing is for
        the caller to leave out. Without `test_end` every session from `test_start` on is a test row.
    """
    label_date = targets[list(HORIZONS_MONTHS)].to_numpy("datetime64[ns]")
    in_train = _within(sessions, fold.train_start, fold.train_end)
    in_validation = _within(sessions, fold.validation_start, fold.validation_end)
    last = sessions[-1] if fold.test_end is None else fold.test_end
    return FoldMasks(
        train=in_train[:, None] & (label_date < np.datetime64(fold.validation_start, "ns")),
        validation=in_validation[:, None] & (label_date < np.datetime64(fold.test_start, "ns")),
        test=_within(sessions, fold.test_start, last),
    )


def _within(sessions: pd.DatetimeIndex, first: object, last: object) -> np.ndarray:
    return np.asarray((sessions >= pd.Timestamp(first)) & (sessions <= pd.Timestamp(last)))  # type: ignore[arg-type]


def outcomes(front: pd.Series, targets: pd.DataFrame) -> pd.DataFrame:
    """Log front price at each target date.

    Args:
        front: front price, cents/lb, by trade date.
        targets: target dates, one column per horizon in months.

    Returns:
        Index and columns of `targets`; missing where the target date has no price (yet).
    """
    log_front = np.log(front)
    return pd.DataFrame(
        {h: log_front.reindex(pd.DatetimeIndex(targets[h])).to_numpy() for h in targets.columns}, index=targets.index
    )
