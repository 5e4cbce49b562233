"""What each pillar of features is worth on its own: ridge and boosted trees that forecast directly, walk-forward.

Belongs here: one measurement, shared by `benchmarks/ablation.py` and its test. No anchor, no network: the target is
the log return in units of sigma_h. Everything was fixed before a result was seen, and nothing is tuned.

- A test year is forecast every session, from models fitted on weekly rows whose label was known before 1 January
  (expanding window, purged per horizon).
- Features are in the network's view. Nothing is imputed: trees send a missing value down its own branch; ridge uses,
  on each test row, the features that are observed there and have been real for five years, fitted on the training
  rows that have all of them (one model a pattern of gaps; Saar-Tsechansky and Provost 2007, JMLR 8). With no such
  feature left, its forecast is the mean of the training targets.
- `no features` is that mean alone, so that drift is not mistaken for the skill of a pillar.

Reference for the standard error: moving blocks, Kuensch (1989), Annals of Statistics 17(3), blocks of one horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.benchmarks import Market, residual_targets
from cbi_pipeline.evaluation.feature_selection import boosted_trees, has_two_values
from cbi_pipeline.evaluation.metrics import SESSIONS_PER_MONTH
from cbi_pipeline.features.declarations import Feature
from cbi_pipeline.features.transformations import network_view
from cbi_pipeline.modeling.volatility import sigma_h, state_at

RIDGE: Final = "ridge"
TREES: Final = "boosted trees"
NOTHING, EVERYTHING = "no features", "all"
RECORD_COLUMNS: Final = ("model", "variant", "horizon_months", "as_of_date", "forecast", "realised")

_STRIDE: Final = 5
_MINIMUM_ROWS: Final = 60
_REAL_FOR_YEARS: Final = 5
_CLIP: Final = 10.0
_PENALTY_PER_WEEK: Final = 10.0
_WEEKS_PER_MONTH: Final = 13 / 3
_DRAWS: Final = 1000

Forecaster = Callable[[pd.DataFrame, pd.Series, pd.DataFrame, int], np.ndarray]
"""(training rows [n, F], targets [n], test rows [m, F], horizon in months) -> forecasts [m], units of sigma_h."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A set of features under a name."""

    name: str
    features: tuple[str, ...]


def variants(catalogue: Iterable[Feature]) -> list[Variant]:
    """No features, each pillar alone, all but each pillar, all; and so for the extras, which have to earn a place."""
    declared = list(catalogue)
    pillars: dict[str, list[str]] = {}
    for feature in declared:
        pillars.setdefault(feature.pillar, []).append(feature.name)
    names = tuple(name for own in pillars.values() for name in own)
    only = [Variant(f"only {pillar}", tuple(own)) for pillar, own in pillars.items()]
    without = [Variant(f"without {p}", tuple(n for n in names if n not in own)) for p, own in pillars.items()]
    extras = tuple(feature.name for feature in declared if feature.is_extra)
    if extras:
        only.append(Variant("only extras", extras))
        without.append(Variant("without extras", tuple(name for name in names if name not in extras)))
    return [Variant(NOTHING, ()), *only, *without, Variant(EVERYTHING, names)]


def forecast_ridge(train: pd.DataFrame, target: pd.Series, test: pd.DataFrame, horizon: int) -> np.ndarray:
    """Ridge with intercept, one model for each pattern of gaps in the test rows; nothing is imputed.

    Args:
        train: [n, F] purged training rows, oldest first.
        target: [n] units of sigma_h.
        test: [m, F] rows to forecast.
        horizon: months; the penalty is 10 x its weeks, as the anchor's.

    Returns:
        [m] units of sigma_h.
    """
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import RobustScaler

    observed_for = test.index[0] - pd.DateOffset(years=_REAL_FOR_YEARS)
    old = [name for name in train.columns if train.loc[:observed_for, name].notna().any()]
    seen = test[old].notna().to_numpy()
    forecast = np.full(len(test), float(target.mean()))
    for pattern in np.unique(seen, axis=0) if old else ():
        names = [name for name, present in zip(old, pattern, strict=True) if present]
        complete = train[names].dropna() if names else train.iloc[:0]
        if len(complete) < _MINIMUM_ROWS:
            continue
        rows = (seen == pattern).all(axis=1)
        scaler = RobustScaler().fit(complete)
        ridge = Ridge(alpha=_PENALTY_PER_WEEK * horizon * _WEEKS_PER_MONTH)
        ridge.fit(np.clip(scaler.transform(complete), -_CLIP, _CLIP), target.loc[complete.index])
        forecast[rows] = ridge.predict(np.clip(scaler.transform(test.loc[rows, names]), -_CLIP, _CLIP))
    return forecast


def forecast_trees(train: pd.DataFrame, target: pd.Series, test: pd.DataFrame, horizon: int) -> np.ndarray:
    """Boosted trees on the features with at least 60 observed training rows; gaps are a branch of their own.

    Arguments and result as of `forecast_ridge`.
    """
    names = [n for n in train.columns if train[n].count() >= _MINIMUM_ROWS and has_two_values(train[n].to_numpy())]
    if not names:
        return np.full(len(test), float(target.mean()))
    trees = boosted_trees().fit(train[names].to_numpy(), target.to_numpy())
    return trees.predict(test[names].to_numpy())


