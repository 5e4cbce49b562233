"""The interface that every warehouse offers, and what a write reports. No database here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    Rows: TypeAlias = Sequence[Mapping[str, Any]] | pd.DataFrame | pa.Table


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a write did.

    Args:
        inserted: rows whose key was new.
        unchanged: rows that were already published, as they stand; a pure re-run has only these.
    """

    inserted: int
    unchanged: int

    def __str__(self) -> str:
        return f"{self.inserted} inserted, {self.unchanged} unchanged"


class Warehouse(Protocol):
    """Tables of `contracts.warehouse` and the views of `warehouse/sql`, in one database.

    All SQL handed in is written in BigQuery's dialect. Every method raises
    `cbi_pipeline.errors.WarehouseError` for whatever goes wrong in the database.
    """

    @property
    def location(self) -> str:
        """Where the tables are, in a form to print."""
        ...

    def migrate(self) -> None:
        """Create missing tables and all views; refuse tables that differ from their contract."""
        ...

    def merge(self, table_name: str, rows: Rows) -> MergeResult:
        """Write rows whose key is new, all or none; refuse to change a row that is published."""
        ...

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Read with one statement and its named parameters (`@name` in the SQL)."""
        ...

    def latest_forecast(self) -> list[dict[str, Any]]:
        """Rows of `vw_latest_forecast`, shortest horizon first; empty before the first forecast."""
        ...
