"""The return manifest: what a run brought back into the warehouse, for whoever waits until all of it is there.

It names rows by a hash of their keys, which SQL over the stored rows gives again (docs/gcp.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from cbi_pipeline.contracts.manifest import DatasetVersion, Sha256
from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES, WarehouseTable

RETURN_SCHEMA_VERSION: Final = 1
_STAMP: Final = frozenset({"run_id", "code_commit", "created_at"})


class ReturnedTable(BaseModel):
    """Rows of one table of the warehouse: how many, and the hash of their keys as `keys_sha256` makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=0)
    keys_sha256: Sha256


class ReturnManifest(BaseModel):
    """The whole of a return manifest.

    `run_id`, `code_commit` and `created_at` only describe the run that first wrote it, as in the tables themselves: a
    re-run that brings back the same rows is the same return.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=RETURN_SCHEMA_VERSION, ge=RETURN_SCHEMA_VERSION, le=RETURN_SCHEMA_VERSION)
    as_of_date: date
    dataset_version: DatasetVersion
    model_version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    warehouse: str = Field(min_length=1)
    tables: dict[str, ReturnedTable] = Field(min_length=1)
    run_id: str = Field(min_length=1)
    code_commit: str = Field(min_length=1)
    created_at: AwareDatetime

    @field_validator("tables")
    @classmethod
    def _known(cls, tables: dict[str, ReturnedTable]) -> dict[str, ReturnedTable]:
        if unknown := sorted(tables.keys() - WAREHOUSE_TABLES.keys()):
            raise ValueError(f"the warehouse has no tables {unknown}")
        return tables

    @property
    def content_sha256(self) -> str:
        """Hash of what was brought back, whoever did it when."""
        told = self.model_dump(mode="json", exclude=set(_STAMP))
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """`<as_of_date>-<model_version>-<8 hex of content>.json`: sorts by date, and other rows have another name."""
        return f"{self.as_of_date}-{self.model_version}-{self.content_sha256[:8]}.json"

    def to_json(self) -> bytes:
        """The exact bytes of the file."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def returned_table(table: WarehouseTable, rows: Iterable[Mapping[str, Any]]) -> ReturnedTable:
    """Count and hash of rows; of each only the key columns are read.

    Raises:
        ValueError: a key stands twice.
    """
    keys = sorted("\t".join(_text(row[name]) for name in table.key) for row in rows)
    if len(set(keys)) != len(keys):
        raise ValueError(f"{table.name}: a key stands twice among the rows")
    return ReturnedTable(rows=len(keys), keys_sha256=hashlib.sha256("\n".join(keys).encode()).hexdigest())


def _text(value: object) -> str:
    """A key's value as `CAST(... AS STRING)` and `FORMAT_TIMESTAMP('%FT%H:%M:%E6SZ', ...)` write it."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return value.isoformat() if isinstance(value, date) else str(value)
