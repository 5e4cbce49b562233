"""Rows offered for a write, checked against the table's contract before any database sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES, BigQueryType
from cbi_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from cbi_pipeline.contracts.warehouse import WarehouseColumn, WarehouseTable
    from cbi_pipeline.warehouse.base import Rows

_ACCEPTED: Final[dict[BigQueryType, tuple[Callable[[pa.DataType], bool], str]]] = {
    "STRING": (lambda t: pa.types.is_string(t) or pa.types.is_large_string(t), "text"),
    "INT64": (pa.types.is_integer, "whole numbers"),
    "FLOAT64": (lambda t: pa.types.is_floating(t) or pa.types.is_integer(t), "numbers"),
    "BOOL": (pa.types.is_boolean, "true or false"),
    "DATE": (lambda t: pa.types.is_date(t) or (pa.types.is_timestamp(t) and t.tz is None), "dates"),
    "TIMESTAMP": (lambda t: pa.types.is_timestamp(t) and t.tz is not None, "times with a time zone"),
}


def stage(table: WarehouseTable, rows: Rows) -> pa.Table:
    """Bring rows to the table's arrow schema without altering a value.

    Args:
        table: contract of the table to be written.
        rows: mappings, a frame or an arrow table; exactly the columns of the contract, in any
            order. In a frame None, NaT and pd.NA of a nullable dtype are NULL; NaN is refused.

    Returns:
        arrow table [n rows, columns of the contract in stored order].

    Raises:
        WarehouseError: columns are missing or unknown, a value has another type, a REQUIRED value
            is null, a float is NaN or infinite, a date has a time of day, a time has no zone, or
            two rows have one key.
    """
    offered = _offered_columns(table, rows)
    arrays = [_convert(table, column, offered[column.name]) for column in table.columns]
    staged = pa.Table.from_arrays(arrays, schema=table.arrow_schema)
    _refuse_repeated_keys(table, staged)
    return staged


def find_contract(table_name: str) -> WarehouseTable:
    """Contract of a table of the warehouse.

    Raises:
        WarehouseError: it has no such table.
    """
    table = WAREHOUSE_TABLES.get(table_name)
    if table is None:
        raise WarehouseError(table_name, f"The warehouse has only {list(WAREHOUSE_TABLES)}.", "name one of them.")
    return table


def describe_key(table: WarehouseTable, row: dict[str, Any]) -> str:
    """Name a row by its key, for a message."""
    return f"{table.name} ({', '.join(f'{name}={row[name]}' for name in table.key)})"


def would_change(table: WarehouseTable, changed: Sequence[dict[str, Any]]) -> WarehouseError:
    """The refusal of a write, with up to `MAX_REPORTED_ROWS` rows: each differing column, stored and offered."""
    described = [
        f"{describe_key(table, row)} "
        + ", ".join(
            f"{name}: stored {row[f'stored_{name}']!r}, offered {row[f'offered_{name}']!r}"
            for name in table.published_columns
            if row[f"stored_{name}"] != row[f"offered_{name}"]
        )
        for row in changed
    ]
    return WarehouseError(
        "; ".join(described),
        f"Published rows never change, {changed[0]['changed_rows']} would; nothing was written.",
        "publish the new values under another key (model_version, scorecard_id), or find out why they differ.",
    )


def _offered_columns(table: WarehouseTable, rows: Rows) -> dict[str, Any]:
    if isinstance(rows, pa.Table):
        _check_names(table, rows.column_names)
        return {name: rows.column(name) for name in table.column_names}
    if isinstance(rows, Sequence):
        for row in rows:
            _check_names(table, row)
        return {name: [row[name] for row in rows] for name in table.column_names}
    _check_names(table, rows.columns)
    return {name: list(rows[name]) if rows[name].dtype == object else rows[name] for name in table.column_names}


def _check_names(table: WarehouseTable, names: Iterable[str]) -> None:
    offered, wanted = list(names), table.column_names
    missing = [name for name in wanted if name not in offered]
    unknown = [name for name in offered if name not in wanted]
    if missing or unknown or len(offered) != len(wanted):
        raise WarehouseError(
            table.name,
            "A row has exactly the columns of its table: "
            f"{len(offered)} are offered, missing {missing}, unknown {unknown}.",
            "offer every column of contracts/warehouse.py once, None where a NULLABLE value is not there.",
        )


def _convert(table: WarehouseTable, column: WarehouseColumn, values: Any) -> pa.Array:
    subject = f"{table.name}.{column.name}"
    try:
        if isinstance(values, list):
            values = [_plain_time(subject, column, value) for value in values]
        array = values if isinstance(values, pa.ChunkedArray) else pa.array(values, from_pandas=False)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        accepted, wording = _ACCEPTED[column.type]
        if not (accepted(array.type) or pa.types.is_null(array.type)):
            raise WarehouseError(subject, f"A {column.type} column takes {wording}, got {array.type}.", "convert it.")
        converted = array.cast(table.arrow_schema.field(column.name).type, safe=True)
        if pa.types.is_timestamp(array.type) and column.type == "DATE" and not converted.cast(array.type).equals(array):
            raise _time_of_day(subject)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise WarehouseError(
            subject, f"The values do not fit {column.type}: {error}", "convert them before the write."
        ) from error
    _refuse_gaps(subject, column, converted)
    return converted


def _plain_time(subject: str, column: WarehouseColumn, value: Any) -> Any:
    """Check one value that pyarrow would take with a silent loss: a time without zone, a date with a time of day."""
    if not isinstance(value, datetime):
        return value
    if value != value:  # pandas' NaT, the only datetime that does not equal itself
        return None
    if column.type == "TIMESTAMP" and value.tzinfo is None:
        raise WarehouseError(subject, f"A time carries its time zone, {value} does not.", "make it aware, in UTC.")
    if column.type == "DATE":
        if value.tzinfo is not None or value.time() != time():
            raise _time_of_day(subject)
        return date(value.year, value.month, value.day)
    return value


def _time_of_day(subject: str) -> WarehouseError:
    return WarehouseError(subject, "A DATE has neither a time of day nor a time zone.", "offer the date alone.")


def _refuse_gaps(subject: str, column: WarehouseColumn, array: pa.Array) -> None:
    if column.mode == "REQUIRED" and array.null_count:
        raise WarehouseError(
            subject, f"The column is REQUIRED, {array.null_count} of {len(array)} values are NULL.", "give every value."
        )
    if column.type == "FLOAT64":
        not_finite = pc.sum(pc.invert(pc.is_finite(array.drop_null()))).as_py()
        if not_finite:
            fix = "find out why." if column.mode == "REQUIRED" else "offer None for a value that is not defined."
            raise WarehouseError(subject, f"{not_finite} of {len(array)} values are NaN or infinite.", fix)


def _refuse_repeated_keys(table: WarehouseTable, staged: pa.Table) -> None:
    counts = staged.group_by(list(table.key)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1)).to_pylist()
    if repeated:
        raise WarehouseError(
            describe_key(table, repeated[0]),
            f"A key stands once in a write; {len(repeated)} keys are offered more than once.",
            "offer one row per key.",
        )
