"""All that the networks of a fold learn from, put together from features, market and scaler. Stores nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.modeling.config import Target

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.features.driver_set import DriverSet
    from cbi_pipeline.modeling.cells import CellInputs


def cell_inputs(frame: pd.DataFrame, fold: FoldSpec, market: Market, drivers: DriverSet, target: Target) -> CellInputs:
    """Scaled features, calendar, targets, purged masks and test rows of a fold.

    The anchor under the anchored target is fitted on labels known before the validation part, so that neither part
    of the training sees the other's outcomes; the anchor that forecasts is fitted up to the test start.

    Args:
        frame: [T, F] curated features.
        fold: the fold to learn and to forecast.
        market: prices, anchor inputs, volatilities and outcomes of every session of the frame.
        drivers: the driver set fitted on the fold's training part.
        target: what is learned: what the anchor leaves over, or the log return itself.
    """
    import numpy as np
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import residual_targets
    from cbi_pipeline.evaluation.walk_forward import fold_masks
    from cbi_pipeline.market_calendar import calendar_phases
    from cbi_pipeline.modeling.anchor import anchor_log_return, fit_anchor
    from cbi_pipeline.modeling.cells import CellInputs
    from cbi_pipeline.modeling.volatility import density_sigma, sigma_h, state_at

    sessions, horizons = pd.DatetimeIndex(frame.index), list(HORIZONS_MONTHS)
    if target == "raw":
        base = pd.DataFrame(0.0, index=sessions, columns=horizons)
    else:
        fit = fit_anchor(market.front, market.inputs, market.state, pd.Timestamp(fold.validation_start))
        base = anchor_log_return(fit, market.inputs.loc[sessions], market.state)
    target_dates, state = market.targets.loc[sessions, horizons], state_at(market.state, sessions)
    sigma = sigma_h(state)[horizons]
    label_end = sessions.searchsorted(target_dates.to_numpy().ravel()).reshape(target_dates.shape)  # [T, H]
    masks = fold_masks(fold, sessions, market.targets.loc[sessions])
    return CellInputs(
        feature_names=tuple(frame.columns),
        features=drivers.transform(frame),
        calendar=calendar_phases(sessions, target_dates),
        targets=residual_targets(market, base)[horizons].to_numpy(),
        base=(base[horizons] / sigma).to_numpy(),
        sigma=sigma.to_numpy(),
        density_ratio=(density_sigma(state)[horizons] / sigma).to_numpy(),
        label_end=np.where(label_end < len(sessions), label_end, -1),
        train_mask=masks.train,
        validation_mask=masks.validation,
        prediction_rows=np.flatnonzero(masks.test),
    )


def only_features(cell: CellInputs, names: Sequence[str]) -> CellInputs:
    """The same cell with some of its features, in the order of `names`."""
    import numpy as np

    columns = [cell.feature_names.index(name) for name in names]
    return replace(cell, feature_names=tuple(names), features=np.ascontiguousarray(cell.features[:, columns]))
