from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.features import build_features
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline_tests.perturbation import drop_after, perturb_after

SHARES = np.linspace(0.05, 0.995, 10)
"""Ten places spread over the history."""


def changed(one, two):
    return [name for name in one if not one[name].equals(two[name])]


def assert_same_until(day, frame, other):
    for build in (lambda x: x, network_view):
        one, two = build(frame).loc[:day], build(other).loc[:day]
        pd.testing.assert_index_equal(one.index, two.index)
        assert one.to_numpy().tobytes() == two.to_numpy().tobytes(), changed(one, two)


@pytest.mark.parametrize("share", SHARES)
def test_what_is_published_later_changes_nothing(starter_tables, starter_features, share):
    day = starter_features.index[int(share * (len(starter_features) - 1))]
    moment = market_calendar.as_of_time(day)
    perturbed = build_features(perturb_after(starter_tables, moment, np.random.default_rng(int(1000 * share))))
    assert_same_until(day, starter_features, perturbed)
    assert not perturbed.loc[day:].equals(starter_features.loc[day:]), "the perturbation reached nothing"
    assert_same_until(day, starter_features, build_features(drop_after(starter_tables, moment)))


def test_back_adjusted_closes_are_not_used(starter_tables, starter_features):
    futures = starter_tables["futures_daily"]
    other = futures.assign(back_adjusted_close=futures["back_adjusted_close"] * 3.0)
    assert build_features({**starter_tables, "futures_daily": other}).equals(starter_features)


def test_weather_that_arrives_out_of_order_is_left_out_from_the_start(starter_tables):
    weather = starter_tables["weather_daily"]
    one = (weather["region"] == "midwest") & (weather["date"] == "2024-05-10") & weather["station"].str.contains("Mil")
    assert one.sum() == 1
    late = weather.assign(available_at=weather["available_at"].mask(one, pd.Timestamp("2024-06-03 18:00", tz="UTC")))
    delayed = build_features({**starter_tables, "weather_daily": late})
    without = build_features({**starter_tables, "weather_daily": weather[~one]})
    assert changed(delayed, without) == []
    assert changed(delayed, build_features(starter_tables))


def test_degree_days_wait_for_no_station_that_is_later_than_its_time(starter_tables):
    weather = starter_tables["weather_daily"]
    slow = weather["station"].str.contains("Milwaukee") & (weather["date"] >= "2024-05-10")
    assert slow.sum() > 200
    slowed = weather.assign(
        available_at=weather["available_at"].mask(slow, weather["available_at"] + pd.Timedelta(days=5))
    )
    delayed = build_features({**starter_tables, "weather_daily": slowed})["midwest_GDD_base10C"]
    without = build_features({**starter_tables, "weather_daily": weather[~slow]})["midwest_GDD_base10C"]
    assert delayed.equals(without)
    assert not delayed.equals(build_features(starter_tables)["midwest_GDD_base10C"])
