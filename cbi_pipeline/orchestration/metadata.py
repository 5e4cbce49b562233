"""Metadata that assets show in the UI: column schemas, row counts, provenance."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from cbi_pipeline.contracts.tables import RAW_TABLES, TableContract
from cbi_pipeline.contracts.warehouse import WarehouseTable
from cbi_pipeline.contracts.warehouse_views import WarehouseView
from cbi_pipeline.features.catalogue import CATALOGUE, DTYPE
from cbi_pipeline.features.declarations import Feature

OWNERS = ["team:forecasting"]

RAW_ASSET_NAMES: dict[str, str] = {name: f"raw_{name}" for name in RAW_TABLES}
"""Raw table: the asset that refers to it."""


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


def warehouse_table_schema(table: WarehouseTable | WarehouseView) -> dg.TableSchema:
    """Column schema of a warehouse table or view, in BigQuery's types."""
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


def storage_layout(table: WarehouseTable | WarehouseView) -> dict[str, str]:
    """How BigQuery lays a table out; nothing for a view."""
    if isinstance(table, WarehouseView):
        return {}
    return {
        "partitioned_by": f"{table.partition_unit.lower()} of {table.partition_by}",
        "clustered_by": ", ".join(table.cluster_by),
        "key": ", ".join(table.key),
    }


def feature_schema() -> dg.TableSchema:
    """Column schema of the features: formula, unit, pillar and range, and the lineage of each as tags.

    The open-source UI draws no graph of `dagster/column_lineage` (Dagster+ does), but shows the tags of a column.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                feature.name,
                DTYPE,
                f"{feature.formula} [{feature.unit}]",
                constraints=dg.TableColumnConstraints(
                    nullable=not feature.never_missing, other=_range(*feature.by_definition)
                ),
                tags={"pillar": feature.pillar, **_sources(feature)},
            )
            for feature in CATALOGUE
        ]
    )


def _sources(feature: Feature) -> dict[str, str]:
    """Raw asset: the columns a feature is computed from, and the series whose rows they are."""
    return {
        RAW_ASSET_NAMES[table_name]: f"{', '.join(columns)} of "
        + ", ".join(dict.fromkeys(source.key for source in feature.inputs if source.table == table_name))
        for table_name, columns in feature.raw_columns.items()
    }


def feature_lineage() -> dg.TableColumnLineage:
    """Every feature, and the columns of the raw assets that it is computed from."""
    return dg.TableColumnLineage(
        deps_by_column={
            feature.name: [
                dg.TableColumnDep(asset_key=dg.AssetKey(RAW_ASSET_NAMES[table_name]), column_name=column)
                for table_name, columns in feature.raw_columns.items()
                for column in columns
            ]
            for feature in CATALOGUE
        }
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
