"""Which density stands around an entry's median: the candidates, the written rule that picks one, and its use.

Belongs here: the choice and what it does to quantiles. How a density is corrected is `calibration`'s business, how it
is scored that of `density_scores` and `density_table`.

Candidates share the median and differ in the quantiles around it:
- `normal`: normal in log price with the EWMA variance of `modeling.volatility.density_sigma`, as every row is made;
- `network`: the network's quantile heads, in units of that sigma;
- `calibrated`, `network_calibrated`: either of them with its own conformal corrections (`calibration.calibrate`).

The rule, per horizon: the normal serves until another candidate has beaten it beyond chance. Judged are the rows whose
target date lies before the day of the choice, by a paired one-sided Diebold-Mariano test of CRPS with fixed smoothing;
the level is shared among the candidates (Bonferroni). Of several that pass, the one with the lowest mean CRPS serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.evaluation.calibration import calibrate, corrected_quantiles, corrections_on, spread
from cbi_pipeline.evaluation.density_scores import crps, log_quantiles
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH
from cbi_pipeline.evaluation.shrinkage import MIN_BLOCKS
from cbi_pipeline.evaluation.significance import diebold_mariano

Density = Literal["normal", "network", "calibrated", "network_calibrated"]
NORMAL: Final[Density] = "normal"
RIVALS: Final[tuple[Density, ...]] = ("network", "calibrated", "network_calibrated")
DENSITIES: Final[tuple[Density, ...]] = (NORMAL, *RIVALS)
LEVEL: Final = 0.05
"""Probability that any candidate without merit replaces the normal at one horizon on one day of choice."""

BY_NETWORK: Final[tuple[Density, ...]] = ("network", "network_calibrated")
"""Those for which the network's quantile heads count."""
_CALIBRATED: Final = ("calibrated", "network_calibrated")


class ServedDensity(BaseModel):
    """The density of one horizon.

    Attributes:
        density: which candidate.
        corrections: of the intervals of `metrics.INTERVALS` on each side, in units of `calibration.spread`; None where
            the intervals stay as they are.
        reason: one sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    density: Density
    corrections: tuple[float, float, float] | None
    reason: str


def served_quantiles(served: ServedDensity, normal: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Quantiles of the density that serves.

    Args:
        served: the choice.
        normal: [n, 7] log price, of the normal around the forecast.
        offsets: [n, 7] the network's quantiles less its median, in units of the normal's sigma.

    Returns:
        [n, 7] log price, each row ascending, the median unchanged.
    """
    own = _network_quantiles(normal, offsets) if served.density in BY_NETWORK else normal
    if served.corrections is None:
        return own
    return corrected_quantiles(own, np.broadcast_to(served.corrections, (len(own), len(served.corrections))))


def candidate_rows(rows: pd.DataFrame, offsets: np.ndarray) -> dict[Density, pd.DataFrame]:
    """The rows of one entry with the quantiles of each candidate, corrections as they were known on each as-of date.

    Args:
        rows: `OUT_OF_FOLD_COLUMNS`, n of them, with the normal's quantiles.
        offsets: [n, 7] as of `served_quantiles`.
    """
    network = with_quantiles(rows, _network_quantiles(log_quantiles(rows), offsets))
    return {
        "normal": rows,
        "network": network,
        "calibrated": calibrate(rows).rows,
        "network_calibrated": calibrate(network).rows,
    }


def with_quantiles(rows: pd.DataFrame, quantiles: np.ndarray) -> pd.DataFrame:
    """Rows [n] with other log quantiles [n, 7]."""
    return rows.assign(**dict(zip(QUANTILE_COLUMNS, np.exp(quantiles).T, strict=True)))


def choose_density(candidates: Mapping[Density, pd.DataFrame], horizon: int, before: pd.Timestamp) -> ServedDensity:
    """The candidate that the rule picks on a day, without corrections.

    Args:
        candidates: as of `candidate_rows`.
        horizon: months.
        before: the day; rows with a target date on or after it are left out.
    """
    rows = candidates[NORMAL]
    known = ((rows["horizon_months"] == horizon) & (rows["target_date"] < before)).to_numpy()
    known &= rows["realised_price"].notna().to_numpy()
    span, n = horizon * SESSIONS_PER_MONTH, int(known.sum())
    if n < MIN_BLOCKS * span:
        reason = f"{n} rows of known outcome, fewer than {MIN_BLOCKS} independent periods"
        return ServedDensity(density=NORMAL, corrections=None, reason=reason)
    order = np.flatnonzero(known)[np.argsort(rows["as_of_date"].to_numpy()[known], kind="stable")]
    realised = np.log(rows["realised_price"].to_numpy(float)[order])
    losses = {name: crps(realised, log_quantiles(own.iloc[order])) for name, own in candidates.items()}
    p = {name: diebold_mariano(losses[name], losses[NORMAL], span).p_less for name in RIVALS}
    needed = LEVEL / len(RIVALS)
    better = [name for name in RIVALS if p[name] < needed]
    if not better:
        nearest = min(RIVALS, key=lambda name: p[name])
        reason = f"nothing beats the normal beyond chance: nearest is {nearest}, p = {p[nearest]:.2f}"
        return ServedDensity(density=NORMAL, corrections=None, reason=f"{reason}, needed {needed:.3f}")
    best = min(better, key=lambda name: float(losses[name].mean()))
    ratio = losses[best].mean() / losses[NORMAL].mean()
    reason = f"CRPS is {ratio:.3f} of the normal's, p = {p[best]:.4f}"
    return ServedDensity(density=best, corrections=None, reason=reason)


def rows_by_rule(
    candidates: Mapping[Density, pd.DataFrame], starts: Mapping[str, pd.Timestamp]
) -> tuple[pd.DataFrame, dict[tuple[str, int], ServedDensity]]:
    """The entry's rows with the density that the rule would have picked at the start of each fold.

    Args:
        candidates: as of `candidate_rows`.
        starts: test start by fold.

    Returns:
        The rows in their order, and the choice by fold and horizon.
    """
    chosen = {
        (fold, h): choose_density(candidates, h, start) for fold, start in starts.items() for h in HORIZONS_MONTHS
    }
    rows = candidates[NORMAL].copy()
    keys = list(zip(rows["fold"], rows["horizon_months"], strict=True))
    names = np.array([chosen[key].density for key in keys])
    for name in RIVALS:
        own = names == name
        rows.loc[own, list(QUANTILE_COLUMNS)] = candidates[name].loc[own, list(QUANTILE_COLUMNS)]
    return rows, chosen


def serving_densities(candidates: Mapping[Density, pd.DataFrame], day: pd.Timestamp) -> dict[int, ServedDensity]:
    """What serves from a day on, by horizon: the choice, with the corrections that the record had earned by then.

    A model keeps them until its next refit.

    Args:
        candidates: as of `candidate_rows`, of the entry's whole record.
        day: as-of date of the first forecast.
    """
    served = {}
    for horizon in HORIZONS_MONTHS:
        choice = choose_density(candidates, horizon, day)
        if choice.density in _CALIBRATED:
            uncorrected = candidates["network" if choice.density in BY_NETWORK else NORMAL]
            found = corrections_on(uncorrected[uncorrected["horizon_months"] == horizon], day)
            earned = tuple(found["correction"]) if found["applied"].all() else None
            choice = choice.model_copy(update={"corrections": earned})
        served[horizon] = choice
    return served


def _network_quantiles(normal: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Median of the normal [n, 7], offsets [n, 7] in units of its sigma."""
    median = normal[:, [QUANTILE_COLUMNS.index("q50")]]
    return median + spread(normal)[:, None] * offsets
