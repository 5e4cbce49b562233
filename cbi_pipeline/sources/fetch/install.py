"""A download takes the place of a good file only after the parse half has read it and found no row missing.

What does not belong here: requests (web.py) and what one provider serves (its own module).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from cbi_pipeline import atomic
from cbi_pipeline.errors import SourceError

Outcome = Literal["new", "updated", "unchanged", "not due"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a file holds: its rows, as the parse half counts them, and the date of the last."""

    rows: int
    last: date


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one file."""

    path: Path
    outcome: Outcome
    last: date


def install_if_due(
    path: Path,
    now: datetime,
    read: Callable[[Path], Coverage],
    next_release: Callable[[pd.Timestamp], datetime],
    download: Callable[[], bytes],
) -> Fetched:
    """`install` what is downloaded, unless the present file has all that is published.

    Args:
        path, read: as of `install`.
        now: with a time zone.
        next_release: when what follows the last date of a file is expected.
        download: asks the provider.

    Raises:
        SourceError: the present file cannot be read; or as `install` and the download do.
    """
    last = read(path).last if path.is_file() else None
    if last is not None and now < next_release(pd.Timestamp(last)):
        return Fetched(path, "not due", last)
    return install(path, download(), read)


def install(path: Path, content: bytes, read: Callable[[Path], Coverage]) -> Fetched:
    """Put `content` at `path`, whole or not at all.

    Args:
        path: its final place; the folder is made if need be.
        read: the parse half on one file; raises SourceError if the file is not what the provider serves.

    Raises:
        SourceError: the content cannot be read, or has fewer rows or an earlier end than the file that is there.
            The file that is there stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.unfinished_directory(path.parent) as folder:
        candidate = folder / path.name
        atomic.write_synced(candidate, content)
        try:
            coverage = read(candidate)
        except SourceError as error:
            raise SourceError(
                f"download of {path.name}",
                f"What the provider sent is not the file it used to serve: {error.rule}",
                "fetch again later; if it stays, its format has changed and the reader must follow.",
            ) from error
        before = _coverage_of(path, read)
        if before is not None and (coverage.rows < before.rows or coverage.last < before.last):
            raise SourceError(
                f"download of {path.name}",
                f"It has {coverage.rows} rows to {coverage.last}, the present file {before.rows} to {before.last}, "
                "and history does not shrink.",
                "fetch again later; if the provider did withdraw rows, delete the old file yourself first.",
            )
        if before is not None and path.read_bytes() == content:
            return Fetched(path, "unchanged", coverage.last)
        outcome: Outcome = "updated" if path.exists() else "new"
        os.replace(candidate, path)
    atomic.fsync_directory(path.parent)
    return Fetched(path, outcome, coverage.last)


def _coverage_of(path: Path, read: Callable[[Path], Coverage]) -> Coverage | None:
    """What the present file holds; None where there is none, or none that can be read and so nothing to protect."""
    try:
        return read(path)
    except SourceError:
        return None
