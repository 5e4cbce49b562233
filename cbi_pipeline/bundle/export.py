"""A bundle from the raw tables in BigQuery: exported to a bucket, brought to the contract, checked, published.

BigQuery writes parquet with every column nullable, in as many shards and in such order as it likes. What is published
is written anew by the rules of `build.py`, so that the same rows give the same bytes wherever a bundle is made.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from cbi_pipeline.bundle.build import COMPRESSION_LEVEL, prepare_bundle, write_bundle_files
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.sync import read_remote_manifest
from cbi_pipeline.contracts.manifest import Manifest
from cbi_pipeline.contracts.tables import RAW_TABLES, TableContract
from cbi_pipeline.errors import BundleError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from cbi_pipeline.warehouse.raw_tables import Exported, RawTables

STAGING_FOLDER: Final = "exporting"
"""Folder of exports under way; nobody takes it for a bundle, and the bucket's lifecycle rule empties it."""
_FIX: Final = "correct the rows of the raw table in BigQuery; nothing was published."
_AGAIN: Final = "run the export again; nothing was published."


@dataclass(frozen=True, slots=True)
class ExportedBundle:
    """The bundle that holds the raw tables as they stand; `published` says that this export made it."""

    manifest: Manifest
    published: bool


def export_bundle(
    raw: RawTables,
    store: GcsBundleStore,
    staging: GcsBundleStore,
    *,
    compression_level: int = COMPRESSION_LEVEL,
    progress: Callable[[str], None] | None = None,
) -> ExportedBundle:
    """Publish the raw tables as a bundle, unless the store has one with these very rows.

    Args:
        raw: the raw tables.
        store: where bundles are published.
        staging: where BigQuery writes meanwhile; what it wrote is removed, however this ends. Its bucket must be in
            the region of the raw tables and may keep no deleted or retained object.
        compression_level: zstd level of the published tables.
        progress: told in a few words what is being done.

    Returns:
        The bundle's manifest, and whether it is new.

    Raises:
        BundleError: an exported table breaks a rule; nothing is published.
        WarehouseError, StoreError: BigQuery or the bucket refuses; nothing is sealed.
    """
    folder = f"{STAGING_FOLDER}/{uuid4().hex}"
    try:
        moment, exports = raw.export(f"{staging.location}/{folder}", progress)
        frames = {name: _read(contract, staging, folder, exports[name]) for name, contract in RAW_TABLES.items()}
    finally:
        staging.remove(folder)
    prepared = prepare_bundle(frames, created_at=moment, compression_level=compression_level, progress=progress)
    existing = _find_content(store, prepared.manifest.content_sha256)
    if existing is not None:
        return ExportedBundle(existing, published=False)
    with TemporaryDirectory() as temporary:
        write_bundle_files(prepared, Path(temporary))
        if progress is not None:
            progress(f"publishing {prepared.manifest.dataset_version}")
        return ExportedBundle(prepared.manifest, published=store.publish(Path(temporary)))


def to_frame(contract: TableContract, shards: list[pa.Table], subject: str) -> pd.DataFrame:
    """The rows of exported shards, in the types of the contract.

    Args:
        contract: of the raw table.
        shards: what BigQuery wrote, in any order.
        subject: named in the error.

    Raises:
        BundleError: columns or types are not those that BigQuery writes for this table, a whole number does not fit,
            or a number is NaN (a gap is NULL).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = contract.arrow_schema
    for shard in shards:
        if sorted(shard.column_names) != sorted(wanted.names):
            rule = f"an exported table has the columns of its contract, {wanted.names}, found {shard.column_names}."
            raise BundleError(subject, rule, "make the raw table as cloud/sql/raw_tables.sql has it.")
        for field in wanted:
            if not _written_for(field.type, found := shard.schema.field(field.name).type):
                rule = f"{field.name} must be exported as {field.type}, found {found}."
                raise BundleError(subject, rule, "make the raw table as cloud/sql/raw_tables.sql has it.")
            if pa.types.is_floating(field.type) and pc.any(pc.is_nan(shard[field.name])).as_py():
                raise BundleError(subject, f"{field.name} has a NaN; a gap is NULL.", _FIX)
    nullable = pa.schema([field.with_nullable(True) for field in wanted])
    try:
        table = pa.concat_tables([shard.select(wanted.names).cast(nullable) for shard in shards])
    except pa.ArrowInvalid as error:
        raise BundleError(subject, f"every value must fit its column ({error}).", _FIX) from error
    return contract.to_pandas(table)


def _written_for(wanted: pa.DataType, found: pa.DataType) -> bool:
    """Whether BigQuery writes `found` for a column of this type: it has 64-bit integers only, and its TIMESTAMP is a
    moment in UTC, whether or not the file says so."""
    import pyarrow as pa

    if pa.types.is_int32(wanted):
        return found in (wanted, pa.int64())
    if pa.types.is_timestamp(wanted):
        return found in (wanted, pa.timestamp("us"))
    return found == wanted


def _read(contract: TableContract, staging: GcsBundleStore, folder: str, exported: Exported) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = f"{folder}/{exported.folder}"
    subject = f"{staging.location}/{path} ({contract.name})"
    shards = []
    for name in staging.names(path):
        try:
            shards.append(pq.read_table(io.BytesIO(staging.read(path, name))))
        except pa.ArrowInvalid as error:
            raise BundleError(f"{subject}, {name}", f"a shard must be readable parquet ({error}).", _AGAIN) from error
    found = sum(shard.num_rows for shard in shards)
    if found != exported.rows or not shards:
        rule = f"the shards must hold the {exported.rows:,} rows that BigQuery exported, they hold {found:,}."
        raise BundleError(subject, rule, _AGAIN)
    return to_frame(contract, shards, subject)


def _find_content(store: GcsBundleStore, content_sha256: str) -> Manifest | None:
    """The newest published bundle with this content; one whose manifest is broken is passed over."""
    for version in reversed(store.sealed()):
        if version.endswith(f"-{content_sha256[:8]}"):
            try:
                manifest, _ = read_remote_manifest(store, version)
            except BundleError:
                continue
            if manifest.content_sha256 == content_sha256:
                return manifest
    return None
