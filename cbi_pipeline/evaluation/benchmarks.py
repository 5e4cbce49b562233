"""Out-of-fold forecasts of the benchmarks: last price, futures curve, anchor.

Belongs here: turning a log-return forecast of any entry (the networks' too) into scored rows with the
anchor's density around it, and the forecasts that need no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.forecast import OUT_OF_FOLD_COLUMNS, QUANTILE_COLUMNS
from cbi_pipeline.evaluation.walk_forward import outcomes
from cbi_pipeline.market_calendar import target_dates
from cbi_pipeline.modeling.anchor import (
    ANCHOR_WEIGHT,
    AnchorFit,
    anchor_inputs,
    anchor_log_return,
    curve_log_return,
    fit_anchor,
)
from cbi_pipeline.modeling.volatility import (
    density_sigma,
    front_price,
    normal_quantiles,
    sigma_h,
    state_at,
    volatility_state,
    within_contract_returns,
)

LAST_PRICE: Final = "last_price"
FUTURES_CURVE: Final = "futures_curve"
ANCHOR: Final = "anchor"
BENCHMARKS: Final = (LAST_PRICE, FUTURES_CURVE, ANCHOR)


@dataclass(frozen=True)
class Market:
    """What every forecast starts from, by trade date; built once per set of raw tables.

    Attributes:
        front: front price, cents/lb.
        inputs: the anchor's inputs.
        state: annualised variances, by date of return.
        targets: target dates, one column per horizon in months.
        outcome: log price at the target date, missing until known, same columns.
    """

    front: pd.Series
    inputs: pd.DataFrame
    state: pd.DataFrame
    targets: pd.DataFrame
    outcome: pd.DataFrame


def prepare_market(tables: Mapping[str, pd.DataFrame]) -> Market:
    """Build the `Market` of a set of raw tables."""
    front = front_price(tables)
    inputs = anchor_inputs(tables, pd.DatetimeIndex(front.index))
    return market_from(front, inputs, volatility_state(within_contract_returns(tables)))


def market_from(front: pd.Series, inputs: pd.DataFrame, state: pd.DataFrame) -> Market:
    """Complete a `Market` with target dates and outcomes; arguments as its attributes."""
    targets = target_dates(pd.DatetimeIndex(front.index))
    return Market(front=front, inputs=inputs, state=state, targets=targets, outcome=outcomes(front, targets))


def forecast_frame(market: Market, entry: str, fold: str, log_return: pd.DataFrame) -> pd.DataFrame:
    """Scored rows of one entry in one fold, with the normal density around its forecast.

    Args:
        market: prices, volatilities and targets.
        entry: name in the leaderboard.
        fold: name of the fold.
        log_return: forecast log return from the front price, index as-of dates (all in `market.front`),
            one column per horizon in months; a missing value makes no row.

    Returns:
        `OUT_OF_FOLD_COLUMNS`, sorted by as-of date and horizon; `realised_price` missing until known.
    """
    index, columns = pd.DatetimeIndex(log_return.index), list(HORIZONS_MONTHS)
    state = state_at(market.state, index)
    returns = log_return[columns].to_numpy(float)
    last = market.front.loc[index].to_numpy(float)[:, None]
    target_date = market.targets.loc[index, columns].to_numpy("datetime64[ns]").ravel()
    spread = normal_quantiles(returns, density_sigma(state)[columns].to_numpy())
    quantiles = (last[..., None] * np.exp(spread)).reshape(-1, len(QUANTILE_COLUMNS))
    rows = pd.DataFrame(
        {
            "entry": entry,
            "fold": fold,
            "as_of_date": np.repeat(index.to_numpy("datetime64[ns]"), len(columns)),
            "horizon_months": np.tile(np.array(columns, dtype=np.int64), len(index)),
            "target_date": target_date,
            "last_price": np.broadcast_to(last, returns.shape).ravel(),
            "sigma_h": sigma_h(state)[columns].to_numpy().ravel(),
            "predicted_price": (last * np.exp(returns)).ravel(),
            **dict(zip(QUANTILE_COLUMNS, quantiles.T, strict=True)),
            "realised_price": market.front.reindex(pd.DatetimeIndex(target_date)).to_numpy(),
        }
    )
    return rows.dropna(subset=["predicted_price", "sigma_h", "q05"])[list(OUT_OF_FOLD_COLUMNS)].reset_index(drop=True)


def scored_dates(market: Market, fold: FoldSpec) -> pd.DatetimeIndex:
    """As-of dates with a front price in the fold's test span."""
    return pd.DatetimeIndex(market.front.loc[pd.Timestamp(fold.test_start) : fold.test_end].index)


def fold_anchor(market: Market, fold: FoldSpec) -> AnchorFit:
    """The anchor as it could be fitted at the fold's test start.

    Raises:
        ModelError: too few rows are known by then.
    """
    return fit_anchor(market.front, market.inputs, market.state, pd.Timestamp(fold.test_start))


def residual_targets(market: Market, anchor: pd.DataFrame) -> pd.DataFrame:
    """What a network has to learn: `(log realised - log price - anchor) / sigma_h`.

    Args:
        market: prices, volatilities and outcomes.
        anchor: log return that the anchor expects, index as-of dates, one column per horizon in months.

    Returns:
        Index and columns of `anchor`, units of sigma_h; missing until the outcome is known.
    """
    index = pd.DatetimeIndex(anchor.index)
    realised = market.outcome.loc[index].sub(np.log(market.front.loc[index]), axis=0)
    return (realised - anchor) / sigma_h(state_at(market.state, index))


def add_residual(
    market: Market, anchor: pd.DataFrame, residual: pd.DataFrame, weights: Mapping[int, float]
) -> pd.DataFrame:
    """Forecast log return `anchor + lambda_h * sigma_h * residual`.

    Args:
        market: volatilities.
        anchor: log return that the anchor expects, index as-of dates, one column per horizon in months.
        residual: the network's bounded output, units of sigma_h, same index and columns.
        weights: lambda per horizon in months.
    """
    sigma = sigma_h(state_at(market.state, pd.DatetimeIndex(anchor.index)))
    return anchor + (sigma * residual).mul(pd.Series(weights))


def benchmark_frames(market: Market, folds: Iterable[FoldSpec], weight: float = ANCHOR_WEIGHT) -> pd.DataFrame:
    """Out-of-fold rows of all `BENCHMARKS`, the anchor refitted in each fold.

    Returns:
        `OUT_OF_FOLD_COLUMNS`; `futures_curve` has rows only where the carry is known.

    Raises:
        ModelError: too few rows are known at the first test start.
    """
    frames = []
    for fold in folds:
        inputs = market.inputs.loc[scored_dates(market, fold)]
        returns = {
            LAST_PRICE: pd.DataFrame(0.0, index=inputs.index, columns=list(HORIZONS_MONTHS)),
            FUTURES_CURVE: curve_log_return(inputs, market.state, capped=False),
            ANCHOR: anchor_log_return(fold_anchor(market, fold), inputs, market.state, weight),
        }
        frames += [forecast_frame(market, entry, fold.name, returns[entry]) for entry in BENCHMARKS]
    return pd.concat(frames, ignore_index=True)
