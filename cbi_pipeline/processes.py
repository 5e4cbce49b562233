"""Processes: the lock of the project's one run, whether one that began still lives, and a Mac awake while one runs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from cbi_pipeline.errors import CbiError

_CLOCK_TOLERANCE_SECONDS: Final = 5.0
"""`ps` gives whole seconds, and on Linux counts them from the boot."""


@contextmanager
def only_run(dagster_dir: Path) -> Iterator[None]:
    """Hold the lock of the project's one run at a time; the system frees it if this process dies.

    Raises:
        CbiError: another process holds it.
    """
    with (dagster_dir / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CbiError(
                str(dagster_dir),
                f"another run is at work in this project (process {lock.read().strip()}).",
                "wait until it ends, or stop it with Ctrl-C in its terminal.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def is_alive(pid: int, seen_at: float) -> bool:
    """Whether the process that had this number at a moment still runs; a later one with the number is another.

    Args:
        pid: number of the process.
        seen_at: seconds since 1970 at which it was alive.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, for another user
        pass
    began = _began_at(pid)
    return began is None or began <= seen_at + _CLOCK_TOLERANCE_SECONDS


def _began_at(pid: int) -> float | None:
    """When a process began; None if `ps` is not there to tell, or knows no such process."""
    try:
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError:
        return None
    told = answer.stdout.strip()
    return time.mktime(time.strptime(told)) if told else None


@cache
def keep_awake() -> None:
    """Keep a Mac from falling asleep until this process ends; once a process is enough. Elsewhere nothing."""
    if sys.platform == "darwin":
        subprocess.Popen(["/usr/bin/caffeinate", "-i", "-w", str(os.getpid())])
