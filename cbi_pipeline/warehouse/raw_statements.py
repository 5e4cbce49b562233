"""The raw tables of a bundle as tables of BigQuery: their declarations and the SQL to make, fill and export them.

`contracts/tables.py` is the one declaration; everything here is made from it. A raw row, unlike a row of the
warehouse, may be revised by its provider: the new values replace it, and table `revisions` keeps what it said before.
All SQL is in BigQuery's dialect, tables by name alone.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from cbi_pipeline.contracts.tables import FUTURES_DAILY, RAW_TABLES, TableContract
from cbi_pipeline.contracts.warehouse import BigQueryType, WarehouseColumn, WarehouseTable
from cbi_pipeline.warehouse import statements

COMPUTED: Final = {FUTURES_DAILY.name: ("back_adjusted_close",)}
"""Columns computed from a whole series: a later roll changes all earlier values, which is no revision of a row."""

_TYPES: Final[dict[pa.DataType, BigQueryType]] = {
    pa.string(): "STRING",
    pa.int32(): "INT64",
    pa.int64(): "INT64",
    pa.float64(): "FLOAT64",
    pa.bool_(): "BOOL",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
}


def raw_table(contract: TableContract) -> WarehouseTable:
    """The declaration of a raw table in BigQuery: partitioned by event date, clustered by the rest of its key.

    Its `published_columns` are those whose change is a revision; the computed ones stand as its `write_stamp`.
    """
    return WarehouseTable(
        name=contract.name,
        description=contract.description,
        columns=tuple(
            WarehouseColumn(c.name, _TYPES[c.type], c.description, "NULLABLE" if c.nullable else "REQUIRED")
            for c in contract.columns
        ),
        key=contract.key,
        partition_by=contract.event_date,
        cluster_by=tuple(name for name in contract.key if name != contract.event_date),
        write_stamp=COMPUTED.get(contract.name, ()),
    )


RAW: Final = {name: raw_table(contract) for name, contract in RAW_TABLES.items()}
"""The raw tables by name, in the order of a bundle."""

REVISIONS: Final = WarehouseTable(
    name="revisions",
    description="One raw row that `cbi bundle load` replaced, because the provider revised it.",
    columns=(
        WarehouseColumn("raw_table", "STRING", "the raw table"),
        WarehouseColumn("row_key", "STRING", "the row's key, its values separated by blanks"),
        WarehouseColumn("revised_at", "TIMESTAMP", "when it was replaced, UTC"),
        WarehouseColumn("dataset_version", "STRING", "bundle that brought the new values"),
        WarehouseColumn("stored", "STRING", "the row as it was, as JSON"),
        WarehouseColumn("offered", "STRING", "the row as it is since, as JSON"),
    ),
    key=("raw_table", "row_key", "revised_at"),
    partition_by="revised_at",
    cluster_by=("raw_table",),
    write_stamp=(),
)


def create_tables() -> tuple[str, ...]:
    """CREATE TABLE IF NOT EXISTS of every raw table and of `revisions`."""
    return tuple(statements.create_table(table) for table in (*RAW.values(), REVISIONS))


def compare(table: WarehouseTable, staging: str) -> str:
    """SELECT of how many staged rows are `new`, how many would `revise` a stored one, and how many only `recompute`."""
    stored, revised = f"t.{table.key[0]} IS NOT NULL", f"({statements.differs(table.published_columns)})"
    recomputed = f"({statements.differs(table.write_stamp)})" if table.write_stamp else "FALSE"
    return (
        f"SELECT COUNTIF(NOT {stored}) AS added, COUNTIF({stored} AND {revised}) AS revised,\n"
        f"  COUNTIF({stored} AND NOT {revised} AND {recomputed}) AS recomputed\n"
        f"FROM {staging} AS s\nLEFT JOIN {table.name} AS t ON {statements.same_key(table)}"
    )


def keep_revised(table: WarehouseTable, staging: str) -> str:
    """INSERT into `revisions` of the stored rows that staged ones are about to replace."""
    key = ", ' ', ".join(f"CAST(s.{name} AS STRING)" for name in table.key)
    return (
        f"INSERT INTO {REVISIONS.name} ({', '.join(REVISIONS.column_names)})\n"
        f"SELECT '{table.name}', CONCAT({key}), @revised_at, @dataset_version, TO_JSON_STRING(t), TO_JSON_STRING(s)\n"
        f"FROM {staging} AS s\nJOIN {table.name} AS t ON {statements.same_key(table)}\n"
        f"WHERE {statements.differs(table.published_columns)}"
    )


def replace_revised(table: WarehouseTable, staging: str) -> str:
    """UPDATE of the stored rows that differ from the staged ones of their key, computed columns included."""
    other = [name for name in table.column_names if name not in table.key]
    return (
        f"UPDATE {table.name} AS t SET {', '.join(f'{name} = s.{name}' for name in other)}\n"
        f"FROM {staging} AS s\nWHERE {statements.same_key(table)} AND ({statements.differs(other)})"
    )


def insert_new(table: WarehouseTable, staging: str) -> str:
    """INSERT of the staged rows whose key is new.

    With `replace_revised` it does inside a transaction what one MERGE does by itself.
    """
    return (
        f"INSERT INTO {table.name} ({', '.join(table.column_names)})\n"
        f"SELECT {', '.join(f's.{name}' for name in table.column_names)}\n"
        f"FROM {staging} AS s\nLEFT JOIN {table.name} AS t ON {statements.same_key(table)}\n"
        f"WHERE t.{table.key[0]} IS NULL"
    )


def select_snapshot(table: WarehouseTable) -> str:
    """SELECT of a whole raw table as it stood at `@moment`."""
    return f"SELECT {', '.join(table.column_names)}\nFROM {table.name} FOR SYSTEM_TIME AS OF @moment"


def count_snapshot() -> str:
    """SELECT of the rows of every raw table as it stood at `@moment`."""
    return "\nUNION ALL\n".join(
        f"SELECT '{name}' AS name, COUNT(*) AS n_rows FROM {name} FOR SYSTEM_TIME AS OF @moment" for name in RAW
    )


def export_data(uri: str, select: str) -> str:
    """EXPORT DATA of what `select` gives, as parquet.

    Args:
        uri: `gs://bucket/folder/*.parquet`; the folder must be empty.
        select: the query, all names full.
    """
    options = f"uri = '{uri}', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE"
    return f"EXPORT DATA OPTIONS ({options})\nAS\n{select}"
