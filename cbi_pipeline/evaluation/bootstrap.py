"""Stationary block bootstrap intervals of overlapping daily scores: ratios of losses, and shares of rows.

Belongs here: how far a figure could lie from its expected value. Whether two entries differ is `significance`'s
business. Measured sizes: `benchmarks/test_size.py`.

An interval is symmetric (a ratio's in logs): estimate -+ t x `OVERLAP_FACTOR` x standard deviation over the draws.
At a nominal 5 % it missed the true RMSE ratio in 5 to 8 % of permutations of real outcomes with 10 to 47 horizons of
rows, in 6 to 10 % with 5 to 20; shares in 2 to 10 %, but with fewer than eight horizons in up to 16 %. Percentiles of
the draws missed the ratio in 11 to 15 % and 11 to 26 %, no less with the blocks of 50 to 100 rows, whatever the
horizon, that `arch.bootstrap.optimal_block_length` picks.

References:
    Politis and Romano (1994), The stationary bootstrap, JASA 89(428).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri, stdtrit

from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.shrinkage import MIN_BLOCKS

OVERLAP_FACTOR: Final = float(np.sqrt(np.e / 2))
"""1.166. Rows h apart that overlap have autocorrelations 1 - k/h; blocks of mean length h see exp(-k/h) of them, so
that the bootstrap variance is 2/e of the true one: integral of exp(-u)(1 - u) over integral of (1 - u), 0 to 1."""
ROWS_PER_ORDINATE: Final = 2
"""Horizons of rows behind one periodogram ordinate, which has two degrees of freedom: `ordinates`."""
DRAWS: Final = 999
LEVEL: Final = 0.95
_MISSING: Final = float("nan")


@dataclass(frozen=True, slots=True)
class Resamples:
    """Draws of one horizon's rows; every figure computed on them is paired on the same rows.

    Attributes:
        weights: [draws, n] share of each row in each draw; rows sum to one.
        horizon_rows: rows that one horizon spans, the mean block length.
        degrees: degrees of freedom of the t quantile, twice the periodogram ordinates.
    """

    weights: np.ndarray
    horizon_rows: int
    degrees: int

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.weights.shape[1])

    @property
    def n_eff(self) -> float:
        """Number of rows that do not overlap."""
        return self.n / self.horizon_rows


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval around it.

    Attributes:
        estimate: the figure on all rows.
        low, high: bounds; missing with fewer than `MIN_BLOCKS` horizons of rows.
        level: nominal coverage, 0 to 1.
        n, n_eff: rows, and rows that do not overlap.
    """

    estimate: float
    low: float
    high: float
    level: float
    n: int
    n_eff: float


