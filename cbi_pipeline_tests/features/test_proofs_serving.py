"""What is served on a day equals, bit for bit, what the full history says of that day."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.features import FEATURE_NAMES, build_features
from cbi_pipeline_tests.features.independent import history_walk
from cbi_pipeline_tests.perturbation import drop_after

DAYS = 250
SEED = 20240614
SECONDS_FOR_A_NEW_DAY = 1.0


@pytest.mark.slow
def test_features_served_day_by_day_equal_the_full_build(starter_dir, starter_features):
    """All rows up to the day, not its own alone: nothing that was served before is told differently now."""
    days = sorted(np.random.default_rng(SEED).choice(starter_features.index, DAYS, replace=False))
    assert len({pd.Timestamp(day).year for day in days}) == 23
    calls = [(starter_dir, pd.Timestamp(day)) for day in days]
    results = history_walk.on_all_cores(history_walk.served_differently, calls)
    assert {call[1].date(): names for call, names in zip(calls, results, strict=True) if names} == {}


def test_one_new_day_takes_under_a_second_and_equals_the_full_build(starter_tables, starter_features):
    """Seconds of this process, the best of three, so that another one on the machine is not measured."""
    day = starter_features.index[-2]
    known = drop_after(starter_tables, market_calendar.as_of_time(day))
    seconds = []
    for _ in range(3):
        started = time.process_time()
        row = build_features(known).loc[day]
        seconds.append(time.process_time() - started)
    assert row.index.tolist() == list(FEATURE_NAMES)
    assert row.to_numpy().tobytes() == starter_features.loc[day].to_numpy().tobytes()
    assert min(seconds) < SECONDS_FOR_A_NEW_DAY, seconds
