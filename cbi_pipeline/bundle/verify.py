"""Whether a folder is a whole, unaltered bundle whose rows obey every rule.

A bundle that fails here counts as absent; nothing is repaired and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cbi_pipeline.atomic import IGNORED_NAMES
from cbi_pipeline.bundle.read import FIX, parse_table, read_checked, read_manifest
from cbi_pipeline.bundle.rules import check_table
from cbi_pipeline.bundle.sense import judge, refuse
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, Finding, Manifest, TableEntry
from cbi_pipeline.contracts.tables import FUTURES_DAILY, RAW_TABLES, TableContract
from cbi_pipeline.errors import BundleError

README_FILE: Final = "README.md"
"""The starter's page for people; no part of a bundle, but permitted beside it."""

Verify = Callable[[Path], Manifest]
"""`verify_bundle`, or what knows what that found in the same bytes."""


def verify_files(bundle: Path) -> Manifest:
    """Check seal, manifest, and presence, size and sha256 of every file; rows are not looked at.

    Args:
        bundle: the bundle's folder.

    Returns:
        The manifest, every file of which is as it says.

    Raises:
        BundleError: naming the file, the rule and the fix.
    """
    return read_files(bundle)[0]


def verify_bundle(bundle: Path) -> Manifest:
    """Check everything: files, schemas, keys, gaps, rows and sense of every raw table, and the manifest's own figures.

    The sense rules are those of today, whenever the bundle was built; the warnings in its manifest are those of then.

    Args:
        bundle: the bundle's folder.

    Returns:
        The manifest, which then describes the folder exactly.

    Raises:
        BundleError: naming the file, the first rows at fault, the rule and the fix.
    """
    manifest, contents = read_files(bundle)
    judge_rows(bundle, manifest, contents)
    return manifest


def read_files(bundle: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest, and bytes of every table by name; raises as `verify_files`."""
    manifest = read_manifest(bundle)
    _check_listing(bundle, manifest)
    return manifest, {name: read_checked(bundle, entry) for name, entry in manifest.tables.items()}


def judge_rows(bundle: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> tuple[Finding, ...]:
    """Check rows and sense of every table, and the manifest's figures; decided by bytes, code and libraries alone.

    Returns:
        The warnings of today's sense rules.

    Raises:
        BundleError: as `verify_bundle`.
    """
    frames: dict[str, pd.DataFrame] = {}
    for name, contract in RAW_TABLES.items():
        entry, file = manifest.tables[name], bundle / manifest.tables[name].path
        table = parse_table(contents[name], file, entry.rows)
        frames[name] = check_table(contract, table, str(file), FIX)
        _check_entry(contract, table, entry, file)
        if name == FUTURES_DAILY.name:
            _check_window(table, manifest, bundle)
    judgement = judge(frames)
    refuse(judgement.errors, str(bundle), FIX)
    return judgement.warnings


def first_and_last_zl_date(futures_daily: pa.Table) -> dict[str, object]:
    """{"min", "max"} of the ZL trade dates of a `futures_daily` table; both None when it has no ZL row."""
    zl = futures_daily.filter(pc.equal(futures_daily["symbol"], "ZL"))
    return pc.min_max(zl["trade_date"]).as_py()


def _check_listing(bundle: Path, manifest: Manifest) -> None:
    if set(manifest.tables) != set(RAW_TABLES):
        missing, unknown = sorted(RAW_TABLES.keys() - manifest.tables), sorted(manifest.tables - RAW_TABLES.keys())
        rule = f"a bundle must hold the raw tables {sorted(RAW_TABLES)}; missing {missing}, unknown {unknown}."
        raise BundleError(str(bundle / MANIFEST_FILE), rule, FIX)
    listed = {entry.path for entry in manifest.tables.values()} | {MANIFEST_FILE, SUCCESS_FILE}
    extra = sorted({path.name for path in bundle.iterdir()} - listed - IGNORED_NAMES - {README_FILE})
    if extra:
        raise BundleError(str(bundle / extra[0]), "a bundle holds only the files that its manifest lists.", FIX)


def _check_entry(contract: TableContract, table: pa.Table, entry: TableEntry, file: Path) -> None:
    """The manifest's figures for a table are those of the table."""
    event = pc.min_max(table[contract.event_date]).as_py()
    found = {
        "rows": table.num_rows,
        "arrow_schema": schema_text(table.schema),
        "min_event_date": event["min"],
        "max_event_date": event["max"],
        "max_available_at": pc.max(table["available_at"]).as_py(),
    }
    stated = entry.model_dump(include=set(found))
    for field, value in found.items():
        if stated[field] != value:
            rule = f"{field} must be that of the manifest ({stated[field]}), it is {value}."
            raise BundleError(str(file), rule, FIX)
    for row_source in pc.unique(table["source"]).to_pylist():
        if sum(source.covers(row_source) for source in entry.sources) != 1:
            known = [source.source for source in entry.sources]
            rule = f"source {row_source!r} must begin with exactly one of the sources in the manifest, {known}."
            raise BundleError(str(file), rule, FIX)


def _check_window(futures_daily: pa.Table, manifest: Manifest, bundle: Path) -> None:
    found, stated = first_and_last_zl_date(futures_daily), manifest.window
    if (found["min"], found["max"]) != (stated.first_trade_date, stated.last_trade_date):
        rule = f"the window must run from the first to the last ZL trade date, {found['min']} to {found['max']}."
        raise BundleError(str(bundle / MANIFEST_FILE), rule, FIX)


def schema_text(schema: pa.Schema) -> str:
    """An arrow schema as the manifest states it: one line a field, with nullability, no metadata."""
    return schema.to_string(show_field_metadata=False, show_schema_metadata=False)