MODELS: Final[dict[str, Forecaster]] = {RIDGE: forecast_ridge, TREES: forecast_trees}


def purged_rows(label_dates: pd.Series, targets: pd.Series, before: pd.Timestamp) -> pd.DatetimeIndex:
    """Weekly training rows of one horizon, counted back from the newest: the label is there, and known before a date.

    Args:
        label_dates: when the label of each trade date is known.
        targets: labels, same index.
        before: first day of the test part.
    """
    known = targets.notna() & (label_dates < before) & (targets.index < before)
    return pd.DatetimeIndex(targets.index[known][::-1][::_STRIDE][::-1])


def ablation_record(
    features: pd.DataFrame,
    market: Market,
    wanted: Sequence[Variant],
    years: Sequence[int],
    on_variant: Callable[[str, str], None] | None = None,
) -> pd.DataFrame:
    """Forecasts of every model and variant on every session of the test years whose outcome is known.

    Args:
        features: [T, F] curated features, full history.
        market: prices, volatilities, target dates and outcomes.
        wanted: variants.
        years: test years by as-of date.
        on_variant: told of each (model, variant) before it starts.

    Returns:
        Long frame `RECORD_COLUMNS`; `forecast` and `realised` are log returns.
    """
    view = network_view(features)
    view = view.rename_axis("as_of_date")
    index = pd.DatetimeIndex(view.index)
    targets = residual_targets(market, pd.DataFrame(0.0, index=index, columns=list(HORIZONS_MONTHS)))
    sigma = sigma_h(state_at(market.state, index))
    label_dates = market.targets.loc[index]
    pieces = []
    with threadpool_limits(limits=1, user_api="openmp"):
        for model, forecaster in MODELS.items():
            for variant in wanted:
                if on_variant is not None:
                    on_variant(model, variant.name)
                own = view[list(variant.features)]
                for horizon in HORIZONS_MONTHS:
                    standard = walk_forward(own, targets[horizon], label_dates[horizon], years, forecaster, horizon)
                    scale = sigma.loc[standard.index, horizon]
                    pieces.append(
                        pd.DataFrame(
                            {
                                "model": model,
                                "variant": variant.name,
                                "horizon_months": horizon,
                                "forecast": standard * scale,
                                "realised": targets.loc[standard.index, horizon] * scale,
                            }
                        )
                    )
    return pd.concat(pieces).reset_index()[list(RECORD_COLUMNS)]


def walk_forward(
    view: pd.DataFrame,
    targets: pd.Series,
    label_dates: pd.Series,
    years: Sequence[int],
    forecaster: Forecaster,
    horizon: int,
) -> pd.Series:
    """Forecasts of one horizon in units of sigma_h, one refit a test year.

    Args:
        view: [T, F] features.
        targets, label_dates: [T] labels and when they are known.
        years: test years.
        forecaster: ridge or trees.
        horizon: months.
    """
    pieces = []
    for year in years:
        test = view.loc[f"{year}-01-01" : f"{year}-12-31"]
        test = test[targets.loc[test.index].notna()]
        rows = purged_rows(label_dates, targets, pd.Timestamp(year, 1, 1))
        train = view.loc[rows]
        pieces.append(pd.Series(forecaster(train, targets.loc[rows], test, horizon), index=test.index))
    return pd.concat(pieces)


def ablation_table(record: pd.DataFrame) -> pd.DataFrame:
    """RMSE ratio to last price, with its block-bootstrap standard error.

    Args:
        record: `ablation_record`.

    Returns:
        `model`, `variant`, `horizon_months`, `rmse_ratio`, `standard_error`, `n`; below 1 is a gain on last price.
    """
    rows = []
    keys = ["model", "variant", "horizon_months"]
    for key, own in record.groupby(keys, sort=False):
        loss = ((own["forecast"] - own["realised"]) ** 2).to_numpy()
        last_price = (own["realised"] ** 2).to_numpy()
        error = ratio_standard_error(loss, last_price, int(own["horizon_months"].iloc[0]) * SESSIONS_PER_MONTH)
        rows.append((*key, float(np.sqrt(loss.mean() / last_price.mean())), error, len(own)))
    return pd.DataFrame(rows, columns=[*keys, "rmse_ratio", "standard_error", "n"])


def ratio_standard_error(loss: np.ndarray, benchmark: np.ndarray, block: int, draws: int = _DRAWS) -> float:
    """Standard deviation of the RMSE ratio over circular moving-block draws of both losses together.

    Args:
        loss, benchmark: [n] squared errors on the same rows, in time order.
        block: rows in a block.
        draws: number of draws; the seed is fixed.
    """
    starts = np.random.default_rng(0).integers(len(loss), size=(draws, -(-len(loss) // block)))
    around = np.arange(len(loss) + block - 1) % len(loss)
    sums = []
    for values in (loss, benchmark):
        cumulated = np.concatenate([[0.0], np.cumsum(values[around])])
        sums.append((cumulated[block:] - cumulated[:-block])[starts].sum(axis=1))
    return float(np.sqrt(sums[0] / sums[1]).std(ddof=1))
