"""Where forecasts and metrics are published: one interface, and DuckDB as the embedded default.

Importing this package loads no database driver: drivers load when a warehouse is first used.
"""

from __future__ import annotations

from cbi_pipeline.warehouse.base import MergeResult, Warehouse
from cbi_pipeline.warehouse.duckdb import DuckDBWarehouse

__all__ = ["DuckDBWarehouse", "MergeResult", "Warehouse"]
