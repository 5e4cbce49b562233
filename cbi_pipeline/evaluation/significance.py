"""Tests of overlapping daily forecasts: equal accuracy (Diebold-Mariano), confidence set of entries, direction.

Belongs here: p-values. Sampling intervals are in `bootstrap`. All tests allow for rows that overlap by a horizon;
what they really reject on real data is measured by `benchmarks/test_size.py`.

References:
    Diebold and Mariano (1995), Comparing predictive accuracy, JBES 13(3).
    Coroneo and Iacone (2020), Comparing predictive accuracy in small samples using fixed-smoothing asymptotics,
        Journal of Applied Econometrics 35(4).
    Kiefer and Vogelsang (2005), A new asymptotic theory for HAC robust tests, Econometric Theory 21(6).
    Hansen, Lunde and Nason (2011), The model confidence set, Econometrica 79(2).
    Pesaran and Timmermann (1992), A simple nonparametric test of predictive performance, JBES 10(4).
    Pesaran and Timmermann (2009), Testing dependence among serially correlated multicategory variables, JASA 104.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtr

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.bootstrap import DRAWS, ordinates, spread_factor
from cbi_pipeline.evaluation.shrinkage import MIN_BLOCKS

Smoothing = Literal["wpe", "wce"]

CONFIDENCE_SET_LEVEL: Final = 0.75
DIRECTION_ROWS_PER_ORDINATE: Final = 3
"""Horizons of rows behind one periodogram ordinate for signs, which persist longer than losses: with two, 5 to 10 %
of permutations were rejected at a nominal 5 %, with three 3 to 8 %."""

FIXED_B_CUBICS: Final[dict[float, tuple[float, float, float, float]]] = {
    0.90: (1.2816, 1.3040, 0.5135, -0.3386),
    0.95: (1.6449, 2.1859, 0.3142, -0.3427),
    0.975: (1.9600, 2.9694, 0.4160, -0.5324),
    0.99: (2.3263, 4.1618, 0.5368, -0.9060),
}
"""Kiefer and Vogelsang (2005): quantile of the fixed-b distribution, Bartlett kernel, as a cubic in b."""

_MISSING: Final = float("nan")


@dataclass(frozen=True, slots=True)
class MeanTest:
    """Test that a serially dependent series has mean zero.

    Attributes:
        mean: of the series.
        statistic: mean over its standard error; missing with fewer than `MIN_BLOCKS` horizons of rows, or if the
            series does not vary.
        p_two_sided, p_less, p_greater: p-values against a mean that is not zero, below zero, above zero.
        smoothing: `wpe` or `wce`.
        bandwidth: periodogram ordinates (`wpe`) or Bartlett bandwidth in rows (`wce`).
        n, n_eff: rows, and rows that do not overlap.
    """

    mean: float
    statistic: float
    p_two_sided: float
    p_less: float
    p_greater: float
    smoothing: Smoothing
    bandwidth: int
    n: int
    n_eff: float


@dataclass(frozen=True, slots=True)
class DirectionTest:
    """Whether forecast and outcome share their sign more often than independent signs would.

    Attributes:
        accuracy: share of rows with the same sign.
        independent_accuracy: share expected if the two were independent, given how often each is up.
        test: of their difference (its `mean`); skill is `p_greater`. Missing if either sign never changes.
    """

    accuracy: float
    independent_accuracy: float
    test: MeanTest


@dataclass(frozen=True, slots=True)
class ConfidenceSet:
    """Entries that cannot be told from the best.

    Attributes:
        included: entries of the set, in the order of the losses.
        p_values: per entry, the largest 1 - level at which the set still holds it; 1 for the last one left; missing
            with fewer than `MIN_BLOCKS` horizons of rows, when the set holds every entry.
        level: nominal probability that the set holds the best entry.
        n, n_eff: common rows, and how many of them do not overlap.
    """

    included: tuple[str, ...]
    p_values: dict[str, float]
    level: float
    n: int
    n_eff: float


def squared_errors(oof: pd.DataFrame, horizon_months: int) -> pd.DataFrame:
    """Squared errors of log returns of all entries at one horizon, on the dates that every entry has.

    Args:
        oof: out-of-fold rows (`OUT_OF_FOLD_COLUMNS`), one per entry, date and horizon; unknown outcomes are left out.
        horizon_months: the horizon.

    Returns:
        Index as-of dates, sorted; one column per entry.
    """
    rows = oof[(oof["horizon_months"] == horizon_months) & oof["realised_price"].notna()]
    error = np.log(rows["predicted_price"] / rows["realised_price"])
    table = rows.assign(loss=error**2).pivot(index="as_of_date", columns="entry", values="loss")
    return table.dropna().sort_index()


def diebold_mariano(
    losses: np.ndarray, rival_losses: np.ndarray, horizon_rows: int, smoothing: Smoothing = "wpe"
) -> MeanTest:
    """Test that two entries are equally accurate, with fixed smoothing (Coroneo and Iacone 2020).

    `wpe` (weighted periodogram, Daniell kernel, t with 2m degrees of freedom) is the default: with m held to half the
    number of horizons of rows, it rejects 2 to 8 % at a nominal 5 %, at any horizon and down to five horizons of
    rows. The paper's m = floor(n^(1/3)) rejects 9 to 12 % at 12 months with 11 horizons of rows, 10 to 15 % with 5.
    `wce` (Bartlett, Kiefer and Vogelsang's critical values) rejects 4 to 8 % with a bandwidth of two horizons, 5 to
    11 % with one, 10 to 31 % with the paper's floor(n^(1/2)). Rows are not thinned: the ordinates are low frequencies,
    so that every k-th row gives the same test with more noise.

    Args:
        losses, rival_losses: [n] losses of both entries on the same rows, in time order.
        horizon_rows: rows that one horizon spans (months x 21 for daily rows).
        smoothing: long-run variance and its reference distribution.

    Returns:
        The test of `losses - rival_losses`: `p_less` speaks for the entry being better than its rival, `p_greater`
        for it being worse. Identical losses give statistic 0 and p-values 1 and 0.5.

    Raises:
        ModelError: the arrays are empty, differ in length or hold missing values, or the horizon is not positive.
    """
    _require_pairs(losses, rival_losses, horizon_rows)
    difference = losses - rival_losses
    n = len(difference)
    if smoothing == "wce":
        return _mean_test(difference, horizon_rows, smoothing, bartlett_bandwidth(n, horizon_rows))
    return _mean_test(difference, horizon_rows, smoothing, ordinates(n, horizon_rows))


def direction_test(predicted: np.ndarray, realised: np.ndarray, horizon_rows: int) -> DirectionTest:
    """Pesaran and Timmermann's (1992) test of direction, made robust to overlap.

    Twice the product of the centred signs has the mean accuracy - independent accuracy, the 1992 numerator. Its
    long-run variance is the weighted periodogram's. The 2009 correction regresses on lagged signs, of which a
    12-month overlap needs 252; the 1992 variance rejects 68 to 86 % of permutations at a nominal 5 %.

    Args:
        predicted, realised: [n] log returns, in time order. Rows where either is zero have no direction and are left
            out.
        horizon_rows: rows that one horizon spans.

    Raises:
        ModelError: as `diebold_mariano`.
    """
    _require_pairs(predicted, realised, horizon_rows)
    directed = (predicted != 0) & (realised != 0)
    up, rose = predicted[directed] > 0, realised[directed] > 0
    if up.size == 0:
        return DirectionTest(_MISSING, _MISSING, _untested(_MISSING, "wpe", 1, 0, horizon_rows))
    accuracy, p, q = float(np.mean(up == rose)), float(up.mean()), float(rose.mean())
    bandwidth = ordinates(up.size, horizon_rows, DIRECTION_ROWS_PER_ORDINATE)
    if p in (0.0, 1.0) or q in (0.0, 1.0):
        test = _untested(0.0, "wpe", bandwidth, up.size, horizon_rows)
    else:
        test = _mean_test(2 * (up - p) * (rose - q), horizon_rows, "wpe", bandwidth)
    return DirectionTest(accuracy, p * q + (1 - p) * (1 - q), test)


def model_confidence_set(
    losses: pd.DataFrame,
    horizon_rows: int,
    *,
    seed: int,
    level: float = CONFIDENCE_SET_LEVEL,
    draws: int = DRAWS,
) -> ConfidenceSet:
    """The model confidence set of `arch.bootstrap.MCS`, by stationary bootstrap in blocks of one horizon.

    Mean losses are drawn together by `bootstrap.spread_factor` first: that compares them with draws as wide as they
    should be. The set then loses one of several equally good entries in 16 to 26 % of permutations at a nominal 25 %,
    without it in 30 to 45 %. The statistic is `max` (each entry against the mean of all): the range statistic `R`
    loses one in 24 to 44 % even then. `max` is the weaker of the two, and weak beside an entry with erratic losses:
    whether one entry beats another is `diebold_mariano`'s question. Entries with identical losses are judged as one.

    Args:
        losses: index dates in time order, one column per entry, common rows (`squared_errors`).
        horizon_rows: rows that one horizon spans.
        seed: of the bootstrap.
        level: nominal probability that the set holds the best entry.
        draws: number of bootstrap draws.

    Raises:
        ModelError: there are no rows or entries, or a loss is missing.
    """
    from arch.bootstrap import MCS

    values = losses.to_numpy(float)
    entries = [str(name) for name in losses.columns]
    if values.size == 0 or not np.isfinite(values).all() or horizon_rows < 1:
        raise ModelError("losses of the entries", "each entry needs a known loss on every row.", "pass common rows.")
    n, n_eff = len(values), len(values) / horizon_rows
    if n_eff < MIN_BLOCKS:
        return ConfidenceSet(tuple(entries), dict.fromkeys(entries, _MISSING), level, n, n_eff)
    distinct, which = np.unique(values, axis=1, return_inverse=True)
    by_column = np.ones(distinct.shape[1])
    if distinct.shape[1] > 1:
        means = distinct.mean(axis=0)
        factor = spread_factor(2 * ordinates(n, horizon_rows), level)
        drawn_together = distinct - (means - means.mean()) * (1 - 1 / factor)
        found = MCS(
            drawn_together, 1 - level, draws, horizon_rows, "max", "stationary", seed=np.random.default_rng(seed)
        )
        found.compute()
        by_column = found.pvalues["Pvalue"].sort_index().to_numpy(float)
    p_values = {entry: float(by_column[column]) for entry, column in zip(entries, which.ravel(), strict=True)}
    return ConfidenceSet(tuple(e for e in entries if p_values[e] > 1 - level), p_values, level, n, n_eff)


def bartlett_bandwidth(n: int, horizon_rows: int) -> int:
    """Bartlett bandwidth in rows: floor(n^(1/2)) as in Coroneo and Iacone (2020), at least two horizons, at most n."""
    return min(n, max(int(n**0.5), 2 * horizon_rows))


def fixed_b_critical_value(b: float, probability: float) -> float:
    """Quantile of the fixed-b t statistic with the Bartlett kernel (Kiefer and Vogelsang 2005).

    Args:
        b: bandwidth over rows, 0 to 1.
        probability: 0.90, 0.95, 0.975 or 0.99, one-sided.
    """
    return float(np.polynomial.polynomial.polyval(b, FIXED_B_CUBICS[probability]))


def weighted_periodogram_variance(values: np.ndarray, m: int) -> float:
    """Long-run variance of [n] values: mean of the first `m` periodogram ordinates x 2 pi (Daniell kernel)."""
    spectrum = np.fft.rfft(values - values.mean())[1 : m + 1]
    return float(np.mean(np.abs(spectrum) ** 2) / len(values))


def weighted_covariance_variance(values: np.ndarray, bandwidth: int) -> float:
    """Long-run variance of [n] values: autocovariances with Bartlett weights 1 - lag / bandwidth."""
    n = len(values)
    spectrum = np.fft.rfft(values - values.mean(), 2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:bandwidth] / n
    weights = 1 - np.arange(bandwidth) / bandwidth
    return float(2 * weights @ covariance - covariance[0])


def _mean_test(values: np.ndarray, horizon_rows: int, smoothing: Smoothing, bandwidth: int) -> MeanTest:
    n, mean = len(values), float(values.mean())
    if n < MIN_BLOCKS * horizon_rows:
        return _untested(mean, smoothing, bandwidth, n, horizon_rows)
    if not values.any():
        return MeanTest(0.0, 0.0, 1.0, 0.5, 0.5, smoothing, bandwidth, n, n / horizon_rows)
    if np.ptp(values) == 0:
        return _untested(mean, smoothing, bandwidth, n, horizon_rows)
    if smoothing == "wpe":
        statistic = mean / np.sqrt(weighted_periodogram_variance(values, bandwidth) / n)
        upper = float(stdtr(2 * bandwidth, -abs(statistic)))
    else:
        statistic = mean / np.sqrt(weighted_covariance_variance(values, bandwidth) / n)
        upper = _fixed_b_upper_tail(abs(statistic), bandwidth / n)
    greater = upper if statistic >= 0 else 1 - upper
    return MeanTest(mean, float(statistic), 2 * upper, 1 - greater, greater, smoothing, bandwidth, n, n / horizon_rows)


def _fixed_b_upper_tail(statistic: float, b: float) -> float:
    """Upper tail of a statistic >= 0: exact at the tabulated quantiles, linear in normal quantiles between them and
    beyond the last."""
    normal = np.array([0.0, *ndtri(list(FIXED_B_CUBICS))])
    critical = np.array([0.0, *(fixed_b_critical_value(b, p) for p in FIXED_B_CUBICS)])
    k = min(int(np.searchsorted(critical, statistic, side="right")), len(critical) - 1)
    slope = (normal[k] - normal[k - 1]) / (critical[k] - critical[k - 1])
    return float(ndtr(-(normal[k - 1] + slope * (statistic - critical[k - 1]))))


def _untested(mean: float, smoothing: Smoothing, bandwidth: int, n: int, horizon_rows: int) -> MeanTest:
    return MeanTest(mean, _MISSING, _MISSING, _MISSING, _MISSING, smoothing, bandwidth, n, n / horizon_rows)


def _require_pairs(first: np.ndarray, second: np.ndarray, horizon_rows: int) -> None:
    if first.ndim != 1 or first.shape != second.shape or first.size == 0 or horizon_rows < 1:
        raise ModelError(
            f"arrays of shape {first.shape} and {second.shape}, horizon of {horizon_rows} rows",
            "both must hold the same rows, at least one, and the horizon at least one row.",
            "score the rows that both entries share.",
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ModelError("scored rows", "a value is missing.", "leave out rows without a forecast or outcome.")
