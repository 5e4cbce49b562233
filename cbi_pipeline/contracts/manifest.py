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

SCHEMA_VERSION: Final = 2
"""What is written. 1 had no findings; its manifests stay readable, byte for byte."""
OLDEST_SCHEMA_VERSION: Final = 1
MAX_TABLE_ROWS: Final = 20_000_000
MAX_TABLE_BYTES: Final = 1_000_000_000
"""Bounds of one table: what claims more is no bundle of CBI's, and is not read."""
MAX_ROWS_NAMED: Final = 20
"""Rows that a finding names; it counts all of them."""
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
    rows: int = Field(gt=0, le=MAX_TABLE_ROWS)
    bytes: int = Field(gt=0, le=MAX_TABLE_BYTES)
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


class Finding(_Frozen):
    """What one sense rule found in one series of a table.

    Args:
        rule: its name in the table of rules.
        table: the raw table.
        subject: the series: symbol, series_id, market_code or station.
        holds: what must hold, as a phrase.
        rows: how many rows break it.
        first_rows: the first of them, oldest first: date and what stands there.
    """

    rule: str = Field(min_length=1)
    table: TableName
    subject: str = Field(min_length=1)
    holds: str = Field(min_length=1)
    rows: int = Field(gt=0)
    first_rows: tuple[str, ...] = Field(min_length=1, max_length=MAX_ROWS_NAMED)


class Manifest(_Frozen):
    """The whole of `manifest.json`.

    `findings` are the warnings of the sense rules as they were when the bundle was built; None in a manifest of schema
    version 1, which is from before there were any. They are no part of the content hash.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or malformed, a path leaves the bundle, or
            `dataset_version` does not follow from `created_at` and the tables.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=OLDEST_SCHEMA_VERSION, le=SCHEMA_VERSION)
    dataset_version: DatasetVersion
    created_at: AwareDatetime
    window: Window
    tables: dict[TableName, TableEntry]
    feature_hash: Sha256 | None = None
    producer: Producer
    findings: tuple[Finding, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        paths = [entry.path for entry in self.tables.values()]
        if not paths or len(set(paths)) != len(paths):
            raise ValueError(f"every table needs a file of its own, got {paths}")
        if (self.findings is None) != (self.schema_version == 1):
            raise ValueError(f"findings are part of schema version 2, and only there; this is {self.schema_version}")
        try:
            expected = dataset_version(self.created_at, self.content_sha256)
        except OverflowError as error:
            raise ValueError(f"created_at {self.created_at} has no moment in UTC") from error
        if self.dataset_version != expected:
            raise ValueError(f"dataset_version is {self.dataset_version}, created_at and the tables make it {expected}")
        return self

    @property
    def content_sha256(self) -> str:
        """Hash of the tables alone: equal for two bundles that hold the same rows."""
        return content_sha256((name, entry.sha256) for name, entry in self.tables.items())

    def to_json(self) -> bytes:
        """The exact bytes of `manifest.json`."""
        absent = {"findings"} if self.findings is None else set()
        return (self.model_dump_json(indent=2, exclude=absent) + "\n").encode()


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
