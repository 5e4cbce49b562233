"""Translation of the one SQL text, in BigQuery's dialect, for the database that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
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
    from sqlglot.errors import ErrorLevel, SqlglotError

    try:
        return _without_storage_advice(_parsed(sql)).sql("duckdb", unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise WarehouseError(
            shorten(sql), f"The text cannot be translated from BigQuery's dialect: {error}", "correct the SQL."
        ) from error


def _parsed(sql: str) -> exp.Expr:
    """The tree of one BigQuery statement."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        statements = [statement for statement in sqlglot.parse(sql, read="bigquery") if statement is not None]
    except SqlglotError as error:
        raise WarehouseError(shorten(sql), f"The text is not in BigQuery's dialect: {error}", "correct it.") from error
    if len(statements) != 1:
        rule = f"A query is exactly one SQL statement, got {len(statements)}."
        raise WarehouseError(shorten(sql), rule, "send them one by one.")
    return statements[0]


def qualified(sql: str, names: Callable[[str], str]) -> str:
    """A BigQuery statement with the full name of every table and view in it.

    Args:
        sql: one statement; tables by name alone.
        names: full name (`project.dataset.table`) of a table or view.
    """
    from sqlglot import exp

    tree = _parsed(sql)
    own = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if not table.db and table.name not in own:
            full = exp.to_table(names(table.name), dialect="bigquery")
            for part in ("catalog", "db", "this"):
                identifier = full.args[part]
                identifier.set("quoted", True)
                table.set(part, identifier)
    return tree.sql("bigquery", pretty=True)


def same_query(one: str, other: str) -> bool:
    """Whether two BigQuery statements differ in layout and comments at most."""
    plain, also = (_parsed(sql).sql("bigquery", comments=False) for sql in (one, other))
    return plain == also


def check_query(sql: str, params: Mapping[str, Any] | None) -> None:
    """Check what every warehouse asks of a query, before it is sent.

    A query of a big table must name a range of the column by which it is partitioned: BigQuery would read, and charge
    for, the whole table. What counts is a comparison with a constant or a parameter in the WHERE of the same SELECT: it
    alone decides which partitions are opened.

    Raises:
        WarehouseError: the text is not one statement, its parameters are not exactly those given, or a filter is
            missing; the message names table and column.
    """
    from sqlglot import exp

    tree = _parsed(sql)
    named, given = {parameter.name for parameter in tree.find_all(exp.Parameter)}, set(params or {})
    if named != given:
        rule = f"It names the parameters {sorted(named)}, given are {sorted(given)}."
        raise WarehouseError(shorten(sql), rule, "give each of them, and no other.")
    for select in tree.find_all(exp.Select):
        joined = [join.this for join in select.args.get("joins") or []]
        source = select.args.get("from_") or select.args.get("from")
        for table in [*([source.this] if source else []), *joined]:
            contract = WAREHOUSE_TABLES.get(table.name) if isinstance(table, exp.Table) else None
            if contract is None or not contract.partition_filter_required:
                continue
            if not _bounds(select.args.get("where"), contract.partition_by):
                raise WarehouseError(
                    shorten(sql),
                    f"A query of {table.name} must filter {contract.partition_by}, by which the table is partitioned.",
                    f"add WHERE {contract.partition_by} BETWEEN @first_day AND @last_day.",
                )


def _bounds(where: exp.Expr | None, column: str) -> bool:
    """Whether a condition compares the column with values known before a row is read."""
    from sqlglot import exp

    if where is None:
        return False
    conditions = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    return any(
        isinstance(condition, (exp.Between, exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE))
        and [found.name for found in condition.find_all(exp.Column)] == [column]
        and not condition.find(exp.Select)
        for condition in conditions
    )


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


def shorten(sql: str) -> str:
    """A statement on one line of at most 120 characters, for a message."""
    one_line = " ".join(sql.split())
    return one_line if len(one_line) <= 120 else f"{one_line[:117]}..."
