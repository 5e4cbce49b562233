"""Split-conformal calibration of the central intervals, updated through time as outcomes become known.

Belongs here: from an entry's out-of-fold record to the corrections that its next forecast deserves. No model.

Conformalized quantile regression (Romano, Patterson and Candes 2019, NeurIPS 32, section 4), per entry, horizon and
interval. The score of a row is how far its outcome fell outside the interval, `max(low - y, y - high)` in log price,
in units of the row's own spread, so that a correction scales with volatility; negative inside. The interval grows on
both sides by a quantile of the scores of all rows whose target date lies before the as-of date: an h-month label
teaches h months late. Choices:

- Symmetric, one quantile an interval: with 10 to 50 independent periods a record cannot say which tail is wrong
  (their theorem 2 would need 19 of them for each 5 % tail).
- The finite-sample level `(1 - alpha)(1 + 1 / n)` takes the number of rows that do not overlap for n. That is exact if
  rows within a horizon were copies of each other, and wider than needed since they are not quite.
- Below `MIN_N_EFF` no interval is corrected: the quantiles stay as they are, with the reason.
- A correction has to earn its place, as a network has. It is applied while an interval's record lies outside the band
  that chance allows (`coverage_band`), or while the corrected rows whose outcome is known have a lower pinball loss
  than the same rows as they were, over at least one independent period. A calibrated density would only grow wider.
- The record is assumed exchangeable with the future; regimes break that, so that coverage is a measurement and no
  guarantee (Barber, Candes, Ramdas and Tibshirani 2023, Annals of Statistics 51(2)).
- Own code, some thirty lines: MAPIE 1.6 has CQR for one fixed calibration set only, and its time series (EnbPI, ACI)
  take an outcome the step after its forecast, around point regressors that it fits itself.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import ndtri

from cbi_pipeline.contracts import QUANTILES
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.density_scores import coverage_band, interval, log_quantiles, pinball
from cbi_pipeline.evaluation.metrics import INTERVALS, SESSIONS_PER_MONTH

MIN_N_EFF: Final = 9
"""Independent periods below which the finite-sample level of the 90 % interval would exceed one."""
MIN_EVIDENCE: Final = 1
"""Independent periods of corrected rows with a known outcome before a correction can have earned its place."""
TOO_FEW: Final = f"independent periods are known, {MIN_N_EFF} are needed"
NOT_EARNED: Final = "coverage has been within its band, and corrected intervals have not scored better so far"
CORRECTION_COLUMNS: Final = (
    "entry",
    "horizon_months",
    "as_of_date",
    "interval",
    "correction",
    "applied",
    "rows",
    "n_eff",
    "reason",
)

_MEDIAN: Final = QUANTILES.index(0.5)
_SPREADS_IN_90: Final = 2 * float(ndtri(QUANTILES[-1]))


@dataclass(frozen=True)
class Calibration:
    """Calibrated rows and what was done to them.

    Attributes:
        rows: the rows given, in their order, with corrected quantiles where a correction was applied.
        corrections: `CORRECTION_COLUMNS`, one row for each row given and interval in percent: `correction` of each
            side in units of the row's spread, missing if there is too little history; whether it was `applied` and,
            if not, the `reason`; `rows` matured by then, `n_eff` of them that do not overlap.
    """

    rows: pd.DataFrame
    corrections: pd.DataFrame


def spread(quantiles: np.ndarray) -> np.ndarray:
    """Unit of scores and corrections [n]: the 90 % interval of log quantiles [n, 7] in standard deviations of a normal.

    It is the density's sigma where the density is normal.
    """
    return (quantiles[:, -1] - quantiles[:, 0]) / _SPREADS_IN_90


def conformity_scores(quantiles: np.ndarray, realised: np.ndarray) -> np.ndarray:
    """How far each outcome lies outside each interval of `INTERVALS`, negative inside.

    Args:
        quantiles: [n, 7] log price.
        realised: [n] log price, missing until known.

    Returns:
        [n, 3] units of `spread`.
    """
    bounds = [interval(quantiles, nominal) for nominal in INTERVALS]
    outside = [np.maximum(low - realised, realised - high) for low, high in bounds]
    return np.column_stack(outside) / spread(quantiles)[:, None]


def correction(ordered_scores: list[float], nominal: int, overlap: int) -> float:
    """The score that the interval has to grow by: the order statistic of rank `(n + overlap) x nominal`, rounded up.

    With `overlap` 1 it is the paper's; in general its level is `(1 - alpha)(1 + overlap / n)`.

    Args:
        ordered_scores: [n] known scores of one interval, ascending, at least `MIN_N_EFF` x `overlap`.
        nominal: the interval, percent.
        overlap: rows in one independent period, the horizon in sessions.
    """
    rank = -(-nominal * (len(ordered_scores) + overlap) // 100)
    return ordered_scores[rank - 1]


def corrected_quantiles(quantiles: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """Intervals grown by their corrections, in order: no interval ends inside a narrower one, or before the median.

    Args:
        quantiles: [n, 7] log price.
        corrections: [n, 3] units of `spread`, intervals as in `INTERVALS`.

    Returns:
        [n, 7] log price, each row ascending, the median unchanged; missing where a correction is.
    """
    grown, result = corrections * spread(quantiles)[:, None], quantiles.copy()
    for k, (low, high) in enumerate(INTERVALS.values()):
        result[:, QUANTILE_COLUMNS.index(low)] -= grown[:, k]
        result[:, QUANTILE_COLUMNS.index(high)] += grown[:, k]
    result[:, _MEDIAN:] = np.maximum.accumulate(result[:, _MEDIAN:], axis=1)
    result[:, _MEDIAN::-1] = np.minimum.accumulate(result[:, _MEDIAN::-1], axis=1)
    return result


@dataclass(frozen=True, slots=True)
class _Record:
    """Rows of one entry at one horizon, as-of dates [n] ascending, target dates [n]."""

    as_of: np.ndarray
    target: np.ndarray
    horizon_months: int

    def matured(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows with a value [n], by target date, and how many of them each row could know: target before its as-of."""
        known = np.flatnonzero(~np.isnan(values))
        known = known[np.argsort(self.target[known], kind="stable")]
        return known, np.searchsorted(self.target[known], self.as_of, side="left")

    @property
    def overlap(self) -> int:
        """Rows in one independent period."""
        return self.horizon_months * SESSIONS_PER_MONTH


