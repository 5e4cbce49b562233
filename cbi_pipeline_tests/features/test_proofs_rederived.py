"""Every feature of one date a year, rederived from the raw files by a script that shares no code with the features."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.features import FEATURE_NAMES
from cbi_pipeline.sources.weather import STATIONS
from cbi_pipeline_tests.features.independent import rederive

YEARS = range(2003, 2025)
NAMES = {
    region: tuple(station.name for station in STATIONS if station.region == region)
    for region in ("brazil", "argentina", "midwest")
}
TOLERANCE = 2e-6
"""Relative; float32 keeps 6e-8, sums and roll chains in another order of operations lose the rest."""
SPREADS_TOLERANCE = 1e-5
"""Absolute, for values near zero: differences of prices in float32."""
ADX_TOLERANCE = 5e-3
"""ADX gives a bar that outreaches the one before by the same on both sides no direction. 10 of 5,660 ZL bars do. On
prices divided by a roll factor the two reaches differ in the last bit, and TA-Lib takes that for a direction."""


def day_of(year: int, sessions: pd.DatetimeIndex) -> pd.Timestamp:
    """The first session from the 15th of a month that moves on by five a year, so that all seasons are seen."""
    return sessions[sessions.searchsorted(pd.Timestamp(year, year * 5 % 12 + 1, 15))]


@pytest.mark.slow
@pytest.mark.parametrize("year", YEARS)
def test_features_of_a_date_equal_those_from_raw_files(provider_dir, starter_features, year):
    day = day_of(year, starter_features.index)
    by_hand = rederive.features(provider_dir, day, NAMES)
    assert sorted(by_hand) == sorted(FEATURE_NAMES)
    row = starter_features.loc[day].astype("float64")
    wrong = {}
    for name, expected in by_hand.items():
        relative = ADX_TOLERANCE if name == "ADX_14" else TOLERANCE
        if math.isnan(expected) != math.isnan(row[name]) or (
            abs(row[name] - expected) > max(relative * abs(expected), SPREADS_TOLERANCE)
        ):
            wrong[name] = (row[name], expected)
    assert wrong == {}, str(day.date())


def test_the_dates_see_every_month_and_nearly_every_feature(starter_features):
    days = [day_of(year, starter_features.index) for year in YEARS]
    assert {day.month for day in days} == set(range(1, 13))
    present = starter_features.loc[days].notna().sum()
    assert int(np.min(present)) >= 5, present.idxmin()
