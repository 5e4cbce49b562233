"""A reader sees all of a file or folder, or nothing of it; what a killed run left is cleaned up."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cbi_pipeline import atomic


def test_what_a_dead_process_left_is_removed_and_a_running_one_is_spared(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, running, other = (
        tmp_path / f".unfinished-{ended.pid}-00000000",
        tmp_path / f".unfinished-{os.getppid()}-00000000",
        tmp_path / ".unfinished-notes",
    )
    for folder in (dead, running, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    (tmp_path / f".unfinished-{ended.pid}-11111111").write_text("half of a file that was to be replaced")
    atomic.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([running, other])
    day_ago = datetime.now(UTC).timestamp() - 25 * 3600
    os.utime(running, (day_ago, day_ago))
    atomic.remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [other]


def test_a_published_folder_is_never_overwritten(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("first")
    with atomic.unfinished_directory(tmp_path) as folder:
        atomic.write_synced(folder / "file", b"second")
        with pytest.raises(FileExistsError, match="taken"):
            atomic.publish_directory(folder, taken)
    assert (taken / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [taken]


def test_replace_file_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "notes.md"
    atomic.replace_file(file, b"first")
    atomic.replace_file(file, b"second")
    assert file.read_bytes() == b"second"

    def fails(source: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        atomic.replace_file(file, b"third")
    assert file.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("vanishes", ["before it is looked at", "before it is removed"])
def test_what_vanishes_during_the_cleaning_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vanishes: str
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folders = [tmp_path / f".unfinished-{ended.pid}-0000000{digit}" for digit in range(3)]
    for folder in folders:
        folder.mkdir()
    looked_at: list[Path] = []
    stat, rmtree = Path.stat, shutil.rmtree

    def stat_of_one_that_vanishes(path: Path, **options: Any) -> os.stat_result:
        if path in folders and not looked_at:
            looked_at.append(path)
            path.rmdir()
        return stat(path, **options)

    def removal_of_one_that_vanishes(path: Path) -> None:
        if not looked_at:
            looked_at.append(path)
            path.rmdir()
        rmtree(path)

    if vanishes == "before it is looked at":
        monkeypatch.setattr(Path, "stat", stat_of_one_that_vanishes)
    else:
        monkeypatch.setattr(shutil, "rmtree", removal_of_one_that_vanishes)
    atomic.remove_abandoned(tmp_path)
    assert len(looked_at) == 1
    assert list(tmp_path.iterdir()) == []
