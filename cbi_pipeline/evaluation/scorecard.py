"""Every figure of every entry in one long table: errors, densities, profit, and the statistics that say what they mean.

Belongs here: which figures a scorecard has and on which rows each is taken; the figures themselves are made in
`metrics`, `density_scores`, `profit_and_loss`, `bootstrap` and `significance`.

- Of every fold, of all folds (`all`) and of the dates that all entries have at all horizons (`common`): `METRICS`,
  `DENSITY_FIGURES`, `sharpe` and `sharpe_se`.
- A Sharpe ratio is that of the P&L to one and the same day at all horizons: the earliest of their last target dates.
- Of `all`, in the folds' own figures: `SPREAD_FIGURES`, mean and standard deviation over the folds.
- Of `all` and `common`: `deflated_sharpe`. Trials are the entries at that horizon whose Sharpe ratios differ, their
  spread is that of these ratios. Entries that resemble each other count in full, settings tried elsewhere not at all.
- Of `common` alone, where entries are compared: `COMPARISON_FIGURES`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.evaluation.benchmarks import BENCHMARKS, LAST_PRICE
from cbi_pipeline.evaluation.bootstrap import ratio_interval, resample
from cbi_pipeline.evaluation.density_scores import crps, density_scores_of, log_quantiles
from cbi_pipeline.evaluation.direct_forecasts import DIRECT_ENTRIES
from cbi_pipeline.evaluation.metrics import (
    ALL_FOLDS,
    COMMON_ROWS,
    SCORE_COLUMNS,
    SESSIONS_PER_MONTH,
    common_rows,
    effective_n,
    metrics_of,
)
from cbi_pipeline.evaluation.profit_and_loss import (
    Sharpe,
    TradingCosts,
    deflated_sharpe_ratio,
    sharpe_ratio,
    tranche_profit,
)
from cbi_pipeline.evaluation.significance import (
    diebold_mariano,
    direction_test,
    model_confidence_set,
    squared_errors,
)

BENCHMARK_ENTRIES: Final = (*BENCHMARKS, *DIRECT_ENTRIES)
"""Entries without a network."""
DENSITY_FIGURES: Final = (
    "crps",
    "crps_ratio",
    "coverage_50",
    "coverage_90",
    "coverage_95",
    "relative_width_50",
    "relative_width_80",
    "relative_width_90",
)
"""Of `DENSITY_METRICS`; `coverage_80` is one of `METRICS`."""
COMPARISON_FIGURES: Final = (
    "rmse_ratio_low",
    "rmse_ratio_high",
    "crps_ratio_low",
    "crps_ratio_high",
    "ratio_to_best_benchmark",
    "dm_p_less",
    "mcs_p",
    "direction_p",
)
"""90 % block-bootstrap intervals of `rmse_ratio` and `crps_ratio`; RMSE as a ratio to the benchmark that turned out
best; p-values: that the entry is no better than the last price (Diebold-Mariano, one-sided), that it is as good as any
(model confidence set, in the 75 % set above 0.25), that its signs know nothing (one-sided)."""
INTERVAL_LEVEL: Final = 0.90
SPREAD_METRICS: Final = ("mape", "rmse_ratio", "directional_accuracy", "sharpe")
SPREAD_FIGURES: Final = tuple(f"{kind}_{metric}" for metric in SPREAD_METRICS for kind in ("mean", "std"))

_SEED: Final = 0
_KEYS: Final = ["entry", "horizon_months"]


@dataclass(frozen=True, slots=True)
class TradedMarket:
    """What a position earns and costs.

    Attributes:
        returns: daily log returns within one contract, by trade date.
        front: front price, cents/lb.
        rolls: sessions on which the front contract is a new one.
        costs: of one side of a trade.
    """

    returns: pd.Series
    front: pd.Series
    rolls: pd.DatetimeIndex
    costs: TradingCosts = field(default_factory=TradingCosts)


def full_scores(oof: pd.DataFrame, market: TradedMarket) -> pd.DataFrame:
    """Every figure of a scorecard.

    Args:
        oof: out-of-fold rows (`OUT_OF_FOLD_COLUMNS`), `last_price` among the entries; rows whose outcome is not known
            yet are left out.
        market: prices and costs of the P&L.

    Returns:
        Long frame `SCORE_COLUMNS`, as of `metrics.score`; which figures are in which folds says the head of this
        module. `value` is missing where a figure is not defined.

    Raises:
        ModelError: the last price lacks a scored date of another entry.
    """
    known, common = oof[oof["realised_price"].notna()], common_rows(oof)
    pieces = [*(rows.assign(fold=name) for name, rows in known.groupby("fold", sort=False))]
    pieces += [known.assign(fold=ALL_FOLDS), common.assign(fold=COMMON_ROWS)]
    records = [record for piece in pieces for record in _records(piece, market)]
    scores = pd.DataFrame(records, columns=list(SCORE_COLUMNS))
    return pd.concat([scores, _spread_rows(scores)], ignore_index=True)


def _records(rows: pd.DataFrame, market: TradedMarket) -> list[tuple[object, ...]]:
    """Records of one fold, `all` or `common`."""
    fold = str(rows["fold"].iloc[0])
    by_entry = rows.groupby(_KEYS, sort=False)
    groups = {(str(own["entry"].iloc[0]), int(own["horizon_months"].iloc[0])): own for _, own in by_entry}
    until = rows.groupby("horizon_months")["target_date"].max().min()
    sharpes = {key: _sharpe(own, market, until) for key, own in groups.items()}
    comparisons = compared(rows) if fold == COMMON_ROWS else {}
    records: list[tuple[object, ...]] = []
    for (entry, horizon), own in groups.items():
        density = density_scores_of(own, groups[LAST_PRICE, horizon])
        sharpe = sharpes[entry, horizon]
        figures = metrics_of(own) | {name: density[name] for name in DENSITY_FIGURES}
        figures |= {"sharpe": sharpe.value, "sharpe_se": sharpe.standard_error}
        if fold in (ALL_FOLDS, COMMON_ROWS):
            figures["deflated_sharpe"] = _deflated(sharpe, [s.value for (_, h), s in sharpes.items() if h == horizon])
        figures |= comparisons.get((entry, horizon), {})
        n, n_eff = len(own), effective_n(len(own), horizon)
        records += [(entry, horizon, fold, metric, value, n, n_eff) for metric, value in figures.items()]
    return records


def _sharpe(rows: pd.DataFrame, market: TradedMarket, until: pd.Timestamp) -> Sharpe:
    profit = tranche_profit(rows, market.returns, market.front, market.rolls, market.costs, until=until)
    return sharpe_ratio(profit["net"].to_numpy())


def _deflated(sharpe: Sharpe, all_values: list[float]) -> float:
    trials = np.unique(np.array([value for value in all_values if np.isfinite(value)]))
    spread = float(trials.std(ddof=1)) if len(trials) > 1 else 0.0
    return deflated_sharpe_ratio(sharpe, len(trials), spread) if np.isfinite(sharpe.value) else float("nan")


def compared(common: pd.DataFrame) -> dict[tuple[str, int], dict[str, float]]:
    """`COMPARISON_FIGURES` by entry and horizon.

    Args:
        common: `metrics.common_rows`, `last_price` among the entries.
    """
    figures = {}
    for horizon in sorted(common["horizon_months"].unique()):
        own = common[common["horizon_months"] == horizon]
        span = int(horizon) * SESSIONS_PER_MONTH
        losses = squared_errors(own, int(horizon))
        last_price = losses[LAST_PRICE].to_numpy()
        draws = resample(len(losses), span, seed=_SEED)
        best = losses[[name for name in BENCHMARK_ENTRIES if name in losses]].mean().min()
        densities = _crps_by_entry(own)
        in_set = model_confidence_set(losses, span, seed=_SEED).p_values
        for entry, rows in own.sort_values("as_of_date").groupby("entry"):
            loss = losses[entry].to_numpy()
            interval = ratio_interval(draws, loss, last_price, level=INTERVAL_LEVEL)
            density = ratio_interval(
                draws, densities[str(entry)], densities[LAST_PRICE], root=False, level=INTERVAL_LEVEL
            )
            predicted, realised = (np.log(rows[f"{x}_price"] / rows["last_price"]) for x in ("predicted", "realised"))
            figures[str(entry), int(horizon)] = {
                "rmse_ratio_low": interval.low,
                "rmse_ratio_high": interval.high,
                "crps_ratio_low": density.low,
                "crps_ratio_high": density.high,
                "ratio_to_best_benchmark": float(np.sqrt(loss.mean() / best)),
                "dm_p_less": diebold_mariano(loss, last_price, span).p_less,
                "mcs_p": in_set[str(entry)],
                "direction_p": direction_test(predicted.to_numpy(), realised.to_numpy(), span).test.p_greater,
            }
    return figures


def _crps_by_entry(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """CRPS [n] of each entry at one horizon, in time order."""
    return {
        str(entry): crps(np.log(own["realised_price"].to_numpy(float)), log_quantiles(own))
        for entry, own in rows.sort_values("as_of_date").groupby("entry")
    }


def _spread_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """`fold_spread` as rows of the fold `all`."""
    pooled = scores[scores["fold"] == ALL_FOLDS].groupby(_KEYS, sort=False)[["n", "n_eff"]].first()
    long = fold_spread(scores).melt(_KEYS, list(SPREAD_FIGURES), var_name="metric")
    return long.assign(fold=ALL_FOLDS).join(pooled, on=_KEYS)[list(SCORE_COLUMNS)]


def fold_spread(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of `SPREAD_METRICS` over the folds.

    Args:
        scores: as of `full_scores`.

    Returns:
        One row per `entry` and `horizon_months` with `folds`, and `mean_*` and `std_*` (n - 1) of each metric over the
        folds in which it is defined; missing for a metric that no fold (`std_*`: not two) defines.
    """
    own = scores[~scores["fold"].isin([ALL_FOLDS, COMMON_ROWS]) & scores["metric"].isin(SPREAD_METRICS)]
    by_entry = own.pivot(index=[*_KEYS, "fold"], columns="metric", values="value").groupby(level=_KEYS)
    columns: dict[str, pd.Series] = {"folds": by_entry.size()}
    for metric in SPREAD_METRICS:
        columns |= {f"mean_{metric}": by_entry[metric].mean(), f"std_{metric}": by_entry[metric].std()}
    return pd.DataFrame(columns).reset_index()
