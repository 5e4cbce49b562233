"""References to the tables of a verified bundle, and loading them again with their hashes checked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_pipeline import progress
from cbi_pipeline.bundle.read import load_table, read_manifest
from cbi_pipeline.contracts.manifest import Finding, Manifest
from cbi_pipeline.contracts.references import RawTableRef
from cbi_pipeline.errors import BundleError

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.bundle.locate import LocatedBundle
    from cbi_pipeline.registry.artifact_store import ArtifactStore

STAGE = "raw tables"


def raw_table_references(located: LocatedBundle) -> dict[str, RawTableRef]:
    """One reference per table of a bundle that `find_bundle` has just verified."""
    manifest = located.manifest
    references = {
        name: RawTableRef(
            table=name,
            bundle_path=located.path,
            dataset_version=manifest.dataset_version,
            sha256=entry.sha256,
            rows=entry.rows,
            origin=located.origin,
            why=located.why,
            last_trade_date=manifest.window.last_trade_date,
        )
        for name, entry in manifest.tables.items()
    }
    rows = sum(reference.rows for reference in references.values())
    progress.finish(STAGE, f"{manifest.dataset_version} verified, {rows:,} rows to {manifest.window.last_trade_date}")
    return references


def load_raw_tables(references: Iterable[RawTableRef]) -> dict[str, pd.DataFrame]:
    """The tables as frames, by name; every file is checked against its reference first.

    Raises:
        BundleError: the references belong to different bundles, or a file has changed since it was verified.
    """
    references = tuple(references)
    if len({(reference.bundle_path, reference.dataset_version) for reference in references}) != 1:
        raise BundleError(
            "raw tables",
            f"they come from different bundles: {sorted({reference.dataset_version for reference in references})}.",
            "materialise all raw tables in one run.",
        )
    return {r.table: _load(r.bundle_path, r.table, r.sha256).copy() for r in references}


def sense_warnings(reference: RawTableRef, store: ArtifactStore) -> tuple[Finding, ...]:
    """The warnings about a table: those of the bundle's manifest, or of today's rules where it has none.

    Args:
        store: where what the rules say of a bundle is kept.

    Raises:
        BundleError: the bundle has changed since it was verified.
    """
    manifest = _manifest_of(reference.bundle_path, reference.table, reference.sha256)
    findings = manifest.findings
    if findings is None:
        from cbi_pipeline.stages.judged import JudgedBundles

        findings = JudgedBundles(store).warnings(reference.bundle_path, manifest)
    return tuple(finding for finding in findings if finding.table == reference.table)


def content_of(references: Iterable[RawTableRef]) -> dict[str, str]:
    """Table name to sha256: what the tables contain, whichever bundle they lie in."""
    return {reference.table: reference.sha256 for reference in references}


@lru_cache(maxsize=16)
def _load(bundle: Path, table: str, sha256: str) -> pd.DataFrame:
    return load_table(bundle, table, _manifest_of(bundle, table, sha256))


def _manifest_of(bundle: Path, table: str, sha256: str) -> Manifest:
    manifest = read_manifest(bundle)
    if table not in manifest.tables or manifest.tables[table].sha256 != sha256:
        raise BundleError(
            str(bundle / f"{table}.parquet"),
            "the bundle is not the one that was verified in this lineage.",
            "materialise the raw tables again.",
        )
    return manifest
