"""Density scores: known answers on small arrays, the approximation measured, and the real benchmark rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from cbi_pipeline.contracts import QUANTILES
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import density_scores as ds
from cbi_pipeline.evaluation.benchmarks import ANCHOR, LAST_PRICE, Market, benchmark_frames
from cbi_pipeline.evaluation.metrics import metrics_of
from cbi_pipeline.modeling.volatility import density_sigma, normal_quantiles, state_at
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.stages.folds import cut_folds

STANDARD = norm.ppf(QUANTILES)


def exact_crps(z: np.ndarray) -> np.ndarray:
    """CRPS of a standard normal at outcome z (Gneiting and Raftery 2007, equation 5 of the normal case)."""
    return z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)


def test_pinball_is_scikit_learns_and_crps_twice_its_mean() -> None:
    realised = np.array([-2.0, -0.1, 0.0, 0.7, 3.0])
    quantiles = STANDARD + np.linspace(-1, 1, 5)[:, None]
    own = ds.pinball(realised, quantiles)
    for k, level in enumerate(QUANTILES):
        assert own[:, k].mean() == pytest.approx(mean_pinball_loss(realised, quantiles[:, k], alpha=level))
    np.testing.assert_allclose(ds.crps(realised, quantiles), 2 * own.mean(axis=1), atol=1e-12)


def test_approximation_of_a_calibrated_normal_is_0806_of_its_exact_crps() -> None:
    """The expected pinball loss of the true quantile of a standard normal is its density there."""
    expected = 2 * norm.pdf(STANDARD).mean() * np.sqrt(np.pi)
    outcomes = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    score = ds.crps(outcomes, np.tile(STANDARD, (len(outcomes), 1))).mean()
    assert score / exact_crps(outcomes).mean() == pytest.approx(expected, abs=1e-3)
    assert expected == pytest.approx(0.806, abs=5e-4)


def test_pit_between_quantiles_and_in_the_outer_bands() -> None:
    quantiles = np.tile(np.arange(7.0), (5, 1))
    result = ds.pit(np.array([-0.1, 0.0, 2.5, 6.0, 6.1]), quantiles)
    assert result.below.tolist() == [True, False, False, False, False]
    assert result.above.tolist() == [False, False, False, False, True]
    np.testing.assert_allclose(result.value, [np.nan, 0.05, 0.375, 0.95, np.nan])


def test_band_shares() -> None:
    outcomes = norm.ppf((np.arange(1000) + 0.5) / 1000)
    shares = ds.band_shares(outcomes, np.tile(STANDARD, (1000, 1)))
    np.testing.assert_allclose(shares, ds.NOMINAL_BAND_SHARES, atol=1e-12)
    assert ds.band_shares(outcomes + 10, np.tile(STANDARD, (1000, 1)))[">95"] == 1.0


def test_interval_at_95_is_exact_for_a_normal_and_keeps_skew() -> None:
    low, high = ds.interval(normal_quantiles(np.array([3.0]), np.array([0.2])), 95)
    assert (low[0], high[0]) == pytest.approx((3 - 0.2 * 1.959964, 3 + 0.2 * 1.959964), abs=1e-6)
    low, high = ds.interval(np.array([[-1, -0.8, -0.5, 0, 1, 1.6, 2.0]]), 95)
    assert high[0] == pytest.approx(-2 * low[0])
    with pytest.raises(ModelError, match="99 % interval"):
        ds.interval(np.zeros((1, 7)), 99)


def test_coverage_band_by_hand() -> None:
    low, high = ds.coverage_band(80, 63 * 25, 3)
    assert (low, high) == pytest.approx((0.8 - 1.959964 * 0.08, 0.8 + 1.959964 * 0.08))
    assert ds.coverage_band(95, 252, 12)[1] == 1.0


@pytest.fixture(scope="module")
def oof(market: Market) -> pd.DataFrame:
    rows = benchmark_frames(market, cut_folds(market.front.index, get_profile("quick"))[0])
    return rows[(rows["horizon_months"] == 6) & rows["realised_price"].notna()]


def test_scores_of_the_real_anchor(oof: pd.DataFrame, market: Market) -> None:
    anchor, last = oof[oof["entry"] == ANCHOR], oof[oof["entry"] == LAST_PRICE]
    scores = ds.density_scores_of(anchor, last)
    assert tuple(scores) == ds.DENSITY_METRICS
    assert scores["coverage_80"] == pytest.approx(metrics_of(anchor)["coverage_80"])
    for nominal in (50, 80, 90):
        assert scores[f"relative_width_{nominal}"] == pytest.approx(1.0), "both have the same density around the median"
    assert scores["crps"] == pytest.approx(2 * scores["pinball"])
    covered = [scores[f"coverage_{nominal}"] for nominal in ds.NOMINAL]
    assert covered == sorted(covered)
    assert covered[-1] < 1

    spread = density_sigma(state_at(market.state, pd.DatetimeIndex(anchor["as_of_date"])))[6].to_numpy()
    realised = np.log(anchor["realised_price"].to_numpy())
    exact = {
        name: (spread * exact_crps((realised - np.log(rows["predicted_price"].to_numpy())) / spread)).mean()
        for name, rows in (("anchor", anchor), ("last", last))
    }
    assert scores["crps_ratio"] == pytest.approx(exact["anchor"] / exact["last"], abs=0.005), "ratios survive it"


def test_the_reference_must_have_every_date(oof: pd.DataFrame) -> None:
    anchor, last = oof[oof["entry"] == ANCHOR], oof[oof["entry"] == LAST_PRICE]
    with pytest.raises(ModelError, match="exactly one row"):
        ds.density_scores_of(anchor, last.iloc[1:])
    with pytest.raises(ModelError, match="exactly one row"):
        ds.density_scores_of(anchor, pd.concat([last, last]))
