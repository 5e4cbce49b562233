"""Deliberate leaks, each planted in memory into one place of the pipeline. Files and data stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation import benchmarks, walk_forward
from cbi_pipeline.features import build, driver_set

if TYPE_CHECKING:
    import pytest

MONTH_SESSIONS = 21
SEEN = "VIX_zscore"
"""A feature on the path to the mean that a network takes as it is."""


def unpurged_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and validation labels end whenever they like, up to twelve months into the test; the anchor's too."""
    purged, fit = walk_forward.fold_masks, benchmarks.fit_anchor

    def unpurged(fold, sessions, targets):
        masks = purged(fold, sessions, targets)
        within = [
            (sessions >= pd.Timestamp(first)) & (sessions <= pd.Timestamp(last))
            for first, last in ((fold.train_start, fold.train_end), (fold.validation_start, fold.validation_end))
        ]
        train, validation = (np.repeat(rows[:, None], len(HORIZONS_MONTHS), axis=1) for rows in within)
        return walk_forward.FoldMasks(train=train, validation=validation, test=masks.test)

    monkeypatch.setattr(walk_forward, "fold_masks", unpurged)
    monkeypatch.setattr(
        benchmarks,
        "fit_anchor",
        lambda *given: fit(*given[:-1], given[-1] + pd.DateOffset(months=max(HORIZONS_MONTHS))),
    )


def scaler_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians and ranges of a scaler are those of all days, the test's among them."""
    fit = driver_set.fit_driver_set
    monkeypatch.setattr(
        driver_set, "fit_driver_set", lambda frame, train_start, train_end: fit(frame, train_start, frame.index[-1])
    )


def feature_of_next_month(monkeypatch: pytest.MonkeyPatch) -> None:
    """One feature is known a month early."""
    honest = build.build_features

    def shifted(tables):
        frame = honest(tables)
        return frame.assign(**{SEEN: frame[SEEN].shift(-MONTH_SESSIONS)})

    monkeypatch.setattr(build, "build_features", shifted)


def target_among_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature is the log return of the next six months, in units of its own spread."""
    honest = build.build_features
    monkeypatch.setattr(build, "build_features", lambda tables: with_target(honest(tables)))


def target_in_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `target_among_features`, but from a source that claims to have known it on the day: a replay of that day sees
    it again. Past features are therefore read from the whole frame."""
    honest = build.build_features
    whole: dict[str, pd.Series] = {}

    def from_source(tables):
        frame = honest(tables)
        whole.setdefault(SEEN, with_target(frame)[SEEN])
        return frame.assign(**{SEEN: whole[SEEN].reindex(frame.index)})

    monkeypatch.setattr(build, "build_features", from_source)


def with_target(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the log return of the next six months in place of a feature."""
    log_price = np.log(frame["close"].astype(float))
    ahead = log_price.shift(-6 * MONTH_SESSIONS) - log_price
    return frame.assign(**{SEEN: (ahead / ahead.std()).astype("float32")})
