"""Reading a bundle: its manifest, its files as bytes, its tables as frames.

Every byte is compared with the manifest before it is parsed. Whether rows obey their rules is the
business of `verify.py`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, Manifest, TableEntry
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError

FIX = "move this bundle away and run `cbi bundle build`, or copy it again from where it came."


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of a finished bundle.

    Args:
        bundle: the bundle's folder.

    Raises:
        BundleError: the path is no folder, `_SUCCESS` or `manifest.json` is missing, they do not belong together,
            or the manifest breaks its contract.
    """
    if not bundle.is_dir():
        found = "this is a file" if bundle.exists() else "there is none here"
        fix = "see `cbi bundle list` for the bundles of this machine; `cbi bundle build` makes one."
        raise BundleError(str(bundle), f"a bundle is a folder, {found}.", fix)
    seal = read_file(bundle / SUCCESS_FILE, "a bundle without its seal is unfinished and counts as absent.")
    content = read_file(bundle / MANIFEST_FILE, "a bundle needs its manifest.")
    found, wanted = hashlib.sha256(content).hexdigest(), seal.decode("ascii", errors="replace").strip()
    if found != wanted:
        rule = f"its sha256 must be the one that {SUCCESS_FILE} holds ({wanted[:12]}...), it is {found[:12]}..."
        raise BundleError(str(bundle / MANIFEST_FILE), f"{rule}.", FIX)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(str(bundle / MANIFEST_FILE), f"{where or 'manifest'}: {first['msg']}.", FIX) from error


def read_checked(bundle: Path, entry: TableEntry) -> bytes:
    """The bytes of a table's file, which are those that the manifest describes.

    Raises:
        BundleError: the file is missing, or its size or sha256 differs.
    """
    file = bundle / entry.path
    content = read_file(file, "the manifest lists this file, so it must exist.")
    if len(content) != entry.bytes:
        rule = f"it must have {entry.bytes} bytes as in the manifest, it has {len(content)}."
        raise BundleError(str(file), rule, FIX)
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        rule = f"it was altered: the manifest gives its sha256 as {entry.sha256[:12]}..., it is {found[:12]}..."
        raise BundleError(str(file), rule, FIX)
    return content


def parse_table(content: bytes, file: Path) -> pa.Table:
    """Parse checked bytes as parquet.

    Raises:
        BundleError: they are not readable parquet.
    """
    try:
        return pq.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise BundleError(str(file), f"it must be readable parquet ({error}).", FIX) from error


def load_table(bundle: Path, name: str, manifest: Manifest | None = None) -> pd.DataFrame:
    """One raw table as a frame, as `TableContract.to_pandas` makes it: dates datetime64[ns], times UTC.

    Args:
        bundle: the bundle's folder.
        name: a key of `RAW_TABLES`.
        manifest: the bundle's manifest if it was read already.

    Raises:
        BundleError: the bundle is unfinished, has no such table, or its file does not match the manifest.
    """
    manifest = manifest or read_manifest(bundle)
    if name not in manifest.tables or name not in RAW_TABLES:
        raise BundleError(str(bundle), f"it holds no raw table {name!r}, only {sorted(manifest.tables)}.", FIX)
    entry = manifest.tables[name]
    return RAW_TABLES[name].to_pandas(parse_table(read_checked(bundle, entry), bundle / entry.path))


def load_tables(bundle: Path) -> dict[str, pd.DataFrame]:
    """Every raw table of the bundle by name; see `load_table`."""
    manifest = read_manifest(bundle)
    return {name: load_table(bundle, name, manifest) for name in manifest.tables}


def read_arrow_tables(bundle: Path, manifest: Manifest) -> dict[str, pa.Table]:
    """Every raw table of a bundle as stored.

    Raises:
        BundleError: a file does not match the manifest.
    """
    entries = manifest.tables.items()
    return {name: parse_table(read_checked(bundle, entry), bundle / entry.path) for name, entry in entries}


def read_file(file: Path, rule: str) -> bytes:
    """The bytes of a file; `rule` is why it must exist.

    Raises:
        BundleError: it is missing or cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(str(file), f"the file is missing: {rule}", FIX) from error
    except OSError as error:
        raise BundleError(str(file), f"the file cannot be read ({error.strerror}): {rule}", FIX) from error
