"""Metadata that assets show in the UI: column schemas, row counts, provenance."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from cbi_pipeline.contracts.tables import TableContract
from cbi_pipeline.contracts.warehouse import WarehouseTable

OWNERS = ["team:forecasting"]


def raw_table_schema(contract: TableContract) -> dg.TableSchema:
    """Column schema of a raw table, with units and nullability from its contract."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type),
                column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, other=_range(column.minimum, column.maximum)
                ),
            )
            for column in contract.columns
        ]
    )


def warehouse_table_schema(table: WarehouseTable) -> dg.TableSchema:
    """Column schema of a warehouse table, in BigQuery's types."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                column.description,
                constraints=dg.TableColumnConstraints(nullable=column.mode == "NULLABLE"),
            )
            for column in table.columns
        ]
    )


def table(records: Iterable[dict[str, Any]]) -> dg.TableMetadataValue:
    """A small table for the UI; values become short text, so that mixed and missing values fit one column."""
    return dg.MetadataValue.table(
        [dg.TableRecord({name: _text(value) for name, value in record.items()}) for record in records]
    )


def _text(value: object) -> str:
    """What a reader needs of a value: six digits of a number, the date of a midnight that pandas wrote as ISO text."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value).removesuffix("T00:00:00.000")


def _range(minimum: float | None, maximum: float | None) -> list[str]:
    bounds = [f">= {minimum:g}"] if minimum is not None else []
    return bounds + ([f"<= {maximum:g}"] if maximum is not None else [])
