"""What concerns the file of the embedded warehouse alone; what every warehouse does stands in test_warehouse.py."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import duckdb
import pytest

from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import DuckDBWarehouse, MergeResult


def test_location_is_the_file(tmp_path):
    assert DuckDBWarehouse(tmp_path / "w.duckdb").location == str(tmp_path / "w.duckdb")


@pytest.mark.parametrize("stem", ["it's one", 'a "b" c', "x.y", "memory", "temp", "system", "main", "select"])
def test_any_name_of_a_file_is_good(tmp_path, forecast_row, stem):
    """To DuckDB the last ones are names of its own."""
    warehouse = DuckDBWarehouse(tmp_path / f"{stem}.duckdb")
    warehouse.migrate()
    assert warehouse.merge("predictions", [forecast_row()]) == MergeResult(1, 0)
    assert warehouse.differences() == []
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.duckdb"]


def test_a_call_that_fails_keeps_neither_the_file_nor_what_it_began(tmp_path, duckdb_warehouse, forecast_row):
    """One DuckDB serves all calls of a process: what a call attached or began must not reach the next."""
    duckdb_warehouse.merge("predictions", [forecast_row()])
    with pytest.raises(WarehouseError, match="never change"):
        duckdb_warehouse.merge("predictions", [forecast_row(status_reasons="other")])
    with pytest.raises(WarehouseError, match="DuckDB refuses"):
        duckdb_warehouse.query("SELECT no_such_column FROM predictions")
    with duckdb.connect(duckdb_warehouse.path) as connection:  # refused while this process holds the file
        assert connection.execute("SELECT count(*) FROM predictions").fetchall() == [(1,)]
    another = DuckDBWarehouse(tmp_path / "another.duckdb")
    another.migrate()
    assert another.row_count("predictions") == 0
    assert duckdb_warehouse.row_count("predictions") == 1


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


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """No file can grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("full", ["at the commit", "at the checkpoint"])
def test_a_full_disk_is_named_and_costs_no_row(duckdb_warehouse, forecast_row, full):
    first = forecast_row(target_date=date(2999, 1, 5))
    rows = [first | {"as_of_date": date(2000, 1, 1) + timedelta(days=day)} for day in range(3000)]
    duckdb_warehouse.merge("predictions", rows[:10])
    most, there = (4096, 10) if full == "at the commit" else (duckdb_warehouse.path.stat().st_size, 3000)
    with files_up_to(most), pytest.raises(WarehouseError, match="free disk space"):
        duckdb_warehouse.merge("predictions", rows)
    assert duckdb_warehouse.row_count("predictions") == there
    duckdb_warehouse.merge("predictions", rows)
    assert duckdb_warehouse.row_count("predictions") == 3000


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
