"""Bootstrap intervals against closed forms, the metrics of the leaderboard, and a clock."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import t as student_t

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.anchor_skill import anchor_record
from cbi_pipeline.evaluation.benchmarks import ANCHOR, Market
from cbi_pipeline.evaluation.bootstrap import (
    OVERLAP_FACTOR,
    Resamples,
    ratio_interval,
    resample,
    share_interval,
    spread_factor,
)
from cbi_pipeline.evaluation.metrics import coverage, directional_accuracy, rmse_ratio

SEED = 7


@pytest.fixture(scope="module")
def draws() -> Resamples:
    return resample(3000, 63, seed=SEED)


def test_draws_are_blocks_of_rows(draws: Resamples) -> None:
    assert draws.weights.shape == (999, 3000)
    np.testing.assert_allclose(draws.weights.sum(axis=1), 1)
    counts = draws.weights * 3000
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    # neighbours are drawn together: a block of mean length L breaks after a row with probability 1 / L
    assert np.mean(counts.mean(axis=0)) == pytest.approx(1)
    together = np.corrcoef(counts[:, :-1].ravel(), counts[:, 1:].ravel())[0, 1]
    assert together == pytest.approx(1 - 1 / 63, abs=0.01)
    assert draws.degrees == 28


def test_a_seed_is_a_draw(draws: Resamples) -> None:
    np.testing.assert_array_equal(resample(3000, 63, seed=SEED).weights, draws.weights)
    assert not np.array_equal(resample(3000, 63, seed=SEED + 1).weights, draws.weights)


def test_a_scorecard_takes_no_time() -> None:
    """999 draws of 3000 rows and four figures on them."""
    values = np.random.default_rng(SEED).random((2, 3000))
    resample(30, 3, seed=SEED, draws=2)  # the import of arch takes two seconds once
    start = time.perf_counter()
    draws = resample(3000, 252, seed=SEED)
    ratio_interval(draws, *values)
    for row in values:
        share_interval(draws, row > 0.5)
    assert time.perf_counter() - start < 2


def test_spread_of_overlapping_sums_is_the_true_one() -> None:
    """Sums of 63 unit shocks have a mean over n rows with standard deviation 63 / sqrt(n)."""
    rng = np.random.default_rng(SEED)
    n, h = 6300, 63
    weights = resample(n, h, seed=SEED).weights
    spreads = [
        OVERLAP_FACTOR * (weights @ np.convolve(rng.standard_normal(n + h - 1), np.ones(h), "valid")).std()
        for _ in range(40)
    ]
    assert np.mean(spreads) == pytest.approx(h / np.sqrt(n), rel=0.06)


def test_ratio_interval_by_hand(draws: Resamples) -> None:
    losses, rival = np.random.default_rng(SEED).random((2, 3000))
    result = ratio_interval(draws, losses, rival)
    logs = np.log([np.sqrt((w * losses).sum() / (w * rival).sum()) for w in draws.weights])
    half = OVERLAP_FACTOR * student_t.ppf(0.975, 28) * np.std(logs)
    assert result.estimate == pytest.approx(np.sqrt(losses.mean() / rival.mean()))
    assert np.log(result.high / result.estimate) == pytest.approx(half)
    assert np.log(result.estimate / result.low) == pytest.approx(half)
    plain = ratio_interval(draws, losses, rival, root=False)
    assert plain.estimate == pytest.approx(losses.mean() / rival.mean())
    wider = ratio_interval(draws, losses, rival, level=0.99)
    assert wider.high - wider.low > result.high - result.low
    assert (result.n, result.n_eff) == (3000, pytest.approx(3000 / 63))


def test_equal_losses_have_a_ratio_of_one(draws: Resamples) -> None:
    losses = np.random.default_rng(SEED).random(3000)
    result = ratio_interval(draws, losses, losses.copy())
    assert (result.low, result.estimate, result.high) == (1, 1, 1)


def test_share_interval_leaves_rows_out(draws: Resamples) -> None:
    rng = np.random.default_rng(SEED)
    hits, counted = rng.random(3000) < 0.6, rng.random(3000) < 0.8
    result = share_interval(draws, hits, counted=counted)
    assert result.estimate == pytest.approx(hits[counted].mean())
    assert result.n == counted.sum()
    drawn = [(w * hits * counted).sum() / (w * counted).sum() for w in draws.weights]
    half = OVERLAP_FACTOR * student_t.ppf(0.975, 28) * np.std(drawn)
    assert result.high - result.estimate == pytest.approx(half)
    assert np.isnan(share_interval(draws, hits, counted=np.zeros(3000, bool)).estimate)
    certain = share_interval(draws, np.ones(3000, bool))
    assert certain.estimate == 1
    assert np.isnan([certain.low, certain.high]).all()


def test_intervals_stand_around_the_metrics(market: Market) -> None:
    record = anchor_record(market, 2013, 2024)
    rows = record[(record["entry"] == ANCHOR) & (record["horizon_months"] == 12) & record["realised_price"].notna()]
    forecast, realised = (
        np.log(rows[column] / rows["last_price"]).to_numpy() for column in ("predicted_price", "realised_price")
    )
    draws = resample(len(rows), 252, seed=SEED)
    ratio = ratio_interval(draws, (forecast - realised) ** 2, realised**2)
    assert ratio.estimate == pytest.approx(rmse_ratio(forecast, realised))
    assert ratio.low < ratio.estimate < ratio.high
    direction = share_interval(draws, (forecast > 0) == (realised > 0), counted=(forecast != 0) & (realised != 0))
    assert direction.estimate == pytest.approx(directional_accuracy(forecast, realised))
    bounds = rows["q10"].to_numpy(), rows["q90"].to_numpy(), rows["realised_price"].to_numpy()
    inside = share_interval(draws, (bounds[2] >= bounds[0]) & (bounds[2] <= bounds[1]))
    assert inside.estimate == pytest.approx(coverage(*bounds))
    assert inside.high <= 1


def test_few_rows_have_no_interval() -> None:
    draws = resample(188, 63, seed=SEED)
    values = np.random.default_rng(SEED).random((2, 188))
    result = ratio_interval(draws, *values)
    assert np.isfinite(result.estimate)
    assert np.isnan([result.low, result.high]).all()
    assert np.isnan(share_interval(draws, values[0] > 0.5).low)


def test_spread_factor_grows_with_few_blocks() -> None:
    assert spread_factor(10**7, 0.95) == pytest.approx(OVERLAP_FACTOR, rel=1e-5)
    assert spread_factor(4, 0.95) == pytest.approx(OVERLAP_FACTOR * 2.776445 / 1.959964)


def test_wrong_rows_are_refused(draws: Resamples) -> None:
    with pytest.raises(ModelError):
        resample(0, 63, seed=SEED)
    with pytest.raises(ModelError):
        resample(100, 0, seed=SEED)
    with pytest.raises(ModelError, match="3000"):
        ratio_interval(draws, np.ones(10), np.ones(10))
    with pytest.raises(ModelError):
        ratio_interval(draws, np.full(3000, np.nan), np.ones(3000))
