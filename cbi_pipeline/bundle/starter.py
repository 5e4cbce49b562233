"""The starter bundle: real observations kept in the repository, for a clone with neither keys nor network.

Made from provider files by `cbi bundle build --starter`; it holds what the features and the anchor need
and no more, with a README that names every source, its owner and its terms.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.atomic import (
    IGNORED_NAMES,
    publish_directory,
    remove_abandoned,
    replace_file,
    unfinished_directory,
    write_synced,
)
from cbi_pipeline.bundle.build import PreparedBundle, prepare_bundle, write_bundle_files
from cbi_pipeline.bundle.store import BundleRef
from cbi_pipeline.bundle.verify import README_FILE, verify_files
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, Manifest, SourceEntry, TableEntry
from cbi_pipeline.contracts.tables import FUTURES_CURVE, FUTURES_DAILY, RAW_TABLES
from cbi_pipeline.errors import BundleError
from cbi_pipeline.sources import build_raw_tables

MAX_BYTES: Final = 6_000_000
COMPRESSION_LEVEL: Final = 19
FIRST_EVENT_DATE: Final[Mapping[str, pd.Timestamp]] = {
    FUTURES_DAILY.name: pd.Timestamp("2000-01-01"),
    FUTURES_CURVE.name: pd.Timestamp("1985-01-01"),
}
"""Rows before these dates stay out; the other tables are taken as the readers give them."""


def build_starter(data_dir: Path, starter_dir: Path, *, progress: Callable[[str], None] | None = None) -> BundleRef:
    """Make the starter bundle from provider files, in place of an earlier one that holds other rows or other findings.

    The same rows under other rules keep their files, moment and version; the manifest tells what these rules find.

    Args:
        data_dir: provider files, one folder a provider.
        starter_dir: becomes the bundle; an existing starter of the same rows, sources and findings is left untouched.
        progress: told in a few words what is being done.

    Returns:
        The starter; `reused` says that nothing had to be written.

    Raises:
        SourceError: provider files are missing or cannot be read.
        BundleError: a row breaks a rule, the bundle is larger than `MAX_BYTES`, or `starter_dir` holds
            files that are no starter bundle. The folder is then left as it was.
    """
    return write_starter(build_raw_tables(data_dir, progress), starter_dir, progress=progress)


def write_starter(
    tables: Mapping[str, pd.DataFrame], starter_dir: Path, *, progress: Callable[[str], None] | None = None
) -> BundleRef:
    """Trim the raw tables and write them as the starter bundle; see `build_starter`.

    An old starter stands beside the new one until that is published, under a name that no cleaning matches: whatever
    stops a replacement, the old one is put back, here or, after a kill, by the next build.
    """
    set_aside = starter_dir.with_name(f".replaced-{starter_dir.name}")
    _settle(set_aside, starter_dir)
    if starter_dir.is_dir():
        remove_abandoned(starter_dir)
    prepared = prepare_bundle(trim(tables), compression_level=COMPRESSION_LEVEL, progress=progress)
    _check_size(prepared)
    existing = _existing_starter(starter_dir)
    if existing is not None and existing.tables == prepared.manifest.tables:
        if existing.findings == prepared.manifest.findings:
            if not (starter_dir / README_FILE).is_file():
                replace_file(starter_dir / README_FILE, starter_readme(existing).encode())
            return BundleRef(starter_dir, existing, reused=True)
        identity = {"created_at": existing.created_at, "dataset_version": existing.dataset_version}
        prepared = replace(prepared, manifest=prepared.manifest.model_copy(update=identity))
    _check_replaceable(starter_dir)
    starter_dir.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_directory(starter_dir.parent) as folder:
        write_bundle_files(prepared, folder)
        write_synced(folder / README_FILE, starter_readme(prepared.manifest).encode())
        try:
            if starter_dir.exists():
                starter_dir.rename(set_aside)
            publish_directory(folder, starter_dir)
        finally:
            _settle(set_aside, starter_dir)
    return BundleRef(starter_dir, prepared.manifest, reused=False)


def trim(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables without rows before `FIRST_EVENT_DATE`."""
    trimmed = dict(tables)
    for name, first in FIRST_EVENT_DATE.items():
        rows = trimmed[name]
        trimmed[name] = rows[rows[RAW_TABLES[name].event_date] >= first]
    return trimmed


