"""Removing bundles of this machine that nobody needs, and what interrupted copies left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cbi_pipeline.atomic import unfinished_directory
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.sync import BROKEN, STAGING, only_copy
from cbi_pipeline.errors import SettingsError


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
    if keep < 1:
        raise SettingsError("--keep", f"at least one bundle must be kept, not {keep}.", "give a number of 1 or more.")
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
