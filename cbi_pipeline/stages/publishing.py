"""Writes to the warehouse and the view that is read back; MERGE decides what is new."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import (
    Cell,
    CellRef,
    PredictionsRef,
    RawTableRef,
    ScorecardRef,
    WarehouseRef,
    WinnerRef,
)
from cbi_pipeline.contracts.warehouse import (
    EXPERIMENTS,
    METRICS,
    MODEL_REGISTRY,
    PREDICTIONS,
    REALIZED_PRICES,
    SCORECARDS,
    WAREHOUSE_TABLES,
)
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TARGETS, Target
from cbi_pipeline.provenance import code_commit, content_key
from cbi_pipeline.stages.evaluation import (
    FULL_RESIDUAL_SUFFIX,
    RAW_SUFFIX,
    load_out_of_fold,
    load_scores,
    pooled_metrics,
)
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.raw import load_raw_tables
from cbi_pipeline.stages.serving import load_forecast_rows, row_key, stored_rows
from cbi_pipeline.stages.training import cell_record, trained_cells

if TYPE_CHECKING:
    from cbi_pipeline.registry.champion import Champion
    from cbi_pipeline.warehouse.base import MergeResult, Warehouse

LATEST_VIEW = "vw_latest_forecast"
_EXPERIMENTS_SQL = "SELECT * FROM experiments ORDER BY created_at DESC, scorecard_id, architecture, target"
_FIRST_PUBLISHED_SQL = "SELECT DISTINCT dataset_version FROM metrics WHERE scorecard_id = @scorecard_id"


def publish_predictions(predictions: PredictionsRef, warehouse: Warehouse) -> WarehouseRef:
    """Write the forecast rows; rows that are there already stay as they are."""
    rows = [row.model_dump() for row in load_forecast_rows(predictions)]
    return table_reference(PREDICTIONS.name, warehouse, warehouse.merge(PREDICTIONS.name, rows))


def differing_rows(predictions: PredictionsRef, warehouse: Warehouse) -> list[str]:
    """What is missing or different in the warehouse, in words; empty if the stored rows are the forecast rows."""
    stored = stored_rows(warehouse, predictions.first_as_of_date, predictions.as_of_date)
    stamp = {"created_at", "run_id", "code_commit"}
    found = [(row, stored.get(row_key(row))) for row in load_forecast_rows(predictions)]
    return [
        f"{row.as_of_date}, {row.horizon_months} months is {'different' if old else 'missing'}"
        for row, old in found
        if old is None or old.model_dump(exclude=stamp) != row.model_dump(exclude=stamp)
    ]


def publish_metrics(scorecard: ScorecardRef, warehouse: Warehouse, *, run_id: str) -> WarehouseRef:
    """Write the scorecard, one row per entry, horizon, fold and metric; an undefined value is NULL.

    A scorecard that is published already keeps the dataset_version that it was first published with: its id hangs on
    content alone, and another bundle may hold the very same tables.
    """
    stamp: dict[str, Any] = {
        "scorecard_id": scorecard.scorecard_id,
        "dataset_version": scorecard.dataset_version,
        "feature_hash": scorecard.feature_hash,
        "created_at": datetime.now(UTC),
        "run_id": run_id,
        "code_commit": code_commit(),
    }
    for published in warehouse.query(_FIRST_PUBLISHED_SQL, {"scorecard_id": scorecard.scorecard_id}).to_pylist():
        stamp |= published
    rows = [
        {**record, "value": None if record["value"] != record["value"] else record["value"], **stamp}
        for record in load_scores(scorecard).to_dict("records")
    ]
    return table_reference(METRICS.name, warehouse, warehouse.merge(METRICS.name, rows))


def publish_experiments(
    scorecard: ScorecardRef, cells: Mapping[str, Cell], warehouse: Warehouse, *, profile: str, run_id: str
) -> WarehouseRef:
    """Write what was trained and how the scorecard judged it, one row per architecture and target.

    Raises:
        ModelError: a cell failed, or was changed since it was stored.
    """
    trained = trained_cells(cells)
    stamp: dict[str, Any] = {
        "scorecard_id": scorecard.scorecard_id,
        "profile": profile,
        "dataset_version": scorecard.dataset_version,
        "feature_hash": scorecard.feature_hash,
        "created_at": datetime.now(UTC),
        "run_id": run_id,
        "code_commit": code_commit(),
    }
    rows = [
        {**_experiment(scorecard, [cell for cell in trained if cell.architecture == architecture], target), **stamp}
        for architecture in dict.fromkeys(cell.architecture for cell in trained)
        for target in TARGETS
    ]
    return table_reference(EXPERIMENTS.name, warehouse, warehouse.merge(EXPERIMENTS.name, rows))


def publish_registry(models_dir: Path, warehouse: Warehouse, *, run_id: str) -> WarehouseRef:
    """Write every change of the champion that the warehouse does not hold yet, killed processes' changes with them.

    Raises:
        ModelError: no model serves.
    """
    from cbi_pipeline.registry.champion import mark_published

    changes = _serving(models_dir).unpublished
    stamp = {"created_at": datetime.now(UTC), "run_id": run_id, "code_commit": code_commit()}
    result = warehouse.merge(MODEL_REGISTRY.name, [{**change.model_dump(), **stamp} for change in changes])
    mark_published(models_dir, changes)
    return table_reference(MODEL_REGISTRY.name, warehouse, result)


def publish_scorecard(
    scorecard: ScorecardRef, winner: WinnerRef, warehouse: Warehouse, *, profile: str, run_id: str
) -> WarehouseRef:
    """Write what was evaluated, on which days, and what won; an evaluation that is published stays as it is."""
    rows, scores = load_out_of_fold(scorecard), load_scores(scorecard)
    record = {
        "scorecard_id": scorecard.scorecard_id,
        "dataset_version": scorecard.dataset_version,
        "feature_hash": scorecard.feature_hash,
        "profile": profile,
        "winner": winner.architecture,
        "winner_reason": winner.reason,
        "entries": scores["entry"].nunique(),
        "folds": rows["fold"].nunique(),
        "first_as_of_date": rows["as_of_date"].min().date(),
        "last_as_of_date": rows["as_of_date"].max().date(),
        "out_of_fold_rows": len(rows),
        "features_key": scorecard.features_key,
        "anchors_key": scorecard.anchors_key,
        "scalers_key": scorecard.scalers_key,
        "created_at": datetime.now(UTC),
        "run_id": run_id,
        "code_commit": code_commit(),
    }
    return table_reference(SCORECARDS.name, warehouse, warehouse.merge(SCORECARDS.name, [record]))


def publish_realized_prices(prices: Sequence[RawTableRef], warehouse: Warehouse, *, run_id: str) -> WarehouseRef:
    """Write `realized_price_rows`; those of a bundle that is there already stay as they are."""
    rows = realized_price_rows(prices, run_id=run_id)
    return table_reference(REALIZED_PRICES.name, warehouse, warehouse.merge(REALIZED_PRICES.name, rows))


def realized_price_rows(prices: Sequence[RawTableRef], *, run_id: str) -> list[dict[str, Any]]:
    """Close and within-contract return of every session of a bundle, from which SQL takes outcomes and P&L.

    Args:
        prices: futures_daily and futures_curve.
    """
    from cbi_pipeline.evaluation.profit_and_loss import roll_dates
    from cbi_pipeline.modeling.volatility import front_price, within_contract_returns

    tables = load_raw_tables(prices)
    close, rolls = front_price(tables), set(roll_dates(tables))
    returns = within_contract_returns(tables).dropna().to_dict()
    stamp = {
        "dataset_version": prices[0].dataset_version,
        "created_at": datetime.now(UTC),
        "run_id": run_id,
        "code_commit": code_commit(),
    }
    return [
        {
            "trade_date": day.date(),
            "close": price,
            "contract_return": returns.get(day),
            "is_roll": int(day in rolls),
            **stamp,
        }
        for day, price in zip(close.index, close.tolist(), strict=True)
    ]


def champion_record(models_dir: Path) -> dict[str, Any]:
    """What serves, since when, admitted how, by whom, why, what it replaced, and what a person rolled back.

    Raises:
        ModelError: no model serves.
    """
    champion = _serving(models_dir)
    return {
        **champion.model_dump(exclude={"previous", "judged_against", "rolled_back", "unpublished"}),
        "replaced": champion.previous.model_version if champion.previous else None,
        "rolled_back": ", ".join(entry.model_version for entry in champion.rolled_back),
    }


def _serving(models_dir: Path) -> Champion:
    from cbi_pipeline.registry.champion import read_champion

    champion = read_champion(models_dir)
    if champion is None:
        raise ModelError(str(models_dir), "No model was promoted yet.", "run `cbi run`.")
    return champion


def stored_table(name: str, warehouse: Warehouse) -> WarehouseRef:
    """A table that was written earlier in the run, as it stands."""
    return _reference(WAREHOUSE_TABLES[name].name, warehouse)


def experiments(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every row of the table `experiments`, newest run first."""
    return warehouse.query(_EXPERIMENTS_SQL).to_pylist()