def starter_readme(manifest: Manifest) -> str:
    """The README of `data/starter/`: what it is, what it holds, whose the observations are, what replaces it."""
    return _README.format(
        last=manifest.window.last_trade_date,
        first=manifest.window.first_trade_date,
        version=manifest.dataset_version,
        size=sum(entry.bytes for entry in manifest.tables.values()) / 1e6,
        tables="\n".join(_table_row(name, entry) for name, entry in manifest.tables.items()),
        sources="\n".join(_source_row(source, names) for source, names in _sources(manifest).values()),
    )


def _settle(set_aside: Path, starter_dir: Path) -> None:
    """Put back a starter that was set aside if none took its place, else remove it."""
    if not set_aside.exists():
        return
    if starter_dir.exists():
        shutil.rmtree(set_aside)
    else:
        set_aside.rename(starter_dir)


def _check_size(prepared: PreparedBundle) -> None:
    size = sum(len(content) for content in prepared.files.values()) + len(prepared.manifest.to_json())
    if size > MAX_BYTES:
        largest = max(prepared.files, key=lambda name: len(prepared.files[name]))
        rule = f"the starter bundle may have {MAX_BYTES:,} bytes at most, it has {size:,}."
        raise BundleError(largest, rule, "leave out rows that no feature needs, in this, the largest table.")


def _existing_starter(starter_dir: Path) -> Manifest | None:
    """The manifest of a sound starter; an unsound one counts as absent and is replaced."""
    try:
        return verify_files(starter_dir)
    except BundleError:
        return None


def _check_replaceable(starter_dir: Path) -> None:
    if not starter_dir.exists():
        return
    known = {f"{name}.parquet" for name in RAW_TABLES} | {MANIFEST_FILE, SUCCESS_FILE, README_FILE}
    unknown = sorted(path.name for path in starter_dir.iterdir() if path.name not in known | IGNORED_NAMES)
    if unknown:
        rule = "the folder to replace must hold a starter bundle and nothing else."
        raise BundleError(str(starter_dir / unknown[0]), rule, "move that file away, or name another starter folder.")


def _sources(manifest: Manifest) -> dict[str, tuple[SourceEntry, list[str]]]:
    found: dict[str, tuple[SourceEntry, list[str]]] = {}
    for name, entry in manifest.tables.items():
        for source in entry.sources:
            found.setdefault(source.source, (source, []))[1].append(name)
    return found


def _table_row(name: str, entry: TableEntry) -> str:
    span = f"{entry.min_event_date} to {entry.max_event_date}"
    return f"| `{name}` | {entry.rows:,} | {entry.bytes / 1e3:,.0f} kB | {span} |"


def _source_row(source: SourceEntry, tables: list[str]) -> str:
    named = ", ".join(f"`{name}`" for name in tables)
    made = f"{source.provider}: {source.product}"
    return f"| {source.source} | {named} | {made} | {source.owner} | {source.licence} | {source.url} |"


_README: Final = """\
# The starter bundle

Real observations, to **{last}**, so that a clone with neither keys nor network can run the whole pipeline and its
tests. It is for **evaluation only**: forecasts made from it say HOLD, because the data ends there. Nothing in it is
made up, interpolated or filled; a gap is a null or a row that is not there.

Written by `cbi bundle build --starter`, which replaces this file too. Dataset version `{version}`,
{size:.1f} MB of zstd parquet; ZL trade dates {first} to {last}.

| table | rows | size | dates described |
|---|---:|---:|---|
{tables}

`manifest.json` holds each file's sha256, columns, span and sources; `_SUCCESS` holds the sha256 of the manifest.
Check them with `cbi bundle verify data/starter`.

## Sources, owners and terms
Daily, weekly and monthly observations are kept as facts, reduced to what the features and the anchor need; no
provider's file is contained. The observations belong to the owners named below, under their terms. The licence of
CBI's code does not cover them. Whoever uses prices for more than evaluating CBI needs an agreement with their owner.

| `source` begins with | tables | provider and product | owner | terms | where |
|---|---|---|---|---|---|
{sources}

## How live data replaces it
Put the providers' files, in the providers' own formats, under `data/market/` (or set `CBI_DATA_DIR` to their folder)
and run `cbi bundle build`. The new bundle goes to `data/bundles/<dataset_version>/`; from then on every run uses the
newest bundle there, and this one only when there is none.
"""
