"""SQL in BigQuery's dialect, as DuckDB gets it, and the statements made from the contracts."""

from __future__ import annotations

import pytest
import sqlglot

from cbi_pipeline.contracts.warehouse import METRICS, PREDICTIONS, WAREHOUSE_TABLES
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import statements
from cbi_pipeline.warehouse.dialect import to_duckdb


@pytest.mark.parametrize(
    ("bigquery", "duckdb"),
    [
        ("SELECT @a AS `b`", 'SELECT $a AS "b"'),
        ("SELECT SAFE_CAST('1' AS INT64)", "SELECT TRY_CAST('1' AS BIGINT)"),
        (
            "CREATE TABLE t (a STRING OPTIONS (description = 'x'), b INT64 NOT NULL)",
            "CREATE TABLE t (a TEXT, b BIGINT NOT NULL)",
        ),
        (
            "CREATE TABLE t (a TIMESTAMP, PRIMARY KEY (a) NOT ENFORCED) "
            "PARTITION BY TIMESTAMP_TRUNC(a, MONTH) CLUSTER BY a OPTIONS (description = 'x')",
            "CREATE TABLE t (a TIMESTAMPTZ, PRIMARY KEY (a))",
        ),
        (
            "SELECT a FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC) = 1",
            "SELECT a FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC) = 1",
        ),
    ],
)
def test_translation(bigquery, duckdb):
    assert to_duckdb(bigquery) == duckdb


def test_translation_is_kept():
    before = to_duckdb.cache_info().hits
    to_duckdb("SELECT 1 AS kept")
    to_duckdb("SELECT 1 AS kept")
    assert to_duckdb.cache_info().hits == before + 1


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "", "-- nothing", "SELECT FROM WHERE", "SELECT (1"])
def test_what_is_not_one_statement_is_refused(sql):
    with pytest.raises(WarehouseError):
        to_duckdb(sql)


def test_what_duckdb_cannot_do_is_refused_not_dropped():
    with pytest.raises(WarehouseError, match="LIMIT inside ARRAY_AGG is not supported"):
        to_duckdb("SELECT ARRAY_AGG(a IGNORE NULLS LIMIT 1) FROM t")


@pytest.mark.parametrize("table", WAREHOUSE_TABLES.values(), ids=lambda table: table.name)
def test_bigquery_ddl_carries_the_whole_contract(table):
    ddl = statements.create_table(table)
    tree = sqlglot.parse_one(ddl, read="bigquery")
    found = {
        column.name: column.sql("bigquery").replace("OPTIONS (", "OPTIONS(")
        for column in tree.find_all(sqlglot.exp.ColumnDef)
    }
    assert tuple(found) == table.column_names
    for column in table.columns:
        required = " NOT NULL" if column.mode == "REQUIRED" else ""
        assert found[column.name].startswith(f"{column.name} {column.type}{required} OPTIONS(")
        options = [prop for prop in tree.find_all(sqlglot.exp.Property) if prop.name == "description"]
        assert column.description in [prop.args["value"].name for prop in options]
    assert f"PRIMARY KEY ({', '.join(table.key)}) NOT ENFORCED" in ddl


def test_bigquery_partitions_and_clusters():
    assert "\nPARTITION BY as_of_date\nCLUSTER BY horizon_months, model_version\n" in statements.create_table(
        PREDICTIONS
    )
    assert "\nPARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)\n" in statements.create_table(METRICS)


def test_every_view_file_is_one_select():
    for query in statements.view_queries().values():
        assert isinstance(sqlglot.parse_one(query, read="bigquery"), sqlglot.exp.Select)
