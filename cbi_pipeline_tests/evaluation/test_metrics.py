"""Metrics: known answers, cross-checks against plain arithmetic, and the long score frame."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cbi_pipeline.contracts.forecast import OUT_OF_FOLD_COLUMNS, QUANTILE_COLUMNS
from cbi_pipeline.evaluation import metrics as m


def test_point_metrics_known_answers() -> None:
    predicted, realised = np.array([0.1, -0.2]), np.array([0.2, 0.2])
    assert m.rmse(predicted, realised) == pytest.approx(math.sqrt((0.01 + 0.16) / 2))
    assert m.mae(predicted, realised) == pytest.approx(0.25)
    assert m.rmse_ratio(predicted, realised) == pytest.approx(math.sqrt(0.085) / 0.2)
    assert m.mape(np.array([44.0, 55.0]), np.array([40.0, 50.0])) == pytest.approx(10.0), (
        "percent of the realised price"
    )


def test_ratio_of_the_last_price_is_one_and_missing_if_nothing_moved() -> None:
    assert m.rmse_ratio(np.zeros(3), np.array([0.1, -0.2, 0.3])) == 1.0
    assert math.isnan(m.rmse_ratio(np.array([0.1]), np.array([0.0])))


def test_direction_leaves_out_zeros() -> None:
    predicted, realised = np.array([0.1, -0.1, 0.0, 0.2, 0.1]), np.array([0.3, 0.2, 0.5, 0.0, 0.01])
    assert m.directional_accuracy(predicted, realised) == pytest.approx(2 / 3)
    assert math.isnan(m.directional_accuracy(np.zeros(4), np.ones(4)))


def test_base_rate_is_the_more_frequent_direction() -> None:
    assert m.directional_base_rate(np.array([-0.1, -0.2, 0.3, 0.0])) == pytest.approx(2 / 3)
    assert math.isnan(m.directional_base_rate(np.zeros(2)))


def test_coverage_counts_the_bounds_as_inside() -> None:
    lower, upper = np.full(4, 1.0), np.full(4, 2.0)
    assert m.coverage(lower, upper, np.array([1.0, 2.0, 0.99, 2.01])) == 0.5


def test_calibration_error_known_answer() -> None:
    assert m.calibration_error({50: 0.4, 80: 0.95, 90: 0.9}) == pytest.approx(0.25 / 3)


def test_effective_n_is_rows_over_the_horizon() -> None:
    assert m.effective_n(1260, 12) == pytest.approx(5.0)


def normal_rows(entry: str, fold: str, horizon: int, shift: float, n: int = 4000) -> pd.DataFrame:
    """Rows whose outcomes are the n mid-quantiles of the very density that is forecast, moved by `shift`."""
    sigma, last = 0.2, 50.0
    realised = last * np.exp(sigma * norm.ppf((np.arange(n) + 0.5) / n))
    bands = last * np.exp(shift + sigma * norm.ppf([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]))
    frame = pd.DataFrame({"as_of_date": pd.date_range("1990-01-01", periods=n), "realised_price": realised})
    frame = frame.assign(
        entry=entry, fold=fold, horizon_months=horizon,
        target_date=frame["as_of_date"] + pd.Timedelta(days=30 * horizon),
        last_price=last, sigma_h=sigma, predicted_price=last * np.exp(shift),
        **dict(zip(QUANTILE_COLUMNS, bands, strict=True)),
    )  # fmt: skip
    return frame[list(OUT_OF_FOLD_COLUMNS)]


def value(scores: pd.DataFrame, **key: object) -> float:
    rows = scores
    for column, wanted in key.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_score_of_a_perfect_density_is_calibrated() -> None:
    scores = m.score(normal_rows("net", "fold_1", 6, 0.0))
    assert tuple(scores.columns) == m.SCORE_COLUMNS
    assert value(scores, fold="all", metric="coverage_80") == pytest.approx(0.8, abs=0.001)
    assert value(scores, fold="all", metric="calibration_error") == pytest.approx(0.0, abs=0.001)
    assert value(scores, fold="all", metric="rmse_ratio") == 1.0
    assert math.isnan(value(scores, fold="all", metric="directional_accuracy"))
    assert set(scores["metric"]) == set(m.METRICS)


def test_score_pools_rows_over_folds_and_leaves_out_unknown_outcomes() -> None:
    first, second = normal_rows("net", "fold_1", 3, 0.05, n=300), normal_rows("net", "fold_2", 3, -0.05, n=100)
    second.loc[second.index[:40], "realised_price"] = np.nan
    scores = m.score(pd.concat([first, second], ignore_index=True))
    counts = scores[scores["metric"] == "rmse"].set_index("fold")[["n", "n_eff"]]
    assert counts["n"].to_dict() == {"fold_1": 300, "fold_2": 60, "all": 360, "common": 360}
    assert counts.loc["all", "n_eff"] == pytest.approx(360 / 63)
    known = pd.concat([first, second.iloc[40:]])
    error = np.log(known["predicted_price"] / known["realised_price"])
    move = np.log(known["realised_price"] / known["last_price"])
    assert value(scores, fold="all", metric="rmse") == pytest.approx(math.sqrt((error**2).mean()))
    assert value(scores, fold="all", metric="rmse_ratio") == pytest.approx(
        math.sqrt((error**2).mean() / (move**2).mean())
    )
    assert value(scores, fold="fold_1", metric="directional_accuracy") == pytest.approx(0.5)


def test_entries_are_compared_on_the_rows_that_all_of_them_have() -> None:
    net, sparse = normal_rows("net", "fold_1", 3, 0.05, n=300), normal_rows("sparse", "fold_1", 3, 0.02, n=300)
    scores = m.score(pd.concat([net, sparse.iloc[100:]], ignore_index=True))
    counts = scores[scores["metric"] == "mape"].set_index(["entry", "fold"])["n"]
    assert counts.loc[("net", "all")] == 300
    assert counts.loc[("net", "common")] == counts.loc[("sparse", "common")] == 200
    alone = m.score(net.iloc[100:])
    got = scores[(scores["entry"] == "net") & (scores["fold"] == "common")].set_index("metric")["value"]
    wanted = alone[alone["fold"] == "all"].set_index("metric")["value"]
    assert got.to_dict() == pytest.approx(wanted.to_dict(), nan_ok=True)


def test_horizons_are_compared_on_the_same_dates() -> None:
    """Decision 0010: a date whose 12-month outcome is not known yet does not count at 3 months either."""
    short, long = normal_rows("net", "fold_1", 3, 0.05, n=300), normal_rows("net", "fold_1", 12, 0.05, n=300)
    long.loc[long.index[-120:], "realised_price"] = np.nan
    oof = pd.concat([short, long], ignore_index=True)
    scores = m.score(oof)
    counts = scores[scores["metric"] == "mape"].set_index(["fold", "horizon_months"])["n"].to_dict()
    assert counts == {
        ("fold_1", 3): 300, ("fold_1", 12): 180, ("all", 3): 300, ("all", 12): 180, ("common", 3): 180,
        ("common", 12): 180,
    }  # fmt: skip
    assert set(m.common_rows(oof)["as_of_date"]) == set(short["as_of_date"][:180])
