"""Tranche P&L by hand, on the starter bundle, and its statistics against independent computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kurtosis, norm, skew

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import profit_and_loss as pl
from cbi_pipeline.evaluation.benchmarks import ANCHOR, LAST_PRICE, Market, benchmark_frames, prepare_market
from cbi_pipeline.evaluation.walk_forward import make_folds
from cbi_pipeline.modeling.volatility import within_contract_returns

DAYS = pd.bdate_range("2020-01-06", periods=8)
RETURNS = pd.Series(np.log1p([0.5, 0.01, 0.02, -0.03, 0.04, 0.05, -0.06, 0.07]), index=DAYS)
FRONT = pd.Series(np.arange(30.0, 38.0), index=DAYS)
FREE = pl.TradingCosts(ticks_per_side=0, commission_usd_per_side=0)
NO_ROLLS = DAYS[:0]


def forecasts(*tranches: tuple[int, int, float]) -> pd.DataFrame:
    """(session opened, session closed, forecast less last price)."""
    opened, closed, change = zip(*tranches, strict=True)
    return pd.DataFrame(
        {
            "as_of_date": DAYS[list(opened)],
            "target_date": DAYS[list(closed)],
            "last_price": 30.0,
            "predicted_price": 30.0 + np.array(change),
        }
    )


def test_position_is_the_mean_of_open_signals_and_earns_from_the_next_session() -> None:
    rows = forecasts((0, 3, 1.0), (1, 4, -2.0), (2, 5, 0.5), (3, 6, 0.0))
    profit = pl.tranche_profit(rows, RETURNS, FRONT, NO_ROLLS, FREE)
    assert tuple(profit.columns) == pl.PROFIT_COLUMNS
    np.testing.assert_allclose(profit["position"], [1, 0, 1 / 3, 0, 0.5, 0, 0])
    np.testing.assert_allclose(profit["gross"], [0, 0.01, 0, -0.03 / 3, 0, 0.025, 0], atol=1e-15)
    assert profit["net"].equals(profit["gross"])


def test_costs_are_paid_on_changes_of_position_and_twice_on_rolls() -> None:
    costs = pl.TradingCosts()
    assert costs.cents_per_lb == pytest.approx(0.01 + 250 / 60_000)
    rows = forecasts((0, 5, 1.0), (2, 5, -1.0))
    profit = pl.tranche_profit(rows, RETURNS, FRONT, DAYS[[1, 4]], costs)
    sides = np.array([1, 2, 1, 0, 0, 0])
    np.testing.assert_allclose(profit["cost"], sides * costs.cents_per_lb / FRONT.iloc[:6])
    np.testing.assert_allclose(profit["net"], profit["gross"] - profit["cost"])


def test_a_day_without_return_is_held_over_and_its_signal_traded_on_the_next() -> None:
    rows = forecasts((0, 5, 1.0), (2, 5, -1.0))
    profit = pl.tranche_profit(rows, RETURNS.drop(DAYS[2]), FRONT, NO_ROLLS, FREE)
    assert DAYS[2] not in profit.index
    assert profit.loc[DAYS[3], "gross"] == pytest.approx(-0.03)
    assert profit.loc[DAYS[3], "position"] == 0


def test_a_record_ends_where_it_is_told_to_with_its_tranches_open() -> None:
    rows = forecasts((0, 6, 1.0), (1, 7, 1.0))
    whole = pl.tranche_profit(rows, RETURNS, FRONT, NO_ROLLS, FREE)
    cut = pl.tranche_profit(rows, RETURNS, FRONT, NO_ROLLS, FREE, until=DAYS[4])
    pd.testing.assert_frame_equal(cut, whole.loc[: DAYS[4]])
    assert cut["position"].iloc[-1] == 1.0 != whole["position"].iloc[-1]


def test_two_forecasts_a_day_and_no_returns_are_refused() -> None:
    with pytest.raises(ModelError, match="one forecast a session"):
        pl.tranche_profit(forecasts((0, 3, 1.0), (0, 4, 1.0)), RETURNS, FRONT, NO_ROLLS, FREE)
    with pytest.raises(ModelError, match="at least one session"):
        pl.tranche_profit(forecasts((0, 3, 1.0)), RETURNS.iloc[6:], FRONT, NO_ROLLS, FREE)


# --- on the starter bundle -----------------------------------------------------------------------------------------


def real_profit(market: Market, tables: dict[str, pd.DataFrame], entry: str, horizon: int) -> pd.DataFrame:
    folds = make_folds(
        pd.DatetimeIndex(market.front.index), n_splits=2, train_sessions=756, validation_sessions=252, test_sessions=252
    )
    oof = benchmark_frames(market, folds)
    rows = oof[(oof["entry"] == entry) & (oof["horizon_months"] == horizon)]
    returns, rolls = within_contract_returns(tables), pl.roll_dates(tables)
    return pl.tranche_profit(rows, returns, market.front, rolls, pl.TradingCosts())


def brute_force(rows: pd.DataFrame, sessions: pd.DatetimeIndex) -> list[float]:
    sign = np.sign(np.log(rows["predicted_price"] / rows["last_price"]))
    opened = [sign[(rows["as_of_date"] <= day) & (rows["target_date"] > day)] for day in sessions]
    return [float(signals.mean()) if len(signals) else 0.0 for signals in opened]


def test_real_positions_are_those_of_a_loop(market: Market, starter_tables: dict[str, pd.DataFrame]) -> None:
    folds = make_folds(
        pd.DatetimeIndex(market.front.index), n_splits=2, train_sessions=756, validation_sessions=252, test_sessions=252
    )
    oof = benchmark_frames(market, folds)
    rows = oof[(oof["entry"] == ANCHOR) & (oof["horizon_months"] == 6)]
    profit = real_profit(market, starter_tables, ANCHOR, 6)
    np.testing.assert_allclose(profit["position"], brute_force(rows, pd.DatetimeIndex(profit.index)), atol=1e-12)
    assert profit["position"].iloc[-1] == 0
    assert 0 < profit["position"].abs().mean() <= 1
    assert profit.notna().all(axis=None)


def test_last_price_has_no_position_and_no_sharpe(market: Market, starter_tables: dict[str, pd.DataFrame]) -> None:
    profit = real_profit(market, starter_tables, LAST_PRICE, 3)
    assert (profit == 0).all(axis=None)
    assert np.isnan(pl.sharpe_ratio(profit["net"].to_numpy()).value)


def test_no_later_price_enters_a_position(market: Market, starter_tables: dict[str, pd.DataFrame]) -> None:
    """Every table price after a session is changed and everything is made again: positions up to it stay."""
    session = pd.Timestamp("2023-05-10")
    clean = real_profit(market, starter_tables, ANCHOR, 3)
    later = {"futures_daily": ["open", "high", "low", "close"], "futures_curve": ["price"]}
    for table, columns in later.items():
        after = starter_tables[table]["trade_date"] > session
        starter_tables[table].loc[after, columns] *= np.where(after[after].index % 2, 0.5, 2.0)[:, None]
    moved = real_profit(prepare_market(starter_tables), starter_tables, ANCHOR, 3)
    assert clean.loc[:session].equals(moved.loc[:session])
    assert not np.allclose(clean["position"], moved["position"])
    following = clean.index[clean.index > session][0]
    assert clean.loc[following, "gross"] != moved.loc[following, "gross"], "the position earns the next return"


# --- statistics ----------------------------------------------------------------------------------------------------


def skewed(n: int = 1000) -> np.ndarray:
    return np.random.default_rng(3).gamma(2.0, 0.01, n) - 0.019


def test_sharpe_is_mean_over_spread() -> None:
    net = skewed()
    sharpe = pl.sharpe_ratio(net)
    assert sharpe.value == pytest.approx(np.sqrt(252) * net.mean() / net.std())
    assert (sharpe.sessions, sharpe.lags) == (1000, 6)


def test_standard_error_without_lags_is_the_formula_for_independent_returns() -> None:
    """Mertens (2002), as in Bailey and Lopez de Prado; Lo's (1 + SR^2 / 2) / n is its normal case."""
    net = skewed()
    ratio = net.mean() / net.std()
    variance = 1 - skew(net) * ratio + (kurtosis(net, fisher=False) - 1) / 4 * ratio**2
    expected = np.sqrt(252 * variance / len(net))
    assert pl.sharpe_ratio(net, lags=0).standard_error == pytest.approx(expected, rel=1e-9)


