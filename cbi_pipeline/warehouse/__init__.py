"""Where forecasts and metrics are published: one interface; DuckDB as the embedded default, BigQuery of record.

Importing this package loads no database driver: drivers load when a warehouse is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_pipeline.warehouse.base import MergeResult, Warehouse
from cbi_pipeline.warehouse.bigquery import BigQueryWarehouse
from cbi_pipeline.warehouse.duckdb import DuckDBWarehouse

if TYPE_CHECKING:
    from google.cloud import bigquery

    from cbi_pipeline.settings import Settings

__all__ = ["BigQueryWarehouse", "DuckDBWarehouse", "MergeResult", "Warehouse", "named_warehouse", "open_warehouse"]


def named_warehouse(
    settings: Settings, *, client: bigquery.Client | None = None, writer: str | None = None
) -> DuckDBWarehouse | BigQueryWarehouse:
    """The warehouse that the settings name, as it stands.

    Args:
        settings: the run's settings.
        client: an open client of BigQuery; made from the environment by default.
        writer: what a run that may be repeated is called; see `BigQueryWarehouse`.
    """
    if settings.warehouse == "duckdb":
        return DuckDBWarehouse(settings.warehouse_path)
    return BigQueryWarehouse(
        settings.gcp_project,
        settings.bigquery_dataset,
        settings.bigquery_location,
        maximum_bytes_billed=settings.maximum_bytes_billed,
        storage_api=settings.bigquery_storage_api,
        client=client,
        writer=writer,
    )


def open_warehouse(settings: Settings, *, migrate: bool = True) -> Warehouse:
    """The warehouse that the settings name.

    Args:
        settings: the run's settings.
        migrate: put its tables and views in place first; a command that only reads leaves it as it is.

    Raises:
        WarehouseError: it cannot be opened, or a table differs from its contract.
    """
    warehouse = named_warehouse(settings)
    if migrate:
        warehouse.migrate()
    return warehouse
