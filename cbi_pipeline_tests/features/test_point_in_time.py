from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import build_features
from cbi_pipeline.features.catalogue import CATALOGUE
from cbi_pipeline.features.declarations import WEATHER, ZL, Input
from cbi_pipeline.features.point_in_time import PointInTime, in_publication_order, join_as_of

INPUTS = sorted({source for feature in CATALOGUE for source in feature.inputs}, key=lambda source: source.label)


def utc(*moments):
    return pd.DatetimeIndex(pd.to_datetime(list(moments), utc=True))


def series(dates, moments, values):
    return pd.DataFrame({"date": pd.to_datetime(dates), "available_at": utc(*moments), "value": values})


@pytest.mark.parametrize("source", INPUTS, ids=lambda source: source.label)
def test_a_value_is_not_visible_a_minute_before_its_release(starter_tables, source: Input):
    rows = starter_tables[source.table]
    rows = rows[rows[source.column] == source.key]
    if source in WEATHER.values():
        rows = rows[rows["station"] == rows["station"].iloc[0]]
    moments = rows["available_at"].unique()
    for release in moments[len(moments) // 5 :: max(1, len(moments) // 5)]:
        newest = rows[rows["available_at"] == release][source.event_date].max()
        rows_marked = rows.assign(mark=(rows[source.event_date] - pd.Timestamp("1970-01-01")).dt.days)
        as_of = pd.DatetimeIndex([release - pd.Timedelta(minutes=1), release])
        seen = join_as_of(rows_marked, ["mark"], source.event_date, pd.DatetimeIndex([newest, newest]), as_of, 10_000)[
            "mark"
        ]
        assert seen.iloc[1] == (newest - pd.Timestamp("1970-01-01")).days
        assert seen.iloc[0] != seen.iloc[1]


def test_a_series_that_ends_is_missing_after_its_maximum_age():
    rows = series(["2024-01-01", "2024-01-02"], ["2024-01-02", "2024-01-03"], [1.0, 2.0])
    sessions = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-09", "2024-01-10"])
    joined = join_as_of(rows, ["value"], "date", sessions, sessions.tz_localize("UTC"), maximum_age_days=7)
    assert joined["value"].tolist()[:3] == [1.0, 2.0, 2.0]
    assert np.isnan(joined["value"].iloc[3])


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        (source, [feature.name for feature in CATALOGUE if source in feature.inputs])
        for source in INPUTS
        if source != ZL and not source.history_only and source.table not in ("policy", "weather_daily")
    ],
    ids=lambda value: value.label if isinstance(value, Input) else "",
)
def test_real_series_cut_off_go_missing_and_are_not_carried(starter_tables, source: Input, columns):
    table = starter_tables[source.table]
    end = pd.Timestamp("2018-03-15")
    cut = table[(table[source.column] != source.key) | (table[source.event_date] <= end)]
    frame = build_features({**starter_tables, source.table: cut})
    newest = cut.loc[cut[source.column] == source.key, source.event_date].max()
    last = newest + pd.Timedelta(days=source.maximum_age_days)
    after = frame.loc[last + pd.Timedelta(days=1) : end + pd.Timedelta(days=200), columns]
    assert len(after) > 60
    assert after.isna().all(axis=None)
    assert frame.loc[last - pd.Timedelta(days=max(5, source.maximum_age_days)) : last, columns].notna().any().all()


def test_weather_that_ends_goes_missing(starter_tables):
    table = starter_tables["weather_daily"]
    end = pd.Timestamp("2016-05-31")
    frame = build_features({**starter_tables, "weather_daily": table[table["date"] <= end]})
    columns = [name for name in frame if "precip" in name]
    assert frame.loc["2016-06-01":"2016-06-03", columns].notna().all(axis=None)
    assert frame.loc["2016-06-08":"2016-12-30", columns].isna().all(axis=None)
    assert frame.loc["2016-06-06":"2016-10-28", "midwest_GDD_base10C"].isna().all()


def test_no_rule_in_force_is_carried_more_than_two_years(starter_tables):
    policy = starter_tables["policy"]
    mandate = build_features({**starter_tables, "policy": policy[policy["effective_year"] <= 2016]})[
        "renewable_diesel_mandate"
    ]
    assert mandate.loc["2018-12-31"] == np.float32(1.9)
    assert mandate.loc["2019-01-02":].isna().all()


def test_mandate_waits_for_the_federal_register(starter_features):
    mandate = starter_features["renewable_diesel_mandate"]
    assert mandate.loc[:"2010-03-25"].isna().all()
    assert mandate.loc["2015-12-11"] == np.float32(1.28)
    assert mandate.loc["2015-12-14"] == np.float32(1.73)
    assert mandate.loc["2016-01-04"] == np.float32(1.9)


def test_a_late_correction_of_an_old_date_never_replaces_a_newer_one():
    rows = series(
        ["2024-01-01", "2024-01-02", "2024-01-03"], ["2024-01-09", "2024-01-03", "2024-01-04"], [9.0, 2.0, 3.0]
    )
    assert in_publication_order(rows, "date")["value"].tolist() == [2.0, 3.0]
    sessions = pd.DatetimeIndex(["2024-01-10"])
    assert join_as_of(rows, ["value"], "date", sessions, sessions.tz_localize("UTC"), 30)["value"].tolist() == [3.0]


def test_several_dates_published_together_give_the_newest():
    rows = series(["2024-01-02", "2024-01-01"], ["2024-01-08", "2024-01-08"], [2.0, 1.0])
    sessions = pd.DatetimeIndex(["2024-01-08"])
    assert join_as_of(rows, ["value"], "date", sessions, sessions.tz_localize("UTC"), 30)["value"].tolist() == [2.0]


def test_a_close_that_is_not_known_on_its_own_date_is_refused(starter_tables):
    futures = starter_tables["futures_daily"]
    day = pd.Timestamp("2020-03-10")
    own = (futures["symbol"] == "ZL") & (futures["trade_date"] == day)
    late = market_calendar.as_of_time(day) + pd.Timedelta(minutes=1)
    delayed = futures.assign(available_at=futures["available_at"].mask(own, late))
    with pytest.raises(FeatureError, match="2020-03-10"):
        PointInTime.from_tables({**starter_tables, "futures_daily": delayed})


def test_a_repeated_trade_date_or_no_rows_are_refused(starter_tables):
    futures = starter_tables["futures_daily"]
    zl = futures[futures["symbol"] == "ZL"]
    with pytest.raises(FeatureError, match="twice"):
        PointInTime.from_tables({**starter_tables, "futures_daily": pd.concat([futures, zl.tail(1)])})
    with pytest.raises(FeatureError, match="no ZL row"):
        PointInTime.from_tables({**starter_tables, "futures_daily": futures[futures["symbol"] != "ZL"]})
