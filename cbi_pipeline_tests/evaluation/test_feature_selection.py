"""Selection: which rows it reads, what it finds when the answer is known, and the rule that makes a list of ranks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.evaluation.benchmarks import market_from, prepare_market
from cbi_pipeline.evaluation.feature_selection import (
    MAXIMUM,
    METHODS,
    MINIMUM,
    TOP,
    correlation_clusters,
    excess,
    rank_features,
    select_features,
    shifted_targets,
    training_part,
)
from cbi_pipeline.evaluation.walk_forward import make_folds
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.cell_inputs import cell_inputs
from cbi_pipeline.stages.selection import fold_training_part

SESSIONS = pd.bdate_range("2015-01-01", periods=760).to_numpy("datetime64[ns]")
NAMES = tuple(f"f{k:02d}" for k in range(12))
SHIFTS = get_profile("quick").selection_shifts
FEW = get_profile("smoke").selection_shifts


@pytest.fixture(scope="module")
def real(starter_features, _starter_tables):
    """Features, market and the first of the quick profile's folds."""
    market = prepare_market(_starter_tables)
    fold = make_folds(
        pd.DatetimeIndex(starter_features.index), **get_profile("quick").folds.model_dump(exclude={"kind"})
    )[0]
    return starter_features, market, fold


def real_part(features, market, fold):
    drivers = fit_driver_set(features, fold.train_start, fold.train_end)
    return fold_training_part(features, cell_inputs(features, fold, market, drivers, "anchored"), market.targets)


@pytest.fixture(scope="module")
def real_ranks(real):
    return rank_features(real_part(*real), 7, FEW)


