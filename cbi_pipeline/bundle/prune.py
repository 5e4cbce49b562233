"""Removing bundles that nobody needs, of this machine or of a bucket, and what interrupted transfers left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cbi_pipeline.atomic import unfinished_directory
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.listing import remote_bundles
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.sync import BROKEN, STAGING, only_copy
from cbi_pipeline.errors import SettingsError

UPLOAD_HOURS: Final = 24
"""A bundle without a seal to which nothing was written for so long is no upload under way."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What goes and what stays.

    Args:
        removed: bundles and left-over folders, newest first.
        kept: version and why it stays, newest first.
    """

    removed: tuple[Path, ...]
    kept: tuple[tuple[str, str], ...]


def prune_bundles(bundles_dir: Path, keep: int, in_service: Mapping[str, str], *, dry_run: bool = False) -> Pruning:
    """Remove all bundles but the newest ones, the newest sound one, and those that a model in service came from.

    Folders of interrupted copies (`.syncing-*`) and bundles moved aside (`.broken-*`) go too. Nobody copies meanwhile:
    a copy that is under way is waited for.

    Args:
        bundles_dir: the folder of bundles; it need not exist.
        keep: how many of the newest bundles stay, sound or not; 1 at least.
        in_service: version to why it stays, for bundles that models came from.
        dry_run: remove nothing, only say what would go.

    Raises:
        SettingsError: `keep` is less than 1.
    """
    _check_keep(keep)
    if not bundles_dir.is_dir():
        return Pruning((), ())
    with only_copy(bundles_dir):
        planned = _plan(LocalBundleStore(bundles_dir), keep, in_service)
        if not dry_run:
            for folder in planned.removed:
                with unfinished_directory(bundles_dir) as aside:
                    folder.rename(aside / folder.name)
        return planned


def _plan(store: LocalBundleStore, keep: int, in_service: Mapping[str, str]) -> Pruning:
    folders = store.folders()
    newest_sound = store.latest().bundle
    reasons: dict[str, list[str]] = {folder.name: [] for folder in folders}
    for folder in folders[:keep]:
        reasons[folder.name].append(f"one of the newest {keep}")
    if newest_sound is not None:
        reasons[newest_sound.path.name].append("the newest sound one")
    for version, why in in_service.items():
        if version in reasons:
            reasons[version].append(why)
    left_over = [path for path in sorted(store.root.iterdir()) if path.name.startswith((STAGING, BROKEN))]
    removed = [folder for folder in folders if not reasons[folder.name]] + left_over
    return Pruning(tuple(removed), tuple((name, ", ".join(why)) for name, why in reasons.items() if why))


@dataclass(frozen=True, slots=True)
class PublishedPruning:
    """What goes from a bucket and what stays, newest first: versions, and of those that stay why."""

    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


def plan_published(
    store: GcsBundleStore, keep: int, needed: Mapping[str, str], *, now: datetime | None = None
) -> PublishedPruning:
    """What `prune_published` may remove: all but the newest bundles, the newest sound one, and those that are needed.

    An unfinished bundle goes when nothing was written to it for `UPLOAD_HOURS`.

    Args:
        store: the bucket.
        keep: how many of the newest finished bundles stay, sound or not; 1 at least.
        needed: version to why it stays, for bundles that models were made from.
        now: with a time zone; this moment by default.

    Raises:
        SettingsError: `keep` is less than 1.
        StoreError: the bucket cannot be read.
    """
    _check_keep(keep)
    listed, sealed = remote_bundles(store), store.sealed()
    reasons: dict[str, list[str]] = {one.version: [] for one in listed}
    for version in sealed[-keep:]:
        reasons.setdefault(version, []).append(f"one of the newest {keep}")
    for one in listed:
        if one.manifest is not None:
            reasons[one.version].append("the newest sound one")
            break
    for version in reasons.keys() & needed.keys():
        reasons[version].append(needed[version])
    oldest_upload = (now or datetime.now(UTC)) - timedelta(hours=UPLOAD_HOURS)
    for version in reasons.keys() - set(sealed):
        written = store.last_written(version)
        if written is None or written > oldest_upload:
            reasons[version].append("it has no seal yet: its upload may be under way")
    newest_first = sorted(reasons, reverse=True)
    return PublishedPruning(
        tuple(version for version in newest_first if not reasons[version]),
        tuple((version, ", ".join(reasons[version])) for version in newest_first if reasons[version]),
    )


def prune_published(store: GcsBundleStore, planned: PublishedPruning) -> None:
    """Remove what was planned, seal by seal: a bundle is absent from its first removed object on.

    Raises:
        BundleError: a bundle is being published while it is removed.
        StoreError: the bucket refuses; the same command goes on later.
    """
    for version in planned.removed:
        store.remove(version)


def _check_keep(keep: int) -> None:
    if keep < 1:
        raise SettingsError("--keep", f"at least one bundle must be kept, not {keep}.", "give a number of 1 or more.")
