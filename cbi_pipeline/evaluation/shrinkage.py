"""The lambda rule: how much of the network's residual has earned its place in the forecast.

Belongs here: the choice of `lambda_h` from matured out-of-sample residuals of earlier folds. No model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH

CANDIDATES: Final = (0.0, 0.1, 0.25)
MIN_ROWS: Final = 252
MIN_BLOCKS: Final = 3
"""Blocks of one horizon's length below which a standard error means nothing."""
CONFIDENCE: Final = 0.95
BLOCK_CORRELATION_FACTOR: Final = 1.25
"""Measured on the five folds' residual targets with networks of pure noise: 1.22 at 3 months, 1.27 at 12 months.
With it and `CONFIDENCE`, noise earns a weight in 1 to 4 % of trials per horizon; with a bar of one standard error it
did in 18 to 34 %."""
RESIDUAL_COLUMNS: Final = ("fold", "as_of_date", "horizon_months", "target_date", "residual", "network")
"""Columns of the out-of-fold residual frame: `residual` = (log realised - log anchor forecast) / sigma_h,
missing until the target date; `network` = the network's bounded output 0.35 tanh(.), sigma units."""


@dataclass(frozen=True, slots=True)
class LambdaEvidence:
    """Matured out-of-sample rows of one horizon.

    Attributes:
        residual: [n] anchored residual target, in units of sigma_h.
        network: [n] the network's residual forecast, in units of sigma_h.
        dates: [n] as-of dates.
    """

    residual: np.ndarray
    network: np.ndarray
    dates: pd.DatetimeIndex


@dataclass(frozen=True, slots=True)
class LambdaChoice:
    """The chosen weight and why.

    Attributes:
        lambda_h: the weight, one of the candidates.
        rows: matured rows of evidence.
        blocks: blocks of one horizon's length that the standard error rests on.
        losses: mean squared residual error per candidate (sigma units squared); empty if not enough evidence.
        improvement, standard_error: of the best positive candidate over lambda = 0; None if not computed.
        reason: one sentence.
    """

    lambda_h: float
    rows: int
    blocks: int
    losses: dict[float, float]
    improvement: float | None
    standard_error: float | None
    reason: str


def known_evidence(oof_network: pd.DataFrame, before: pd.Timestamp) -> dict[int, LambdaEvidence]:
    """Evidence per horizon that is known before a date.

    Args:
        oof_network: `RESIDUAL_COLUMNS` of earlier folds' test rows.
        before: the fold's test start; rows with a target date on or after it are left out.

    Returns:
        One `LambdaEvidence` per horizon in months, sorted by as-of date, possibly empty.
    """
    matured = oof_network[(oof_network["target_date"] < before) & oof_network["residual"].notna()]
    matured = matured.sort_values("as_of_date", kind="stable")
    by_horizon = {h: matured[matured["horizon_months"] == h] for h in HORIZONS_MONTHS}
    return {
        h: LambdaEvidence(
            residual=rows["residual"].to_numpy(float),
            network=rows["network"].to_numpy(float),
            dates=pd.DatetimeIndex(rows["as_of_date"]),
        )
        for h, rows in by_horizon.items()
    }


def block_standard_error(values: np.ndarray, block_rows: int) -> tuple[float | None, int]:
    """Standard error of the mean of overlapping rows, from means of consecutive blocks.

    Rows within one horizon of each other share price moves. Means over adjacent blocks of a horizon's length still
    correlate (1/4 for moving sums), so that their standard deviation / sqrt(blocks) is too small by
    `BLOCK_CORRELATION_FACTOR`; `choose_lambda` allows for it.

    Args:
        values: [n] in time order.
        block_rows: rows of one horizon.

    Returns:
        The standard error (None below two blocks) and the number of blocks, n // block_rows, nearly equal in size.
    """
    blocks = len(values) // block_rows
    if blocks < 2:
        return None, blocks
    means = np.array([block.mean() for block in np.array_split(values, blocks)])
    return float(means.std(ddof=1) / np.sqrt(blocks)), blocks


def choose_lambda(
    evidence: LambdaEvidence, horizon_months: int, candidates: Sequence[float] = CANDIDATES
) -> LambdaChoice:
    """The weight of the network's residual at one horizon.

    Zero unless there are `MIN_ROWS` matured rows and `MIN_BLOCKS` blocks of one horizon's length, and the
    candidate with the lowest mean of `(residual - lambda * network)^2` improves on lambda = 0 by more than the
    one-sided `CONFIDENCE` quantile of Student's t (blocks - 1 degrees of freedom) times the block standard error of
    the row-wise improvement, widened by `BLOCK_CORRELATION_FACTOR`. Ties go to the smaller weight.
    """
    rows, block_rows = len(evidence.dates), horizon_months * SESSIONS_PER_MONTH
    blocks = rows // block_rows
    if rows < MIN_ROWS or blocks < MIN_BLOCKS:
        reason = (
            f"{rows} matured rows in {blocks} blocks of {horizon_months} months, "
            f"fewer than {MIN_ROWS} rows or {MIN_BLOCKS} blocks"
        )
        return LambdaChoice(0.0, rows, blocks, {}, None, None, reason)
    squared = {c: (evidence.residual - c * evidence.network) ** 2 for c in sorted({0.0, *candidates})}
    losses = {c: float(error.mean()) for c, error in squared.items()}
    best = min(losses, key=lambda c: (losses[c], c))
    if best == 0.0:
        return LambdaChoice(0.0, rows, blocks, losses, None, None, "no weight above 0 has the lower error")
    gain = squared[0.0] - squared[best]
    improvement = float(gain.mean())
    standard_error, blocks = block_standard_error(gain, block_rows)
    if standard_error is None:
        return LambdaChoice(0.0, rows, blocks, losses, improvement, None, "too few blocks for a standard error")
    needed = BLOCK_CORRELATION_FACTOR * float(stdtrit(blocks - 1, CONFIDENCE)) * standard_error
    earned = improvement > needed
    verdict = "more" if earned else "no more"
    reason = f"{best:g} improves by {improvement:.4f}, {verdict} than the {needed:.4f} that chance explains"
    return LambdaChoice(best if earned else 0.0, rows, blocks, losses, improvement, standard_error, reason)