def arrays(seed=0):
    """Twelve features of which f00 drives the target at every horizon; the newest rows are no training rows."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(760, 12))
    targets = features[:, [0]] + 0.3 * generator.normal(size=(760, 4))
    mask = np.zeros((760, 4), dtype=bool)
    mask[:700] = True
    label_dates = np.stack([SESSIONS + np.timedelta64(30 * h, "D") for h in HORIZONS_MONTHS], axis=1)
    return features, targets, mask, label_dates


def part_of(features, targets, mask, label_dates):
    return training_part(NAMES, features, targets, mask, SESSIONS, label_dates)


# --- which rows ----------------------------------------------------------------------------------------------------


def test_nothing_from_validation_or_test_moves_a_rank(real, real_ranks):
    features, market, fold = real
    clean = real_part(features, market, fold)
    from_validation = pd.Timestamp(fold.validation_start)
    other = features.copy()
    other.loc[other.index >= from_validation] *= np.float32(1.9)
    later = market.front.index >= from_validation
    changed = market_from(market.front.where(~later, market.front * 3.0), market.inputs, market.state)
    moved = real_part(other, changed, fold)
    for field in dataclasses.fields(clean):
        assert np.array_equal(getattr(clean, field.name), getattr(moved, field.name), equal_nan=field.name in _FLOATS)
    assert rank_features(moved, 7, FEW).equals(real_ranks)


_FLOATS = {"features", "targets"}


def test_a_training_row_does_move_the_ranks(real, real_ranks):
    features, market, fold = real
    part = real_part(features, market, fold)
    other = dataclasses.replace(part, targets=part.targets[::-1].copy())
    assert not rank_features(other, 7, FEW)["rank"].equals(real_ranks["rank"])


def test_rows_are_weekly_purged_and_end_with_the_newest(real):
    features, market, fold = real
    part = real_part(features, market, fold)
    assert part.dates.max() <= np.datetime64(fold.train_end)
    assert part.dates.min() >= np.datetime64(fold.train_start)
    known = ~np.isnan(part.targets)
    assert part.label_dates[known].max() < np.datetime64(fold.validation_start)
    assert 130 <= len(part.dates) <= 151
    assert known.sum(axis=0)[0] > known.sum(axis=0)[3] > 90


def test_a_masked_row_is_not_read():
    features, targets, mask, label_dates = arrays()
    clean = part_of(features, targets, mask, label_dates)
    features[700:], targets[700:] = 1e6, -1e6
    dirty = part_of(features, targets, mask, label_dates)
    assert np.array_equal(clean.features, dirty.features)
    assert np.array_equal(clean.targets, dirty.targets)
    mask[:400, 3] = False
    assert np.isnan(part_of(features, targets, mask, label_dates).targets[:80, 3]).all()


# --- known answers -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranked():
    return rank_features(part_of(*arrays()), 1, SHIFTS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_feature_that_drives_the_target(ranked, method):
    assert ranked[method].idxmax() == "f00"
    assert ranked[f"rank_{method}"].idxmin() == "f00"


def test_gaps_are_no_values_and_an_unobserved_feature_comes_last():
    features, targets, mask, label_dates = arrays()
    features[::3, 0] = np.nan
    features[:, 5] = np.nan
    features[:, 6] = 1.0
    ranked = rank_features(part_of(features, targets, mask, label_dates), 1, SHIFTS)
    assert ranked["rank"].idxmin() == "f00"
    assert list(ranked.index[~ranked["usable"]]) == ["f05", "f06"]
    assert ranked.loc[["f05", "f06"], "rank"].min() > ranked.loc[ranked["usable"], "rank"].max()
    assert ranked.loc["f05", list(METHODS)].isna().all()


def test_slow_series_that_mean_nothing_gain_nothing_by_being_slow():
    """A random walk explains another one in sample; less what it explains of shifted targets, it is no better."""
    generator = np.random.default_rng(3)
    features, _, mask, label_dates = arrays()
    features[:, 6:] = generator.normal(size=(760, 6)).cumsum(axis=0)
    walk = generator.normal(size=(760, 4)).cumsum(axis=0)
    ranked = rank_features(part_of(features, walk / walk.std(), mask, label_dates), 1, SHIFTS)
    slow, fast = ranked.iloc[6:], ranked.iloc[:6]
    assert slow["mutual_information"].min() > fast["mutual_information"].max()
    assert abs(slow["excess_mutual_information"].mean()) < 2.0
    assert slow["rank"].max() > fast["rank"].min()


def test_the_same_seed_gives_the_same_frame(ranked):
    assert rank_features(part_of(*arrays()), 1, SHIFTS).equals(ranked)


def test_excess_is_in_deviations_of_the_null():
    null = np.array([[1.0, 5.0], [3.0, 5.0]])
    assert excess(np.array([4.0, 9.0]), null) == pytest.approx([2.0 / np.sqrt(2.0), 0.0])


def test_shifted_targets_keep_their_values_and_rows():
    features, targets, mask, label_dates = arrays()
    mask[:100, 2] = False
    part = part_of(features, targets, mask, label_dates)
    moved = shifted_targets(part, 0.5)
    assert np.array_equal(np.isnan(part.targets), np.isnan(moved.targets))
    own = part.targets[:, 2][~np.isnan(part.targets[:, 2])]
    assert np.array_equal(np.roll(own, 60), moved.targets[:, 2][~np.isnan(moved.targets[:, 2])])


def test_features_that_say_the_same_share_a_cluster():
    x = np.random.default_rng(0).normal(size=(150, 4))
    x[:, 2] = -(x[:, 0] ** 3)
    x[:120, 3] = np.nan
    clusters = correlation_clusters(x)
    assert clusters[0] == clusters[2]
    assert len(set(clusters)) == 3


def test_a_part_too_short_to_hold_anything_out_is_refused():
    features, targets, mask, label_dates = arrays()
    mask[:450] = False
    with pytest.raises(FeatureError, match="no horizon leaves"):
        rank_features(part_of(features, targets, mask, label_dates), 1, SHIFTS)
    features[:] = np.nan
    with pytest.raises(FeatureError, match="no feature is observed"):
        rank_features(part_of(features, targets, mask, label_dates), 1, SHIFTS)


# --- the list ------------------------------------------------------------------------------------------------------


def ranks_of(*orders):
    """A rank frame a fold; each order names the features best first."""
    names = sorted({name for order in orders for name in order})
    return {
        f"fold_{k}": pd.DataFrame(
            {"rank": [float(order.index(name) + 1) for name in names], "usable": True}, index=names
        )
        for k, order in enumerate(orders, start=1)
    }


def names(n):
    return [f"n{k:03d}" for k in range(n)]


def test_features_that_every_fold_prefers_are_kept():
    selection = select_features(ranks_of(*[names(43)] * 5), ["n000"])
    assert selection.chosen == tuple(names(30))
    assert (selection.stable, selection.needed, selection.required_by_network) == (30, 3, ())
    assert selection.agreement == pytest.approx(1.0)


def test_chance_alone_makes_half_of_sixty_features_stable():
    """A fair coin for each of five folds: three or more heads in half of the cases."""
    selection = select_features(ranks_of(*[names(60)] * 5), ["n000"])
    assert selection.stable_by_chance == pytest.approx(30.0)


def test_three_of_five_folds_decide():
    swapped = names(43)
    swapped[0], swapped[42] = swapped[42], swapped[0]
    for folds_against, kept in ((2, "n000"), (3, "n042")):
        orders = [swapped] * folds_against + [names(43)] * (5 - folds_against)
        selection = select_features(ranks_of(*orders), ["n001"])
        assert {"n000", "n042"} & set(selection.chosen) == {kept}


def test_what_the_network_reads_stays_and_is_marked():
    selection = select_features(ranks_of(*[names(43)] * 5), ["n000", "n041"])
    assert selection.required_by_network == ("n041",)
    assert selection.decisions.loc["n041", "decision"] == "required by the network"
    assert len(selection.chosen) == 31


def test_the_list_is_never_shorter_than_30_nor_longer_than_60():
    """Folds that disagree: each prefers other features, so that few are stable, or many."""
    everything = names(90)
    rolled = [everything[18 * k :] + everything[: 18 * k] for k in range(5)]
    few = select_features(ranks_of(*rolled), ["n089"])
    assert few.stable < MINIMUM <= len(few.chosen) <= MAXIMUM
    assert (few.decisions["decision"] == "filled by mean rank").any()
    halves = [everything[:30], everything[30:60], everything[60:]]
    orders = [[*half, *(name for name in everything if name not in half)] for half in halves]
    many = select_features({**ranks_of(*orders[:1])}, everything[20:80])
    assert TOP <= len(many.chosen) == MAXIMUM
    assert set(everything[20:80]) == set(many.chosen)


def test_too_few_usable_features_are_refused():
    with pytest.raises(FeatureError, match="30 usable features"):
        select_features(ranks_of(names(29)), ["n000"])
    with pytest.raises(FeatureError, match="absent"):
        select_features(ranks_of(names(43)), ["absent"])


def test_one_fold_has_no_agreement_to_state():
    assert select_features(ranks_of(names(43)), ["n000"]).agreement is None
