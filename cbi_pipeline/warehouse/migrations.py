"""Versioned changes of the warehouse's tables: the files `sql/migrations/NNNN_what_it_does.sql`, applied in order.

A file that has been released never changes: a warehouse remembers the sha256 of what was applied to it. A change of a
contract comes with a new file; every statement can be applied twice (`IF NOT EXISTS`), since BigQuery's DDL knows no
transaction. Views are not migrated: their query is replaced where it differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.provenance import code_commit


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `sql/migrations`.

    Args:
        version: its number, from 1 without gaps.
        name: what it does, in words.
        sha256: hash of the file.
        statements: in BigQuery's dialect, table names without dataset.
    """

    version: int
    name: str
    sha256: str
    statements: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The row of `schema_migrations` that says it was applied, now."""
        return {
            "version": self.version,
            "name": self.name,
            "sha256": self.sha256,
            "created_at": datetime.now(UTC),
            "code_commit": code_commit(),
        }


@cache
def migrations() -> tuple[Migration, ...]:
    """Every migration of this code, in order."""
    folder = files("cbi_pipeline.warehouse") / "sql" / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(_read(entry.name, entry.read_text(encoding="utf-8")) for entry in found)


def pending(applied: Mapping[int, str], location: str) -> tuple[Migration, ...]:
    """The migrations that a warehouse still needs.

    Args:
        applied: sha256 by version, as the warehouse's `schema_migrations` says.
        location: of the warehouse, for the message.

    Raises:
        WarehouseError: the warehouse was migrated by newer code, or by a file that has changed since.
    """
    known = {migration.version: migration for migration in migrations()}
    if newer := sorted(applied.keys() - known.keys()):
        raise WarehouseError(
            f"{location}, schema_migrations",
            f"Migrations {newer} were applied, and this code ends at {max(known)}.",
            "update this machine's code: newer code has changed the tables.",
        )
    for version, sha256 in sorted(applied.items()):
        if known[version].sha256 != sha256:
            raise WarehouseError(
                f"{location}, schema_migrations, version {version}",
                f"{known[version].name!r} was applied from a file with sha256 {sha256}, here it has "
                f"{known[version].sha256}; an applied migration never changes.",
                "restore the file from its release, and put the change into a new migration.",
            )
    return tuple(migration for version, migration in sorted(known.items()) if version not in applied)


def _read(file_name: str, text: str) -> Migration:
    number, _, words = file_name.removesuffix(".sql").partition("_")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    statements = tuple(part.strip() for part in ("\n".join(lines) + "\n").split(";\n") if part.strip())
    return Migration(int(number), words.replace("_", " "), hashlib.sha256(text.encode()).hexdigest(), statements)