def experiment_id(indexes: Sequence[Mapping[str, Any]], target: Target) -> str:
    """Hash of all that decides the cells of an architecture for one target; their indexes as the store writes them.

    The configuration of the other target, which lies in the same folders, has no part in it.
    """
    decides = [{**i["inputs"], "config": i["inputs"]["config"][target], "libraries": i["libraries"]} for i in indexes]
    return content_key(cells=sorted(decides, key=lambda one: one["fold"]["name"]))[:16]


def _experiment(scorecard: ScorecardRef, cells: Sequence[CellRef], target: Target) -> dict[str, Any]:
    """What one architecture was trained with for one target, and its errors when nothing shrinks it."""
    records = [cell_record(cell) for cell in cells]
    own = [record["targets"][target] for record in records]
    members = [member for trained in own for member in trained["members"]]
    entry = cells[0].architecture + (RAW_SUFFIX if target == "raw" else FULL_RESIDUAL_SUFFIX)
    errors = pooled_metrics(scorecard, entry, common_rows=True)
    return {
        "experiment_id": experiment_id([read_json(cell, "artifact.json") for cell in cells], target),
        "architecture": cells[0].architecture,
        "target": target,
        "entry": entry,
        "config": json.dumps(own[0]["config"], sort_keys=True),
        "folds": len(cells),
        "members": cells[0].members,
        "parameters": cells[0].n_parameters,
        "device": records[0]["device"],
        "torch_version": records[0]["torch"],
        "validation_loss": fmean(member["history"][member["best_epoch"]]["validation_loss"] for member in members),
        **{f"rmse_ratio_{h}m": errors.get(h, {}).get("rmse_ratio") for h in HORIZONS_MONTHS},
        "training_seconds": sum(trained["seconds"] for trained in own),
    }


