"""Building a bundle: frames are checked, made into bytes, and published in one step.

Every rule is checked before the first byte is written, so a refused build leaves the store as it was.
The same rows give the same bytes, hence the same 8 hex in the version, hence no second copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cbi_pipeline import __version__
from cbi_pipeline.atomic import publish_directory, unfinished_directory, write_synced
from cbi_pipeline.bundle.rules import to_checked_table
from cbi_pipeline.bundle.sense import judge, refuse
from cbi_pipeline.bundle.store import BundleRef, LocalBundleStore
from cbi_pipeline.bundle.verify import first_and_last_zl_date, schema_text
from cbi_pipeline.contracts.manifest import (
    MANIFEST_FILE,
    SUCCESS_FILE,
    Manifest,
    Producer,
    SourceEntry,
    TableEntry,
    Window,
    content_sha256,
    dataset_version,
)
from cbi_pipeline.contracts.tables import FUTURES_DAILY, RAW_TABLES, TableContract
from cbi_pipeline.errors import BundleError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.sources import provenance_of

COMPRESSION_LEVEL: Final = 9
"""zstd level of bundles built on a machine; the starter uses 19."""

_FIX: Final = "correct the rows in the provider's file named by their source, or its reader; nothing was written."


@dataclass(frozen=True, slots=True)
class PreparedBundle:
    """A bundle in memory: `files` are table files by name, `manifest` describes them."""

    manifest: Manifest
    files: Mapping[str, bytes]


def current_producer() -> Producer:
    """This code, as it stands in the checkout."""
    return Producer(git_commit=code_commit(), tool_version=__version__)


def build_bundle(
    tables: Mapping[str, pd.DataFrame],
    store_dir: Path,
    *,
    created_at: datetime | None = None,
    producer: Producer | None = None,
    opinions: pd.DataFrame | None = None,
    compression_level: int = COMPRESSION_LEVEL,
    progress: Callable[[str], None] | None = None,
) -> BundleRef:
    """Publish the tables as a new bundle of the store, or return the bundle that already holds them.

    Args:
        tables: every raw table of `RAW_TABLES`, in the columns of its contract.
        store_dir: the folder of bundles; created if it does not exist.
        created_at: moment of the build, with time zone; now by default.
        producer: what builds; this checkout by default.
        opinions: what other sources say (`sources.second_opinions`), which the tables are compared with.
        compression_level: zstd level, 1 to 22.
        progress: told in a few words what is being done.

    Returns:
        The bundle; `reused` says that the store had it already.

    Raises:
        BundleError: a table or row breaks a rule; the store is left as it was.
        SourceError: a row's `source` has no owner and terms on record; the store is left as it was.
    """
    prepared = prepare_bundle(
        tables,
        created_at=created_at,
        producer=producer,
        opinions=opinions,
        compression_level=compression_level,
        progress=progress,
    )
    store = LocalBundleStore(store_dir)
    existing = store.find_content(prepared.manifest.content_sha256)
    if existing is not None:
        return existing
    final = store_dir / prepared.manifest.dataset_version
    if final.exists():
        rule = "a published bundle is never overwritten, and this version is taken."
        raise BundleError(str(final), rule, "move that folder away, or build again a second later.")
    store_dir.mkdir(parents=True, exist_ok=True)
    with unfinished_directory(store_dir) as folder:
        write_bundle_files(prepared, folder)
        return _publish(folder, prepared.manifest, store)


def prepare_bundle(
    tables: Mapping[str, pd.DataFrame],
    *,
    created_at: datetime | None = None,
    producer: Producer | None = None,
    opinions: pd.DataFrame | None = None,
    compression_level: int = COMPRESSION_LEVEL,
    progress: Callable[[str], None] | None = None,
) -> PreparedBundle:
    """Check the tables and make the bundle's bytes in memory; writes nothing. See `build_bundle`."""
    if set(tables) != set(RAW_TABLES):
        missing, unknown = sorted(RAW_TABLES.keys() - tables.keys()), sorted(tables.keys() - RAW_TABLES.keys())
        rule = f"a bundle must hold exactly the raw tables; missing {missing}, unknown {unknown}."
        raise BundleError("bundle", rule, "build every raw table before the bundle; nothing was written.")
    files: dict[str, bytes] = {}
    entries: dict[str, TableEntry] = {}
    checked: dict[str, pa.Table] = {}
    for name, contract in RAW_TABLES.items():
        if progress is not None:
            progress(f"checking and packing {name} ({len(tables[name]):,} rows)")
        path = f"{name}.parquet"
        checked[name] = to_checked_table(contract, tables[name], path, _FIX)
        files[path] = to_parquet(checked[name], compression_level)
        entries[name] = _describe(contract, checked[name], path, files[path])
    if progress is not None:
        progress("judging whether the rows make sense")
    judged = judge({name: RAW_TABLES[name].to_pandas(table) for name, table in checked.items()}, opinions)
    refuse(judged.errors, "bundle", _FIX)
    created = (created_at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    content = content_sha256((name, entry.sha256) for name, entry in entries.items())
    manifest = Manifest(
        dataset_version=dataset_version(created, content),
        created_at=created,
        window=_window(checked[FUTURES_DAILY.name], entries[FUTURES_DAILY.name].path),
        tables=entries,
        producer=producer or current_producer(),
        findings=judged.warnings,
    )
    return PreparedBundle(manifest, files)


def write_bundle_files(prepared: PreparedBundle, folder: Path) -> None:
    """Write table files, then `manifest.json`, then `_SUCCESS`, each forced to disk before the next.

    Args:
        folder: exists and is empty; nobody reads it yet.
    """
    manifest = prepared.manifest.to_json()
    for name, content in prepared.files.items():
        write_synced(folder / name, content)
    write_synced(folder / MANIFEST_FILE, manifest)
    write_synced(folder / SUCCESS_FILE, f"{hashlib.sha256(manifest).hexdigest()}\n".encode())


def _publish(folder: Path, manifest: Manifest, store: LocalBundleStore) -> BundleRef:
    """Publish the written folder, unless another build published the same content meanwhile."""
    existing = store.find_content(manifest.content_sha256)
    if existing is not None:
        return existing
    final = store.root / manifest.dataset_version
    try:
        publish_directory(folder, final)
    except FileExistsError:
        existing = store.find_content(manifest.content_sha256)
        if existing is None:
            raise
        return existing
    return BundleRef(final, manifest, reused=False)


def to_parquet(table: pa.Table, compression_level: int) -> bytes:
    """The table as zstd parquet in one row group; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=max(table.num_rows, 1),
        compression="zstd",
        compression_level=compression_level,
        version="2.6",
        data_page_version="2.0",
    )
    return sink.getvalue().to_pybytes()


def _describe(contract: TableContract, table: pa.Table, path: str, content: bytes) -> TableEntry:
    event = pc.min_max(table[contract.event_date]).as_py()
    return TableEntry(
        path=path,
        rows=table.num_rows,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        arrow_schema=schema_text(table.schema),
        min_event_date=event["min"],
        max_event_date=event["max"],
        max_available_at=pc.max(table["available_at"]).as_py(),
        sources=_sources(pc.unique(table["source"]).to_pylist()),
    )


def _sources(row_sources: Sequence[str]) -> tuple[SourceEntry, ...]:
    """The products that the rows name, each once, in alphabetical order."""
    products = {product.source: product for product in map(provenance_of, row_sources)}
    return tuple(
        SourceEntry(
            source=product.source,
            provider=product.provider,
            product=product.product,
            owner=product.owner,
            licence=product.licence,
            url=product.url,
        )
        for _, product in sorted(products.items())
    )


def _window(futures_daily: pa.Table, path: str) -> Window:
    dates = first_and_last_zl_date(futures_daily)
    if dates["min"] is None:
        raise BundleError(path, "it must hold rows of ZL, which is what is forecast.", _FIX)
    return Window.model_validate({"first_trade_date": dates["min"], "last_trade_date": dates["max"]})
