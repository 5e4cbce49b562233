"""The folder of bundles on this machine: one folder a dataset_version, newest last by name.

A bundle that does not verify counts as absent, and the reason is kept for whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cbi_pipeline.bundle.read import FIX, read_file
from cbi_pipeline.bundle.verify import Verify, verify_bundle, verify_files
from cbi_pipeline.contracts.manifest import MAX_TABLE_BYTES, SUCCESS_FILE, Manifest, is_dataset_version
from cbi_pipeline.errors import BundleError


@dataclass(frozen=True, slots=True)
class BundleRef:
    """A published bundle. `reused` says that a build found its content already there."""

    path: Path
    manifest: Manifest
    reused: bool = False


@dataclass(frozen=True, slots=True)
class BundleStatus:
    """A folder that claims to be a bundle: `manifest` if it is one, else the `problem`."""

    path: Path
    manifest: Manifest | None
    problem: BundleError | None


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest bundle that verifies, and the newer ones that do not."""

    bundle: BundleRef | None
    skipped: tuple[BundleStatus, ...]


class LocalBundleStore:
    """Bundles under one local folder. Reads only; `build_bundle` writes.

    Args:
        root: the folder; it need not exist.
        verify: how rows are checked.
    """

    def __init__(self, root: Path, verify: Verify = verify_bundle) -> None:
        self.root = root
        self._verify = verify
        self.location = str(root)

    def list(self, *, rows: bool = False) -> tuple[BundleStatus, ...]:
        """Every bundle, newest first, whole or not.

        Args:
            rows: check every row too (about a second a bundle), not only seal, sizes and hashes.
        """
        return tuple(self._status(path, rows=rows) for path in self.folders())

    def latest(self) -> Latest:
        """The newest bundle that passes every check, rows included, and what was passed over to reach it."""
        skipped: list[BundleStatus] = []
        for path in self.folders():
            status = self._status(path, rows=True)
            if status.manifest is not None:
                return Latest(BundleRef(path, status.manifest), tuple(skipped))
            skipped.append(status)
        return Latest(None, tuple(skipped))

    def find_content(self, content_sha256: str) -> BundleRef | None:
        """The newest whole bundle whose tables have this content hash."""
        for path in self.folders():
            if path.name.endswith(f"-{content_sha256[:8]}"):
                status = self._status(path, rows=False)
                if status.manifest is not None and status.manifest.content_sha256 == content_sha256:
                    return BundleRef(path, status.manifest, reused=True)
        return None

    def sealed(self, after: str = "") -> tuple[str, ...]:
        """Versions of the finished bundles that are newer than `after`, oldest first."""
        finished = (path.name for path in self.folders() if (path / SUCCESS_FILE).is_file())
        return tuple(sorted(version for version in finished if version > after))

    def read(self, version: str, name: str) -> bytes:
        """The bytes of one file of a bundle, as stored.

        Raises:
            BundleError: it cannot be read.
        """
        rule = "a bundle holds every file that its manifest lists."
        return read_file(self.root / version / name, rule, MAX_TABLE_BYTES)

    def folders(self) -> tuple[Path, ...]:
        """The folders that claim to be bundles, newest first."""
        if not self.root.is_dir():
            return ()
        found = [path for path in self.root.iterdir() if path.is_dir() and is_dataset_version(path.name)]
        return tuple(sorted(found, reverse=True))

    def _status(self, path: Path, *, rows: bool) -> BundleStatus:
        try:
            manifest = self._verify(path) if rows else verify_files(path)
            if manifest.dataset_version != path.name:
                rule = f"the folder must be named {manifest.dataset_version}, as its manifest says."
                raise BundleError(str(path), rule, FIX)
        except BundleError as problem:
            return BundleStatus(path, None, problem)
        return BundleStatus(path, manifest, None)
