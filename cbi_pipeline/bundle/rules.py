"""The schema layer: what every row of a raw table must satisfy, in a bundle that is read and in one to be written.

Whether rows make sense beside each other is the second layer, `sense/`.

Each rule looks at a whole column at once and names the first rows that break it. Nothing is repaired.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cbi_pipeline import market_calendar
from cbi_pipeline.contracts.tables import FUTURES_CURVE, FUTURES_DAILY, TableContract, import_pandera
from cbi_pipeline.errors import BundleError

_ROWS_NAMED: Final = 3
_FIRST_YEAR: Final = 1900
_LAST_YEAR: Final = 2200
_OFF_CBOT: Final = ("FCPO",)
"""Symbols whose trade dates follow another exchange's calendar than CBOT agriculture."""


def to_checked_table(contract: TableContract, frame: pd.DataFrame, file: str, fix: str) -> pa.Table:
    """Turn a frame into the table that is stored, once every rule holds.

    Args:
        contract: the table's contract.
        frame: one row per observation, columns in any order; NaN, None, NaT and NA all mean a gap.
        file, fix: named in the error.

    Returns:
        Sorted by key, schema equal to the contract, no metadata.

    Raises:
        BundleError: a column is missing, unknown or of the wrong type, or a row breaks a rule.
    """
    wanted, given = [c.name for c in contract.columns], list(frame.columns)
    if sorted(given) != sorted(wanted):
        missing, unknown = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
        rule = f"the columns must be those of the contract; missing {missing}, unknown {unknown}."
        raise BundleError(file, rule, fix)
    for column in contract.columns:
        if not column.nullable:
            gaps = frame[column.name].isna().to_numpy()
            if gaps.any():
                raise BundleError(
                    f"{file}, {_name_rows(contract, frame, gaps)}", f"{column.name} must have a value.", fix
                )
    try:
        table = contract.to_arrow(frame).replace_schema_metadata(None).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BundleError(file, f"every column must hold the type of the contract ({error}).", fix) from error
    check_table(contract, table, file, fix)
    return table


def check_table(contract: TableContract, table: pa.Table, file: str, fix: str) -> pd.DataFrame:
    """Check schema, keys, gaps and rows of one raw table.

    Returns:
        The table as a frame.

    Raises:
        BundleError: naming the file, the first rows at fault, the rule and the fix.
    """
    _check_schema(contract, table, file, fix)
    if table.num_rows == 0:
        raise BundleError(file, "a raw table must hold at least one row.", fix)
    _check_gaps(contract, table, file, fix)
    _check_key_order(contract, table, file, fix)
    frame = contract.to_pandas(table)
    _check_values(contract, frame, file, fix)
    _check_known_after_event(contract, frame, file, fix)
    if contract.name in (FUTURES_DAILY.name, FUTURES_CURVE.name):
        _check_sessions(contract, frame, file, fix)
    return frame


def _check_schema(contract: TableContract, table: pa.Table, file: str, fix: str) -> None:
    wanted, found = contract.arrow_schema, table.schema
    if found.equals(wanted, check_metadata=False):
        return
    if sorted(found.names) == sorted(wanted.names) and found.names != wanted.names:
        rule = f"columns must stand in the order {wanted.names}, found {found.names}."
    else:
        differing = sorted({_field(f) for f in found} ^ {_field(f) for f in wanted})
        rule = f"the arrow schema must equal the contract; these fields differ: {differing}."
    raise BundleError(file, rule, fix)


def _field(field: pa.Field) -> str:
    return f"{field.name} {field.type}{'' if field.nullable else ' not null'}"


def _check_gaps(contract: TableContract, table: pa.Table, file: str, fix: str) -> None:
    for column in contract.columns:
        values = table[column.name]
        if not column.nullable and values.null_count:
            _refuse(contract, table, pc.is_null(values), f"{column.name} must have a value.", file, fix)
        if pa.types.is_floating(column.type):
            infinite = pc.invert(pc.is_finite(values).fill_null(True))
            rule = f"{column.name} must be finite; null, never NaN or infinity, is how a gap is stored."
            _refuse(contract, table, infinite, rule, file, fix)
        if pa.types.is_temporal(column.type):
            years = pc.year(values)
            possible = pc.and_(pc.greater_equal(years, _FIRST_YEAR), pc.less_equal(years, _LAST_YEAR))
            rule = f"{column.name} must lie in the years {_FIRST_YEAR} to {_LAST_YEAR}."
            _refuse(contract, table, pc.invert(possible.fill_null(True)), rule, file, fix)


