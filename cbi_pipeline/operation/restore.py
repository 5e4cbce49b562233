"""A backup put in the place of the state: verified first, in the place of another state only by force, whole or not.

Each part is written beside its place. A marker then lists the parts; while it is there, what is in place is not to be
trusted, and the next command puts the old state back. With the removal of the marker the new state stands.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from cbi_pipeline.atomic import fsync_directory, publish_directory, replace_file, unfinished_directory
from cbi_pipeline.errors import CbiError
from cbi_pipeline.operation.backup import (
    BUNDLES,
    BackupManifest,
    StoredFile,
    read_archive,
    read_manifest,
    refuse_while_busy,
)
from cbi_pipeline.operation.state import MARKER, MODELS, Part, copy_state, newest_change, parts
from cbi_pipeline.processes import only_run
from cbi_pipeline.registry.artifact_store import sha256_file
from cbi_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: nothing where the state was the same; bundles that were there already are left alone."""

    manifest: BackupManifest
    unchanged: bool
    added_bundles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part goes: its place, the new one beside it, and where the old one waits. Renames stay in one folder."""

    final: Path
    existed: bool

    @property
    def new(self) -> Path:
        return self.final.with_name(f".{self.final.name}.restoring")

    @property
    def old(self) -> Path:
        return self.final.with_name(f".{self.final.name}.replaced")


def restore(settings: Settings, file: Path, *, force: bool, why_busy: Callable[[], str | None]) -> Restored:
    """Put the state of an archive in place.

    Args:
        force: replace a state that is another one; without, only an empty place is filled.
        why_busy: says what is at work in the project.

    Raises:
        CbiError: the archive does not verify, something is at work, there is another state, or the disk refuses; the
            state is as it was then.
    """
    settings.dagster_dir.mkdir(parents=True, exist_ok=True)
    with only_run(settings.dagster_dir):
        _take_back(settings)
        refuse_while_busy(why_busy)
        manifest = read_manifest(file)
        _require_same_kind(manifest, settings, file)
        own = {name: entry for name, entry in manifest.files.items() if not name.startswith(f"{BUNDLES}/")}
        _remove_left_over(settings)
        try:
            with ExitStack() as stack:
                bundles = _stage(settings, file, manifest, stack)
                unchanged = _is_in_place(settings, own, manifest, file, force=force)
                for version, folder in bundles.items():
                    publish_directory(folder, settings.bundles_dir / version)
                if not unchanged:
                    _exchange(settings)
        except OSError as error:
            rule = f"the disk refuses ({error.strerror}); the state is as it was."
            raise CbiError(str(error.filename or file), rule, "free some space, then restore again.") from error
        finally:
            _remove_left_over(settings)
    return Restored(manifest, unchanged, tuple(bundles))


def recover(settings: Settings) -> bool:
    """Put the old state back if a restore was killed while it replaced parts; whether it was.

    Raises:
        CbiError: a restore is at work.
    """
    if not (settings.project_dir / MARKER).exists():
        return False
    with only_run(settings.dagster_dir):
        return _take_back(settings)


def _require_same_kind(manifest: BackupManifest, settings: Settings, file: Path) -> None:
    if manifest.warehouse != settings.warehouse:
        rule = f"it is the state of a project whose warehouse is {manifest.warehouse}; here it is {settings.warehouse}."
        raise CbiError(str(file), rule, f"set CBI_WAREHOUSE={manifest.warehouse}.")


def _places(settings: Settings) -> list[_Place]:
    """The place of every part; of the warehouse also that of its log, which belongs to the file it was written for."""
    paths = [part.path for part in parts(settings)]
    if settings.warehouse == "duckdb":
        paths.append(settings.warehouse_path.with_name(f"{settings.warehouse_path.name}.wal"))
    return [_Place(path, path.exists()) for path in paths]


def _stage(settings: Settings, file: Path, manifest: BackupManifest, stack: ExitStack) -> dict[str, Path]:
    """Write every file of the archive beside its place, verified; folders of the bundles that are not there yet."""
    by_name = {part.name: part for part in parts(settings)}
    folders: dict[str, Path] = {}
    for bundle in manifest.bundles:
        if bundle.included and not (settings.bundles_dir / bundle.dataset_version).exists():
            settings.bundles_dir.mkdir(parents=True, exist_ok=True)
            folders[bundle.dataset_version] = stack.enter_context(unfinished_directory(settings.bundles_dir))

    def write(name: str) -> IO[bytes] | None:
        if name.startswith(f"{BUNDLES}/"):
            _, version, base = name.split("/")
            return (folders[version] / base).open("xb") if version in folders else None
        part = _part_of(name, by_name)
        target = _Place(part.path, True).new
        if part.name != name:
            target = target / name.removeprefix(f"{part.name}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")

    for _ in read_archive(file, write):
        pass
    return folders


def _part_of(name: str, by_name: dict[str, Part]) -> Part:
    return next(part for own, part in by_name.items() if name == own or name.startswith(f"{own}/"))


def _is_in_place(
    settings: Settings, own: dict[str, StoredFile], manifest: BackupManifest, file: Path, *, force: bool
) -> bool:
    """Whether the state is that of the archive already.

    Raises:
        CbiError: it is another one, and nobody forces its replacement.
    """
    with unfinished_directory(settings.dagster_dir) as folder:
        try:
            here = {name: sha256_file(path) for name, path in copy_state(settings, folder).items()}
        except CbiError as error:
            here, unread = None, error
    if here == {name: entry.sha256 for name, entry in own.items()}:
        return True
    if force or here == {} or (here is not None and set(here) <= {f"{MODELS}/README.md"}):
        return False
    if here is None:
        raise CbiError(str(file), f"the present state cannot be read ({unread}).", "replace it with --force.")
    differing = sorted({_root(name) for name in {*here, *own} if here.get(name) != _sha256(own.get(name))})
    changed = datetime.fromtimestamp(newest_change(settings), UTC)
    rule = (
        f"{', '.join(differing)} of this machine, last changed {changed:%Y-%m-%d %H:%M} UTC, differ from the backup of "
        f"{manifest.created_at:%Y-%m-%d %H:%M} UTC, and a restore replaces no other state by itself."
    )
    raise CbiError(str(file), rule, "`cbi backup` what is here if it may be needed, then restore with --force.")


def _root(name: str) -> str:
    return "/".join(name.split("/")[: 2 if name.startswith("dagster/") else 1])


def _sha256(entry: StoredFile | None) -> str | None:
    return entry.sha256 if entry else None


def _exchange(settings: Settings) -> None:
    """Put every new part in its place. What interrupts it leaves the old state, or the marker that brings it back."""
    from cbi_pipeline.registry.champion import only_writer

    marker = settings.project_dir / MARKER
    with only_writer(settings.models_dir):
        places = _places(settings)
        replace_file(marker, json.dumps([[str(place.final), place.existed] for place in places], indent=1).encode())
        try:
            for place in places:
                if place.existed:
                    os.rename(place.final, place.old)
                if place.new.exists():
                    os.rename(place.new, place.final)
                fsync_directory(place.final.parent)
        except BaseException:
            _take_back(settings)
            raise
        marker.unlink()
        fsync_directory(marker.parent)


def _take_back(settings: Settings) -> bool:
    """Put back what the marker lists; every step may be repeated after a kill."""
    marker = settings.project_dir / MARKER
    if not marker.exists():
        return False
    for final, existed in reversed(json.loads(marker.read_text())):
        place = _Place(Path(final), existed)
        moved = place.old.exists() if existed else not place.new.exists()
        if moved and place.final.exists():
            _remove(place.new)
            os.rename(place.final, place.new)
        if place.old.exists():
            os.rename(place.old, place.final)
        if place.final.parent.is_dir():
            fsync_directory(place.final.parent)
    marker.unlink()
    fsync_directory(marker.parent)
    return True


def _remove_left_over(settings: Settings) -> None:
    """Remove what restores left beside the places; nothing while the old state waits there to be put back."""
    if (settings.project_dir / MARKER).exists():
        return
    for place in _places(settings):
        _remove(place.new)
        _remove(place.old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
