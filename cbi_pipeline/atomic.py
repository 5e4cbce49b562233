"""Writing so that a reader sees all of a file or folder, or nothing of it.

Everything is written under a temporary name beside its place, forced to disk, then renamed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

IGNORED_NAMES: Final = frozenset({".DS_Store"})
"""What the macOS Finder leaves in any folder it shows; it is part of nothing that is written or verified here."""
_UNFINISHED: Final = re.compile(r"^\.unfinished-(?P<pid>\d+)-[0-9a-f]{8}$")
_ABANDONED_AFTER_SECONDS: Final = 24 * 3600.0


def fsync_directory(path: Path) -> None:
    """Force a folder's list of names to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and force it to disk.

    Raises:
        FileExistsError: the file is already there; nothing is ever overwritten.
    """
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole, in place of an earlier one if there is one."""
    unfinished = path.with_name(_unfinished_name())
    try:
        write_synced(unfinished, content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    fsync_directory(path.parent)


@contextmanager
def unfinished_directory(parent: Path) -> Iterator[Path]:
    """A folder to write into, inside `parent`, that is gone afterwards unless it was renamed."""
    remove_abandoned(parent)
    path = parent / _unfinished_name()
    path.mkdir()
    try:
        yield path
    finally:
        if path.exists():
            shutil.rmtree(path)


def publish_directory(unfinished: Path, final: Path) -> None:
    """Give a finished folder its final name, in one step.

    Raises:
        FileExistsError: the name is taken by a folder that is not empty; it is left as it is.
    """
    fsync_directory(unfinished)
    try:
        os.rename(unfinished, final)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # EEXIST, the other answer of a system, is a FileExistsError already
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from error
        raise
    fsync_directory(final.parent)


def remove_directory(path: Path) -> None:
    """Take a folder away in one step, then remove what was in it."""
    with unfinished_directory(path.parent) as aside:
        path.rename(aside / path.name)


def remove_abandoned(parent: Path) -> None:
    """Remove what an interrupted run left in `parent`: older than a day, or its process is gone."""
    for path in parent.iterdir():
        match = _UNFINISHED.match(path.name)
        if match is None:
            continue
        with suppress(FileNotFoundError):  # published, or removed by another run, since it was listed
            too_old = time.time() - path.stat().st_mtime > _ABANDONED_AFTER_SECONDS
            if too_old or not _is_running(int(match["pid"])):
                remove_path(path)


def remove_path(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _unfinished_name() -> str:
    return f".unfinished-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
