"""The densities of an entry side by side: CRPS against the normal's, coverage, width, and PIT.

Belongs here: which figures stand in that table, and the test of the PIT. The figures of one density are made in
`density_scores`, the choice among densities in `densities`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.bootstrap import ratio_interval, resample
from cbi_pipeline.evaluation.densities import NORMAL
from cbi_pipeline.evaluation.density_scores import (
    BAND_NAMES,
    LEVELS,
    NOMINAL_BAND_SHARES,
    band_shares,
    crps,
    density_scores_of,
    log_quantiles,
)
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH, effective_n, metrics_of
from cbi_pipeline.evaluation.significance import diebold_mariano

INTERVAL_LEVEL: Final = 0.90
PIT_COLUMNS: Final = tuple(f"pit {name} %" for name in BAND_NAMES)
_SEED: Final = 0
_MIDDLES: Final = (np.array([0.0, *LEVELS]) + np.array([*LEVELS, 1.0])) / 2
"""Middle of each band between neighbouring quantiles: under a calibrated density its mean is exactly one half."""


def uniformity_p(realised: np.ndarray, quantiles: np.ndarray, horizon_rows: int) -> float:
    """p-value of a uniform PIT: two-sided tests that it is centred and as wide as it should be, Bonferroni of the two.

    Raw moments as in Knueppel (2015, Journal of Business and Economic Statistics 33(2)), the first and the absolute
    second, of the middle of the band that each outcome falls in, so that nothing is interpolated; with the fixed
    smoothing of `diebold_mariano`, since overlapping outcomes share their fate.

    Args:
        realised: [n] log price, in time order.
        quantiles: [n, 7] log price.
        horizon_rows: rows that one horizon spans.

    Returns:
        Missing with fewer horizons of rows than the test needs.
    """
    middle = _MIDDLES[(realised[:, None] > quantiles).sum(axis=1)]
    width = float(np.abs(_MIDDLES - 0.5) @ NOMINAL_BAND_SHARES)
    centred = diebold_mariano(middle, np.full(len(middle), 0.5), horizon_rows).p_two_sided
    wide = diebold_mariano(np.abs(middle - 0.5), np.full(len(middle), width), horizon_rows).p_two_sided
    return float(np.minimum(1.0, 2 * np.minimum(centred, wide)))


def density_table(densities: Mapping[str, pd.DataFrame], last_price: pd.DataFrame) -> pd.DataFrame:
    """One row per density and horizon, on all rows of known outcome.

    Args:
        densities: `OUT_OF_FOLD_COLUMNS` of one entry by name of the density, the same rows in each, `normal` among
            them.
        last_price: rows of the last price with its EWMA volatility, at least the same dates.

    Returns:
        `density`, `horizon_months`, `n`, `n_eff`; `DENSITY_METRICS` (ratios and widths relative to the last price's
        density) and `calibration_error`; `crps_to_normal` with its 90 % interval `_low` and `_high`, and `p_less`, that
        it is no better than the normal; `PIT_COLUMNS`, the share of outcomes between neighbouring quantiles, and
        `pit_p` (`uniformity_p`).
    """
    records = []
    for horizon in HORIZONS_MONTHS:
        at_horizon = {name: _known(rows, horizon) for name, rows in densities.items()}
        span, reference = horizon * SESSIONS_PER_MONTH, last_price[last_price["horizon_months"] == horizon]
        realised = np.log(at_horizon[NORMAL]["realised_price"].to_numpy(float))
        if not len(realised):
            continue
        draws = resample(len(realised), span, seed=_SEED)
        losses = {name: crps(realised, log_quantiles(rows)) for name, rows in at_horizon.items()}
        for name, rows in at_horizon.items():
            quantiles = log_quantiles(rows)
            ratio = ratio_interval(draws, losses[name], losses[NORMAL], root=False, level=INTERVAL_LEVEL)
            records.append(
                {
                    "density": name,
                    "horizon_months": horizon,
                    "n": len(rows),
                    "n_eff": effective_n(len(rows), horizon),
                    **density_scores_of(rows, reference),
                    "calibration_error": metrics_of(rows)["calibration_error"],
                    "crps_to_normal": ratio.estimate,
                    "crps_to_normal_low": ratio.low,
                    "crps_to_normal_high": ratio.high,
                    "p_less": diebold_mariano(losses[name], losses[NORMAL], span).p_less,
                    **dict(zip(PIT_COLUMNS, band_shares(realised, quantiles), strict=True)),
                    "pit_p": uniformity_p(realised, quantiles, span),
                }
            )
    return pd.DataFrame(records)


def _known(rows: pd.DataFrame, horizon: int) -> pd.DataFrame:
    return rows[(rows["horizon_months"] == horizon) & rows["realised_price"].notna()].sort_values("as_of_date")
