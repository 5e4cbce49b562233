"""Where forecasts and metrics are published: one interface, and DuckDB as the embedded default.

Importing this package loads no database driver: drivers load when a warehouse is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_pipeline.warehouse.base import MergeResult, Warehouse
from cbi_pipeline.warehouse.duckdb import DuckDBWarehouse

if TYPE_CHECKING:
    from cbi_pipeline.settings import Settings

__all__ = ["DuckDBWarehouse", "MergeResult", "Warehouse", "open_warehouse"]


def open_warehouse(settings: Settings, *, migrate: bool = True) -> Warehouse:
    """The warehouse that the settings name.

    Args:
        settings: the run's settings.
        migrate: put its tables and views in place first; a command that only reads leaves it as it is.

    Raises:
        WarehouseError: it cannot be opened, or a table differs from its contract.
    """
    warehouse = DuckDBWarehouse(settings.warehouse_path)
    if migrate:
        warehouse.migrate()
    return warehouse