def test_standard_error_with_lags_is_that_of_statsmodels_gmm_by_the_delta_method() -> None:
    """Lo's appendix A: joint long-run covariance of mean and variance, then the gradient of their ratio."""
    from statsmodels.stats.sandwich_covariance import S_hac_simple

    net = skewed()
    deviation = net - net.mean()
    moments = np.column_stack([deviation, deviation**2 - net.var()])
    covariance = S_hac_simple(moments, nlags=5) / len(net)
    gradient = np.array([1 / net.std(), -net.mean() / (2 * net.std() ** 3)])
    expected = np.sqrt(252 * gradient @ covariance @ gradient / len(net))
    assert pl.sharpe_ratio(net, lags=5).standard_error == pytest.approx(expected, rel=1e-9)


def test_standard_error_is_the_spread_of_the_ratio_over_repeated_samples() -> None:
    """Moving averages of two draws: the ratio's variance is twice that of independent returns."""
    draws = np.random.default_rng(5).normal(size=(2000, 1001))
    samples = (draws[:, 1:] + draws[:, :-1]) / np.sqrt(2) + 0.05
    found = [pl.sharpe_ratio(sample, lags=20) for sample in samples]
    actual = np.std([sharpe.value for sharpe in found])
    assert np.mean([sharpe.standard_error for sharpe in found]) == pytest.approx(actual, rel=0.06)
    assert np.sqrt(252 / 1000) < 0.8 * actual


