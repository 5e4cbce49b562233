"""The interface that every warehouse offers, and what a write reports. No database here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from cbi_pipeline.warehouse.migrations import Migration

if TYPE_CHECKING:
    from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration and when it was applied; None while it is pending."""

    migration: Migration
    applied_at: datetime | None


class Warehouse(Protocol):
    """Tables of `contracts.warehouse` and the views of `warehouse/sql`, in one database.

    All SQL handed in is written in BigQuery's dialect. Every method raises
    `cbi_pipeline.errors.WarehouseError` for whatever goes wrong in the database.
    """

    @property
    def location(self) -> str:
        """Where the tables are, in a form to print."""
        ...

    def migrate(self) -> tuple[Migration, ...]:
        """Apply the pending migrations and replace views that differ; refuse tables that differ from their contract."""
        ...

    def migration_states(self) -> tuple[MigrationState, ...]:
        """Every migration of this code, and when it was applied."""
        ...

    def differences(self) -> list[str]:
        """In what tables and views differ from their contracts, in words; empty if in nothing."""
        ...

    def full_name(self, name: str) -> str:
        """Name of a table or view by which its database finds it from anywhere."""
        ...

    def console_url(self, name: str) -> str | None:
        """Page on which a browser shows a table or view; None if there is none."""
        ...

    def row_count(self, name: str) -> int:
        """Rows of a table or view."""
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
