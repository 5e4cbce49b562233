"""The scorecard's long table: every figure against an independent computation, on the rows it says it is taken from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.evaluation import scorecard as sc
from cbi_pipeline.evaluation.benchmarks import ANCHOR, FUTURES_CURVE, LAST_PRICE, Market, benchmark_frames
from cbi_pipeline.evaluation.bootstrap import ratio_interval, resample
from cbi_pipeline.evaluation.density_scores import crps, log_quantiles
from cbi_pipeline.evaluation.metrics import METRICS, SCORE_COLUMNS, common_rows, score
from cbi_pipeline.evaluation.profit_and_loss import TradingCosts, roll_dates, tranche_profit
from cbi_pipeline.evaluation.significance import diebold_mariano, direction_test
from cbi_pipeline.evaluation.walk_forward import make_folds
from cbi_pipeline.modeling.volatility import within_contract_returns

COPY, ORACLE = "copy_of_the_anchor", "oracle"
EVERYWHERE = {*METRICS, *sc.DENSITY_FIGURES, "sharpe", "sharpe_se"}


@pytest.fixture(scope="module")
def traded(market: Market, _starter_tables: dict[str, pd.DataFrame]) -> sc.TradedMarket:
    return sc.TradedMarket(within_contract_returns(_starter_tables), market.front, roll_dates(_starter_tables))


@pytest.fixture(scope="module")
def oof(market: Market) -> pd.DataFrame:
    """Benchmarks in three folds of a year, a copy of the anchor, and an entry that knows half of each outcome."""
    folds = make_folds(
        pd.DatetimeIndex(market.front.index), n_splits=3, train_sessions=756, validation_sessions=252, test_sessions=252
    )
    rows = benchmark_frames(market, folds)
    anchor = rows[rows["entry"] == ANCHOR]
    known = np.sqrt(anchor["realised_price"] * anchor["predicted_price"]).fillna(anchor["last_price"])
    oracle = anchor.assign(entry=ORACLE, predicted_price=known)
    return pd.concat([rows, anchor.assign(entry=COPY), oracle], ignore_index=True)


@pytest.fixture(scope="module")
def scores(oof: pd.DataFrame, traded: sc.TradedMarket) -> pd.DataFrame:
    return sc.full_scores(oof, traded)


def figure(scores: pd.DataFrame, entry: str, horizon: int, metric: str, fold: str = "common") -> float:
    own = scores[(scores[["entry", "horizon_months", "metric", "fold"]] == [entry, horizon, metric, fold]).all(axis=1)]
    assert len(own) == 1
    return float(own["value"].iloc[0])


def rows_of(oof: pd.DataFrame, entry: str, horizon: int) -> pd.DataFrame:
    known = oof[oof["realised_price"].notna()]
    return known[(known["entry"] == entry) & (known["horizon_months"] == horizon)]


def test_every_fold_has_its_figures_and_comparisons_are_of_common_rows_alone(scores: pd.DataFrame) -> None:
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert not scores.duplicated(["entry", "horizon_months", "fold", "metric"]).any()
    extra = {"all": {"deflated_sharpe", *sc.SPREAD_FIGURES}, "common": {"deflated_sharpe", *sc.COMPARISON_FIGURES}}
    assert set(scores["fold"]) == {"fold_1", "fold_2", "fold_3", *extra}
    for (_, _, fold), own in scores.groupby(["entry", "horizon_months", "fold"]):
        assert set(own["metric"]) == EVERYWHERE | extra.get(fold, set())


def test_errors_are_those_of_the_metrics(scores: pd.DataFrame, oof: pd.DataFrame) -> None:
    keys = ["entry", "horizon_months", "fold", "metric"]
    own = scores[scores["metric"].isin(METRICS)].set_index(keys).sort_index()
    pd.testing.assert_frame_equal(own, score(oof).set_index(keys).sort_index())


@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
def test_crps_is_twice_the_mean_pinball_loss_and_its_ratio_to_the_last_prices(scores, oof, horizon: int) -> None:
    def by_hand(entry: str) -> float:
        rows = rows_of(oof, entry, horizon)
        losses = [
            mean_pinball_loss(np.log(rows["realised_price"]), np.log(rows[column]), alpha=level)
            for column, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
        ]
        return 2 * float(np.mean(losses))

    assert figure(scores, ANCHOR, horizon, "crps", "all") == pytest.approx(by_hand(ANCHOR))
    ratio = by_hand(ANCHOR) / by_hand(LAST_PRICE)
    assert figure(scores, ANCHOR, horizon, "crps_ratio", "all") == pytest.approx(ratio)
    assert figure(scores, LAST_PRICE, horizon, "crps_ratio", "all") == 1.0


def test_coverage_of_the_other_intervals(scores: pd.DataFrame, oof: pd.DataFrame) -> None:
    rows = rows_of(oof, ANCHOR, 6)
    for nominal, low, high in ((50, "q25", "q75"), (90, "q05", "q95")):
        inside = rows["realised_price"].between(rows[low], rows[high]).mean()
        assert figure(scores, ANCHOR, 6, f"coverage_{nominal}", "all") == pytest.approx(inside)
    assert figure(scores, ANCHOR, 6, "coverage_90", "all") < figure(scores, ANCHOR, 6, "coverage_95", "all")
    assert figure(scores, ANCHOR, 6, "relative_width_80", "all") == pytest.approx(1.0), "one density for all entries"


def test_sharpe_is_that_of_the_tranches_of_the_rows_of_the_fold(scores, oof, traded: sc.TradedMarket) -> None:
    for fold, horizon in (("fold_2", 3), ("all", 3), ("fold_2", 12), ("all", 12)):
        rows = {h: rows_of(oof, ANCHOR, h) for h in HORIZONS_MONTHS}
        rows = {h: own if fold == "all" else own[own["fold"] == fold] for h, own in rows.items()}
        until = min(own["target_date"].max() for own in rows.values())
        profit = tranche_profit(rows[horizon], traded.returns, traded.front, traded.rolls, traded.costs)
        net = profit.loc[:until, "net"]
        assert len(net) < len(profit) or horizon == 3 or fold == "all"
        expected = net.mean() / net.std(ddof=0) * np.sqrt(252)
        assert figure(scores, ANCHOR, horizon, "sharpe", fold) == pytest.approx(expected)
    assert figure(scores, ANCHOR, 3, "sharpe", "fold_2") != figure(scores, ANCHOR, 3, "sharpe", "all")
    assert np.isnan(figure(scores, LAST_PRICE, 3, "sharpe"))


def test_copies_are_one_trial_and_entries_without_position_are_none(scores: pd.DataFrame) -> None:
    """Three trials: curve, anchor (and its copy), oracle."""
    ratios = np.array([figure(scores, entry, 6, "sharpe") for entry in (FUTURES_CURVE, ANCHOR, ORACLE)])
    assert figure(scores, COPY, 6, "sharpe") == ratios[1]
    gamma = 0.5772156649
    expected_best = ratios.std(ddof=1) * ((1 - gamma) * norm.ppf(1 - 1 / 3) + gamma * norm.ppf(1 - 1 / (3 * np.e)))
    probability = norm.cdf((ratios[2] - expected_best) / figure(scores, ORACLE, 6, "sharpe_se"))
    assert figure(scores, ORACLE, 6, "deflated_sharpe") == pytest.approx(probability)
    assert np.isnan(figure(scores, LAST_PRICE, 6, "deflated_sharpe"))


@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
def test_last_price_is_compared_with_itself(scores: pd.DataFrame, horizon: int) -> None:
    few = horizon == 12  # fewer than three horizons of rows
    missing = pytest.approx(np.nan, nan_ok=True)
    assert figure(scores, LAST_PRICE, horizon, "dm_p_less") == (missing if few else 0.5)
    for side in ("low", "high"):
        assert figure(scores, LAST_PRICE, horizon, f"rmse_ratio_{side}") == (missing if few else 1.0)
        assert figure(scores, LAST_PRICE, horizon, f"crps_ratio_{side}") == (missing if few else 1.0)
    assert np.isnan(figure(scores, LAST_PRICE, horizon, "direction_p"))


@pytest.mark.parametrize("horizon", [3, 6, 9])
def test_intervals_hold_the_ratio_and_knowledge_is_found(scores: pd.DataFrame, horizon: int) -> None:
    for entry in (ANCHOR, FUTURES_CURVE, ORACLE):
        ratio = figure(scores, entry, horizon, "rmse_ratio")
        low, high = (figure(scores, entry, horizon, f"rmse_ratio_{side}") for side in ("low", "high"))
        assert low < ratio < high
        assert low * high == pytest.approx(ratio**2), "symmetric in logs"
    assert figure(scores, ORACLE, horizon, "rmse_ratio_high") < 1
    assert figure(scores, ORACLE, horizon, "dm_p_less") < 0.1
    assert figure(scores, ORACLE, horizon, "mcs_p") == 1.0
    assert figure(scores, LAST_PRICE, horizon, "mcs_p") < (0.25 if horizon == 3 else 1)
    for metric in sc.COMPARISON_FIGURES:
        assert figure(scores, COPY, horizon, metric) == pytest.approx(figure(scores, ANCHOR, horizon, metric))


def test_p_values_are_those_of_the_tests_on_the_common_dates(scores: pd.DataFrame, oof: pd.DataFrame) -> None:
    rows = common_rows(oof)
    own, rival = (
        rows[(rows["entry"] == entry) & (rows["horizon_months"] == 6)].sort_values("as_of_date")
        for entry in (FUTURES_CURVE, LAST_PRICE)
    )
    losses = [np.log(r["predicted_price"] / r["realised_price"]).to_numpy() ** 2 for r in (own, rival)]
    assert figure(scores, FUTURES_CURVE, 6, "dm_p_less") == diebold_mariano(*losses, 126).p_less
    interval = ratio_interval(resample(len(own), 126, seed=0), *losses, level=0.90)
    assert figure(scores, FUTURES_CURVE, 6, "rmse_ratio_low") == pytest.approx(interval.low)
    assert figure(scores, FUTURES_CURVE, 6, "rmse_ratio_high") == pytest.approx(interval.high)
    densities = [crps(np.log(r["realised_price"].to_numpy()), log_quantiles(r)) for r in (own, rival)]
    interval = ratio_interval(resample(len(own), 126, seed=0), *densities, root=False, level=0.90)
    assert figure(scores, FUTURES_CURVE, 6, "crps_ratio") == pytest.approx(interval.estimate)
    assert figure(scores, FUTURES_CURVE, 6, "crps_ratio_low") == pytest.approx(interval.low)
    assert figure(scores, FUTURES_CURVE, 6, "crps_ratio_high") == pytest.approx(interval.high)
    returns = (np.log(own[f"{x}_price"] / own["last_price"]).to_numpy() for x in ("predicted", "realised"))
    assert figure(scores, FUTURES_CURVE, 6, "direction_p") == direction_test(*returns, 126).test.p_greater


def test_the_best_benchmark_is_no_network(scores: pd.DataFrame, oof: pd.DataFrame) -> None:
    for horizon in HORIZONS_MONTHS:
        rmse = {entry: figure(scores, entry, horizon, "rmse") for entry in scores["entry"].unique()}
        best = min(rmse[entry] for entry in (LAST_PRICE, FUTURES_CURVE, ANCHOR))
        for entry, own in rmse.items():
            assert figure(scores, entry, horizon, "ratio_to_best_benchmark") == pytest.approx(own / best)
    assert figure(scores, ORACLE, 3, "ratio_to_best_benchmark") < 1


def test_counts_stand_beside_every_figure(scores: pd.DataFrame, oof: pd.DataFrame) -> None:
    own = scores[scores["fold"] == "common"]
    dates = common_rows(oof)["as_of_date"].nunique()
    assert (own["n"] == dates).all()
    np.testing.assert_allclose(own["n_eff"], dates / (21 * own["horizon_months"]))


def test_the_order_of_rows_does_not_matter(scores: pd.DataFrame, oof: pd.DataFrame, traded: sc.TradedMarket) -> None:
    keys = ["entry", "horizon_months", "fold", "metric"]
    shuffled = sc.full_scores(oof.sample(frac=1, random_state=0), traded)
    expected = scores.set_index(keys).sort_index()
    pd.testing.assert_frame_equal(shuffled.set_index(keys).sort_index(), expected, rtol=1e-9)


def test_the_spread_over_folds_stands_in_the_table(scores: pd.DataFrame) -> None:
    table = sc.fold_spread(scores).set_index(["entry", "horizon_months"])
    for entry, horizon, metric in ((ANCHOR, 3, "mean_mape"), (FUTURES_CURVE, 12, "std_sharpe")):
        assert figure(scores, entry, horizon, metric, "all") == table.loc[(entry, horizon), metric]
    folds = [figure(scores, ANCHOR, 6, "mape", f"fold_{k}") for k in (1, 2, 3)]
    assert figure(scores, ANCHOR, 6, "mean_mape", "all") == pytest.approx(np.mean(folds))
    own = scores[(scores["fold"] == "all") & (scores["entry"] == ANCHOR) & (scores["horizon_months"] == 6)]
    assert own["n"].nunique() == own["n_eff"].nunique() == 1


def test_costs_lower_the_ratio(scores: pd.DataFrame, oof: pd.DataFrame, traded: sc.TradedMarket) -> None:
    rows = oof[oof["entry"].isin([ANCHOR, LAST_PRICE]) & (oof["fold"] == "fold_1")]
    dear = sc.TradedMarket(traded.returns, traded.front, traded.rolls, TradingCosts(commission_usd_per_side=50.0))
    expensive = sc.full_scores(rows, dear)
    for horizon in HORIZONS_MONTHS:
        own = (figure(table, ANCHOR, horizon, "sharpe", "fold_1") for table in (expensive, scores))
        assert next(own) < next(own)


def test_spread_over_folds_by_hand() -> None:
    values = {"fold_1": (10.0, 1.0), "fold_2": (14.0, np.nan), "all": (90.0, 90.0), "common": (90.0, 90.0)}
    scores = pd.DataFrame(
        [
            ("net", 3, fold, metric, value)
            for fold, (mape, sharpe) in values.items()
            for metric, value in zip(sc.SPREAD_METRICS, (mape, 0.9, 0.5, sharpe), strict=True)
        ],
        columns=list(SCORE_COLUMNS[:5]),
    )
    row = sc.fold_spread(scores).iloc[0]
    assert (row["entry"], row["horizon_months"], row["folds"]) == ("net", 3, 2)
    assert row["mean_mape"] == 12.0
    assert row["std_mape"] == pytest.approx(np.sqrt(8))
    assert row["mean_sharpe"] == 1.0
    assert np.isnan(row["std_sharpe"])
