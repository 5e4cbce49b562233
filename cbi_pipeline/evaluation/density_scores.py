"""Scores of the whole forecast density, from the seven quantiles that every row carries.

Belongs here: CRPS, pinball loss, PIT, coverage and width of rows as they are. Correcting a density belongs
in `calibration.py`. Everything is measured in log price, so that no price level dominates.

Two figures are not in the quantiles and are approximated, the same way for every entry:
- CRPS is twice the mean pinball loss over the seven levels. The levels are uneven and stop at 5 and 95 %, so that a
  calibrated normal scores 0.806 of its exact CRPS. It serves to rank entries and for ratios.
- The 95 % interval needs quantiles 2.5 and 97.5. Each side is the outer quantile's distance from the median times
  z(0.975) / z(0.95) = 1.192: exact for a normal in log price, a statement about its tail for any other density.

References:
    CRPS from quantiles: Berrisch and Ziel (2023), Journal of Econometrics 237(2), 105221. Exact CRPS and PIT:
    Gneiting and Raftery (2007), JASA 102(477); Gneiting, Balabdaoui and Raftery (2007), JRSS B 69(2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import ndtri

from cbi_pipeline.contracts import QUANTILES
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.metrics import INTERVALS, coverage, effective_n

LEVELS: Final = np.array(QUANTILES)
NOMINAL: Final = (*INTERVALS, 95)
"""Central intervals that are scored, in percent; 95 is extrapolated."""
DENSITY_METRICS: Final = (
    "crps",
    "crps_ratio",
    "pinball",
    *(f"coverage_{nominal}" for nominal in NOMINAL),
    *(f"relative_width_{nominal}" for nominal in INTERVALS),
)
BAND_NAMES: Final = ("<5", "5-10", "10-25", "25-50", "50-75", "75-90", "90-95", ">95")
NOMINAL_BAND_SHARES: Final = np.diff([0.0, *QUANTILES, 1.0])

_MEDIAN: Final = QUANTILES.index(0.5)
_TAIL_95: Final = float(ndtri(0.975) / ndtri(QUANTILES[-1]))


@dataclass(frozen=True, slots=True)
class Pit:
    """Probability integral transform of n outcomes, as far as seven quantiles tell.

    Attributes:
        value: [n] 0.05 to 0.95, linear between neighbouring quantiles; missing in the outer bands.
        below: bool [n]; the outcome is under the 5 % quantile: the PIT is somewhere in 0 to 0.05.
        above: bool [n]; the outcome is over the 95 % quantile: the PIT is somewhere in 0.95 to 1.
    """

    value: np.ndarray
    below: np.ndarray
    above: np.ndarray


def pinball(realised: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Pinball loss of every quantile.

    Args:
        realised: [n] outcomes.
        quantiles: [n, 7] at `contracts.QUANTILES`, same unit.

    Returns:
        [n, 7], unit of the outcomes.
    """
    miss = realised[:, None] - quantiles
    return np.maximum(LEVELS * miss, (LEVELS - 1) * miss)


def crps(realised: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """CRPS of every row, approximated as twice the mean pinball loss (see the head of this module).

    Arguments as of `pinball`; [n], unit of the outcomes.
    """
    return 2 * pinball(realised, quantiles).mean(axis=1)


def pit(realised: np.ndarray, quantiles: np.ndarray) -> Pit:
    """Where each outcome falls in its density. Arguments as of `pinball`, quantiles ordered."""
    below, above = realised < quantiles[:, 0], realised > quantiles[:, -1]
    inside = ~(below | above)
    value = np.full(len(realised), np.nan)
    value[inside] = [
        np.interp(outcome, row, LEVELS) for outcome, row in zip(realised[inside], quantiles[inside], strict=True)
    ]
    return Pit(value=value, below=below, above=above)


def band_shares(realised: np.ndarray, quantiles: np.ndarray) -> pd.Series:
    """Share of outcomes between neighbouring quantiles, the PIT histogram that needs no interpolation.

    Arguments as of `pinball`. Index `BAND_NAMES` in percent; `NOMINAL_BAND_SHARES` if calibrated. An outcome equal
    to a quantile counts to the band under it.
    """
    band = (realised[:, None] > quantiles).sum(axis=1)
    return pd.Series(np.bincount(band, minlength=len(BAND_NAMES)) / len(band), index=list(BAND_NAMES))


def interval(quantiles: np.ndarray, nominal: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound [n] of a central interval of `NOMINAL`, in percent, from log quantiles [n, 7]."""
    if nominal in INTERVALS:
        low, high = (QUANTILE_COLUMNS.index(name) for name in INTERVALS[nominal])
        return quantiles[:, low], quantiles[:, high]
    if nominal not in NOMINAL:
        raise ModelError(f"{nominal} % interval", f"only {NOMINAL} are defined.", "ask for one of these.")
    median = quantiles[:, _MEDIAN]
    return median - _TAIL_95 * (median - quantiles[:, 0]), median + _TAIL_95 * (quantiles[:, -1] - median)


def coverage_band(nominal: int, n: int, horizon_months: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where the coverage of a calibrated interval may lie by chance, 0 to 1.

    Normal approximation of a binomial with n / horizon independent outcomes, cut at 0 and 1; rough below ten of them.

    Args:
        nominal: percent.
        n: scored rows.
        horizon_months: their horizon.
        confidence: probability of the band, 0 to below 1.
    """
    share = nominal / 100
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(share * (1 - share) / effective_n(n, horizon_months))
    return max(0.0, share - reach), min(1.0, share + reach)


def log_quantiles(rows: pd.DataFrame) -> np.ndarray:
    """Log price quantiles [n, 7] of out-of-fold rows."""
    return np.log(rows[list(QUANTILE_COLUMNS)].to_numpy(float))


def density_scores_of(rows: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """All `DENSITY_METRICS` of one entry at one horizon.

    Args:
        rows: scored rows (`OUT_OF_FOLD_COLUMNS`), every `realised_price` known, at least one.
        reference: rows of the last price with its EWMA volatility (entry `last_price`), same horizon, at least the
            dates of `rows`; the measure of `crps_ratio` and of the widths.

    Returns:
        CRPS and pinball in log price; coverages 0 to 1; `crps_ratio` and `relative_width_*`, a mean over the
        reference's mean, below 1 is sharper.

    Raises:
        ModelError: the reference lacks a date.
    """
    dates = pd.DatetimeIndex(rows["as_of_date"])
    by_date = reference.set_index("as_of_date")
    if not dates.isin(by_date.index).all() or not by_date.index.is_unique:
        raise ModelError(
            "reference of the density scores",
            "it needs exactly one row for each scored date.",
            "pass the last price's rows of the same folds and horizon.",
        )
    realised = np.log(rows["realised_price"].to_numpy(float))
    own, last_price = log_quantiles(rows), log_quantiles(by_date.loc[dates])
    score = float(crps(realised, own).mean())
    scores = {
        "crps": score,
        "crps_ratio": score / float(crps(realised, last_price).mean()),
        "pinball": float(pinball(realised, own).mean()),
    }
    for nominal in NOMINAL:
        scores[f"coverage_{nominal}"] = coverage(*interval(own, nominal), realised)
    for nominal in INTERVALS:
        scores[f"relative_width_{nominal}"] = mean_width(own, nominal) / mean_width(last_price, nominal)
    return scores


def mean_width(quantiles: np.ndarray, nominal: int) -> float:
    """Mean width in log price of a central interval in percent; log quantiles [n, 7]."""
    low, high = interval(quantiles, nominal)
    return float(np.mean(high - low))
