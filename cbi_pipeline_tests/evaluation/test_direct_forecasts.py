"""Direct benchmarks on the starter bundle: the contract, each entry by hand, and what may enter a fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.forecast import OUT_OF_FOLD_COLUMNS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import direct_forecasts as direct
from cbi_pipeline.evaluation.ablation import forecast_ridge, forecast_trees, walk_forward
from cbi_pipeline.evaluation.anchor_skill import FULL_WEIGHT, HALF_CURVE, anchor_record
from cbi_pipeline.evaluation.benchmarks import Market, residual_targets
from cbi_pipeline.evaluation.metrics import metrics_of
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.modeling.volatility import sigma_h, state_at


def year_fold(market: Market, year: int) -> FoldSpec:
    sessions = market.front.index
    first, last = sessions.searchsorted(pd.Timestamp(year, 1, 1)), sessions.searchsorted(pd.Timestamp(year + 1, 1, 1))
    day = {"train_start": 756, "train_end": 253, "validation_start": 252, "validation_end": 1, "test_start": 0}
    spans = {name: sessions[first - back].date() for name, back in day.items()}
    return FoldSpec(name=str(year), **spans, test_end=sessions[last - 1].date())


@pytest.fixture(scope="module")
def folds(market: Market) -> list[FoldSpec]:
    return [year_fold(market, 2019), year_fold(market, 2024)]


@pytest.fixture(scope="module")
def oof(market: Market, starter_features: pd.DataFrame, folds: list[FoldSpec]) -> pd.DataFrame:
    return direct.direct_frames(market, starter_features, folds)


def log_returns(rows: pd.DataFrame, entry: str, fold: str) -> pd.DataFrame:
    own = rows[(rows["entry"] == entry) & (rows["fold"] == fold)]
    value = np.log(own["predicted_price"] / own["last_price"])
    return own.assign(value=value).pivot(index="as_of_date", columns="horizon_months", values="value")


def test_rows_follow_the_contract(oof: pd.DataFrame, market: Market) -> None:
    assert tuple(oof.columns) == OUT_OF_FOLD_COLUMNS
    assert tuple(oof["entry"].unique()) == direct.DIRECT_ENTRIES
    assert not oof.duplicated(["entry", "fold", "as_of_date", "horizon_months"]).any()
    assert oof.drop(columns="realised_price").notna().all(axis=None)
    sessions = market.front.loc["2019"].index.union(market.front.loc["2024"].index)
    for entry in direct.DIRECT_ENTRIES:
        dates = oof.loc[oof["entry"] == entry, "as_of_date"].unique()
        whole = market.inputs["carry"].loc[sessions].dropna().index if entry == HALF_CURVE else sessions
        assert set(dates) == set(whole)
    assert oof.loc[oof["as_of_date"] == "2024-12-31", "realised_price"].isna().all(), "a forecast precedes its outcome"


def test_drift_by_hand(oof: pd.DataFrame, market: Market) -> None:
    front = market.front
    assert front.index[0] == pd.Timestamp("1985-01-02")
    years = (pd.Timestamp("2018-12-31") - front.index[0]).days / 365.25
    annual = np.log(front.loc["2018-12-31"] / front.iloc[0]) / years
    np.testing.assert_allclose(
        log_returns(oof, direct.DRIFT, "2019"), np.tile(annual * np.array([0.25, 0.5, 0.75, 1]), (252, 1)), atol=1e-12
    )


@pytest.mark.parametrize(("day", "horizon"), [("2019-03-15", 6), ("2019-11-29", 12), ("2024-07-01", 3)])
def test_seasonal_by_hand(oof: pd.DataFrame, market: Market, day: str, horizon: int) -> None:
    date = pd.Timestamp(day)
    start = market.front.loc[f"{date.year}"].index[0]
    seen = [
        market.outcome.loc[t, horizon] - np.log(market.front.loc[t])
        for t in market.front.index[market.front.index.month == date.month]
        if market.targets.loc[t, horizon] < start
    ]
    assert log_returns(oof, direct.SEASONAL, str(date.year)).loc[date, horizon] == pytest.approx(np.nanmean(seen))


@pytest.mark.parametrize(("entry", "forecaster"), [(direct.RIDGE, forecast_ridge), (direct.TREES, forecast_trees)])
@pytest.mark.parametrize("horizon", [3, 12])
def test_learned_forecasts_are_those_of_the_ablation(
    oof: pd.DataFrame, market: Market, starter_features: pd.DataFrame, entry: str, forecaster: object, horizon: int
) -> None:
    view = network_view(starter_features)
    index = pd.DatetimeIndex(view.index)
    targets = residual_targets(market, pd.DataFrame(0.0, index=index, columns=list(HORIZONS_MONTHS)))[horizon]
    standard = walk_forward(view, targets, market.targets.loc[index, horizon], [2019], forecaster, horizon)
    expected = standard * sigma_h(state_at(market.state, pd.DatetimeIndex(standard.index)))[horizon]
    found = log_returns(oof, entry, "2019").loc[standard.index, horizon]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_other_forms_of_the_anchor_are_those_of_its_record(oof: pd.DataFrame, market: Market) -> None:
    record = anchor_record(market, 2019, 2019)
    for entry in (FULL_WEIGHT, HALF_CURVE):
        own = record[record["entry"] == entry].reset_index(drop=True)
        found = oof[(oof["entry"] == entry) & (oof["fold"] == "2019")].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, own)


def test_no_price_from_the_test_start_on_moves_a_forecast(
    oof: pd.DataFrame, market: Market, starter_features: pd.DataFrame, folds: list[FoldSpec]
) -> None:
    """Prices from the first test day on are changed, as they enter labels; what is known at a forecast stays."""
    start = pd.Timestamp(folds[0].test_start)
    front = market.front.where(market.front.index < start, market.front * 1.7)
    outcome = market.outcome.where(market.targets < start, market.outcome + np.log(1.7))
    moved = direct.direct_frames(replace(market, front=front, outcome=outcome), starter_features, folds)
    for entry in direct.DIRECT_ENTRIES:
        np.testing.assert_allclose(log_returns(moved, entry, "2019"), log_returns(oof, entry, "2019"), atol=1e-12)
    learned = [direct.DRIFT, direct.SEASONAL, direct.RIDGE, direct.TREES, FULL_WEIGHT]
    for entry in learned:
        assert not np.allclose(log_returns(moved, entry, "2024"), log_returns(oof, entry, "2024")), entry


def test_later_features_move_no_earlier_row(
    oof: pd.DataFrame, market: Market, starter_features: pd.DataFrame, folds: list[FoldSpec]
) -> None:
    cut = pd.Timestamp("2019-06-28")
    changed = starter_features.copy()
    changed.loc[changed.index > cut, "VIX_level"] *= 3
    moved = direct.direct_frames(market, changed, folds[:1])
    for entry in (direct.RIDGE, direct.TREES):
        clean, dirty = log_returns(oof, entry, "2019"), log_returns(moved, entry, "2019")
        np.testing.assert_allclose(dirty.loc[:cut], clean.loc[:cut], atol=1e-12)
        assert not np.allclose(dirty.loc[cut:], clean.loc[cut:])


def test_a_fold_without_a_known_label_is_refused(
    market: Market, starter_features: pd.DataFrame, folds: list[FoldSpec]
) -> None:
    young = starter_features.loc["2018-06-01":]
    with pytest.raises(ModelError, match="no label is known before 2019-01-02"):
        direct.direct_frames(market, young, folds[:1])


def test_direct_models_lose_to_last_price(oof: pd.DataFrame) -> None:
    """Why the anchor is there: all features at once, forecast directly, lose at a year in 2019."""
    for entry in (direct.RIDGE, direct.TREES):
        rows = oof[(oof["entry"] == entry) & (oof["fold"] == "2019") & (oof["horizon_months"] == 12)]
        assert metrics_of(rows[rows["realised_price"].notna()])["rmse_ratio"] > 1
