"""Every check passes on the starter features as far as they are sound, and fails on the same with a fault put in."""

from __future__ import annotations

import time
from datetime import date

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import build_features
from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES
from cbi_pipeline.features.validation import (
    check_constant,
    check_drift,
    check_ranges,
    check_signs,
    check_staleness,
    signs,
    staleness,
)
from cbi_pipeline.features.validation.findings import has_errors

LAST = date(2024, 12, 31)
ENDED = "futures_curve/ZL"
"""The one source that ends inside the real data, on 2023-11-30."""


@pytest.fixture
def frame(starter_features):
    """A copy, for faults."""
    return starter_features.copy()


def subjects(findings, severity=None):
    return {finding.subject for finding in findings if severity in (None, finding.severity)}


def from_date(table, key, start):
    """Rows of one series on and after a date."""
    column, event = ("symbol", "trade_date") if "symbol" in table else ("series_id", "date")
    return (table[column] == key) & (table[event] >= pd.Timestamp(start))


# --- what the starter features say -------------------------------------------------------------------------------


def test_nothing_is_wrong_with_the_starter_features(starter_features, starter_tables):
    for findings in (
        check_ranges(starter_features),
        check_drift(starter_features),
        check_signs(starter_features, starter_tables),
        check_constant(starter_features),
    ):
        assert findings == []
    assert not has_errors(check_staleness(starter_features, starter_tables, LAST))


def test_no_past_year_would_have_been_stopped(starter_features, starter_tables):
    """No error at any year's end: ranges look at every row anyway."""
    assert not has_errors(check_ranges(starter_features))
    ends = starter_features.groupby(starter_features.index.year).tail(1).index[1:]
    assert len(ends) > 20
    for end in ends:
        until = starter_features.loc[:end]
        assert check_constant(until) == [], end
        assert check_signs(until, starter_tables) == [], end


def test_what_the_last_row_lacks_is_named_once_with_its_cause(starter_features, starter_tables):
    findings = check_staleness(starter_features, starter_tables, LAST)
    missing = set(starter_features.columns[starter_features.iloc[-1].isna()])
    curve = [finding for finding in findings if finding.subject == ENDED]
    assert [(finding.value, finding.threshold) for finding in curve] == [("397 days", "7 days")]
    assert "describes 2023-11-30" in curve[0].reason
    by_curve = {f.name for f in CATALOGUE if "curve_carry" in f.name}
    assert all(name in curve[0].reason for name in by_curve)
    assert subjects(findings) == (missing - by_curve) | {ENDED}
    assert {"brazil_precip_7d_zscore", "brazil_precip_30d_zscore", "brazil_GDD_base10C"} <= subjects(findings)


def test_all_checks_together_take_less_than_a_second(starter_features, starter_tables):
    check_ranges(starter_features)  # imports pandera
    started = time.process_time()
    check_ranges(starter_features)
    check_staleness(starter_features, starter_tables, LAST)
    check_drift(starter_features)
    check_signs(starter_features, starter_tables)
    check_constant(starter_features)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("check", [check_ranges, check_drift, check_constant])
def test_a_frame_of_other_columns_is_refused(starter_features, check):
    with pytest.raises(FeatureError, match="column 0"):
        check(starter_features[starter_features.columns[::-1]])


# --- range -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])
def test_an_impossible_value_anywhere_in_history_is_an_error(frame, side):
    wrong = {}
    for position, feature in enumerate(CATALOGUE):
        limits = feature.possible
        value = limits[side] + (1 if side else -1) * 0.01 * (limits[1] - limits[0])
        row = int(np.flatnonzero(frame[feature.name].notna())[-300 - position])
        frame.iloc[row, frame.columns.get_loc(feature.name)] = value
        wrong[feature.name] = (value, str(frame.index[row].date()))
    found = [f for f in check_ranges(frame) if f.severity == "error"]
    for name, (value, day) in wrong.items():
        own = [f for f in found if f.subject == name]
        assert any(f.value == pytest.approx(value, rel=1e-5) and day in f.reason for f in own), name


def test_features_that_contradict_each_other_are_errors(frame):
    frame.iloc[-40, frame.columns.get_loc("BB_lower")] = frame["BB_upper"].iloc[-40] + 1
    assert has_errors(check_ranges(frame))


