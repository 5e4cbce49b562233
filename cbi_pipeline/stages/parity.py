"""What the parity gates compare: metrics by the warehouse's SQL, forecasts by the serving path, features and fits as
they could be made at the time.

Belongs here: how each second answer is made, from stored files and stored rows. What it is compared with, and by which
bound, is `evaluation/gates.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.references import Cell, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef
from cbi_pipeline.contracts.warehouse import OUT_OF_FOLD, REALIZED_PRICES
from cbi_pipeline.provenance import code_commit, source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.cell_inputs import cell_inputs
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.folds import fold_named, load_anchor, load_market, load_scaler
from cbi_pipeline.stages.publishing import realized_price_rows
from cbi_pipeline.stages.raw import content_of, load_raw_tables
from cbi_pipeline.stages.training import load_config, load_residuals, load_weights, trained_cells
from cbi_pipeline.stages.training_keys import ANCHORED

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.warehouse.base import Warehouse

REPLAYED_DAYS: Final = 12
REPLAYED_FOLDS: Final = 2
SESSIONS_PER_YEAR: Final = 252
_REPLAY: Final = "replay.json"


def metrics_by_sql(
    scorecard: ScorecardRef,
    entry: str,
    out_of_fold: pd.DataFrame,
    raw: Sequence[RawTableRef],
    warehouse: Warehouse,
    *,
    costs: Mapping[str, float],
    run_id: str,
) -> dict[int, dict[str, float | None]]:
    """Metrics of the entry as the warehouse's SQL computes them from its stored rows, which are written first.

    Args:
        out_of_fold: rows of every entry (`OUT_OF_FOLD_COLUMNS`).
        raw: futures_daily and futures_curve among them: the outcomes are read from prices, not from the forecasts.
        costs: of one side of a trade (`Settings.trading_costs`).
    """
    own = out_of_fold[out_of_fold["entry"] == entry]
    stamp: dict[str, Any] = {"created_at": datetime.now(UTC), "run_id": run_id, "code_commit": code_commit()}
    rows = own[[name for name in OUT_OF_FOLD.column_names if name in own]]
    records = [{**record, "scorecard_id": scorecard.scorecard_id, **stamp} for record in rows.to_dict("records")]
    warehouse.merge(OUT_OF_FOLD.name, records)
    prices = [reference for reference in raw if reference.table in ("futures_daily", "futures_curve")]
    warehouse.merge(REALIZED_PRICES.name, realized_price_rows(prices, run_id=run_id))
    days = own["as_of_date"].min().date(), own["as_of_date"].max().date()
    sql, parameters = metric_parity_query(scorecard, entry, days, prices, costs)
    return {row.pop("horizon_months"): row for row in warehouse.query(sql, parameters).to_pylist()}


def metric_parity_query(
    scorecard: ScorecardRef,
    entry: str,
    days: tuple[date, date],
    prices: Sequence[RawTableRef],
    costs: Mapping[str, float],
) -> tuple[str, dict[str, Any]]:
    """The SQL that computes the metrics of an entry again, and its parameters.

    Args:
        days: first and last as-of date of the entry's rows.
    """
    from cbi_pipeline.evaluation.profit_and_loss import TradingCosts

    sql = (files("cbi_pipeline.warehouse") / "sql" / "metric_parity.sql").read_text(encoding="utf-8")
    return sql, {
        "scorecard_id": scorecard.scorecard_id,
        "entry": entry,
        "first_day": days[0],
        "last_day": days[1],
        "dataset_version": prices[0].dataset_version,
        "cost_cents_per_lb": TradingCosts(**costs).cents_per_lb,
    }


def replayed_forecasts(
    entry: str, cells: Mapping[str, Cell], features: FeaturesRef, anchors: FoldsRef, scalers: FoldsRef
) -> tuple[dict[int, float], str]:
    """How far the serving path is from the out-of-fold medians that were scored, on days of every fold.

    The medians were made in batches on the training device; here the stored scaler, the stored weights and the
    reference inference make them again, one day at a time.

    Returns:
        Per horizon, the largest absolute difference in units of sigma_h; and what was compared, in words: a network
        that training left at zero answers zero either way.
    """
    import numpy as np
    import pandas as pd

    from cbi_pipeline.market_calendar import calendar_phases
    from cbi_pipeline.modeling.training import reference_forecast

    frame, market = load_features(features), load_market(anchors)
    sessions = pd.DatetimeIndex(frame.index)
    phases = calendar_phases(sessions, market.targets.loc[sessions])
    own = [cell for cell in trained_cells(cells) if cell.architecture == entry]
    each = max(2, REPLAYED_DAYS // len(own))
    worst, days_replayed, moved = np.zeros(len(HORIZONS_MONTHS)), 0, 0
    for cell in own:
        scaled = load_scaler(scalers, fold_named(scalers, cell.fold)).transform(frame)
        stored = load_residuals(cell)
        days = stored.index[np.linspace(0, len(stored) - 1, min(each, len(stored))).astype(int)]
        again = reference_forecast(
            load_config(cell), load_weights(cell), scaled, tuple(frame.columns), phases, sessions.get_indexer(days)
        )
        difference = np.abs(again.median - stored.loc[days, list(HORIZONS_MONTHS)].to_numpy(float))
        worst = np.maximum(worst, difference.max(axis=0))
        days_replayed += len(days)
        moved += len(days) * bool(np.any(again.median != 0))
    what = f"{days_replayed} days of {len(own)} folds, {moved} of them by a network that is not zero"
    return {horizon: float(value) for horizon, value in zip(HORIZONS_MONTHS, worst, strict=True)}, what


def replayed_features(features: FeaturesRef, raw: Sequence[RawTableRef], store: ArtifactStore) -> dict[str, list[str]]:
    """Per replayed day, the features that differ when they are made from what was known then alone.

    The days are the newest and the one a year before it. Computed once per feature frame.
    """

    def build(folder: Path) -> None:
        from cbi_pipeline.features.build import build_features
        from cbi_pipeline.market_calendar import as_of_time

        frame, tables = load_features(features), load_raw_tables(raw)
        differing = {}
        for day in frame.index[[-1 - SESSIONS_PER_YEAR, -1]]:
            moment = as_of_time(day)
            known = {name: t[t["available_at"] <= moment].reset_index(drop=True) for name, t in tables.items()}
            again = build_features(known).loc[[day]]
            differing[str(day.date())] = [n for n in frame.columns if not again[n].equals(frame.loc[[day], n])]
        (folder / _REPLAY).write_text(json.dumps(differing))

    inputs = {
        "features": features.key,
        "tables": content_of(raw),
        "code": source_hash("stages/parity", "features", "fundamentals", "market_calendar"),
    }
    return read_json(store.get_or_build("replay", inputs, build), _REPLAY)


def replayed_fits(
    features: FeaturesRef, anchors: FoldsRef, scalers: FoldsRef, raw: Sequence[RawTableRef], store: ArtifactStore
) -> dict[str, list[str]]:
    """What differs of a fold's fits when they are made from what was known at its test start alone.

    Of the newest folds: the anchor and what it reads on the last day before the test, the scaler, and the labels that
    the networks were given, each of which must be known before the part after it begins. Computed once for the fits.
    """

    def build(folder: Path) -> None:
        tables, frame, market = load_raw_tables(raw), load_features(features), load_market(anchors)
        differing = {
            f"fold {fold.name}": _unlike_at_the_time(fold, tables, frame, market, anchors, scalers)
            for fold in anchors.folds[-REPLAYED_FOLDS:]
        }
        (folder / _REPLAY).write_text(json.dumps(differing))

    inputs = {
        "features": features.key,
        "anchors": anchors.key,
        "scalers": scalers.key,
        "tables": content_of(raw),
        "code": source_hash(
            "stages/parity", "stages/cell_inputs", "features", "fundamentals", "market_calendar", "modeling/anchor",
            "modeling/volatility", "evaluation/benchmarks", "evaluation/walk_forward",
        ),
    }  # fmt: skip
    return read_json(store.get_or_build("replayed_fits", inputs, build), _REPLAY)


def _unlike_at_the_time(
    fold: FoldSpec,
    tables: Mapping[str, pd.DataFrame],
    frame: pd.DataFrame,
    market: Market,
    anchors: FoldsRef,
    scalers: FoldsRef,
) -> list[str]:
    """Names of what is another one when it is made from the tables as they were before the fold's test start."""
    from tempfile import TemporaryDirectory

    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import fold_anchor, prepare_market
    from cbi_pipeline.features.build import build_features
    from cbi_pipeline.features.driver_set import fit_driver_set
    from cbi_pipeline.market_calendar import as_of_time

    last_known = frame.index[frame.index < pd.Timestamp(fold.test_start)][-1]
    moment = as_of_time(last_known)
    known = {name: table[table["available_at"] <= moment].reset_index(drop=True) for name, table in tables.items()}
    then = prepare_market(known)
    with TemporaryDirectory() as folder:
        digest = fit_driver_set(build_features(known), fold.train_start, fold.train_end).save(Path(folder))
    same = {
        "anchor": fold_anchor(then, fold) == load_anchor(anchors, fold),
        "inputs of the anchor": then.inputs.loc[[last_known]].equals(market.inputs.loc[[last_known]]),
        "volatility": then.state.iloc[[-1]].equals(market.state.loc[:last_known].iloc[[-1]]),
        "scaler": digest == scalers.sha256_by_fold[fold.name],
        "labels": _labels_known(fold, frame, market, scalers),
    }
    return [name for name, equal in same.items() if not equal]


def _labels_known(fold: FoldSpec, frame: pd.DataFrame, market: Market, scalers: FoldsRef) -> bool:
    """Whether every label that the networks of a fold learn from is known before the part after it begins."""
    import pandas as pd

    cell = cell_inputs(frame, fold, market, load_scaler(scalers, fold), ANCHORED)
    targets = market.targets.loc[frame.index, list(HORIZONS_MONTHS)].to_numpy()
    parts = ((cell.train_mask, fold.validation_start), (cell.validation_mask, fold.test_start))
    return all((targets[mask] < pd.Timestamp(begins).to_datetime64()).all() for mask, begins in parts)
