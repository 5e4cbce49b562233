"""`manifest.json`: what a bundle holds, byte for byte, and where each row came from.

Only the contract and its own consistency live here; files are read and compared in `bundle/`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

SCHEMA_VERSION: Final = 1
MANIFEST_FILE: Final = "manifest.json"
SUCCESS_FILE: Final = "_SUCCESS"
DATASET_VERSION_PATTERN: Final = r"^\d{8}T\d{6}Z-[0-9a-f]{8}$"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DatasetVersion = Annotated[str, StringConstraints(pattern=DATASET_VERSION_PATTERN)]
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
PlainFileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9_-]*\.parquet$")]
"""A parquet file directly inside the bundle: no folder, no `..`, no absolute path."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceEntry(_Frozen):
    """One product that a table's rows come from.

    Args:
        source: how the table's `source` column begins in rows of this product; letter case is ignored.
        provider: who served the file.
        product: what it is.
        owner: who owns the observations.
        licence: the terms they are used under.
        url: where they are published.
    """

    source: str = Field(min_length=1)
    provider: str = Field(min_length=1)
    product: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    url: str = Field(min_length=1)

    def covers(self, row_source: str) -> bool:
        """Whether a row with this `source` text is of this product."""
        return row_source.lower().startswith(self.source.lower())


class TableEntry(_Frozen):
    """One table of the bundle. `arrow_schema` is the arrow schema as text, with order and nullability."""

    path: PlainFileName
    rows: int = Field(gt=0)
    bytes: int = Field(gt=0)
    sha256: Sha256
    arrow_schema: str = Field(min_length=1)
    min_event_date: date
    max_event_date: date
    max_available_at: AwareDatetime
    sources: tuple[SourceEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _dates_in_order(self) -> TableEntry:
        if self.min_event_date > self.max_event_date:
            raise ValueError(f"{self.path}: min_event_date {self.min_event_date} is after {self.max_event_date}")
        return self


class Window(_Frozen):
    """First and last ZL trade date in `futures_daily`: a forecast can be made as of the last one."""

    first_trade_date: date
    last_trade_date: date

    @model_validator(mode="after")
    def _in_order(self) -> Window:
        if self.first_trade_date > self.last_trade_date:
            raise ValueError(f"window starts {self.first_trade_date}, after its end {self.last_trade_date}")
        return self


class Producer(_Frozen):
    """What wrote the bundle. `git_commit` ends in `-dirty` where the checkout held changes that no
    commit has, and is `release-<version>` where the code is not under git."""

    git_commit: str = Field(min_length=1)
    tool_version: str = Field(min_length=1)


class Manifest(_Frozen):
    """The whole of `manifest.json`.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or malformed, a path leaves the bundle, or
            `dataset_version` does not follow from `created_at` and the tables.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    dataset_version: DatasetVersion
    created_at: AwareDatetime
    window: Window
    tables: dict[TableName, TableEntry]
    feature_hash: Sha256 | None = None
    producer: Producer

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        paths = [entry.path for entry in self.tables.values()]
        if not paths or len(set(paths)) != len(paths):
            raise ValueError(f"every table needs a file of its own, got {paths}")
        expected = dataset_version(self.created_at, self.content_sha256)
        if self.dataset_version != expected:
            raise ValueError(f"dataset_version is {self.dataset_version}, created_at and the tables make it {expected}")
        return self

    @property
    def content_sha256(self) -> str:
        """Hash of the tables alone: equal for two bundles that hold the same rows."""
        return content_sha256((name, entry.sha256) for name, entry in self.tables.items())

    def to_json(self) -> bytes:
        """The exact bytes of `manifest.json`."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def content_sha256(table_hashes: Iterable[tuple[str, str]]) -> str:
    """Hash of a bundle's content.

    Args:
        table_hashes: (table name, sha256 of its file), in any order.

    Returns:
        64 hex digits, independent of the order given.
    """
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(table_hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def dataset_version(created_at: datetime, content: str) -> str:
    """`YYYYMMDDTHHMMSSZ-<8 hex of content>`, in UTC, so that versions sort by time.

    Raises:
        ValueError: `created_at` carries no time zone.
    """
    if created_at.tzinfo is None:
        raise ValueError("created_at must carry its time zone")
    return f"{created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{content[:8]}"


def is_dataset_version(name: str) -> bool:
    """Whether a folder name can be that of a published bundle."""
    return re.fullmatch(DATASET_VERSION_PATTERN.rstrip("$"), name) is not None
