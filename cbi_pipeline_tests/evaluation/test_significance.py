"""Significance tests against published critical values, independent computations, and real forecasts of nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.signal import periodogram
from scipy.stats import norm
from scipy.stats import t as student_t

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.anchor_skill import anchor_record
from cbi_pipeline.evaluation.benchmarks import ANCHOR, FUTURES_CURVE, LAST_PRICE, Market
from cbi_pipeline.evaluation.bootstrap import OVERLAP_FACTOR, ordinates, resample
from cbi_pipeline.evaluation.metrics import directional_accuracy, rmse_ratio
from cbi_pipeline.evaluation.significance import (
    MeanTest,
    bartlett_bandwidth,
    diebold_mariano,
    direction_test,
    fixed_b_critical_value,
    model_confidence_set,
    squared_errors,
    weighted_periodogram_variance,
)

RNG_SEED = 20200501


@pytest.fixture(scope="module")
def record(market: Market) -> pd.DataFrame:
    return anchor_record(market, 2013, 2024)


@pytest.fixture(scope="module")
def losses(record: pd.DataFrame) -> pd.DataFrame:
    return squared_errors(record, 12)


@pytest.fixture(scope="module")
def test_size(repository: Path) -> ModuleType:
    """The measuring script, `benchmarks/test_size.py`."""
    spec = importlib.util.spec_from_file_location("benchmark_test_size", repository / "benchmarks" / "test_size.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# --- Diebold-Mariano ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "m", "bandwidth", "critical"), [(40, 3, 6, 2.447), (120, 4, 10, 2.306), (125, 5, 11, 2.228)]
)
def test_without_overlap_the_smoothing_is_the_papers(n: int, m: int, bandwidth: int, critical: float) -> None:
    """Coroneo and Iacone (2020): m = floor(T^(1/3)), M = floor(T^(1/2)), two-sided 5 % of a t with 2m degrees."""
    assert ordinates(n, 1) == m
    assert bartlett_bandwidth(n, 1) == bandwidth
    assert student_t.ppf(0.975, 2 * m) == pytest.approx(critical, abs=5e-4)


@pytest.mark.parametrize(
    ("months", "n", "m", "bandwidth"),
    [
        (3, 2945, 14, 126),
        (6, 2881, 11, 252),
        (9, 2819, 7, 378),
        (12, 2758, 5, 504),
        (12, 1258, 2, 504),
        (12, 400, 1, 400),
    ],
)
def test_overlap_bounds_the_smoothing(months: int, n: int, m: int, bandwidth: int) -> None:
    assert ordinates(n, 21 * months) == m
    assert bartlett_bandwidth(n, 21 * months) == bandwidth


@pytest.mark.parametrize(("probability", "published"), [(0.90, 3.890), (0.95, 5.374), (0.975, 6.811), (0.99, 8.544)])
def test_critical_values_of_the_full_bandwidth(probability: float, published: float) -> None:
    """At b = 1 the statistic is that of Kiefer, Vogelsang and Bunzel (2000, Econometrica 68) over sqrt 2."""
    assert fixed_b_critical_value(1.0, probability) == pytest.approx(published / np.sqrt(2), rel=0.015)


def test_critical_values_without_smoothing_are_normal() -> None:
    for probability in (0.90, 0.95, 0.975, 0.99):
        assert fixed_b_critical_value(0.0, probability) == pytest.approx(norm.ppf(probability), abs=1e-4)


@pytest.mark.parametrize("b", [0.1, 0.4])
def test_critical_values_against_simulation(b: float) -> None:
    """Independent: the statistic of 20,000 white-noise series of 400, Bartlett weights, by direct sums over lags."""
    n, bandwidth = 400, int(b * 400)
    values = np.random.default_rng(RNG_SEED).standard_normal((20_000, n))
    centred = values - values.mean(axis=1, keepdims=True)
    variance = (centred**2).sum(axis=1)
    for lag in range(1, bandwidth):
        variance += 2 * (1 - lag / bandwidth) * np.einsum("ij,ij->i", centred[:, lag:], centred[:, :-lag])
    statistic = np.abs(values.sum(axis=1)) / np.sqrt(variance)
    for probability in (0.90, 0.95, 0.975, 0.99):
        simulated = np.quantile(statistic, 2 * probability - 1)
        assert fixed_b_critical_value(b, probability) == pytest.approx(simulated, rel=0.03)


def test_periodogram_version_against_scipy(losses: pd.DataFrame) -> None:
    anchor, last = losses[ANCHOR].to_numpy(), losses[LAST_PRICE].to_numpy()
    result = diebold_mariano(anchor, last, 252)
    assert result.bandwidth == 5
    _, density = periodogram(anchor - last, detrend="constant", return_onesided=False)
    expected = np.mean(anchor - last) / np.sqrt(density[1:6].mean() / len(losses))
    assert result.statistic == pytest.approx(expected, rel=1e-9)
    assert result.p_two_sided == pytest.approx(2 * student_t.cdf(-abs(expected), 10))
    assert result.p_less == pytest.approx(student_t.cdf(expected, 10))
    assert result.p_less + result.p_greater == pytest.approx(1)
    assert result.mean == pytest.approx(np.mean(anchor) - np.mean(last))
    assert result.n_eff == pytest.approx(len(losses) / 252)


def test_covariance_version_against_statsmodels(losses: pd.DataFrame) -> None:
    import statsmodels.api as sm

    difference = (losses[ANCHOR] - losses[LAST_PRICE]).to_numpy()
    result = diebold_mariano(losses[ANCHOR].to_numpy(), losses[LAST_PRICE].to_numpy(), 252, "wce")
    lags = {"maxlags": 503, "use_correction": False}
    fitted = sm.OLS(difference, np.ones(len(difference))).fit(cov_type="HAC", cov_kwds=lags)
    assert result.bandwidth == 504
    assert result.statistic == pytest.approx(fitted.tvalues[0], rel=1e-9)


@pytest.mark.parametrize("probability", [0.90, 0.95, 0.975, 0.99])
def test_covariance_p_values_are_exact_at_tabulated_quantiles(losses: pd.DataFrame, probability: float) -> None:
    """Shift the differences until the statistic stands at a critical value."""
    difference = (losses[ANCHOR] - losses[LAST_PRICE]).to_numpy()
    centred = difference - difference.mean()
    unit = diebold_mariano(centred + 1, np.zeros_like(centred), 252, "wce")
    shift = fixed_b_critical_value(unit.bandwidth / unit.n, probability) / unit.statistic
    result = diebold_mariano(centred + shift, np.zeros_like(centred), 252, "wce")
    assert result.p_greater == pytest.approx(1 - probability, abs=1e-4)
    assert result.p_two_sided == pytest.approx(2 - 2 * probability, abs=1e-4)
    mirrored = diebold_mariano(-centred - shift, np.zeros_like(centred), 252, "wce")
    assert mirrored.p_less == pytest.approx(result.p_greater)


@pytest.mark.parametrize("months", HORIZONS_MONTHS)
def test_thinning_changes_next_to_nothing(record: pd.DataFrame, months: int) -> None:
    """Why rows are not thinned: the ordinates are low frequencies, which every fifth row still shows."""
    table = squared_errors(record, months)
    anchor, last = table[ANCHOR].to_numpy(), table[LAST_PRICE].to_numpy()
    daily = diebold_mariano(anchor, last, 21 * months)
    thinned = (anchor - last)[::5]
    error = np.sqrt(weighted_periodogram_variance(thinned, daily.bandwidth) / len(thinned))
    assert thinned.mean() / error == pytest.approx(daily.statistic, rel=0.05)


def test_identical_losses_are_no_evidence(losses: pd.DataFrame) -> None:
    anchor = losses[ANCHOR].to_numpy()
    for smoothing in ("wpe", "wce"):
        result = diebold_mariano(anchor, anchor.copy(), 252, smoothing)  # type: ignore[arg-type]
        assert (result.statistic, result.p_two_sided, result.p_less, result.p_greater) == (0.0, 1.0, 0.5, 0.5)


def test_too_few_rows_or_no_variation_are_not_tested() -> None:
    values = np.random.default_rng(RNG_SEED).random(188)
    missing = [
        diebold_mariano(values, np.zeros(188), 63),
        diebold_mariano(np.ones(300), np.zeros(300), 63),
        direction_test(np.ones(300), np.arange(300.0) - 100, 63).test,
        direction_test(np.zeros(300), np.arange(300.0) - 100, 63).test,
    ]
    for result in missing:
        assert isinstance(result, MeanTest)
        assert np.isnan([result.statistic, result.p_two_sided, result.p_less, result.p_greater]).all()
    assert np.isfinite(diebold_mariano(np.append(values, 0.5), np.zeros(189), 63).statistic)


@pytest.mark.parametrize(
    ("first", "second", "horizon"),
    [
        (np.ones(3), np.ones(4), 1),
        (np.ones(0), np.ones(0), 1),
        (np.ones(3), np.ones(3), 0),
        (np.array([1.0, np.nan, 2.0]), np.ones(3), 1),
    ],
)
def test_rows_that_do_not_pair_are_refused(first: np.ndarray, second: np.ndarray, horizon: int) -> None:
    with pytest.raises(ModelError):
        diebold_mariano(first, second, horizon)
    with pytest.raises(ModelError):
        direction_test(first, second, horizon)


# --- losses --------------------------------------------------------------------------------------------------------


def test_losses_are_on_the_rows_that_all_entries_share(record: pd.DataFrame, losses: pd.DataFrame) -> None:
    rows = record[(record["horizon_months"] == 12) & record["realised_price"].notna()]
    curve = rows[rows["entry"] == FUTURES_CURVE].sort_values("as_of_date")
    assert list(losses.index) == list(curve["as_of_date"])
    assert losses.notna().all(axis=None)
    forecast, realised = (np.log(curve[c] / curve["last_price"]) for c in ("predicted_price", "realised_price"))
    ratio = np.sqrt(losses[FUTURES_CURVE].mean() / losses[LAST_PRICE].mean())
    assert ratio == pytest.approx(rmse_ratio(forecast.to_numpy(), realised.to_numpy()), rel=1e-12)


# --- direction -----------------------------------------------------------------------------------------------------


def test_direction_has_the_numerator_of_1992(record: pd.DataFrame) -> None:
    rows = record[(record["entry"] == ANCHOR) & (record["horizon_months"] == 6) & record["realised_price"].notna()]
    forecast, realised = (
        np.log(rows[column] / rows["last_price"]).to_numpy() for column in ("predicted_price", "realised_price")
    )
    result = direction_test(forecast, realised, 126)
    assert result.accuracy == pytest.approx(directional_accuracy(forecast, realised))
    assert result.test.mean == pytest.approx(result.accuracy - result.independent_accuracy)
    assert result.test.n == int(((forecast != 0) & (realised != 0)).sum())
    assert result.test.bandwidth == 7
    signs = np.sign(np.column_stack([forecast, realised]))[(forecast != 0) & (realised != 0)]
    product = (signs - signs.mean(axis=0)).prod(axis=1) / 2
    _, density = periodogram(product, detrend="constant", return_onesided=False)
    assert result.test.statistic == pytest.approx(product.mean() / np.sqrt(density[1:8].mean() / len(product)))
    table = pd.crosstab(forecast > 0, realised > 0, normalize=True)
    by_hand = table.loc[True, True] + table.loc[False, False]
    chance = sum(table.loc[s].sum() * table[s].sum() for s in (True, False))
    assert result.accuracy == pytest.approx(by_hand, abs=1e-3)
    assert result.independent_accuracy == pytest.approx(chance, abs=1e-3)


def test_direction_is_pesaran_timmermann_without_overlap(test_size: ModuleType) -> None:
    """Independent rows with some skill: the statistic follows the closed form of 1992 as a t follows its normal."""
    rng = np.random.default_rng(RNG_SEED)
    ratios = []
    for _ in range(200):
        forecast = rng.standard_normal(2000) + 0.2
        realised = 0.05 * forecast + rng.standard_normal(2000)
        ratios.append(
            direction_test(forecast, realised, 1).test.statistic / test_size.pesaran_timmermann_1992(forecast, realised)
        )
    # 12 ordinates: the ratio is sqrt(24 / chi-squared with 24 degrees), median 1.014
    assert np.median(ratios) == pytest.approx(np.sqrt(24 / 23.337), abs=0.03)


def test_direction_sees_skill_and_its_absence() -> None:
    rng = np.random.default_rng(RNG_SEED)
    outcome = np.convolve(rng.standard_normal(3020), np.ones(21), "valid")
    skilled = direction_test(outcome + 4 * rng.standard_normal(3000), outcome, 21)
    assert skilled.accuracy > 0.65
    assert skilled.test.p_greater < 0.001
    reversed_sign = direction_test(-outcome, outcome, 21)
    assert reversed_sign.accuracy == 0
    assert reversed_sign.test.p_less < 0.001


# --- model confidence set ------------------------------------------------------------------------------------------


def test_confidence_set_of_two_by_hand(losses: pd.DataFrame) -> None:
    """With two entries the p-value is the share of centred draws beyond the difference, widened draws against it."""
    pair = losses[[ANCHOR, LAST_PRICE]]
    result = model_confidence_set(pair, 252, seed=3, draws=499)
    drawn = resample(len(pair), 252, seed=3, draws=499).weights @ (pair[ANCHOR] - pair[LAST_PRICE]).to_numpy()
    difference = pair[ANCHOR].mean() - pair[LAST_PRICE].mean()
    factor = OVERLAP_FACTOR * student_t.ppf(0.875, 10) / norm.ppf(0.875)
    expected = np.mean(factor * np.abs(drawn - difference) > abs(difference))
    assert 0 < expected < 1
    assert result.p_values == {ANCHOR: 1.0, LAST_PRICE: pytest.approx(expected, abs=1e-12)}
    assert result.included == ((ANCHOR, LAST_PRICE) if expected > 0.25 else (ANCHOR,))


def test_confidence_set_drops_what_is_clearly_worse(losses: pd.DataFrame) -> None:
    worse = losses.assign(worse=losses[LAST_PRICE] + 0.02 + 0.1 * losses[ANCHOR])
    result = model_confidence_set(worse, 252, seed=0)
    assert "worse" not in result.included
    assert result.p_values["worse"] < 0.05
    assert max(result.p_values.values()) == 1.0
    assert result.included == tuple(e for e in worse.columns if result.p_values[e] > 0.25)
    assert result.n == len(losses)
    assert result == model_confidence_set(worse, 252, seed=0)


def test_entries_with_identical_losses_share_their_fate(losses: pd.DataFrame) -> None:
    """A network whose weight is zero forecasts what the anchor does."""
    twin = losses.assign(network=losses[ANCHOR])
    result = model_confidence_set(twin, 252, seed=0)
    alone = model_confidence_set(losses, 252, seed=0)
    assert result.p_values["network"] == result.p_values[ANCHOR]
    assert {e: result.p_values[e] for e in losses.columns} == alone.p_values
    only = model_confidence_set(twin[[ANCHOR, "network"]], 252, seed=0)
    assert only.p_values == {ANCHOR: 1.0, "network": 1.0}


def test_confidence_set_of_few_rows_holds_everyone(losses: pd.DataFrame) -> None:
    result = model_confidence_set(losses.iloc[:700], 252, seed=0)
    assert result.included == tuple(losses.columns)
    assert np.isnan(list(result.p_values.values())).all()


def test_confidence_set_refuses_missing_losses(losses: pd.DataFrame) -> None:
    holed = losses.copy()
    holed.iloc[5, 0] = np.nan
    with pytest.raises(ModelError, match="known loss"):
        model_confidence_set(holed, 252, seed=0)


# --- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_is_found_where_there_is_nothing(test_size: ModuleType, record: pd.DataFrame, market: Market) -> None:
    """Nominal 5 %: 3 to 8 % on average over pairs and horizons, each at most two standard errors above 8 %."""
    count = 120
    rates = pd.DataFrame(
        {h: test_size.rejection_rates(record, market.front, count, h, with_set=False) for h in HORIZONS_MONTHS}
    )
    slack = 2 * np.sqrt(0.05 * 0.95 / count)
    for name in ("DM, WPE (default)", "DM, WCE (2 horizons)", "direction, one-sided", "95 % interval"):
        of_test = rates[rates.index.str.startswith(name)]
        assert len(of_test) >= 2
        assert 0.03 <= of_test.mean(axis=None) <= 0.08, name
        assert (of_test <= 0.08 + slack).all(axis=None), name
    for name in ("DM, WPE, m = T^(1/3)", "DM, WCE, M = T^(1/2)", "direction, variance of 1992"):
        assert rates.loc[rates.index.str.startswith(name), 12].mean() > 0.07, f"{name} is why the default differs"
    noise = rates[rates.index.str.contains("the entry is noise")]
    assert (noise <= 0.05 + slack).all(axis=None), "a forecast of nothing must not seem better"
