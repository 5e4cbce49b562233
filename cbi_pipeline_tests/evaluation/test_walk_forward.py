"""Folds and purge: properties over all folds, horizons and rows of the real calendar."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.benchmarks import Market
from cbi_pipeline.evaluation.walk_forward import fold_masks, make_folds, outcomes, serving_fold
from cbi_pipeline.market_calendar import sessions, target_date, target_dates
from cbi_pipeline.profiles import get_profile

QUICK = get_profile("quick")

SESSIONS = sessions("2005-01-03", "2024-12-31")
TARGETS = target_dates(SESSIONS)
FOLDS = [*make_folds(SESSIONS, **QUICK.spans), serving_fold(SESSIONS, **QUICK.training_spans)]
CELLS = [pytest.param(fold, k, id=f"{fold.name}-{h}m") for fold in FOLDS for k, h in enumerate(HORIZONS_MONTHS)]


def span(first: object, last: object) -> pd.DatetimeIndex:
    return SESSIONS[SESSIONS.slice_indexer(pd.Timestamp(first), pd.Timestamp(last))]  # type: ignore[arg-type]


@pytest.mark.parametrize(("fold", "k"), CELLS)
def test_no_label_is_known_only_after_the_next_part_begins(fold: FoldSpec, k: int) -> None:
    masks = fold_masks(fold, SESSIONS, TARGETS)
    h = HORIZONS_MONTHS[k]
    for rows, border in ((masks.train, fold.validation_start), (masks.validation, fold.test_start)):
        used = SESSIONS[rows[:, k]]
        assert len(used) >= 100, "the purge leaves rows to learn from"
        labels = [target_date(day, h) for day in (used[0], used[len(used) // 2], used[-1])]
        assert max(labels) < pd.Timestamp(border)
        assert TARGETS.loc[used, h].max() < pd.Timestamp(border)


@pytest.mark.parametrize(("fold", "k"), CELLS)
def test_the_purge_drops_no_more_than_it_must(fold: FoldSpec, k: int) -> None:
    masks = fold_masks(fold, SESSIONS, TARGETS)
    h = HORIZONS_MONTHS[k]
    for rows, first, last, border in (
        (masks.train, fold.train_start, fold.train_end, fold.validation_start),
        (masks.validation, fold.validation_start, fold.validation_end, fold.test_start),
    ):
        dropped = span(first, last).difference(SESSIONS[rows[:, k]])
        assert len(dropped) >= 15 * h, "a horizon's worth of rows is purged"
        assert (TARGETS.loc[dropped, h] >= pd.Timestamp(border)).all()


@pytest.mark.parametrize("fold", FOLDS, ids=lambda f: f.name)
def test_parts_do_not_overlap_and_masks_stay_inside_them(fold: FoldSpec) -> None:
    masks = fold_masks(fold, SESSIONS, TARGETS)
    train, validation = masks.train.any(axis=1), masks.validation.any(axis=1)
    assert not (train & validation).any()
    assert not ((train | validation) & masks.test).any()
    assert set(SESSIONS[train]) <= set(span(fold.train_start, fold.train_end))
    assert set(SESSIONS[validation]) <= set(span(fold.validation_start, fold.validation_end))


def test_spans_have_the_stated_lengths_and_tests_follow_each_other() -> None:
    folds = make_folds(SESSIONS, **QUICK.spans)
    assert [f.name for f in folds] == ["fold_1", "fold_2", "fold_3", "fold_4", "fold_5"]
    tested = pd.DatetimeIndex([])
    for fold in folds:
        assert len(span(fold.train_start, fold.train_end)) == 756
        assert len(span(fold.validation_start, fold.validation_end)) == 378
        assert fold.test_end is not None
        assert len(span(fold.test_start, fold.test_end)) == 252
        assert len(span(fold.train_start, fold.test_end)) == 756 + 378 + 252, "no session between the parts"
        tested = tested.append(span(fold.test_start, fold.test_end))
    assert tested.equals(span(folds[0].test_start, folds[-1].test_end))


def test_the_last_test_row_is_the_last_whose_longest_label_is_known() -> None:
    last = pd.Timestamp(make_folds(SESSIONS, **QUICK.spans)[-1].test_end)
    assert TARGETS.loc[last, 12] <= SESSIONS[-1]
    following = SESSIONS[SESSIONS.get_loc(last) + 1]
    assert TARGETS.loc[following, 12] > SESSIONS[-1]


def test_a_label_known_on_the_very_last_session_counts() -> None:
    days = SESSIONS[SESSIONS <= "2023-06-01"]  # 2022-06-01 plus 12 months is a session
    assert str(make_folds(days, **QUICK.spans)[-1].test_end) == "2022-06-01"


def test_serving_fold_ends_at_the_last_session() -> None:
    fold = serving_fold(SESSIONS, **QUICK.training_spans)
    assert (pd.Timestamp(fold.test_start), fold.test_end) == (SESSIONS[-1], None)
    assert pd.Timestamp(fold.validation_end) == SESSIONS[-2]
    assert SESSIONS[fold_masks(fold, SESSIONS, TARGETS).test].tolist() == [SESSIONS[-1]]


def test_appending_sessions_keeps_the_history_of_masks() -> None:
    fold = make_folds(SESSIONS, **QUICK.spans)[0]
    longer = sessions("2005-01-03", "2025-12-31")
    short, long = (fold_masks(fold, s, target_dates(s)) for s in (SESSIONS, longer))
    np.testing.assert_array_equal(short.train, long.train[: len(SESSIONS)])
    np.testing.assert_array_equal(short.test, long.test[: len(SESSIONS)])
    assert not long.train[len(SESSIONS) :].any()


def test_too_short_or_unsorted_sessions_are_refused() -> None:
    with pytest.raises(ModelError, match="more sessions"):
        make_folds(SESSIONS[-2500:], **QUICK.spans)
    with pytest.raises(ModelError, match="needs 135 more"):
        serving_fold(SESSIONS[-1000:], **QUICK.training_spans)
    with pytest.raises(ModelError, match="sorted and unique"):
        make_folds(SESSIONS[::-1], **QUICK.spans)


def test_outcomes_are_the_log_price_at_the_target_and_missing_without_one() -> None:
    days = sessions("2020-01-02", "2020-04-30")
    front = pd.Series(np.arange(1.0, len(days) + 1), index=days)
    targets = target_dates(days, [3])
    got = outcomes(front.drop(pd.Timestamp("2020-04-06")), targets)[3]
    assert got.loc["2020-01-02"] == pytest.approx(np.log(front.loc["2020-04-02"]))
    assert np.isnan(got.loc["2020-01-06"]), "no price on the target date"
    assert got.loc["2020-02-03":].isna().all(), "the target date has not come"


def test_labels_of_the_real_folds_are_missing_only_where_the_exchange_day_has_no_price(market: Market) -> None:
    days = pd.DatetimeIndex(market.front.index)
    for fold in make_folds(days, **QUICK.spans):
        rows = fold_masks(fold, days, market.targets).test
        for h in HORIZONS_MONTHS:
            missing = market.targets.loc[rows, h][market.outcome.loc[rows, h].isna()]
            assert not missing.isin(days).any()
            assert len(missing) <= 6