@pytest.mark.parametrize(
    ("trials", "skewness", "kurt", "published"), [(100, -3, 10, 0.9004), (46, -3, 10, 0.9505), (88, 0, 3, 0.9505)]
)
def test_the_published_example_of_the_deflated_sharpe_ratio(
    trials: int, skewness: float, kurt: float, published: float
) -> None:
    """Bailey and Lopez de Prado (2014): SR 2.5 a year of 250 days, 1250 days, variance 1/2 over trials."""
    ratio = 2.5 / np.sqrt(250)
    error = np.sqrt(250 * (1 - skewness * ratio + (kurt - 1) / 4 * ratio**2) / 1249)
    assert pl.expected_maximum_sharpe(100, np.sqrt(0.5)) / np.sqrt(250) == pytest.approx(0.1132, abs=5e-5)
    deflated = pl.deflated_sharpe_ratio(pl.Sharpe(2.5, error, 1250, 0), trials, np.sqrt(0.5))
    assert deflated == pytest.approx(published, abs=5e-5)


def test_expected_maximum_is_that_of_drawn_trials() -> None:
    drawn = np.random.default_rng(1).normal(scale=0.7, size=(20_000, 30)).max(axis=1).mean()
    assert pl.expected_maximum_sharpe(30, 0.7) == pytest.approx(drawn, rel=0.02)
    one = pl.Sharpe(1.0, 0.5, 1000, 6)
    assert pl.deflated_sharpe_ratio(one, 1, 0.7) == pytest.approx(norm.cdf(2))
    with pytest.raises(ModelError, match="0 trials"):
        pl.expected_maximum_sharpe(0, 1.0)
