"""What bundles there are, here and in a bucket: what each holds, and whether it is sound or why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.sync import read_remote_manifest
from cbi_pipeline.bundle.verify import verify_files
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, Manifest
from cbi_pipeline.errors import BundleError

HERE: Final = "here"
STARTER: Final = "starter"
_FIX: Final = "publish it again from where it was built: `cbi bundle publish` goes on where it stopped."


@dataclass(frozen=True, slots=True)
class Listed:
    """One bundle of a place.

    Args:
        version: its dataset_version, or the name of its folder where it has no readable manifest.
        where: `HERE`, `STARTER`, or the store's address.
        manifest: what it holds; None if it is not sound.
        problem: why it is not sound; None if it is.
    """

    version: str
    where: str
    manifest: Manifest | None
    problem: str | None

    @property
    def rows(self) -> int:
        """Rows of all tables; 0 if it is not sound."""
        return sum(entry.rows for entry in self.manifest.tables.values()) if self.manifest else 0

    @property
    def bytes(self) -> int:
        """Size of all tables; 0 if it is not sound."""
        return sum(entry.bytes for entry in self.manifest.tables.values()) if self.manifest else 0


def local_bundles(bundles_dir: Path, starter_dir: Path) -> tuple[Listed, ...]:
    """The bundles of this machine, newest first, then the starter: seal, sizes, sha256s are checked, not rows."""
    found = [
        Listed(status.path.name, HERE, status.manifest, str(status.problem) if status.problem else None)
        for status in LocalBundleStore(bundles_dir).list()
    ]
    try:
        manifest = verify_files(starter_dir)
        starter = Listed(manifest.dataset_version, STARTER, manifest, None)
    except BundleError as problem:
        starter = Listed(STARTER, STARTER, None, str(problem))
    return (*found, starter)


def remote_bundles(store: GcsBundleStore) -> tuple[Listed, ...]:
    """The bundles of a bucket, newest first: seal, manifest and sizes are checked, bytes when they are copied.

    Raises:
        StoreError: the store cannot be read.
    """
    return tuple(_remote(store, version, sizes) for version, sizes in sorted(store.contents().items(), reverse=True))


def _remote(store: GcsBundleStore, version: str, sizes: dict[str, int]) -> Listed:
    try:
        if SUCCESS_FILE not in sizes:
            raise BundleError(f"{store.location}/{version}", f"it has no {SUCCESS_FILE}: it is unfinished.", _FIX)
        manifest, _ = read_remote_manifest(store, version)
        wanted = {entry.path: entry.bytes for entry in manifest.tables.values()}
        for name, size in wanted.items():
            if sizes.get(name) != size:
                rule = f"it must have {size} bytes as in the {MANIFEST_FILE}, it has {sizes.get(name, 'none')}."
                raise BundleError(f"{store.location}/{version}/{name}", rule, _FIX)
    except BundleError as problem:
        return Listed(version, store.location, None, str(problem))
    return Listed(version, store.location, manifest, None)
