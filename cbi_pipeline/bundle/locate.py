"""Which data a run uses, and why: the newest bundle, else provider files, else the starter bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from cbi_pipeline.atomic import IGNORED_NAMES
from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.store import BundleStatus, Latest, LocalBundleStore
from cbi_pipeline.bundle.sync import RemoteStore, sync_bundle, sync_newest
from cbi_pipeline.bundle.verify import Verify, verify_bundle, verify_files
from cbi_pipeline.contracts.manifest import Manifest, is_dataset_version
from cbi_pipeline.errors import BundleError
from cbi_pipeline.sources import SOURCES, build_raw_tables
from cbi_pipeline.sources.second_opinions import read_second_opinions

Origin = Literal["built", "provider_files", "starter"]
BUILD_COMMAND: Final = "cbi bundle build"


class DataFolders(Protocol):
    """The part of `Settings` that says where data is."""

    @property
    def data_dir(self) -> Path:
        """Provider files, one folder a provider."""

    @property
    def bundles_dir(self) -> Path:
        """Bundles, one folder a dataset_version."""

    @property
    def starter_dir(self) -> Path:
        """The starter bundle of the repository."""


class RemoteFolders(Protocol):
    """The part of `Settings` that says where bundles are published and copied to."""

    @property
    def bundle_uri(self) -> str:
        """`gs://bucket/prefix`."""

    @property
    def bundles_dir(self) -> Path:
        """Bundles, one folder a dataset_version."""


@dataclass(frozen=True, slots=True)
class LocatedBundle:
    """A verified bundle and one or more sentences for the user on where it comes from and why it was chosen."""

    path: Path
    manifest: Manifest
    origin: Origin
    why: str


def find_bundle(
    settings: DataFolders, progress: Callable[[str], None] | None = None, verify: Verify = verify_bundle
) -> LocatedBundle:
    """Find the data of a run, and build a bundle from provider files if that is the newest way to get one.

    Args:
        settings: the folders.
        progress: told in a few words what a build is doing.
        verify: how a bundle that is found is verified.

    Returns:
        A bundle that passed every check.

    Raises:
        SourceError: there are provider files, but they cannot be read; the starter does not stand in for them.
        BundleError: provider files break a rule, or there is no bundle, no provider file and no sound starter.
    """
    latest = LocalBundleStore(settings.bundles_dir, verify).latest()
    if latest.bundle is not None:
        manifest = latest.bundle.manifest
        why = f"Using the newest bundle, {manifest.dataset_version}, with prices to {manifest.window.last_trade_date}."
        why = _join(why, _on_skipped(latest), _on_newer_files(settings.data_dir, manifest))
        return LocatedBundle(latest.bundle.path, manifest, "built", why)
    if provider_files(settings.data_dir):
        return _build(settings, latest, progress)
    manifest = _verified_starter(settings.starter_dir, verify)
    why = (
        f"Using the starter bundle of the repository, whose prices end on {manifest.window.last_trade_date}: there is"
        f" no sound bundle in {settings.bundles_dir} and no provider file in {settings.data_dir}. For today's data put"
        f" the providers' files in that folder (or set CBI_DATA_DIR to where they are) and run `{BUILD_COMMAND}`."
    )
    return LocatedBundle(settings.starter_dir, manifest, "starter", _join(why, _on_skipped(latest)))


def find_local_bundle(bundles_dir: Path, version: str, verify: Verify = verify_bundle) -> LocatedBundle:
    """The bundle of this machine that a run was started for.

    Raises:
        BundleError: it does not verify, or there is none of that version; nothing stands in for it.
    """
    path = bundles_dir / version
    manifest = verify(path)
    why = (
        f"Using the bundle that this run was started for, {version}, with prices to {manifest.window.last_trade_date}."
    )
    return LocatedBundle(path, manifest, "built", why)


def find_published_bundle(settings: DataFolders, version: str) -> tuple[Path, Manifest]:
    """The bundle that a published row names, every byte checked; nothing stands in for it.

    Raises:
        BundleError: this machine no longer holds it, or it was altered.
    """
    path = settings.bundles_dir / version
    if is_dataset_version(version) and path.is_dir():
        return path, verify_files(path)
    try:
        starter = verify_files(settings.starter_dir)
    except BundleError:
        starter = None
    if starter is not None and starter.dataset_version == version:
        return settings.starter_dir, starter
    rule = f"it is not in {settings.bundles_dir} any more, and the starter bundle is another one."
    raise BundleError(f"bundle {version}", rule, f"`cbi bundle sync {version}` copies it where a bucket holds it.")


def find_remote_bundle(
    settings: RemoteFolders,
    version: str | None = None,
    progress: Callable[[str], None] | None = None,
    store: RemoteStore | None = None,
    verify: Verify = verify_bundle,
) -> LocatedBundle:
    """The bundle of a run whose bundles are published in a bucket: copied to this machine and verified.

    Args:
        settings: where bundles are published, and the folder of this machine's copies.
        version: the dataset_version to use; the newest sound one by default.
        progress: told in a few words what is being copied.
        store: the bucket that the settings name, if it is open already.
        verify: how this machine's copy is verified.

    Raises:
        BundleError: that bundle is at fault, or there is no sound one; nothing stands in for it.
        StoreError: the store cannot be read.
    """
    store = store or GcsBundleStore(settings.bundle_uri)
    skipped: tuple[BundleStatus, ...] = ()
    if version is None:
        found, skipped = sync_newest(store, settings.bundles_dir, progress, verify)
        why = f"Using the newest bundle of {store.location}"
    else:
        found = sync_bundle(store, version, settings.bundles_dir, progress, verify)
        why = f"Using the bundle of {store.location} that this run was started for"
    manifest = found.manifest
    why = f"{why}, {manifest.dataset_version}, with prices to {manifest.window.last_trade_date}."
    return LocatedBundle(found.path, manifest, "built", _join(why, *map(_on_one_skipped, skipped)))


def provider_files(data_dir: Path) -> tuple[Path, ...]:
    """Every file in the providers' folders under `data_dir`; empty when there is none."""
    folders = (data_dir / name for name in sorted({product.folder for product in SOURCES}))
    paths = (path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")))
    return tuple(path for path in paths if path.is_file() and path.name not in IGNORED_NAMES)


def _build(settings: DataFolders, latest: Latest, progress: Callable[[str], None] | None) -> LocatedBundle:
    tables = build_raw_tables(settings.data_dir, progress)
    opinions = read_second_opinions(settings.data_dir)
    built = build_bundle(tables, settings.bundles_dir, opinions=opinions, progress=progress)
    manifest = built.manifest
    why = (
        f"Built bundle {manifest.dataset_version}, with prices to {manifest.window.last_trade_date}, from the provider"
        f" files in {settings.data_dir}, since {settings.bundles_dir} holds no sound bundle."
    )
    return LocatedBundle(built.path, manifest, "provider_files", _join(why, _on_skipped(latest)))


def _verified_starter(folder: Path, verify: Verify) -> Manifest:
    try:
        return verify(folder)
    except BundleError as error:
        fix = "restore it with `git checkout data/starter`, or put provider files under CBI_DATA_DIR."
        raise BundleError(error.subject, error.rule, fix) from error


def _on_skipped(latest: Latest) -> str:
    return " ".join(_on_one_skipped(status) for status in latest.skipped)


def _on_one_skipped(status: BundleStatus) -> str:
    return f"Passed over bundle {status.path.name}, which is broken: {status.problem}"


def _on_newer_files(data_dir: Path, manifest: Manifest) -> str:
    """A sentence if a provider file changed after the bundle was made, else nothing."""
    changed = max((path.stat().st_mtime for path in provider_files(data_dir)), default=0.0)
    if changed <= manifest.created_at.timestamp():
        return ""
    moment = f"{datetime.fromtimestamp(changed, UTC):%Y-%m-%d %H:%M} UTC"
    return f"Provider files in {data_dir} changed later ({moment}): `{BUILD_COMMAND}` makes a bundle of them."


def _join(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
