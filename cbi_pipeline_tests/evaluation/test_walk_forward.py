"""Folds and purge: properties over all folds, horizons and rows of the real calendar."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.benchmarks import Market
from cbi_pipeline.evaluation.walk_forward import (
    fold_masks,
    make_expanding_folds,
    make_folds,
    outcomes,
    serving_fold,
)
from cbi_pipeline.market_calendar import sessions, target_date, target_dates
from cbi_pipeline.profiles import get_profile

SPANS = get_profile("quick").folds.model_dump(exclude={"kind"})
TRAINING_SPANS = {name: SPANS[name] for name in ("train_sessions", "validation_sessions")}
YEARS = get_profile("full").folds.model_dump(exclude={"kind"})

SESSIONS = sessions("2005-01-03", "2024-12-31")
TARGETS = target_dates(SESSIONS)
EXPANDING = make_expanding_folds(SESSIONS, **YEARS)
FOLDS = [*make_folds(SESSIONS, **SPANS), serving_fold(SESSIONS, **TRAINING_SPANS), EXPANDING[0], EXPANDING[-1]]
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
    folds = make_folds(SESSIONS, **SPANS)
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
    last = pd.Timestamp(make_folds(SESSIONS, **SPANS)[-1].test_end)
    assert TARGETS.loc[last, 12] <= SESSIONS[-1]
    following = SESSIONS[SESSIONS.get_loc(last) + 1]
    assert TARGETS.loc[following, 12] > SESSIONS[-1]


def test_a_label_known_on_the_very_last_session_counts() -> None:
    days = SESSIONS[SESSIONS <= "2023-06-01"]  # 2022-06-01 plus 12 months is a session
    assert str(make_folds(days, **SPANS)[-1].test_end) == "2022-06-01"


def test_serving_fold_ends_at_the_last_session() -> None:
    fold = serving_fold(SESSIONS, **TRAINING_SPANS)
    assert (pd.Timestamp(fold.test_start), fold.test_end) == (SESSIONS[-1], None)
    assert pd.Timestamp(fold.validation_end) == SESSIONS[-2]
    assert SESSIONS[fold_masks(fold, SESSIONS, TARGETS).test].tolist() == [SESSIONS[-1]]


def test_expanding_folds_of_the_starter_bundle_are_twelve_calendar_years(starter_features: pd.DataFrame) -> None:
    days = pd.DatetimeIndex(starter_features.index)
    folds = make_expanding_folds(days, **YEARS)
    assert [fold.name for fold in folds] == [f"test_{year}" for year in range(2013, 2025)]
    assert tuple(fold.name for fold in folds) == get_profile("full").fold_names
    tested = pd.DatetimeIndex([])
    for year, fold in zip(range(2013, 2025), folds, strict=True):
        assert pd.Timestamp(fold.train_start) == days[0]
        own = days[days.slice_indexer(str(year), str(year))]
        assert (pd.Timestamp(fold.test_start), pd.Timestamp(fold.test_end)) == (own[0], own[-1])
        before = days[days < own[0]]
        assert pd.Timestamp(fold.validation_end) == before[-1]
        assert pd.Timestamp(fold.validation_start) == before[-378]
        assert pd.Timestamp(fold.train_end) == before[-379]
        tested = tested.append(own)
    assert tested.equals(days[days >= "2013"]), "every session from 2013 on is forecast once"


def test_the_purge_of_an_expanding_fold_on_real_dates(starter_features: pd.DataFrame) -> None:
    """Test year 2013: the last row that trains at h months is the last whose target date precedes validation."""
    days = pd.DatetimeIndex(starter_features.index)
    fold = make_expanding_folds(days, **YEARS)[0]
    assert [str(day) for day in (fold.train_start, fold.validation_start, fold.test_start, fold.test_end)] == [
        "2002-07-01", "2011-07-05", "2013-01-02", "2013-12-31",
    ]  # fmt: skip
    masks = fold_masks(fold, days, target_dates(days))
    last_trained = {h: str(days[masks.train[:, k]][-1].date()) for k, h in enumerate(HORIZONS_MONTHS)}
    last_validated = {h: str(days[masks.validation[:, k]][-1].date()) for k, h in enumerate(HORIZONS_MONTHS)}
    # targets: 1 July, 30 June, 1 July and 1 July 2011; the next sessions' targets are 5 July, when validation begins
    assert last_trained == {3: "2011-04-01", 6: "2010-12-31", 9: "2010-10-01", 12: "2010-07-01"}
    # targets: 28, 31, 31 and 31 December 2012; the next sessions' targets are 2 and 3 January, when the test has begun
    assert last_validated == {3: "2012-09-28", 6: "2012-06-29", 9: "2012-03-30", 12: "2011-12-30"}
    for k in range(4):
        assert days[masks.train[:, k]][0] == days[0]
        assert days[masks.validation[:, k]][0] == pd.Timestamp(fold.validation_start)


def test_training_of_a_later_expanding_fold_holds_that_of_an_earlier_one() -> None:
    masks = [fold_masks(fold, SESSIONS, TARGETS).train for fold in EXPANDING]
    for earlier, later in pairwise(masks):
        assert later[earlier].all()
        assert later.sum() > earlier.sum()


def test_the_serving_fold_trains_from_the_first_session_where_folds_expand() -> None:
    fold = serving_fold(SESSIONS, train_sessions=None, validation_sessions=378)
    assert pd.Timestamp(fold.train_start) == SESSIONS[0]
    assert fold.validation_start == serving_fold(SESSIONS, **TRAINING_SPANS).validation_start


def test_test_years_without_sessions_or_without_a_training_part_are_refused() -> None:
    with pytest.raises(ModelError, match="none is in the test year 2025"):
        make_expanding_folds(SESSIONS, **{**YEARS, "last_test_year": 2025})
    with pytest.raises(ModelError, match="no session is left to train on"):
        make_expanding_folds(SESSIONS, **{**YEARS, "first_test_year": 2006})
    with pytest.raises(ModelError, match="sorted and unique"):
        make_expanding_folds(SESSIONS[::-1], **YEARS)


def test_appending_sessions_keeps_the_history_of_masks() -> None:
    fold = make_folds(SESSIONS, **SPANS)[0]
    longer = sessions("2005-01-03", "2025-12-31")
    short, long = (fold_masks(fold, s, target_dates(s)) for s in (SESSIONS, longer))
    np.testing.assert_array_equal(short.train, long.train[: len(SESSIONS)])
    np.testing.assert_array_equal(short.test, long.test[: len(SESSIONS)])
    assert not long.train[len(SESSIONS) :].any()


def test_too_short_or_unsorted_sessions_are_refused() -> None:
    with pytest.raises(ModelError, match="more sessions"):
        make_folds(SESSIONS[-2500:], **SPANS)
    with pytest.raises(ModelError, match="needs 135 more"):
        serving_fold(SESSIONS[-1000:], **TRAINING_SPANS)
    with pytest.raises(ModelError, match="sorted and unique"):
        make_folds(SESSIONS[::-1], **SPANS)


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
    for fold in make_folds(days, **SPANS):
        rows = fold_masks(fold, days, market.targets).test
        for h in HORIZONS_MONTHS:
            missing = market.targets.loc[rows, h][market.outcome.loc[rows, h].isna()]
            assert not missing.isin(days).any()
            assert len(missing) <= 6
