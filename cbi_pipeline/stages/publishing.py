"""Writes to the warehouse and the view that is read back; MERGE decides what is new."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts.references import PredictionsRef, ScorecardRef, WarehouseRef
from cbi_pipeline.contracts.warehouse import METRICS, PREDICTIONS
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.stages.evaluation import load_scores
from cbi_pipeline.stages.serving import load_forecast_rows, stored_rows

if TYPE_CHECKING:
    from cbi_pipeline.warehouse.base import MergeResult, Warehouse

LATEST_VIEW = "vw_latest_forecast"
_FIRST_PUBLISHED_SQL = "SELECT DISTINCT dataset_version FROM metrics WHERE scorecard_id = @scorecard_id"


def publish_predictions(predictions: PredictionsRef, warehouse: Warehouse) -> WarehouseRef:
    """Write the forecast rows; rows that are there already stay as they are."""
    rows = [row.model_dump() for row in load_forecast_rows(predictions)]
    return _reference(PREDICTIONS.name, warehouse, warehouse.merge(PREDICTIONS.name, rows))


def differing_rows(predictions: PredictionsRef, warehouse: Warehouse) -> list[str]:
    """What is missing or different in the warehouse, in words; empty if the stored rows are the forecast rows."""
    stored = {r.horizon_months: r for r in stored_rows(warehouse, predictions.as_of_date, predictions.model_version)}
    stamp = {"created_at", "run_id", "code_commit"}
    return [
        f"{row.as_of_date}, {row.horizon_months} months is {'different' if row.horizon_months in stored else 'missing'}"
        for row in load_forecast_rows(predictions)
        if row.horizon_months not in stored
        or stored[row.horizon_months].model_dump(exclude=stamp) != row.model_dump(exclude=stamp)
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
    return _reference(METRICS.name, warehouse, warehouse.merge(METRICS.name, rows))


def latest_forecast(warehouse: Warehouse) -> tuple[WarehouseRef, list[dict[str, Any]]]:
    """What dashboards see: the newest forecast of each horizon, as the view gives it."""
    rows = warehouse.latest_forecast()
    reference = WarehouseRef(
        name=LATEST_VIEW, location=warehouse.location, rows=len(rows), inserted=0, unchanged=len(rows)
    )
    progress.finish(LATEST_VIEW, f"{len(rows)} rows", reused=None)
    return reference, rows


def _reference(table: str, warehouse: Warehouse, result: MergeResult) -> WarehouseRef:
    progress.finish(f"table {table}", str(result), reused=result.inserted == 0)
    rows = warehouse.query(f"SELECT COUNT(*) AS n FROM {table}").to_pylist()[0]["n"]
    return WarehouseRef(
        name=table, location=warehouse.location, rows=rows, inserted=result.inserted, unchanged=result.unchanged
    )
