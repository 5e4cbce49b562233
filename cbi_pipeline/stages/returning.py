"""The last step of a run: a manifest in the bucket that says which rows are back in the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from cbi_pipeline import progress
from cbi_pipeline.contracts.references import PredictionsRef
from cbi_pipeline.contracts.returned import ReturnManifest, returned_table
from cbi_pipeline.errors import BundleError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.stages.serving import load_forecast_rows
from cbi_pipeline.warehouse.rows import find_contract

if TYPE_CHECKING:
    from cbi_pipeline.warehouse.base import Warehouse

STAGE: Final = "return manifest"
_STORED_SQL: Final = {
    "predictions": "SELECT * FROM predictions WHERE as_of_date BETWEEN @first AND @last",
    "realized_prices": "SELECT * FROM realized_prices WHERE dataset_version = @dataset",
    "data_quality": "SELECT * FROM data_quality WHERE dataset_version = @dataset",
    "live_skill": "SELECT * FROM live_skill WHERE dataset_version = @dataset",
    "metrics": "SELECT * FROM metrics WHERE scorecard_id = @scorecard",
    "gate_verdicts": "SELECT * FROM gate_verdicts WHERE scorecard_id = @scorecard",
}
"""What stands behind a forecast, as the warehouse has it."""
RETURNS_FOLDER: Final = "returns"


class ReturnStore(Protocol):
    """Where return manifests are kept; `GcsBundleStore` is one."""

    location: str

    def create(self, folder: str, name: str, content: bytes) -> bool:
        """Write an object if there is none of its name; `BundleError` if there is one with other bytes."""

    def read(self, version: str, name: str) -> bytes:
        """The bytes of an object."""


@dataclass(frozen=True, slots=True)
class PublishedReturn:
    """A return manifest in its bucket; `written` is False if an earlier run brought back the very same rows."""

    uri: str
    manifest: ReturnManifest
    written: bool


def return_forecast(
    predictions: PredictionsRef, models_dir: Path, warehouse: Warehouse, store: ReturnStore, *, run_id: str
) -> PublishedReturn:
    """Write the return manifest of forecasts, from what the warehouse holds of them and of what stands behind them.

    Args:
        models_dir: where the model that serves is told, and with it the scorecard.

    Raises:
        ModelError: no model serves. BundleError, StoreError, WarehouseError: as `publish_return`.
    """
    from cbi_pipeline.registry.champion import load_serving

    _, champion = load_serving(models_dir)
    made = load_forecast_rows(predictions)
    known: dict[str, Any] = {
        "first": predictions.first_as_of_date,
        "last": predictions.as_of_date,
        "dataset": made[-1].dataset_version,
        "scorecard": champion.scorecard_id,
    }
    rows = {name: _stored_rows(warehouse, sql, known) for name, sql in _STORED_SQL.items()}
    models = {row.model_version for row in made}
    rows["predictions"] = [row for row in rows["predictions"] if row["model_version"] in models]
    published = publish_return(
        store,
        rows=rows,
        as_of_date=predictions.as_of_date,
        dataset_version=known["dataset"],
        model_version=predictions.model_version,
        warehouse=warehouse.location,
        run_id=run_id,
        code_commit=code_commit(),
    )
    progress.finish(STAGE, published.uri, reused=not published.written)
    return published


def _stored_rows(warehouse: Warehouse, sql: str, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    return warehouse.query(sql, {name: value for name, value in known.items() if f"@{name}" in sql}).to_pylist()


def publish_return(
    store: ReturnStore,
    *,
    rows: Mapping[str, Iterable[Mapping[str, Any]]],
    as_of_date: date,
    dataset_version: str,
    model_version: str,
    warehouse: str,
    run_id: str,
    code_commit: str,
    created_at: datetime | None = None,
) -> PublishedReturn:
    """Write the return manifest of a run, once its rows are in the warehouse; a re-run of the same rows writes nothing.

    Args:
        store: the bucket of bundles.
        rows: by table of the warehouse, the rows of this run as they are stored; only their keys are read.
        as_of_date: trade date of the forecast.
        dataset_version: the bundle it was made from.
        model_version: the model that made it.
        warehouse: where the rows are, `Warehouse.location`.
        run_id, code_commit: what wrote them.
        created_at: when, with time zone; now by default.

    Raises:
        BundleError: another object stands under the manifest's name.
        StoreError: the bucket refuses or cannot be reached; there is no manifest then.
        WarehouseError: the warehouse has no such table.
    """
    manifest = ReturnManifest(
        as_of_date=as_of_date,
        dataset_version=dataset_version,
        model_version=model_version,
        warehouse=warehouse,
        tables={name: returned_table(find_contract(name), found) for name, found in sorted(rows.items())},
        run_id=run_id,
        code_commit=code_commit,
        created_at=created_at or datetime.now(UTC),
    )
    uri = f"{store.location}/{RETURNS_FOLDER}/{manifest.file_name}"
    try:
        return PublishedReturn(uri, manifest, store.create(RETURNS_FOLDER, manifest.file_name, manifest.to_json()))
    except BundleError:
        stored = _stored(store, manifest.file_name, uri)
        if stored.content_sha256 != manifest.content_sha256:
            raise
        return PublishedReturn(uri, stored, written=False)


def _stored(store: ReturnStore, name: str, uri: str) -> ReturnManifest:
    try:
        return ReturnManifest.model_validate_json(store.read(RETURNS_FOLDER, name))
    except ValidationError as error:
        rule = f"a return manifest has the fields of contracts/returned.py ({error.error_count()} are wrong)."
        raise BundleError(uri, rule, "find out who wrote it, and remove it; then run again.") from error