def _check_key_order(contract: TableContract, table: pa.Table, file: str, fix: str) -> None:
    """Rows strictly increasing by key: sorted, and no key twice."""
    if table.num_rows < 2:
        return
    increasing = np.zeros(table.num_rows - 1, dtype=bool)
    equal = np.ones(table.num_rows - 1, dtype=bool)
    for name in contract.key:
        before, after = table[name].slice(0, table.num_rows - 1), table[name].slice(1)
        increasing |= equal & _mask(pc.less(before, after))
        equal &= _mask(pc.equal(before, after))
    key = ", ".join(contract.key)
    unique, in_order = f"the key ({key}) must be unique; it repeats the row before.", f"rows must be sorted by {key}."
    _refuse(contract, table, np.r_[False, equal], unique, file, fix)
    _refuse(contract, table, np.r_[False, ~increasing], in_order, file, fix)


def _check_values(contract: TableContract, frame: pd.DataFrame, file: str, fix: str) -> None:
    """Ranges and permitted values, as the contract's pandera schema states them."""
    pandera = import_pandera()
    schema = contract.pandera_schema()
    schema.unique = None  # `_check_key_order` has shown it, at a tenth of the cost
    try:
        schema.validate(frame, lazy=True, inplace=True)
    except pandera.errors.SchemaErrors as errors:
        first = errors.failure_cases.iloc[0]
        alike = errors.failure_cases[
            (errors.failure_cases["column"] == first["column"]) & (errors.failure_cases["check"] == first["check"])
        ]
        at_fault = np.zeros(len(frame), dtype=bool)
        at_fault[alike["index"].to_numpy(dtype=int)] = True
        rule = f"{first['column']} must satisfy {first['check']}, found {first['failure_case']}."
        raise BundleError(f"{file}, {_name_rows(contract, frame, at_fault)}", rule, fix) from errors


def _check_known_after_event(contract: TableContract, frame: pd.DataFrame, file: str, fix: str) -> None:
    event = frame[contract.event_date].dt.tz_localize("UTC")
    too_early = (frame["available_at"] < event).to_numpy()
    _refuse(contract, frame, too_early, f"available_at must not be before {contract.event_date}.", file, fix)


def _check_sessions(contract: TableContract, frame: pd.DataFrame, file: str, fix: str) -> None:
    days = frame["trade_date"]
    sessions = market_calendar.sessions(market_calendar.FIRST_DAY, market_calendar.LAST_DAY)
    off_session = ~days.isin(sessions) & ~frame["symbol"].isin(_OFF_CBOT)
    _refuse(contract, frame, off_session.to_numpy(), "trade_date must be a session of CBOT agriculture.", file, fix)


def _refuse(
    contract: TableContract,
    rows: pa.Table | pd.DataFrame,
    at_fault: np.ndarray | pa.ChunkedArray,
    rule: str,
    file: str,
    fix: str,
) -> None:
    """Raise if any row is at fault.

    Args:
        rows: the table the mask is for.
        at_fault: one boolean per row.
    """
    mask = at_fault if isinstance(at_fault, np.ndarray) else _mask(at_fault)
    if mask.any():
        raise BundleError(f"{file}, {_name_rows(contract, rows, mask)}", rule, fix)


def _name_rows(contract: TableContract, rows: pa.Table | pd.DataFrame, at_fault: np.ndarray) -> str:
    """For example `row 17 (symbol=ZL, trade_date=2012-01-03) and 4 more`; the first row is row 0."""
    positions, key = np.flatnonzero(at_fault), list(contract.key)
    first = positions[:_ROWS_NAMED]
    if isinstance(rows, pd.DataFrame):
        values = rows.iloc[first][key].to_dict("records")
    else:
        texts = [
            pc.cast(rows[name].take(pa.array(first)), pa.string()) for name in key
        ]  # a date may be beyond Python's
        values = pa.table(texts, names=key).to_pylist()
    named = [
        f"row {position} ({', '.join(f'{name}={_plain(value)}' for name, value in row.items())})"
        for position, row in zip(first, values, strict=True)
    ]
    more = f" and {len(positions) - len(first)} more" if len(positions) > len(first) else ""
    return "; ".join(named) + more


def _plain(value: object) -> str:
    return f"{value:%Y-%m-%d}" if isinstance(value, pd.Timestamp) else str(value)


def _mask(values: pa.ChunkedArray) -> np.ndarray:
    return values.to_numpy().astype(bool)
