"""What concerns the file of the embedded warehouse alone; what every warehouse does stands in test_warehouse.py."""

from __future__ import annotations

import duckdb
import pytest

from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import DuckDBWarehouse


def test_location_is_the_file(tmp_path):
    assert DuckDBWarehouse(tmp_path / "w.duckdb").location == str(tmp_path / "w.duckdb")


@pytest.mark.parametrize("table", WAREHOUSE_TABLES.values(), ids=lambda table: table.name)
def test_migrate_makes_each_table_as_its_contract_says(duckdb_warehouse, table):
    types = {"STRING": "VARCHAR", "INT64": "BIGINT", "FLOAT64": "DOUBLE", "DATE": "DATE"}
    expected = [(c.name, types.get(c.type, "TIMESTAMP WITH TIME ZONE"), c.mode == "NULLABLE") for c in table.columns]
    with duckdb.connect(duckdb_warehouse.path, read_only=True) as connection:
        columns = connection.execute(
            "SELECT column_name, data_type, is_nullable FROM duckdb_columns() "
            "WHERE table_name = ? ORDER BY column_index",
            [table.name],
        ).fetchall()
        key = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() "
            "WHERE table_name = ? AND constraint_type = 'PRIMARY KEY'",
            [table.name],
        ).fetchall()
    assert columns == expected
    assert key == [(list(table.key),)]


@pytest.mark.parametrize(
    ("alteration", "named"),
    [
        ("ALTER TABLE metrics ALTER n_eff TYPE FLOAT", "n_eff"),
        ("ALTER TABLE metrics ALTER n DROP NOT NULL", "'n'"),
        ("ALTER TABLE metrics ADD COLUMN comment VARCHAR", "comment"),
        ("CREATE OR REPLACE TABLE metrics AS SELECT * FROM metrics", "PRIMARY KEY"),
    ],
)
def test_migrate_refuses_a_table_that_differs_from_its_contract(duckdb_warehouse, alteration, named):
    with duckdb.connect(duckdb_warehouse.path) as connection:
        connection.execute("DROP VIEW vw_latest_forecast")
        connection.execute(alteration)
    with pytest.raises(WarehouseError, match=r"differ from their contracts") as refusal:
        duckdb_warehouse.migrate()
    assert named in str(refusal.value)
    with pytest.raises(WarehouseError, match="vw_latest_forecast"):
        duckdb_warehouse.latest_forecast()


@pytest.mark.parametrize("call", ["merge", "latest_forecast"])
def test_only_migrate_makes_the_file(tmp_path, forecast_row, call):
    warehouse = DuckDBWarehouse(tmp_path / "none.duckdb")
    arguments = ("predictions", [forecast_row()]) if call == "merge" else ()
    with pytest.raises(WarehouseError, match=r"does not exist yet.*DuckDBWarehouse\.migrate"):
        getattr(warehouse, call)(*arguments)
    assert not warehouse.path.exists()


def test_a_missing_table_is_refused_with_the_way_to_make_it(tmp_path, forecast_row):
    duckdb.connect(tmp_path / "empty.duckdb").close()
    with pytest.raises(WarehouseError, match=r"predictions does not exist[\s\S]*DuckDBWarehouse\.migrate"):
        DuckDBWarehouse(tmp_path / "empty.duckdb").merge("predictions", [forecast_row()])


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseError, match="not a valid DuckDB"):
        DuckDBWarehouse(path).migrate()
