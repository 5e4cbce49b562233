"""SQL made from a table's contract, and the view files, all in BigQuery's dialect.

Names come from contracts only, never from a caller; values reach a database as staged rows or as
query parameters, never as SQL text.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from cbi_pipeline.contracts.warehouse import SCHEMA_MIGRATIONS

if TYPE_CHECKING:
    from cbi_pipeline.contracts.warehouse import WarehouseColumn, WarehouseTable
    from cbi_pipeline.contracts.warehouse_views import WarehouseView

MAX_REPORTED_ROWS: Final = 5
"""How many differing rows a refused write names."""
WOULD_CHANGE: Final = "a published row would change"
"""How the error begins with which BigQuery refuses to alter a stored row."""
LABELS: Final = {"app": "cbi", "layer": "warehouse"}
"""Labels of every table, by which costs are found."""


def create_table(table: WarehouseTable) -> str:
    """CREATE TABLE IF NOT EXISTS with types, REQUIRED columns, key, partition, cluster, descriptions and labels."""
    columns = ",\n  ".join(_column_definition(column) for column in table.columns)
    return (
        f"CREATE TABLE IF NOT EXISTS {table.name} (\n  {columns},\n"
        f"  PRIMARY KEY ({', '.join(table.key)}) NOT ENFORCED\n)\n"
        f"PARTITION BY {_partition(table)}\nCLUSTER BY {', '.join(table.cluster_by)}\n"
        f"OPTIONS (description = {_text(table.description)}, labels = [{_labels()}])"
    )


def changed_rows(table: WarehouseTable, staging: str, *, bounded: bool = False) -> str:
    """SELECT of the first staged rows that would alter a stored one.

    `bounded` is for BigQuery; see `insert_new_or_fail`.

    Columns: the key, `changed_rows` (how many there are in all), then `stored_<c>` and
    `offered_<c>` for every published column c.
    """
    pairs = ",\n  ".join(f"t.{name} AS stored_{name}, s.{name} AS offered_{name}" for name in table.published_columns)
    where = f"({differs(table.published_columns)})" + (
        f"\n  AND {_within(table)}" if bounded and prunable(table) else ""
    )
    keys = ", ".join(f"s.{name}" for name in table.key)
    return (
        f"SELECT {keys}, COUNT(*) OVER () AS changed_rows,\n  {pairs}\n"
        f"FROM {staging} AS s\nJOIN {table.name} AS t ON {same_key(table)}\n"
        f"WHERE {where}\nORDER BY {keys}\nLIMIT {MAX_REPORTED_ROWS}"
    )


def insert_new(table: WarehouseTable, staging: str) -> str:
    """MERGE that inserts the staged rows whose key is new and leaves every stored row alone."""
    return (
        f"MERGE INTO {table.name} AS t\nUSING {staging} AS s\nON {same_key(table)}\n"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(table.column_names)})\n"
        f"VALUES ({', '.join(f's.{name}' for name in table.column_names)})"
    )


def insert_new_or_fail(table: WarehouseTable, staging: str) -> str:
    """`insert_new` for BigQuery, which fails whole with `WOULD_CHANGE` if a staged row would alter a stored one.

    One statement, hence one transaction: BigQuery runs it again if another write comes between. Where the table is
    partitioned by a part of its key, parameters `first` and `last` say which partitions can hold the keys.
    """
    within = f"\n  AND {_within(table)}" if prunable(table) else ""
    name = table.published_columns[0]
    row = " ".join(f"', {column}=', CAST(s.{column} AS STRING)," for column in table.key).rstrip(",")
    return (
        f"MERGE INTO {table.name} AS t\nUSING {staging} AS s\nON {same_key(table)}{within}\n"
        f"WHEN MATCHED AND ({differs(table.published_columns)})"
        f" THEN UPDATE SET {name} = ERROR(CONCAT('{WOULD_CHANGE}', {row}))\n"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(table.column_names)})\n"
        f"VALUES ({', '.join(f's.{column}' for column in table.column_names)})"
    )


def prunable(table: WarehouseTable) -> bool:
    """Whether a key lies in one partition only: what is partitioned by the moment of the write may be anywhere."""
    return table.partition_by in table.key


def record_migration() -> str:
    """MERGE of one row of `schema_migrations`, given as parameters by column name."""
    columns = SCHEMA_MIGRATIONS.column_names
    row = ", ".join(f"@{name} AS {name}" for name in columns)
    return (
        f"MERGE INTO {SCHEMA_MIGRATIONS.name} AS t\nUSING (SELECT {row}) AS s\nON {same_key(SCHEMA_MIGRATIONS)}\n"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{name}' for name in columns)})"
    )


def create_view(view: WarehouseView, query: str) -> str:
    """CREATE OR REPLACE VIEW with descriptions and labels.

    Args:
        query: the view's SELECT, every table in it by its full name.
    """
    columns = ",\n  ".join(f"{one.name} OPTIONS (description = {_text(one.description)})" for one in view.columns)
    options = f"OPTIONS (description = {_text(view.description)}, labels = [{_labels()}])"
    return f"CREATE OR REPLACE VIEW {view.name} (\n  {columns}\n)\n{options}\nAS {query}"


@cache
def view_queries() -> dict[str, str]:
    """Query of every view by view name: the files `sql/vw_*.sql`, one SELECT each."""
    folder = files("cbi_pipeline.warehouse") / "sql"
    found = sorted((entry for entry in folder.iterdir() if entry.name.startswith("vw_")), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8") for entry in found}


def _partition(table: WarehouseTable) -> str:
    column = next(column for column in table.columns if column.name == table.partition_by)
    if column.type == "TIMESTAMP":
        return f"TIMESTAMP_TRUNC({column.name}, {table.partition_unit})"
    return column.name if table.partition_unit == "DAY" else f"DATE_TRUNC({column.name}, {table.partition_unit})"


def _column_definition(column: WarehouseColumn) -> str:
    required = " NOT NULL" if column.mode == "REQUIRED" else ""
    return f"{column.name} {column.type}{required} OPTIONS (description = {_text(column.description)})"


def _labels() -> str:
    return ", ".join(f"('{name}', '{value}')" for name, value in LABELS.items())


def differs(columns: Iterable[str]) -> str:
    """Whether a stored row `t` and a staged row `s` of one key differ in any of the columns; NULL equals NULL."""
    return "\n   OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in columns)


def _within(table: WarehouseTable) -> str:
    return f"t.{table.partition_by} BETWEEN @first AND @last"


def same_key(table: WarehouseTable) -> str:
    """Whether a stored row `t` and a staged row `s` have one key."""
    return " AND ".join(f"t.{name} = s.{name}" for name in table.key)


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
