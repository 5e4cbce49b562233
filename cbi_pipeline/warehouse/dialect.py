"""Translation of the one SQL text, in BigQuery's dialect, for the database that runs it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cbi_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from sqlglot import exp


@lru_cache(maxsize=256)
def to_duckdb(sql: str) -> str:
    """Translate one BigQuery statement for DuckDB; `@name` parameters become `$name`.

    Storage advice that has no meaning in a local file (PARTITION BY, CLUSTER BY, OPTIONS of a
    CREATE TABLE) is left out, and a NOT ENFORCED primary key is enforced, since DuckDB can.

    Raises:
        WarehouseError: the text is not one BigQuery statement, or has no counterpart in DuckDB.
    """
    import sqlglot
    from sqlglot.errors import ErrorLevel, SqlglotError

    try:
        statements = [statement for statement in sqlglot.parse(sql, read="bigquery") if statement is not None]
        if len(statements) != 1:
            raise WarehouseError(
                _shorten(sql), f"A query is exactly one SQL statement, got {len(statements)}.", "send them one by one."
            )
        return _without_storage_advice(statements[0]).sql("duckdb", unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise WarehouseError(
            _shorten(sql), f"The text cannot be translated from BigQuery's dialect: {error}", "correct the SQL."
        ) from error


def _without_storage_advice(statement: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    if not (isinstance(statement, exp.Create) and statement.kind == "TABLE"):
        return statement
    statement.set("properties", None)
    for primary_key in statement.find_all(exp.PrimaryKey):
        primary_key.set("options", [])
    for constraint in list(statement.find_all(exp.ColumnConstraint)):
        if isinstance(constraint.kind, exp.Properties):
            constraint.pop()
    return statement


def _shorten(sql: str) -> str:
    one_line = " ".join(sql.split())
    return one_line if len(one_line) <= 120 else f"{one_line[:117]}..."
