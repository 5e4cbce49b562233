"""Drift: known answers, the size of the check on past dates, and what it finds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.features.validation import check_drift
from cbi_pipeline.features.validation.drift import (
    BLOCK_SESSIONS,
    COLUMNS,
    MINIMUM_BLOCKS,
    MINIMUM_FOR_UNIT,
    REFERENCE_SESSIONS,
    block_distances,
    drift_of_last,
    measure_drift,
)


@pytest.fixture(scope="module")
def seen(starter_features):
    return network_view(starter_features)[list(COLUMNS)]


def test_a_distance_by_hand():
    dates = pd.bdate_range("2020-01-01", periods=REFERENCE_SESSIONS + BLOCK_SESSIONS)
    before = np.tile([1.0, 3.0], REFERENCE_SESSIONS // 2)
    one = np.concatenate([before, np.full(BLOCK_SESSIONS, 7.0)])
    few = one.copy()
    few[:600] = np.nan
    still = np.full(len(one), 4.0)
    found = block_distances(pd.DataFrame({"one": one, "few": few, "still": still}, index=dates))
    assert found.index.tolist() == [dates[-1]]
    assert found["one"].tolist() == [pytest.approx((7.0 - 2.0) / 1.0)]
    assert found["few"].isna().all(), "156 rows of 252 needed"
    assert found["still"].isna().all(), "no standard deviation"


def test_the_threshold_by_hand_and_the_newest_block_is_no_part_of_it():
    values = pd.DataFrame({"a": np.arange(1.0, 102.0), "b": np.full(101, 0.5)})
    drift = drift_of_last(values)
    unit = np.percentile(np.arange(1.0, 101.0), 90)
    null = np.maximum(np.arange(1.0, 101.0) / unit, 1.0)
    assert drift.threshold == pytest.approx(np.quantile(null, 0.95))
    assert drift.scores.to_dict() == {"a": pytest.approx(101.0 / unit), "b": pytest.approx(1.0)}
    assert (drift.statistic, drift.blocks, drift.p_value) == (pytest.approx(101.0 / unit), 100, pytest.approx(1 / 101))
    values.loc[100, "a"] = 1e9
    assert drift_of_last(values).threshold == drift.threshold


def test_a_feature_without_two_years_of_months_takes_no_part():
    values = pd.DataFrame({"a": np.arange(1.0, 102.0), "new": np.nan})
    values.loc[78:, "new"] = 0.01
    values.loc[100, "new"] = 1e9
    assert values["new"].notna().sum() - 1 == MINIMUM_FOR_UNIT - 2
    assert np.isnan(drift_of_last(values).scores["new"])
    values.loc[76:77, "new"] = 0.01
    assert drift_of_last(values).statistic > 1e6


def test_too_little_history_gives_no_verdict(seen):
    short = block_distances(seen).iloc[:MINIMUM_BLOCKS]
    assert np.isnan(drift_of_last(short).threshold)


def test_the_size_of_the_check_on_every_month_since_2010(seen):
    """Nominal 5 %. Each month is judged by the months before it only; seven ways to lay the blocks."""
    rates = []
    for offset in range(0, BLOCK_SESSIONS, 3):
        distances = block_distances(seen.iloc[: len(seen) - offset])
        drifts = [drift_of_last(distances.iloc[: i + 1]) for i in range(MINIMUM_BLOCKS, len(distances))]
        assert len(drifts) >= 170
        rates.append(np.mean([drift.statistic > drift.threshold for drift in drifts]))
    assert all(0.02 <= rate <= 0.10 for rate in rates), rates
    assert 0.04 <= np.mean(rates) <= 0.075


@pytest.mark.parametrize(
    ("name", "factor", "shift"),
    [
        ("close", 10.0, 0.0),
        ("palm_price", 22.0462, 0.0),
        ("VIX_zscore", 1.0, 10.0),
        ("USD_BRL", 0.1, 0.0),
        ("CFTC_managed_money_long", 10.0, 0.0),
    ],
)
def test_a_month_in_another_unit_is_found(starter_features, name, factor, shift):
    assert check_drift(starter_features) == []
    frame = starter_features.copy()
    column = frame.columns.get_loc(name)
    frame.iloc[-BLOCK_SESSIONS:, column] = frame.iloc[-BLOCK_SESSIONS:, column] * factor + shift
    found = check_drift(frame)
    assert name in {finding.subject for finding in found}
    assert {finding.severity for finding in found} == {"warning"}
    assert all(finding.value > finding.threshold for finding in found)


def test_the_spring_of_2020_was_drift(starter_features):
    drift = measure_drift(starter_features.loc[:"2020-04-15"])
    assert drift.statistic > drift.threshold
