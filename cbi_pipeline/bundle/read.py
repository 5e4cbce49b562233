"""Reading a bundle: its manifest, its files as bytes, its tables as frames.

Every byte is compared with the manifest before it is parsed. Whether rows obey their rules is the
business of `verify.py`.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, Manifest, TableEntry
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError

MANIFEST_BYTES: Final = 10_000_000
"""Far more than any manifest or seal has; what is larger is not read."""
ROW_BYTES: Final = 1024
"""What a row may take when it is decompressed, on average; those of every table take less than 200."""
LEAST_BYTES: Final = 1_000_000
TEXT_BYTES: Final = 10_000
"""Longest text of a cell."""

_TYPES: Final = frozenset(column.type for contract in RAW_TABLES.values() for column in contract.columns)

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
    content = read_file(file, "the manifest lists this file, so it must exist.", entry.bytes)
    if len(content) != entry.bytes:
        rule = f"it must have {entry.bytes} bytes as in the manifest, it has {len(content)}."
        raise BundleError(str(file), rule, FIX)
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        rule = f"it was altered: the manifest gives its sha256 as {entry.sha256[:12]}..., it is {found[:12]}..."
        raise BundleError(str(file), rule, FIX)
    return content


def parse_table(content: bytes, file: Path, rows: int) -> pa.Table:
    """Parse checked bytes as parquet, in an amount of memory that the number of rows bounds.

    A few kilobytes can stand for terabytes: what the file says of its size is compared with the rows that it should
    have before a page is decompressed, and texts are looked at in their dictionary before they are multiplied.

    Args:
        content: the file's bytes, compared with their sha256 already.
        file: named in the error.
        rows: how many rows the manifest gives it.

    Raises:
        BundleError: they are not readable parquet, or are larger than such a table can be.
    """
    try:
        parquet = pq.ParquetFile(pa.BufferReader(content))
        metadata = parquet.metadata
        groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
        size = sum(group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns))
        if metadata.num_rows != rows or size > max(LEAST_BYTES, rows * ROW_BYTES):
            rule = f"rows must be those of the manifest ({rows:,}), in {ROW_BYTES} bytes each at most; it has "
            raise BundleError(str(file), f"{rule}{metadata.num_rows:,} in {size:,} bytes.", FIX)
        unknown = [f"{field.name} {field.type}" for field in parquet.schema_arrow if field.type not in _TYPES]
        if unknown:
            raise BundleError(str(file), f"these fields have types that no raw table has: {unknown}.", FIX)
        texts = [field.name for field in parquet.schema_arrow if pa.types.is_string(field.type)]
        table = pq.read_table(pa.BufferReader(content), read_dictionary=texts)
        for name in texts:
            for chunk in table[name].chunks:
                longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
                if longest > TEXT_BYTES:
                    rule = f"a text of {name} may have {TEXT_BYTES:,} bytes at most, one has {longest:,}."
                    raise BundleError(str(file), rule, FIX)
        table = table.cast(parquet.schema_arrow)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise BundleError(str(file), f"it must be readable parquet ({error}).", FIX) from error
    return table


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
    return RAW_TABLES[name].to_pandas(parse_table(read_checked(bundle, entry), bundle / entry.path, entry.rows))


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
    return {name: parse_table(read_checked(bundle, entry), bundle / entry.path, entry.rows) for name, entry in entries}


def read_file(file: Path, rule: str, most: int = MANIFEST_BYTES) -> bytes:
    """The bytes of a file, `most + 1` of them at most; `rule` is why it must exist.

    Raises:
        BundleError: it is missing, cannot be read, or is a link, pipe or device: a bundle holds its own bytes.
    """
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise BundleError(str(file), "it must be a plain file, neither a link nor a folder, pipe or device.", FIX)
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except FileNotFoundError as error:
        raise BundleError(str(file), f"the file is missing: {rule}", FIX) from error
    except OSError as error:
        raise BundleError(str(file), f"the file cannot be read ({error.strerror}): {rule}", FIX) from error