def latest_forecast(warehouse: Warehouse) -> tuple[WarehouseRef, list[dict[str, Any]]]:
    """What dashboards see: the newest forecast of each horizon, as the view gives it."""
    rows = warehouse.latest_forecast()
    progress.finish(LATEST_VIEW, f"{len(rows)} rows", reused=None)
    return _reference(LATEST_VIEW, warehouse, rows=len(rows)), rows


def read_view(name: str, warehouse: Warehouse) -> WarehouseRef:
    """A view as it stands after the run: that it can be read, and how many rows it has.

    Raises:
        WarehouseError: there is no such view, or its query fails.
    """
    return _reference(WAREHOUSE_VIEWS[name].name, warehouse)


def table_reference(table: str, warehouse: Warehouse, result: MergeResult) -> WarehouseRef:
    """What a write did to a table, reported to whoever listens to the run."""
    progress.finish(f"table {table}", str(result), reused=result.inserted == 0)
    return _reference(table, warehouse, result)


def _reference(
    name: str, warehouse: Warehouse, result: MergeResult | None = None, *, rows: int | None = None
) -> WarehouseRef:
    """A table or view as it stands; without a `result` nothing was written to it."""
    rows = warehouse.row_count(name) if rows is None else rows
    return WarehouseRef(
        name=name,
        location=warehouse.location,
        full_name=warehouse.full_name(name),
        console_url=warehouse.console_url(name),
        rows=rows,
        inserted=result.inserted if result else 0,
        unchanged=result.unchanged if result else rows,
    )