def test_two_regimes_at_once_are_an_error(frame):
    frame.loc[frame.index[-5], ["regime_bullish", "regime_bearish"]] = 1.0
    assert has_errors(check_ranges(frame))


def test_a_far_record_of_the_newest_row_is_a_warning(frame):
    frame.iloc[-1, frame.columns.get_loc("yield_curve_slope")] = frame["yield_curve_slope"].max() + 0.3
    found = check_ranges(frame)
    assert [(f.severity, f.subject) for f in found] == [("warning", "yield_curve_slope")]
    frame.iloc[-1, frame.columns.get_loc("yield_curve_slope")] = frame["yield_curve_slope"].iloc[:-1].max() + 0.01
    assert check_ranges(frame) == []


# --- staleness ---------------------------------------------------------------------------------------------------

OTHERS = [
    source
    for source in staleness.SOURCES
    if not source.history_only and source.table != "policy" and source.label not in (ENDED, "futures_daily/ZL")
]


def test_sources_that_ended_are_named_with_the_features_that_miss_them(starter_tables):
    last = pd.Timestamp(LAST)
    for source in OTHERS:
        table = starter_tables[source.table]
        recent = table[source.event_date] >= last - pd.Timedelta(days=source.maximum_age_days)
        gone = (table[source.column] == source.key) & recent
        starter_tables[source.table] = table[~gone].reset_index(drop=True)
    frame = build_features(starter_tables)
    findings = check_staleness(frame, starter_tables, LAST)
    assert subjects(findings, "warning") == {source.label for source in OTHERS} | {ENDED}
    assert subjects(findings, "error") == set()
    for source in OTHERS:
        found = next(f for f in findings if f.subject == source.label)
        assert int(found.value.split()[0]) > source.maximum_age_days
        users = [f.name for f in CATALOGUE if source in f.inputs and f.name != "midwest_GDD_base10C"]
        assert users
        assert frame[users].iloc[-1].isna().all(), "all but degree-days out of season, which are 0"
        assert all(name in found.reason for name in users), source.label


def test_a_source_at_its_maximum_age_is_not_stale(starter_features, starter_tables):
    macro = starter_tables["macro_series"]
    age = 7
    last = pd.Timestamp(LAST)
    vix = macro["series_id"] == "VIXCLS"
    kept = macro[~vix | (macro["date"] <= last - pd.Timedelta(days=age))]
    assert kept.loc[kept["series_id"] == "VIXCLS", "date"].max() == last - pd.Timedelta(days=age)
    found = check_staleness(starter_features, {**starter_tables, "macro_series": kept}, LAST)
    assert "macro_series/VIXCLS" not in subjects(found)
    kept = macro[~vix | (macro["date"] < last - pd.Timedelta(days=age))]
    found = check_staleness(starter_features, {**starter_tables, "macro_series": kept}, LAST)
    assert "macro_series/VIXCLS" in subjects(found)


def test_the_mandate_counts_from_the_end_of_its_compliance_year(starter_tables):
    policy = starter_tables["policy"]
    starter_tables["policy"] = policy[policy["effective_year"] <= 2021]
    found = check_staleness(build_features(starter_tables), starter_tables, LAST)
    assert {f.subject: f.value for f in found}["policy/rfs_bbd_volume"] == "1096 days"
    starter_tables["policy"] = policy[policy["effective_year"] <= 2023]
    found = check_staleness(build_features(starter_tables), starter_tables, LAST)
    assert "policy/rfs_bbd_volume" not in subjects(found)


def test_a_source_without_any_row_is_stale(starter_tables, starter_features):
    cot = starter_tables["cot_weekly"]
    starter_tables["cot_weekly"] = cot[cot["market_code"] != "007601"]
    found = check_staleness(starter_features, starter_tables, LAST)
    assert {f.subject: f.value for f in found}["cot_weekly/007601"] == "no value"


def test_soybean_oil_that_stops_before_soybeans_is_an_error(starter_tables):
    futures = starter_tables["futures_daily"]
    starter_tables["futures_daily"] = futures[~from_date(futures, "ZL", "2024-12-30")].reset_index(drop=True)
    frame = build_features(starter_tables)
    found = [f for f in check_staleness(frame, starter_tables, frame.index[-1].date()) if f.severity == "error"]
    assert [(f.subject, f.value, f.threshold) for f in found] == [("futures_daily/ZL", "2024-12-27", "2024-12-31")]


