"""Rows with known numbers and an empty warehouse, in DuckDB and in BigQuery, for tests of storage alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
from cbi_pipeline.warehouse import BigQueryWarehouse, DuckDBWarehouse
from cbi_pipeline.warehouse.dialect import to_duckdb
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION

RowMaker = Callable[..., dict[str, Any]]
Warehouse = DuckDBWarehouse | BigQueryWarehouse


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "warehouse.duckdb"
    DuckDBWarehouse(path).migrate()
    return path


@pytest.fixture
def duckdb_warehouse(tmp_path: Path, _migrated_file: Path) -> DuckDBWarehouse:
    """An empty warehouse in a file: a copy of one that was migrated from nothing."""
    path = tmp_path / "folder" / "warehouse.duckdb"
    path.parent.mkdir()
    shutil.copyfile(_migrated_file, path)
    return DuckDBWarehouse(path)


@pytest.fixture(scope="session")
def _migrated() -> set[str]:
    """Datasets that are in place: to make one takes seconds, to empty it a moment."""
    return set()


@pytest.fixture
def bigquery_warehouse(gcp_environment: None, _migrated: set[str]) -> BigQueryWarehouse:
    """An empty warehouse in BigQuery; its dataset is shared by the tests of a session, one after the other."""
    made = BigQueryWarehouse(PROJECT, "cbi", REGION, retry_seconds=10)
    if "cbi" not in _migrated:
        made.migrate()
        _migrated.add("cbi")
    empty_tables(made)
    return made


def empty_tables(warehouse: BigQueryWarehouse) -> None:
    """Remove every row and staging table, as only a test may."""
    counts = [f"SELECT '{name}' AS name, COUNT(*) AS n FROM `{warehouse.full_name(name)}`" for name in WAREHOUSE_TABLES]
    for row in warehouse._client.query_and_wait(" UNION ALL ".join(counts)):
        if row.n:
            warehouse._client.query_and_wait(f"TRUNCATE TABLE `{warehouse.full_name(row.name)}`")
    for table in warehouse._client.list_tables(f"{PROJECT}.{warehouse.dataset}_staging"):  # of writers that were killed
        warehouse._client.delete_table(table)


def rows_in(warehouse: Warehouse, table: str) -> int:
    """Rows of a table, counted: the metadata of this server still counts those that were truncated."""
    return warehouse.query(f"SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py()


def execute(warehouse: Warehouse, sql: str) -> None:
    """Run one statement in BigQuery's dialect behind the warehouse's back."""
    if isinstance(warehouse, BigQueryWarehouse):
        warehouse._execute(sql)
        return
    with duckdb.connect(warehouse.path) as connection:
        connection.execute(to_duckdb(sql))


@pytest.fixture(params=["duckdb", "bigquery"])
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """An empty warehouse, once of each kind."""
    return request.getfixturevalue(f"{request.param}_warehouse")


@pytest.fixture
def forecast_row() -> RowMaker:
    """Make a valid row of `predictions`; keyword arguments replace fields."""

    def make(**changes: Any) -> dict[str, Any]:
        prices = {"q05": 38.0, "q10": 40.0, "q25": 42.5, "q50": 45.5, "q75": 48.0, "q90": 51.0, "q95": 53.0}
        fields: dict[str, Any] = {
            "as_of_date": date(2023, 3, 1),
            "horizon_months": 3,
            "target_date": date(2024, 6, 3),
            "last_price": 45.25,
            "anchor_price": 45.0,
            "anchor_kind": "carry",
            "lambda_h": 0.1,
            "predicted_price": 45.5,
            **prices,
            "status": "HOLD",
            "status_reasons": "coverage is under target",
            "model_version": "model-a",
            "dataset_version": "data-1",
            "feature_hash": "f" * 64,
            "scaler_sha256": "a" * 64,
            "code_commit": "c" * 40,
            "run_id": "run-1",
            "created_at": datetime(2023, 3, 1, 20, 30, 0, 123456, tzinfo=UTC),
        }
        return ForecastRow(**(fields | changes)).model_dump()

    return make


@pytest.fixture
def metric_row() -> RowMaker:
    """Make a valid row of `metrics`; keyword arguments replace columns, unchecked."""

    def make(**changes: Any) -> dict[str, Any]:
        columns: dict[str, Any] = {
            "scorecard_id": "scorecard-1",
            "dataset_version": "data-1",
            "feature_hash": "f" * 64,
            "entry": "anchor",
            "horizon_months": 6,
            "fold": "all",
            "metric": "mape",
            "value": 11.5,
            "n": 1260,
            "n_eff": 10.0,
            "created_at": datetime(2023, 3, 1, 20, 30, tzinfo=UTC),
            "run_id": "run-1",
            "code_commit": "c" * 40,
        }
        return columns | changes

    return make