def ordinates(n: int, horizon_rows: int, rows_per_ordinate: int = ROWS_PER_ORDINATE) -> int:
    """Periodogram ordinates on which the long-run variance of overlapping rows may rest.

    Coroneo and Iacone (2020) take floor(n^(1/3)), for losses that one period separates. Losses that overlap by a
    horizon have a flat spectrum only well below one cycle a horizon, so that no more than one ordinate per
    `rows_per_ordinate` horizons is used, and at least one.

    Args:
        n: rows.
        horizon_rows: rows that one horizon spans.
        rows_per_ordinate: horizons of rows per ordinate.
    """
    return max(1, min(int(n ** (1 / 3) + 1e-9), n // (rows_per_ordinate * horizon_rows)))


def resample(n: int, horizon_rows: int, *, seed: int, draws: int = DRAWS) -> Resamples:
    """Draw rows by the stationary bootstrap, blocks of one horizon on average.

    Args:
        n: rows, in time order.
        horizon_rows: rows that one horizon spans (months x 21 for daily rows).
        seed: of the generator.
        draws: number of draws.

    Raises:
        ModelError: there are no rows, or the horizon is shorter than one row.
    """
    from arch.bootstrap import StationaryBootstrap

    if n < 1 or horizon_rows < 1:
        raise ModelError(f"{n} rows, horizon of {horizon_rows}", "both must be positive.", "pass scored daily rows.")
    bootstrap = StationaryBootstrap(horizon_rows, np.arange(n), seed=np.random.default_rng(seed))
    counts = [np.bincount(bootstrap.update_indices(), minlength=n) for _ in range(draws)]
    return Resamples(np.array(counts) / n, horizon_rows, 2 * ordinates(n, horizon_rows))


def ratio_interval(
    resamples: Resamples, losses: np.ndarray, rival_losses: np.ndarray, *, root: bool = True, level: float = LEVEL
) -> Interval:
    """Mean loss of an entry as a ratio to another's on the same rows; below 1 the entry is better.

    Args:
        resamples: draws of these rows.
        losses: [n] squared errors of log returns (or CRPS with `root=False`), positive on average.
        rival_losses: [n] those of the last price or of another entry.
        root: take square roots of the means, which makes an RMSE ratio.
        level: nominal coverage.

    Raises:
        ModelError: an array has another length or a missing value.
    """
    _require_rows(resamples, losses, rival_losses)
    power = 0.5 if root else 1.0
    log_ratio = power * np.log(losses.mean() / rival_losses.mean())
    drawn = resamples.weights @ np.column_stack([losses, rival_losses])
    drawn = power * np.log(drawn[:, 0] / drawn[:, 1])
    half = _half_width(resamples, drawn, level)
    low, middle, high = np.exp([log_ratio - half, log_ratio, log_ratio + half])
    return Interval(float(middle), float(low), float(high), level, resamples.n, resamples.n_eff)


def share_interval(
    resamples: Resamples, hits: np.ndarray, *, counted: np.ndarray | None = None, level: float = LEVEL
) -> Interval:
    """Share of rows that hit: directional accuracy, or coverage of an interval; bounds are cut at 0 and 1.

    Args:
        resamples: draws of these rows.
        hits: [n] true or false.
        counted: [n] rows that count, all of them by default; for direction, those where neither the
            forecast nor the outcome is zero.
        level: nominal coverage.

    Returns:
        The interval; wholly missing if no row counts, its bounds missing if all rows hit or none does, since draws
        of equal rows say nothing. A draw in which no row counts is left out.

    Raises:
        ModelError: an array has another length or a missing value.
    """
    valid = np.ones(resamples.n) if counted is None else np.asarray(counted, float)
    hit = np.asarray(hits, float)
    _require_rows(resamples, hit, valid)
    if not valid.any():
        return Interval(_MISSING, _MISSING, _MISSING, level, 0, 0.0)
    share = float(hit @ valid / valid.sum())
    drawn = resamples.weights @ np.column_stack([hit * valid, valid])
    drawn = drawn[drawn[:, 1] > 0]
    half = _half_width(resamples, drawn[:, 0] / drawn[:, 1], level) if 0 < share < 1 else _MISSING
    n = int(valid.sum())
    low, high = np.clip([share - half, share + half], 0.0, 1.0)
    return Interval(share, float(low), float(high), level, n, n / resamples.horizon_rows)


def spread_factor(degrees: int, level: float) -> float:
    """How much wider than its draws a figure really spreads: t over normal quantile, times `OVERLAP_FACTOR`.

    Args:
        degrees: degrees of freedom, twice the periodogram ordinates.
        level: two-sided coverage.
    """
    tail = 0.5 + level / 2
    return float(OVERLAP_FACTOR * stdtrit(degrees, tail) / ndtri(tail))


def _half_width(resamples: Resamples, drawn: np.ndarray, level: float) -> float:
    if resamples.n_eff < MIN_BLOCKS:
        return _MISSING
    return float(stdtrit(resamples.degrees, 0.5 + level / 2) * OVERLAP_FACTOR * drawn.std())


def _require_rows(resamples: Resamples, *columns: np.ndarray) -> None:
    for column in columns:
        if column.shape != (resamples.n,) or not np.isfinite(column).all():
            raise ModelError(
                f"array of shape {column.shape}",
                f"it must hold one known value for each of the {resamples.n} resampled rows.",
                "score the rows that all entries share, with known outcomes.",
            )
