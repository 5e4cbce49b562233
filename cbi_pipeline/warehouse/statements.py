"""SQL made from a table's contract, and the view files, all in BigQuery's dialect.

Names come from contracts only, never from a caller; values reach a database as staged rows or as
query parameters, never as SQL text.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cbi_pipeline.contracts.warehouse import WarehouseColumn, WarehouseTable

MAX_REPORTED_ROWS: Final = 5
"""How many differing rows a refused write names."""


def create_table(table: WarehouseTable) -> str:
    """CREATE TABLE IF NOT EXISTS with types, REQUIRED columns, key, partition, cluster and descriptions."""
    columns = ",\n  ".join(_column_definition(column) for column in table.columns)
    partition = next(column for column in table.columns if column.name == table.partition_by)
    partition_by = partition.name if partition.type == "DATE" else f"TIMESTAMP_TRUNC({partition.name}, MONTH)"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.name} (\n  {columns},\n"
        f"  PRIMARY KEY ({', '.join(table.key)}) NOT ENFORCED\n)\n"
        f"PARTITION BY {partition_by}\nCLUSTER BY {', '.join(table.cluster_by)}\n"
        f"OPTIONS (description = {_text(table.description)})"
    )


def changed_rows(table: WarehouseTable, staging: str) -> str:
    """SELECT of the first staged rows that would alter a stored one.

    Columns: the key, `changed_rows` (how many there are in all), then `stored_<c>` and
    `offered_<c>` for every published column c.
    """
    pairs = ",\n  ".join(f"t.{name} AS stored_{name}, s.{name} AS offered_{name}" for name in table.published_columns)
    differs = "\n   OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in table.published_columns)
    keys = ", ".join(f"s.{name}" for name in table.key)
    return (
        f"SELECT {keys}, COUNT(*) OVER () AS changed_rows,\n  {pairs}\n"
        f"FROM {staging} AS s\nJOIN {table.name} AS t ON {_same_key(table)}\n"
        f"WHERE {differs}\nORDER BY {keys}\nLIMIT {MAX_REPORTED_ROWS}"
    )


def insert_new(table: WarehouseTable, staging: str) -> str:
    """MERGE that inserts the staged rows whose key is new and leaves every stored row alone."""
    return (
        f"MERGE INTO {table.name} AS t\nUSING {staging} AS s\nON {_same_key(table)}\n"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(table.column_names)})\n"
        f"VALUES ({', '.join(f's.{name}' for name in table.column_names)})"
    )


@cache
def view_queries() -> dict[str, str]:
    """Query of every view by view name: the files `sql/vw_*.sql`, one SELECT each."""
    folder = files("cbi_pipeline.warehouse") / "sql"
    found = sorted((entry for entry in folder.iterdir() if entry.name.startswith("vw_")), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8") for entry in found}


def _column_definition(column: WarehouseColumn) -> str:
    required = " NOT NULL" if column.mode == "REQUIRED" else ""
    return f"{column.name} {column.type}{required} OPTIONS (description = {_text(column.description)})"


def _same_key(table: WarehouseTable) -> str:
    return " AND ".join(f"t.{name} = s.{name}" for name in table.key)


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
