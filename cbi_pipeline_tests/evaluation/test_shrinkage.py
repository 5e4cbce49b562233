"""The lambda rule: zero until earned, purged, and judged on blocks that do not overlap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from cbi_pipeline.evaluation import shrinkage as s

RNG = np.random.default_rng(5)


def evidence(n: int, skill: float) -> s.LambdaEvidence:
    network = 0.35 * np.tanh(RNG.normal(size=n))
    return s.LambdaEvidence(
        skill * network + 0.5 * RNG.normal(size=n), network, pd.bdate_range("2010-01-04", periods=n)
    )


def test_starts_at_zero_without_evidence() -> None:
    choice = s.choose_lambda(evidence(0, 1.0), 3)
    assert (choice.lambda_h, choice.rows, choice.losses) == (0.0, 0, {})
    assert s.choose_lambda(evidence(251, 1.0), 3).lambda_h == 0.0
    assert s.choose_lambda(evidence(755, 1.0), 12).lambda_h == 0.0, "two blocks of a year are no evidence"


def test_a_network_that_is_right_earns_the_larger_weight() -> None:
    choice = s.choose_lambda(evidence(756, 2.0), 3)
    assert choice.lambda_h == 0.25
    assert choice.blocks == 12
    assert choice.improvement is not None
    assert choice.standard_error is not None
    assert choice.improvement == pytest.approx(choice.losses[0.0] - choice.losses[0.25])
    needed = 1.25 * t.ppf(0.95, 11) * choice.standard_error
    assert choice.improvement > needed
    assert f"more than the {needed:.4f} that chance explains" in choice.reason


def test_a_small_exact_residual_takes_the_smaller_weight() -> None:
    network = np.full(300, 0.2)
    rows = s.LambdaEvidence(0.1 * network, network, pd.bdate_range("2010-01-04", periods=300))
    assert s.choose_lambda(rows, 3).lambda_h == 0.1


def test_a_network_that_is_wrong_stays_at_zero() -> None:
    choice = s.choose_lambda(evidence(1000, -1.0), 6)
    assert choice.lambda_h == 0.0
    assert "lower error" in choice.reason


def test_an_improvement_from_one_block_alone_is_not_earned() -> None:
    network = np.full(252, 0.2)
    residual = np.concatenate([np.full(63, 2.0), np.full(189, -0.5)])
    choice = s.choose_lambda(s.LambdaEvidence(residual, network, pd.bdate_range("2010-01-04", periods=252)), 3)
    assert choice.improvement is not None
    assert choice.improvement > 0, "the mean improves"
    assert choice.lambda_h == 0.0, "but all of it comes from one quarter"
    assert "no more than the" in choice.reason


def test_block_standard_error_known_answer() -> None:
    error, blocks = s.block_standard_error(np.repeat([1.0, 2.0, 6.0], 10), 10)
    assert blocks == 3
    assert error == pytest.approx(np.std([1.0, 2.0, 6.0], ddof=1) / np.sqrt(3))
    assert s.block_standard_error(np.ones(19), 10) == (None, 1)


def residual_frame() -> pd.DataFrame:
    days = pd.bdate_range("2018-01-02", periods=600)
    frames = [
        pd.DataFrame(
            {
                "fold": "fold_1", "as_of_date": days, "horizon_months": h,
                "target_date": days + pd.DateOffset(months=h), "residual": 0.1, "network": 0.2,
            }
        )
        for h in (3, 6, 9, 12)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)[list(s.RESIDUAL_COLUMNS)]


@pytest.mark.parametrize("before", ["2018-12-27", "2019-06-03", "2020-06-01"])
def test_evidence_was_known_before_the_fold_begins(before: str) -> None:
    frame = residual_frame().sample(frac=1.0, random_state=3)
    frame.loc[frame["as_of_date"] == "2018-03-01", "residual"] = np.nan
    cut = pd.Timestamp(before)
    for h, rows in s.known_evidence(frame, cut).items():
        assert (rows.dates + pd.DateOffset(months=h) < cut).all()
        wanted = frame[(frame["horizon_months"] == h) & (frame["target_date"] < cut) & frame["residual"].notna()]
        assert len(rows.dates) == len(rows.residual) == len(rows.network) == len(wanted)
        assert rows.dates.is_monotonic_increasing


def test_evidence_of_no_rows_is_empty_at_every_horizon() -> None:
    got = s.known_evidence(residual_frame().iloc[:0], pd.Timestamp("2020-01-01"))
    assert {h: len(rows.dates) for h, rows in got.items()} == {3: 0, 6: 0, 9: 0, 12: 0}
    assert all(s.choose_lambda(rows, h).lambda_h == 0.0 for h, rows in got.items())


def test_noise_seldom_earns_a_weight() -> None:
    """Persistent noise against moving sums, as overlapping labels are: the bar must hold at about its nominal size."""
    rng = np.random.default_rng(11)
    n, horizon = 1260, 3
    dates = pd.bdate_range("2015-01-02", periods=n)

    def moving(length: int) -> np.ndarray:
        return np.convolve(rng.normal(size=n + length - 1), np.ones(length) / np.sqrt(length), mode="valid")

    trials = [
        s.choose_lambda(s.LambdaEvidence(moving(63), 0.35 * np.tanh(moving(63)), dates), horizon).lambda_h > 0
        for _ in range(400)
    ]
    assert np.mean(trials) < 0.08