def _candidates(scores: np.ndarray, record: _Record) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What was known at each as-of date.

    Returns:
        Corrections [n, 3], missing below `MIN_N_EFF`; whether an interval had a coverage that chance does not explain
        [n]; matured rows [n].
    """
    known, matured = record.matured(scores[:, 0])
    ordered: list[list[float]] = [[] for _ in INTERVALS]
    found, outside = np.full(scores.shape, np.nan), np.zeros(len(scores), bool)
    for row, count in enumerate(matured):
        for new in known[len(ordered[0]) : count]:
            for own, score in zip(ordered, scores[new].tolist(), strict=True):
                insort(own, score)
        if count >= MIN_N_EFF * record.overlap:
            known_scores = list(zip(ordered, INTERVALS, strict=True))
            found[row] = [correction(own, nominal, record.overlap) for own, nominal in known_scores]
            outside[row] = any(_outside_band(own, nominal, record.horizon_months) for own, nominal in known_scores)
    return found, outside, matured


def _outside_band(ordered_scores: list[float], nominal: int, horizon_months: int) -> bool:
    low, high = coverage_band(nominal, len(ordered_scores), horizon_months)
    return not low <= bisect_right(ordered_scores, 0.0) / len(ordered_scores) <= high


def _earned(gain: np.ndarray, record: _Record) -> np.ndarray:
    """Whether the corrected rows whose outcome was known by each as-of date scored better in sum, bool [n].

    Args:
        gain: [n] pinball loss of the row as it was less that of the corrected row, missing until known.
        record: the rows.
    """
    known, matured = record.matured(gain)
    total = np.concatenate([[0.0], np.cumsum(gain[known])])[matured]
    return (total > 0) & (matured >= MIN_EVIDENCE * record.overlap)


def calibrate(rows: pd.DataFrame, *, always: bool = False) -> Calibration:
    """Out-of-fold rows with the intervals that each entry's own record had earned by each as-of date.

    For a forecast to be served, pass it with its entry's record: its outcome is missing, and nothing else differs.

    Args:
        rows: `OUT_OF_FOLD_COLUMNS`, any entries and horizons; the longer the record before a date the better.
        always: apply every correction there is, earned or not.

    Raises:
        ModelError: an entry has two rows of one as-of date and horizon.
    """
    keys = ["entry", "horizon_months", "as_of_date"]
    if rows.duplicated(keys).any():
        raise ModelError(
            "rows to calibrate",
            "an entry has one row for an as-of date and horizon.",
            "pass folds whose test spans do not overlap.",
        )
    quantiles, realised = log_quantiles(rows), np.log(rows["realised_price"].to_numpy(float))
    scores = conformity_scores(quantiles, realised)
    found, matured, applied = np.full(scores.shape, np.nan), np.zeros(len(rows), int), np.zeros(len(rows), bool)
    corrected = quantiles.copy()
    by_date = rows[[*keys, "target_date"]].assign(position=np.arange(len(rows))).sort_values("as_of_date")
    for _, own in by_date.groupby(["entry", "horizon_months"], sort=False):
        at, horizon = own["position"].to_numpy(), int(own["horizon_months"].iloc[0])
        record = _Record(own["as_of_date"].to_numpy(), own["target_date"].to_numpy(), horizon)
        found[at], outside, matured[at] = _candidates(scores[at], record)
        corrected[at] = corrected_quantiles(quantiles[at], found[at])
        gain = (pinball(realised[at], quantiles[at]) - pinball(realised[at], corrected[at])).mean(axis=1)
        applied[at] = ~np.isnan(found[at, 0]) & (always | outside | _earned(gain, record))
    result = rows.copy()
    result.loc[applied, list(QUANTILE_COLUMNS)] = np.exp(corrected[applied])
    return Calibration(rows=result, corrections=_corrections_frame(rows[keys], found, applied, matured))


def corrections_on(rows: pd.DataFrame, day: pd.Timestamp) -> pd.DataFrame:
    """What a forecast made on a day deserves, from the record of its entry before that day.

    Args:
        rows: `OUT_OF_FOLD_COLUMNS`, any entries and horizons, uncorrected.
        day: as-of date of the forecast.

    Returns:
        `CORRECTION_COLUMNS`, one row per entry, horizon and interval, in the order of `metrics.INTERVALS`; empty for
        an entry without an earlier row.
    """
    before = rows[rows["as_of_date"] < day]
    newest = before.sort_values("as_of_date").groupby(["entry", "horizon_months"], sort=False).tail(1)
    asked = newest.assign(as_of_date=day, realised_price=np.nan)
    found = calibrate(pd.concat([before, asked], ignore_index=True)).corrections
    return found[found["as_of_date"] == day].reset_index(drop=True)


def _corrections_frame(keys: pd.DataFrame, found: np.ndarray, applied: np.ndarray, matured: np.ndarray) -> pd.DataFrame:
    """`CORRECTION_COLUMNS` of n rows: corrections [n, 3], whether applied [n], matured rows [n]."""
    n_eff = matured / (keys["horizon_months"].to_numpy() * SESSIONS_PER_MONTH)
    history = keys.assign(applied=applied, rows=matured, n_eff=n_eff)
    history["reason"] = [
        "" if made else f"{value:.1f} {TOO_FEW}" if value < MIN_N_EFF else NOT_EARNED
        for value, made in zip(n_eff, applied, strict=True)
    ]
    frames = [history.assign(interval=nominal, correction=found[:, k]) for k, nominal in enumerate(INTERVALS)]
    return pd.concat(frames, ignore_index=True)[list(CORRECTION_COLUMNS)]
