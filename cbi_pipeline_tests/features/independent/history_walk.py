"""Features rebuilt at many moments of history, on all cores, each compared bit for bit with the full build."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from cbi_pipeline import market_calendar
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.features import build_features
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline_tests.perturbation import drop_after, perturb_after


@cache
def tables_of(bundle: Path) -> dict[str, pd.DataFrame]:
    return load_tables(bundle)


@cache
def features_of(bundle: Path) -> pd.DataFrame:
    return build_features(tables_of(bundle))


def different_columns(one: pd.DataFrame, two: pd.DataFrame) -> list[str]:
    """Names of the columns that are not the same bit for bit; all of them if rows or order differ."""
    if not (one.index.equals(two.index) and one.columns.equals(two.columns)):
        return list(one.columns)
    return [name for name in one if one[name].to_numpy().tobytes() != two[name].to_numpy().tobytes()]


def moved_by_the_future(bundle: Path, day: pd.Timestamp, seed: int) -> tuple[list[str], list[str]]:
    """Everything published after 14:00 Chicago of `day` is changed: columns that moved up to it, and after it.

    Columns are those of the features and (with a leading `network:`) of what a network sees of them.
    """
    full = features_of(bundle)
    moment = market_calendar.as_of_time(day)
    other = build_features(perturb_after(tables_of(bundle), moment, np.random.default_rng(seed)))
    before = different_columns(full.loc[:day], other.loc[:day])
    seen = different_columns(network_view(full.loc[:day]), network_view(other.loc[:day]))
    after = different_columns(full.loc[day:], other.loc[day:])
    return before + [f"network:{name}" for name in seen], after


def served_differently(bundle: Path, day: pd.Timestamp) -> list[str]:
    """Features built on `day` from what was published by then: columns of any row that differ from the full build."""
    served = build_features(drop_after(tables_of(bundle), market_calendar.as_of_time(day)))
    return different_columns(features_of(bundle).loc[:day], served)


def on_all_cores(function: Callable, calls: Iterable[tuple]) -> list:
    """`function(*call)` of every call, in order."""
    return joblib.Parallel(n_jobs=os.cpu_count(), batch_size=1)(joblib.delayed(function)(*call) for call in calls)
