"""The data dictionary of the warehouse, `docs/warehouse.md`: every table and view as its contract declares it.

Nothing is edited in the page by hand: `python -m cbi_pipeline.reports.warehouse_dictionary` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES, WarehouseColumn, WarehouseTable
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS, WarehouseView
from cbi_pipeline.settings import REPOSITORY_DIR

PAGE: Final = REPOSITORY_DIR / "docs" / "warehouse.md"

_INTRODUCTION: Final = """\
# Warehouse: data dictionary

Made from `contracts/warehouse.py` and `contracts/warehouse_views.py` by
`python -m cbi_pipeline.reports.warehouse_dictionary`; a test compares them. Types are BigQuery's. DuckDB, the embedded
default, has the same tables and views.

A row that is stored never changes. Writing it again with the same values is no change; other values under the same key
are refused, except in the columns named "of the first write". A figure that is not known is NULL, never NaN. Dashboards
read the views only.
"""


def dictionary_page() -> str:
    """The page: an overview, then a table of columns for each table and view."""
    overview = [f"- [`{one.name}`](#{one.name}): {one.description}" for one in _all()]
    parts = [_INTRODUCTION, "\n".join(overview), "## Tables", *map(_table, WAREHOUSE_TABLES.values())]
    return "\n\n".join(part.strip() for part in [*parts, "## Views", *map(_view, WAREHOUSE_VIEWS.values())]) + "\n"


def _all() -> list[WarehouseTable | WarehouseView]:
    return [*WAREHOUSE_TABLES.values(), *WAREHOUSE_VIEWS.values()]


def _table(table: WarehouseTable) -> str:
    filtered = ", which every query must filter" if table.partition_filter_required else ""
    facts = [
        f"- Key: {_names(table.key)}",
        f"- Partitioned by {table.partition_unit.lower()} of `{table.partition_by}`{filtered}, "
        f"clustered by {_names(table.cluster_by)}",
        f"- Of the first write: {_names(table.write_stamp)}",
    ]
    return f"### {table.name}\n\n{table.description}\n\n" + "\n".join(facts) + f"\n\n{_columns(table.columns)}"


def _view(view: WarehouseView) -> str:
    reads = f"Reads {_names(view.reads)}; the query is `cbi_pipeline/warehouse/sql/{view.name}.sql`."
    return f"### {view.name}\n\n{view.description}\n{reads}\n\n{_columns(view.columns)}"


def _columns(columns: Iterable[WarehouseColumn]) -> str:
    rows = [
        f"| `{c.name}` | {c.type} | {'yes' if c.mode == 'NULLABLE' else ''} | {_escaped(c.description)} |"
        for c in columns
    ]
    return "\n".join(["| column | type | may be NULL | meaning |", "|---|---|---|---|", *rows])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    replace_file(PAGE, dictionary_page().encode())