def test_a_frame_that_ends_before_the_bundle_does_is_an_error(starter_tables, starter_features):
    assert subjects(check_staleness(starter_features.iloc[:-1], starter_tables, LAST), "error") == {"futures_daily/ZL"}
    assert subjects(check_staleness(starter_features, starter_tables, date(2025, 1, 2)), "error") == {
        "futures_daily/ZL"
    }
    new_year = check_staleness(starter_features, starter_tables, date(2025, 1, 1))
    assert not has_errors(new_year), "1 January is no session"


def test_a_last_row_without_a_close_is_an_error(starter_tables, frame):
    frame.iloc[-1, frame.columns.get_loc("close")] = np.nan
    assert subjects(check_staleness(frame, starter_tables, LAST), "error") == {"close"}


# --- signs -------------------------------------------------------------------------------------------------------


def test_parts_and_pairs_are_features():
    named = set(signs.PARTS) | {p for parts in signs.PARTS.values() for p in parts if isinstance(p, str)}
    assert named | {pair.subject for pair in signs.PAIRS} <= set(FEATURE_NAMES)


@pytest.mark.parametrize("name", [*signs.PARTS, *(pair.subject for pair in signs.PAIRS)])
def test_a_flipped_sign_is_found(frame, starter_tables, name):
    if name in ("palm_price", "CFTC_commercial_short"):
        frame[name] = 1e4 / frame[name]
    else:
        frame[name] = -frame[name]
    found = check_signs(frame, starter_tables)
    assert name in subjects(found)
    economic = {pair.subject for pair in signs.PAIRS if pair.severity == "warning"}
    if name in economic:
        assert name in subjects(found, "warning")
    else:
        assert name in subjects(found, "error")


def test_a_crush_margin_with_one_wrong_leg_is_an_error(frame, starter_tables):
    futures = starter_tables["futures_daily"]
    soybeans = futures[futures["symbol"] == "ZS"].set_index("trade_date")["close"].reindex(frame.index)
    frame["soybean_crush_spread"] = (frame["soybean_crush_spread"] + 2 * soybeans / 100).astype("float32")
    found = [f for f in check_signs(frame, starter_tables) if f.subject == "soybean_crush_spread"]
    assert [f.value for f in found] == [pytest.approx(0.01, abs=1e-4)]
    assert "futures_daily/ZS" in found[0].reason


def test_the_smallest_correlations_are_those_of_the_real_history(starter_features):
    values = starter_features.astype("float64")
    for pair in signs.PAIRS:
        one, other = pair.series(values)
        rolling = one.rolling(signs.WINDOW_SESSIONS, min_periods=signs.MINIMUM_OBSERVED).corr(other)
        assert rolling.min() == pytest.approx(pair.smallest, abs=0.005), pair.subject


def test_the_simple_correlation_of_crush_and_oil_has_no_certain_sign(starter_features):
    changes = starter_features["soybean_crush_spread"].astype("float64").diff()
    rolling = changes.rolling(252, min_periods=126).corr(starter_features["log_returns"].astype("float64")).dropna()
    assert 0.4 < (rolling < 0).mean() < 0.6


# --- constant columns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("close", "error"),
        ("RSI_14", "error"),
        ("soybean_crush_spread", "error"),
        ("VIX_level", "warning"),
        ("midwest_GDD_base10C", "warning"),
        ("CFTC_commercial_long", "warning"),
        ("palm_price", "warning"),
        ("renewable_diesel_mandate", None),
        ("regime_volatile", None),
    ],
)
def test_a_column_that_stands_still_for_a_year(frame, name, severity):
    frame.iloc[-252:, frame.columns.get_loc(name)] = frame[name].dropna().iloc[-252]
    found = check_constant(frame)
    assert [(f.subject, f.severity) for f in found] == ([] if severity is None else [(name, severity)])


def test_one_change_in_a_year_is_not_constant_and_a_missing_year_is_not_either(frame):
    frame.iloc[-252:, frame.columns.get_loc("VIX_level")] = 15.0
    frame.iloc[-100, frame.columns.get_loc("VIX_level")] = 16.0
    frame.iloc[-252:, frame.columns.get_loc("palm_price")] = np.nan
    assert check_constant(frame) == []
