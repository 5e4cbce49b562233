"""Out-of-fold forecasts of the benchmarks that do without the anchor, and of the anchor's other forms.

Belongs here: what else the same data could have said, through the same folds and the same density, so that the
leaderboard shows whether the anchor and the networks on it are worth their trouble. Each entry is fitted once a fold
on prices and labels known before the fold's test start.

- `historical_drift`: the mean annual log return of the front price since 1985.
- `seasonal_naive`: the mean log return of past rows of the same calendar month at that horizon.
- `ridge`, `boosted_trees`: all features, forecast directly in units of sigma_h; the forecasters and the purged weekly
  rows of `ablation.py`. Neither has a random step. The trees are scikit-learn's histogram gradient boosting, the
  family of LightGBM, whose macOS wheel needs an OpenMP library installed by hand.
- `anchor_w1`, `half_capped_curve`: the anchor at weight 1, and its curve alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.ablation import Forecaster, forecast_ridge, forecast_trees, purged_rows
from cbi_pipeline.evaluation.anchor_skill import FULL_WEIGHT, HALF_CURVE
from cbi_pipeline.evaluation.benchmarks import Market, fold_anchor, forecast_frame, residual_targets, scored_dates
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.modeling.anchor import anchor_log_return, curve_log_return
from cbi_pipeline.modeling.volatility import sigma_h, state_at

DRIFT: Final = "historical_drift"
SEASONAL: Final = "seasonal_naive"
RIDGE: Final = "ridge"
TREES: Final = "boosted_trees"
DIRECT_ENTRIES: Final = (DRIFT, SEASONAL, RIDGE, TREES, FULL_WEIGHT, HALF_CURVE)

_DAYS_PER_YEAR: Final = 365.25


def drift_log_return(front: pd.Series, before: pd.Timestamp, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Mean annual log return of the front price before a date, for each horizon.

    Args:
        front: front price, cents/lb, by trade date.
        before: prices on or after it are not used.
        index: as-of dates.

    Returns:
        Log returns, index as-of dates, one column per horizon in months.
    """
    known = np.log(front.loc[front.index < before])
    years = (known.index[-1] - known.index[0]).days / _DAYS_PER_YEAR
    annual = float(known.iloc[-1] - known.iloc[0]) / years
    return pd.DataFrame({h: annual * h / 12 for h in HORIZONS_MONTHS}, index=index)


def seasonal_log_return(market: Market, before: pd.Timestamp, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Mean log return of past rows of the same calendar month, from labels known before a date.

    Args:
        market: prices, target dates and outcomes.
        before: labels with a target date on or after it are not used.
        index: as-of dates.

    Returns:
        Log returns, index as-of dates, one column per horizon in months; missing for a month without a past label.
    """
    realised = market.outcome.sub(np.log(market.front), axis=0).where(market.targets < before)
    by_month = realised.groupby(pd.DatetimeIndex(realised.index).month).mean()
    return by_month.reindex(index.month).set_axis(index)[list(HORIZONS_MONTHS)]


def learned_log_return(
    market: Market, view: pd.DataFrame, fold: FoldSpec, forecaster: Forecaster, index: pd.DatetimeIndex
) -> pd.DataFrame:
    """Forecast of a model on features, fitted on the weekly rows whose label was known before the fold's test start.

    Args:
        market: prices, volatilities, target dates and outcomes.
        view: [T, F] features in the network's view, full history; every row of `index`.
        fold: the fold.
        forecaster: ridge or trees, in units of sigma_h.
        index: as-of dates.

    Returns:
        Log returns, index as-of dates, one column per horizon in months.

    Raises:
        ModelError: no label is known before the test start.
    """
    start = pd.Timestamp(fold.test_start)
    dates = pd.DatetimeIndex(view.index)
    targets = residual_targets(market, pd.DataFrame(0.0, index=dates, columns=list(HORIZONS_MONTHS)))
    standard = {}
    for horizon in HORIZONS_MONTHS:
        rows = purged_rows(market.targets.loc[dates, horizon], targets[horizon], start)
        if rows.empty:
            raise ModelError(
                f"{fold.name}, {horizon} months",
                f"no label is known before {fold.test_start}.",
                "start the folds later, or use a bundle with a longer history.",
            )
        standard[horizon] = forecaster(view.loc[rows], targets.loc[rows, horizon], view.loc[index], horizon)
    return pd.DataFrame(standard, index=index) * sigma_h(state_at(market.state, index))


def direct_frames(market: Market, features: pd.DataFrame, folds: Iterable[FoldSpec]) -> pd.DataFrame:
    """Out-of-fold rows of all `DIRECT_ENTRIES`.

    Args:
        market: prices, the anchor's inputs, volatilities, target dates and outcomes.
        features: [T, F] curated features, full history.
        folds: the folds of every other entry.

    Returns:
        `OUT_OF_FOLD_COLUMNS`; no row of ridge and trees on a date without features, none of the curve where the
        carry is unknown.

    Raises:
        ModelError: too few rows are known at the first test start.
    """
    view = network_view(features)
    frames = []
    with threadpool_limits(limits=1, user_api="openmp"):
        for fold in folds:
            start, dates = pd.Timestamp(fold.test_start), scored_dates(market, fold)
            inputs, observed = market.inputs.loc[dates], dates[dates.isin(view.index)]
            returns = {
                DRIFT: drift_log_return(market.front, start, dates),
                SEASONAL: seasonal_log_return(market, start, dates),
                RIDGE: learned_log_return(market, view, fold, forecast_ridge, observed),
                TREES: learned_log_return(market, view, fold, forecast_trees, observed),
                FULL_WEIGHT: anchor_log_return(fold_anchor(market, fold), inputs, market.state, weight=1.0),
                HALF_CURVE: curve_log_return(inputs, market.state, capped=True),
            }
            frames += [forecast_frame(market, entry, fold.name, returns[entry]) for entry in DIRECT_ENTRIES]
    return pd.concat(frames, ignore_index=True)
