"""Point and interval metrics: pure functions on arrays, and the leaderboard made of them.

Belongs here: figures that need only scored rows. Tests of significance, CRPS and the Sharpe ratio have
their own modules; `scorecard` puts them all together.

References:
    Rows h months apart overlap; N / h is the number that do not (Hansen and Hodrick 1980, JPE 88(5)).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

SESSIONS_PER_MONTH: Final = 21
INTERVALS: Final[dict[int, tuple[str, str]]] = {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95")}
"""Central intervals in percent and the quantile columns that bound them."""

METRICS: Final = (
    "mape",
    "rmse",
    "mae",
    "rmse_ratio",
    "directional_accuracy",
    "directional_base_rate",
    "coverage_80",
    "calibration_error",
)
SCORE_COLUMNS: Final = ("entry", "horizon_months", "fold", "metric", "value", "n", "n_eff")
ALL_FOLDS: Final = "all"
COMMON_ROWS: Final = "common"
_MISSING: Final = float("nan")


def mape(predicted: np.ndarray, realised: np.ndarray) -> float:
    """Mean absolute error in percent of the realised price. Arrays [n] in cents/lb."""
    from sklearn.metrics import mean_absolute_percentage_error

    return float(100 * mean_absolute_percentage_error(realised, predicted))


def rmse(predicted: np.ndarray, realised: np.ndarray) -> float:
    """Root mean squared error of log returns, equal to that of log prices. Arrays [n]."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(realised, predicted))


def mae(predicted: np.ndarray, realised: np.ndarray) -> float:
    """Mean absolute error of log returns. Arrays [n]."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(realised, predicted))


def rmse_ratio(predicted: np.ndarray, realised: np.ndarray) -> float:
    """RMSE of log returns divided by that of the last price (a forecast of zero) on the same rows. Arrays [n].

    Missing if no price moved.
    """
    last_price = rmse(np.zeros_like(realised), realised)
    return rmse(predicted, realised) / last_price if last_price > 0 else _MISSING


def directional_accuracy(predicted: np.ndarray, realised: np.ndarray) -> float:
    """Share of rows whose forecast log return has the sign of the realised one. Arrays [n].

    Rows where either is exactly zero have no direction and are left out; missing if none is left, as
    for the last price (a missing value, not one half).
    """
    directed = (predicted != 0) & (realised != 0)
    if not directed.any():
        return _MISSING
    return float(np.mean(np.sign(predicted[directed]) == np.sign(realised[directed])))


def directional_base_rate(realised: np.ndarray) -> float:
    """Accuracy of always calling the direction that turned out more frequent. Array [n]; zero moves are left out."""
    moved = realised[realised != 0]
    if moved.size == 0:
        return _MISSING
    up = float(np.mean(moved > 0))
    return max(up, 1 - up)


def coverage(lower: np.ndarray, upper: np.ndarray, realised: np.ndarray) -> float:
    """Share of rows with the realised value inside the interval, bounds included. Arrays [n]."""
    return float(np.mean((realised >= lower) & (realised <= upper)))


def calibration_error(covered: dict[int, float]) -> float:
    """Mean absolute difference between the share of rows inside a central interval and its nominal share.

    Args:
        covered: share of rows inside (0 to 1) by nominal interval in percent.
    """
    return float(np.mean([abs(share - nominal / 100) for nominal, share in covered.items()]))


def effective_n(n: int, horizon_months: int) -> float:
    """Number of rows that do not overlap: n / (horizon in sessions)."""
    return n / (horizon_months * SESSIONS_PER_MONTH)


def metrics_of(rows: pd.DataFrame) -> dict[str, float]:
    """All `METRICS` of one entry at one horizon.

    Args:
        rows: scored rows (`OUT_OF_FOLD_COLUMNS`), every `realised_price` known, at least one.
    """
    log_last = np.log(rows["last_price"].to_numpy())
    realised_price = rows["realised_price"].to_numpy()
    predicted = np.log(rows["predicted_price"].to_numpy()) - log_last
    realised = np.log(realised_price) - log_last
    covered = {
        nominal: coverage(rows[low].to_numpy(), rows[high].to_numpy(), realised_price)
        for nominal, (low, high) in INTERVALS.items()
    }
    return {
        "mape": mape(rows["predicted_price"].to_numpy(), realised_price),
        "rmse": rmse(predicted, realised),
        "mae": mae(predicted, realised),
        "rmse_ratio": rmse_ratio(predicted, realised),
        "directional_accuracy": directional_accuracy(predicted, realised),
        "directional_base_rate": directional_base_rate(realised),
        "coverage_80": covered[80],
        "calibration_error": calibration_error(covered),
    }


def score(oof: pd.DataFrame) -> pd.DataFrame:
    """Every metric per entry, horizon and fold, over all folds, and over the dates that all entries and horizons share.

    Args:
        oof: out-of-fold rows (`OUT_OF_FOLD_COLUMNS`); rows whose outcome is not known yet are left out.

    Returns:
        Long frame `SCORE_COLUMNS`; `fold` is a fold's name, `all` (an entry's own rows of all folds) or `common`
        (of those, the dates that every entry has at every horizon: the only fair comparison of entries and of
        horizons); `value` missing where a metric is not defined; `n` scored rows, `n_eff` = n / horizon in sessions.
    """
    known = oof[oof["realised_price"].notna()]
    pieces = [known, known.assign(fold=ALL_FOLDS), common_rows(oof).assign(fold=COMMON_ROWS)]
    keys = ["entry", "horizon_months", "fold"]
    records = [
        (*key, metric, value, len(rows), effective_n(len(rows), int(rows["horizon_months"].iloc[0])))
        for piece in pieces
        for key, rows in piece.groupby(keys, sort=False)
        for metric, value in metrics_of(rows).items()
    ]
    return pd.DataFrame(records, columns=list(SCORE_COLUMNS))


def common_rows(oof: pd.DataFrame) -> pd.DataFrame:
    """The rows of the dates on which every entry has a forecast of known outcome at every horizon.

    Args:
        oof: out-of-fold rows (`OUT_OF_FOLD_COLUMNS`).
    """
    known = oof[oof["realised_price"].notna()]
    expected = len(known[["entry", "horizon_months"]].drop_duplicates())
    return known[known.groupby(["fold", "as_of_date"])["entry"].transform("size") == expected]
