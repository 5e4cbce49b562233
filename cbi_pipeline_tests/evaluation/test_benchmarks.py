"""Benchmark rows on the starter bundle, and the anchor's record beside the design's figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import OUT_OF_FOLD_COLUMNS, QUANTILE_COLUMNS
from cbi_pipeline.evaluation import anchor_skill as skill
from cbi_pipeline.evaluation.benchmarks import (
    ANCHOR,
    BENCHMARKS,
    FUTURES_CURVE,
    LAST_PRICE,
    Market,
    add_residual,
    benchmark_frames,
    fold_anchor,
    residual_targets,
    scored_dates,
)
from cbi_pipeline.evaluation.walk_forward import make_folds
from cbi_pipeline.modeling.anchor import anchor_log_return
from cbi_pipeline.modeling.volatility import density_sigma, state_at
from cbi_pipeline.profiles import get_profile

SPANS = get_profile("quick").folds.model_dump(exclude={"kind"})


@pytest.fixture(scope="module")
def oof(market: Market) -> pd.DataFrame:
    return benchmark_frames(market, make_folds(pd.DatetimeIndex(market.front.index), **SPANS))


def test_rows_follow_the_contract(oof: pd.DataFrame, market: Market) -> None:
    assert tuple(oof.columns) == OUT_OF_FOLD_COLUMNS
    assert set(oof["entry"]) == set(BENCHMARKS)
    assert not oof.duplicated(["entry", "fold", "as_of_date", "horizon_months"]).any()
    assert oof.drop(columns="realised_price").notna().all(axis=None)
    without_price = ~oof["target_date"].isin(market.front.index)
    assert (oof["realised_price"].isna() == without_price).all(), "a day without a price stays a gap"
    assert without_price.mean() < 0.01
    counts = oof.groupby(["entry", "horizon_months"]).size().unstack()
    assert (counts.loc[[LAST_PRICE, ANCHOR]] == 5 * 252).all(axis=None)
    assert (oof[list(QUANTILE_COLUMNS)].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    np.testing.assert_allclose(oof["q50"], oof["predicted_price"], rtol=1e-12)


def test_last_price_is_exactly_the_last_price(oof: pd.DataFrame) -> None:
    rows = oof[oof["entry"] == LAST_PRICE]
    assert (rows["predicted_price"] == rows["last_price"]).all()


def test_curve_has_rows_only_where_the_carry_is_known(oof: pd.DataFrame, market: Market) -> None:
    curve = oof[oof["entry"] == FUTURES_CURVE]
    carry = market.inputs["carry"]
    assert set(curve["as_of_date"]) == set(carry[carry.notna()].index) & set(oof["as_of_date"])
    assert curve["as_of_date"].max() < pd.Timestamp("2023-12-31")
    year = curve[curve["horizon_months"] == 12].set_index("as_of_date")
    np.testing.assert_allclose(np.log(year["predicted_price"] / year["last_price"]), carry.loc[year.index], atol=1e-12)


def test_realised_and_spread_by_hand(oof: pd.DataFrame, market: Market) -> None:
    row = oof[(oof["entry"] == ANCHOR) & (oof["as_of_date"] == "2020-03-16") & (oof["horizon_months"] == 6)].iloc[0]
    assert row["target_date"] == pd.Timestamp("2020-09-16")
    assert row["last_price"] == market.front.loc["2020-03-16"]
    assert row["realised_price"] == market.front.loc["2020-09-16"]
    spread = density_sigma(state_at(market.state, pd.DatetimeIndex(["2020-03-16"])))[6].iloc[0]
    assert np.log(row["q90"] / row["predicted_price"]) == pytest.approx(1.2815515655446004 * spread)


def test_residual_is_what_the_anchor_leaves(market: Market) -> None:
    fold = make_folds(pd.DatetimeIndex(market.front.index), **SPANS)[2]
    inputs = market.inputs.loc[scored_dates(market, fold)]
    anchor = anchor_log_return(fold_anchor(market, fold), inputs, market.state)
    target = residual_targets(market, anchor)
    assert target.abs().mean().between(0.3, 2.0).all(), "residuals are in units of sigma_h"
    perfect = add_residual(market, anchor, target, dict.fromkeys(HORIZONS_MONTHS, 1.0))
    realised = market.outcome.loc[inputs.index].sub(np.log(market.front.loc[inputs.index]), axis=0)
    np.testing.assert_allclose(perfect, realised, atol=1e-12)
    none = add_residual(market, anchor, target, dict.fromkeys(HORIZONS_MONTHS, 0.0))
    pd.testing.assert_frame_equal(none, anchor)


@pytest.fixture(scope="module")
def record(market: Market) -> pd.DataFrame:
    return skill.anchor_skill(skill.anchor_record(market, 2013, 2024))


@pytest.mark.parametrize("entry", list(skill.DESIGN_RMSE_RATIO))
@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
def test_rmse_ratio_is_the_designs_within_a_hundredth(record: pd.DataFrame, entry: str, horizon: int) -> None:
    measured = record.loc[(entry, "rmse_ratio"), horizon]
    assert measured == pytest.approx(skill.DESIGN_RMSE_RATIO[entry][horizon], abs=0.01)


MEASURED_RMSE_RATIO = {
    ANCHOR: [0.977, 0.967, 0.974, 0.979],
    skill.FULL_WEIGHT: [0.962, 0.949, 0.967, 0.975],
    FUTURES_CURVE: [0.993, 1.006, 1.025, 1.040],
}
MEASURED_COVERAGE_80 = {ANCHOR: [0.808, 0.835, 0.872, 0.846], LAST_PRICE: [0.788, 0.810, 0.842, 0.826]}


def test_measured_record_2013_2024(record: pd.DataFrame) -> None:
    for entry, ratios in MEASURED_RMSE_RATIO.items():
        assert record.loc[(entry, "rmse_ratio")].tolist() == pytest.approx(ratios, abs=0.0015)
    for entry, shares in MEASURED_COVERAGE_80.items():
        assert record.loc[(entry, "coverage_80")].tolist() == pytest.approx(shares, abs=0.005)
