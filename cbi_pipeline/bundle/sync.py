"""Copying a published bundle to this machine: into a staging folder, verified whole, then renamed.

An interrupted copy goes on where it stopped: a staged file counts only if it has the sha256 of the manifest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from cbi_pipeline.atomic import publish_directory, remove_path, replace_file
from cbi_pipeline.bundle.store import BundleRef, BundleStatus
from cbi_pipeline.bundle.verify import Verify, verify_bundle
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, Manifest, is_dataset_version
from cbi_pipeline.errors import BundleError

STAGING: Final = ".syncing-"
"""How the folder of a copy under way, or of one that was interrupted, begins."""
BROKEN: Final = ".broken-"
"""How the folder of a bundle that no longer verified, and was moved aside, begins."""
_LOCK: Final = ".syncing.lock"
_FIX: Final = "publish the bundle again from where it was built; nothing on this machine was changed."


class RemoteStore(Protocol):
    """Where finished bundles are read from."""

    location: str

    def sealed(self, after: str = "") -> tuple[str, ...]:
        """Versions of the finished bundles newer than `after`, oldest first."""

    def read(self, version: str, name: str) -> bytes:
        """The bytes of one file."""


def read_remote_manifest(store: RemoteStore, version: str) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a finished bundle in a store, and manifest and seal as bytes by name.

    Raises:
        BundleError: one of them is missing, they do not belong together, or the manifest breaks its contract.
        StoreError: the store cannot be read.
    """
    seal, content = store.read(version, SUCCESS_FILE), store.read(version, MANIFEST_FILE)
    subject = f"{store.location}/{version}/{MANIFEST_FILE}"
    if hashlib.sha256(content).hexdigest().encode() != seal.strip():
        raise BundleError(subject, f"its sha256 must be the one that {SUCCESS_FILE} holds.", _FIX)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(subject, f"{where}: {first['msg']}.", _FIX) from error
    if manifest.dataset_version != version:
        raise BundleError(subject, f"the folder must be named {manifest.dataset_version}, as it says.", _FIX)
    return manifest, {MANIFEST_FILE: content, SUCCESS_FILE: seal}


def sync_bundle(
    store: RemoteStore,
    version: str,
    bundles_dir: Path,
    progress: Callable[[str], None] | None = None,
    verify: Verify = verify_bundle,
) -> BundleRef:
    """Copy one bundle to this machine, unless a sound copy is there; a local copy that is broken is moved aside.

    Args:
        store: where it is published.
        version: its dataset_version, sealed in that store.
        bundles_dir: the folder of bundles; created if it does not exist.
        progress: told in a few words what is being copied.
        verify: how a copy is verified.

    Returns:
        The verified copy; `reused` says that it was there already.

    Raises:
        BundleError: the published bundle is at fault, or `version` is none; no copy appears.
        StoreError: the store cannot be read; the files copied so far are kept for the next attempt.
    """
    if not is_dataset_version(version):
        raise BundleError(store.location, f"{version!r} is no dataset_version.", "see `cbi bundle list`.")
    bundles_dir.mkdir(parents=True, exist_ok=True)
    final, staging = bundles_dir / version, bundles_dir / f"{STAGING}{version}"
    with only_copy(bundles_dir):
        if final.exists():
            try:
                return BundleRef(final, verify(final), reused=True)
            except BundleError:
                _move_aside(final)
        manifest, ends = read_remote_manifest(store, version)
        staging.mkdir(exist_ok=True)
        _remove_leavings(staging, {entry.path for entry in manifest.tables.values()})
        for entry in manifest.tables.values():
            file = staging / entry.path
            if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == entry.sha256:
                continue
            if progress is not None:
                progress(f"copying {entry.path} ({entry.bytes:,} bytes)")
            content = store.read(version, entry.path)
            if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
                subject = f"{store.location}/{version}/{entry.path}"
                raise BundleError(subject, "size and sha256 must be those of the manifest.", _FIX)
            replace_file(file, content)
        for name in (MANIFEST_FILE, SUCCESS_FILE):
            replace_file(staging / name, ends[name])
        try:
            manifest = verify(staging)
        except BundleError:
            shutil.rmtree(staging)
            raise
        publish_directory(staging, final)
    return BundleRef(final, manifest)


def sync_newest(
    store: RemoteStore,
    bundles_dir: Path,
    progress: Callable[[str], None] | None = None,
    verify: Verify = verify_bundle,
) -> tuple[BundleRef, tuple[BundleStatus, ...]]:
    """Copy the newest bundle of the store that is sound; and the newer ones that are not, with what is wrong with them.

    Raises:
        BundleError: the store holds no sound bundle.
        StoreError: the store cannot be read.
    """
    skipped: list[BundleStatus] = []
    for version in reversed(store.sealed()):
        try:
            return sync_bundle(store, version, bundles_dir, progress, verify), tuple(skipped)
        except BundleError as problem:
            skipped.append(BundleStatus(bundles_dir / version, None, problem))
    rule = "; ".join(["it holds no sound bundle", *(str(status.problem) for status in skipped)])
    raise BundleError(
        store.location, f"{rule}.", "publish one: `cbi bundle publish` on the machine that builds bundles."
    )


@contextmanager
def only_copy(bundles_dir: Path) -> Iterator[None]:
    """One process copies at a time; others wait for it. The system frees the lock if it dies."""
    with (bundles_dir / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leavings(staging: Path, wanted: set[str]) -> None:
    """Remove what a killed copy had half written; under the lock nobody else writes here."""
    for path in staging.iterdir():
        if path.name not in wanted:
            remove_path(path)


def _move_aside(folder: Path) -> None:
    taken = 0
    while (aside := folder.with_name(f"{BROKEN}{taken}-{folder.name}")).exists():
        taken += 1
    os.rename(folder, aside)
