"""One day's forecast: champion, features and market in, forecast rows out. No storage, no Dagster.

Reference inference is CPU float32, whatever device trained the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import SERVING_FOLD
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS, ForecastRow, Status
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.benchmarks import Market, add_residual, forecast_frame
from cbi_pipeline.evaluation.densities import NORMAL, ServedDensity, served_quantiles
from cbi_pipeline.evaluation.density_scores import log_quantiles
from cbi_pipeline.features.driver_set import load_driver_set
from cbi_pipeline.features.lock import check_lock
from cbi_pipeline.market_calendar import calendar_phases
from cbi_pipeline.modeling.anchor import AnchorFit, anchor_kind, anchor_log_return
from cbi_pipeline.modeling.cells import Forecast
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.modeling.training import reference_forecast

if TYPE_CHECKING:
    from cbi_pipeline.registry.artifacts import LoadedModel


def forecast_rows(
    model: LoadedModel,
    features: pd.DataFrame,
    market: Market,
    *,
    as_of: pd.Timestamp,
    status: Mapping[int, tuple[Status, list[str]]],
    dataset_version: str,
    code_commit: str,
    run_id: str,
    created_at: datetime,
) -> list[ForecastRow]:
    """Forecast one trade date at every horizon.

    Args:
        model: a verified model.
        features: [T, F] curated features with at least a window of history before `as_of`.
        market: prices, anchor inputs and volatilities up to `as_of`.
        as_of: trade date whose close the forecast starts from.
        status: per horizon in months, the status and its reasons.
        dataset_version, code_commit, run_id, created_at: recorded in each row.

    Returns:
        Four rows, shortest horizon first. Prices in cents/lb.

    Raises:
        ModelError, FeatureError: the date does not fit, or the features are not those that the model is locked to.
    """
    if as_of not in features.index or as_of not in market.front.index:
        raise ModelError(
            str(as_of.date()), "it is no trade date of the data.", "ask for a ZL trade date of the bundle."
        )
    config = TrainingConfig.model_validate(model.config)
    weights = {int(horizon): float(value) for horizon, value in model.anchor["lambda"].items()}
    inputs = market.inputs.loc[[as_of]]
    anchor = anchor_log_return(AnchorFit.model_validate(model.anchor["fit"]), inputs, market.state)
    network = _network_forecast(model, config, features, market, as_of)
    residual = pd.DataFrame(network.median.astype(float), index=inputs.index, columns=list(HORIZONS_MONTHS))
    forecast = forecast_frame(
        market, config.architecture, SERVING_FOLD, add_residual(market, anchor, residual, weights)
    )
    if len(forecast) != len(HORIZONS_MONTHS):
        raise ModelError(
            str(as_of.date()),
            "no volatility is known at this date, so there is no interval to state.",
            "check the last rows of futures_daily: a price within five sessions is needed.",
        )
    forecast = _with_served_density(forecast, model, network.offsets[0].astype(float))
    last_price = float(market.front.loc[as_of])
    return [
        ForecastRow(
            as_of_date=as_of.date(),
            horizon_months=row["horizon_months"],
            target_date=row["target_date"].date(),
            last_price=last_price,
            anchor_price=float(last_price * np.exp(anchor.loc[as_of, row["horizon_months"]])),
            anchor_kind=anchor_kind(inputs.iloc[0]),
            lambda_h=weights[row["horizon_months"]],
            predicted_price=row["predicted_price"],
            **{name: row[name] for name in QUANTILE_COLUMNS},
            status=status[row["horizon_months"]][0],
            status_reasons="; ".join(status[row["horizon_months"]][1]),
            model_version=model.model_version,
            dataset_version=dataset_version,
            feature_hash=model.feature_hash,
            scaler_sha256=model.scaler_sha256,
            code_commit=code_commit,
            run_id=run_id,
            created_at=created_at,
        )
        for row in forecast.to_dict("records")
    ]


def _with_served_density(forecast: pd.DataFrame, model: LoadedModel, offsets: np.ndarray) -> pd.DataFrame:
    """Rows of one date, shortest horizon first, with the density that the model keeps; network's offsets [4, 7].

    The normal that rows are made with is left as it is, to the last bit.
    """
    rows = forecast.copy()
    for place, (horizon, own) in enumerate(zip(HORIZONS_MONTHS, offsets, strict=True)):
        served = ServedDensity.model_validate(model.calibration[str(horizon)])
        if served.density != NORMAL:
            normal = log_quantiles(forecast.iloc[[place]])
            rows.loc[rows.index[place], list(QUANTILE_COLUMNS)] = np.exp(served_quantiles(served, normal, own[None]))[0]
    return rows


def _network_forecast(
    model: LoadedModel, config: TrainingConfig, features: pd.DataFrame, market: Market, as_of: pd.Timestamp
) -> Forecast:
    """The networks' mean at one date: bounded residual [1, 4], units of sigma_h, and quantile offsets [1, 4, 7]."""
    check_lock(model.feature_lock, features)
    drivers = load_driver_set(model.path, model.scaler_sha256)
    history = features.loc[:as_of]
    locked = [list(history.columns).index(name) for name in model.feature_lock.names]
    scaled = np.ascontiguousarray(drivers.transform(history)[:, locked])  # [T, chosen]: the network gets no other
    phases = calendar_phases(pd.DatetimeIndex(history.index), market.targets)
    last = np.array([len(history) - 1], dtype=np.int64)
    return reference_forecast(config, model.state_dict, scaled, model.feature_lock.names, phases, last)
