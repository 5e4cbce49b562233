"""Three stations by hand: rain z-scores and degree-days of raw rows in plain Python, against the features."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.features import weather
from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.market_calendar import as_of_time
from cbi_pipeline_tests.features.independent import weather_by_hand

STATIONS = {
    "brazil": ("BDMEP Londrina", 10),
    "argentina": ("NH0046 UNR - Zavalla (EMC)", 10),
    "midwest": ("USW00014839 Milwaukee WI", 4),
}
"""Region to a station and the first month of its season."""
PRESENT, MISSING = 8, 2
"""Sessions compared, spread evenly over those on which the feature has a value, and over those on which it has none."""
TOLERANCE = 1e-9


@pytest.fixture(params=sorted(STATIONS))
def alone(request, starter_tables) -> tuple[str, PointInTime, list[tuple[date, float, float, float, int]]]:
    """A region, the tables with one station of it and no other, and that station's rows (the moment in ns)."""
    region = request.param
    table = starter_tables["weather_daily"]
    rows = table[table["station"] == STATIONS[region][0]]
    assert set(rows["region"]) == {region}
    columns = (rows["date"].dt.date, rows["precip_mm"], rows["tmax_c"], rows["tmin_c"])
    raw = list(zip(*columns, rows["available_at"].astype("int64"), strict=True))
    return region, PointInTime.from_tables({**starter_tables, "weather_daily": rows}), raw


def spread(days: pd.DatetimeIndex, number: int) -> list[pd.Timestamp]:
    return [days[place] for place in np.linspace(0, len(days) - 1, number).astype(int)] if len(days) else []


def compared(feature: pd.Series, by_hand: Callable[[pd.Timestamp], float | None]) -> list[float]:
    """Compare the feature with the function on sessions of both kinds; returns the values."""
    values = []
    for day in spread(feature.index[feature.notna() & (feature != 0)], PRESENT):
        assert feature[day] == pytest.approx(by_hand(day), rel=TOLERANCE, abs=TOLERANCE), day.date()
        values.append(feature[day])
    for day in spread(feature.index[feature.isna()], MISSING):
        assert by_hand(day) is None, day.date()
    return values


@pytest.mark.parametrize(("days", "needed"), [(7, 6), (30, 27)])
def test_rain_zscore_of_a_station_by_hand(alone, days, needed):
    region, known, raw = alone

    def by_hand(day: pd.Timestamp) -> float | None:
        moment = as_of_time(day).value
        rain = {row[0]: row[1] for row in raw if row[4] <= moment and not math.isnan(row[1])}
        return weather_by_hand.newest_zscore(rain, max(rain), day.date(), days, needed)

    values = compared(weather.precipitation_features(known)[f"{region}_precip_{days}d_zscore"], by_hand)
    assert len(set(values)) > PRESENT / 2


def test_degree_days_of_a_station_by_hand(alone):
    region, known, raw = alone

    def by_hand(day: pd.Timestamp) -> float | None:
        last = day.date() - timedelta(days=3)
        seen = {row[0]: (row[2], row[3]) for row in raw if row[0] <= last and not math.isnan(row[2] + row[3])}
        return weather_by_hand.season_total([seen], last, STATIONS[region][1])

    feature = weather.growing_degree_features(known)[f"{region}_GDD_base10C"]
    values = compared(feature, by_hand)
    assert max(values) > 500
    out_of_season = feature.index[feature == 0]
    assert {by_hand(day) for day in spread(out_of_season, PRESENT)} == {0.0}
