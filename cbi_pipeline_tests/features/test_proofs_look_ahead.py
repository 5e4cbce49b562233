"""No feature moves when anything published after its as-of moment does, and every feature waits for its inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES, build_features
from cbi_pipeline.features.build import resolve
from cbi_pipeline.features.declarations import ZL, Input
from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline_tests.features.independent import history_walk
from cbi_pipeline_tests.perturbation import perturb_after

DATES = 50
SEED = 20241231
RELEASES = 2
"""Releases of each series that are moved around an as-of moment."""
MINUTE = pd.Timedelta(minutes=1)
BEGINNING = pd.Timestamp("1900-01-01", tz="UTC")

DATES_ONLY = {"season_sin", "season_cos"}
"""Features that take the trade dates of ZL and none of its values."""


def series(source: Input) -> tuple[str, str, str]:
    """What makes two inputs the same series, whatever their maximum ages."""
    return source.table, source.column, source.key


INPUTS = tuple({series(source): source for feature in CATALOGUE for source in feature.inputs}.values())
PUBLISHED = tuple(source for source in INPUTS if series(source) != series(ZL))


def label(source: Input) -> str:
    return source.label


def is_of(table: pd.DataFrame, source: Input) -> pd.Series:
    return table[source.column] == source.key


def users(source: Input) -> dict[str, str]:
    """Features that declare the series, each with its function."""
    return {f.name: f.function for f in CATALOGUE if series(source) in map(series, f.inputs)}


def computed(tables: dict[str, pd.DataFrame], source: Input) -> pd.DataFrame:
    """The features that declare `source`, [T, n] float32, and nothing else."""
    known = PointInTime.from_tables(tables)
    columns: dict[str, pd.Series] = {}
    for function in dict.fromkeys(users(source).values()):
        columns |= resolve(function)(known)
    named = {name: columns[name].to_numpy("float32") for name in users(source)}
    return pd.DataFrame(named, index=known.sessions)


@pytest.mark.slow
def test_fifty_dates_do_not_know_their_future(starter_dir, starter_features):
    days = np.random.default_rng(SEED).choice(starter_features.index[:-20], DATES, replace=False)
    calls = [(starter_dir, pd.Timestamp(day), number) for number, day in enumerate(sorted(days))]
    results = history_walk.on_all_cores(history_walk.moved_by_the_future, calls)
    moved = {call[1].date(): before for call, (before, _) in zip(calls, results, strict=True) if before}
    assert moved == {}
    assert {name for _, after in results for name in after} == set(FEATURE_NAMES) - DATES_ONLY, "one was never reached"
    assert min(len(after) for _, after in results) > len(FEATURE_NAMES) / 2


def releases(table: pd.DataFrame, source: Input, sessions: pd.DatetimeIndex) -> Iterator[tuple[pd.Series, int]]:
    """Real releases of a series, spread over its life, newest first: the rows of each, and its first session.

    A release is every row of the series with the same `available_at`.
    """
    as_of = market_calendar.as_of_times(sessions)
    moments = pd.DatetimeIndex(table.loc[is_of(table, source), "available_at"].unique()).sort_values()
    moments = moments[(moments > as_of[300]) & (moments <= as_of[-3])]
    order = np.linspace(len(moments) - 1, 0, min(len(moments), 4 * RELEASES)).astype(int)
    for moment in moments[order]:
        yield is_of(table, source) & (table["available_at"] == moment), int(as_of.searchsorted(moment))


@pytest.mark.slow
@pytest.mark.parametrize("source", PUBLISHED, ids=label)
def test_a_release_is_used_from_its_minute_and_not_before(starter_tables, starter_features, source):
    """Each real release moved to one minute before, exactly at, and one minute after an as-of moment."""
    table = starter_tables[source.table]
    sessions = starter_features.index
    shown = 0
    for rows, at in releases(table, source, sessions):
        moment = market_calendar.as_of_time(sessions[at])

        def released_at(when: pd.Timestamp, rows: pd.Series = rows, at: int = at) -> pd.DataFrame:
            moved = table.assign(available_at=table["available_at"].mask(rows, when))
            return computed({**starter_tables, source.table: moved}, source).iloc[at : at + 2]

        different = history_walk.different_columns
        without = computed({**starter_tables, source.table: table[~rows]}, source).iloc[at : at + 2]
        exactly = released_at(moment)
        if different(exactly.iloc[:1], without.iloc[:1]) == []:
            continue  # the release repeats what was known: it can show nothing
        before, after = released_at(moment - MINUTE), released_at(moment + MINUTE)
        assert different(exactly.iloc[:1], before.iloc[:1]) == []
        assert different(after.iloc[:1], without.iloc[:1]) == [], f"known a minute early: {sessions[at].date()}"
        if source.maximum_age_days:  # else it is of use on its own date only
            assert different(after.iloc[1:], exactly.iloc[1:]) == [], "not known at the next session"
        shown += 1
        if shown == RELEASES:
            break
    assert shown == RELEASES, "too few releases moved a feature"


def test_a_price_one_minute_late_for_its_own_date_is_refused(starter_tables, starter_features):
    """ZL makes the trade dates themselves: its close must be known on its own date."""
    futures = starter_tables[ZL.table]
    for day in (pd.Timestamp("2004-05-13"), pd.Timestamp("2016-09-01"), pd.Timestamp("2024-12-31")):
        own, moment = is_of(futures, ZL) & (futures["trade_date"] == day), market_calendar.as_of_time(day)
        for shift in (-MINUTE, 0 * MINUTE):
            moved = futures.assign(available_at=futures["available_at"].mask(own, moment + shift))
            found = computed({**starter_tables, ZL.table: moved}, ZL)
            assert history_walk.different_columns(found, starter_features[list(users(ZL))]) == []
        late = futures.assign(available_at=futures["available_at"].mask(own, moment + MINUTE))
        with pytest.raises(FeatureError, match=str(day.date())):
            computed({**starter_tables, ZL.table: late}, ZL)


@pytest.mark.slow
@pytest.mark.parametrize("source", INPUTS, ids=label)
def test_a_series_moves_the_features_that_declare_it_and_no_other(starter_tables, starter_features, source):
    """What makes the column lineage true: every value of the series is changed."""
    table = starter_tables[source.table]
    rows = is_of(table, source)
    other = perturb_after({source.table: table[rows]}, BEGINNING, np.random.default_rng(SEED))[source.table]
    changed = pd.concat([table[~rows], other], ignore_index=True)
    found = build_features({**starter_tables, source.table: changed})
    moved = history_walk.different_columns(found, starter_features)
    assert set(moved) == set(users(source)) - DATES_ONLY
