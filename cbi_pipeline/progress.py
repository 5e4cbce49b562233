"""Progress as events: domain code reports, whoever shows it (terminal, log) listens.

One listener at a time, process-wide: a run has one display. Without a listener a report costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Where a stage stands: `done` of `total` units; `note` is a short text for people.

    `finished` marks the last event of a stage; `reused` says whether an earlier result was found instead of computing
    one, None for a stage that runs every time.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    finished: bool = False
    reused: bool | None = None


Listener = Callable[[ProgressEvent], None]
_listener: Listener | None = None


def _emit(event: ProgressEvent) -> None:
    if _listener is not None:
        _listener(event)


def report(stage: str, done: int, total: int, note: str = "") -> None:
    """Tell the listener, if there is one, that `done` of `total` units of `stage` are finished."""
    _emit(ProgressEvent(stage, done, total, note))


def finish(stage: str, note: str = "", *, reused: bool | None = None) -> None:
    """Tell the listener that `stage` is complete."""
    _emit(ProgressEvent(stage, 1, 1, note, finished=True, reused=reused))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send reports to `listener` inside the block; the previous listener returns afterwards."""
    global _listener
    previous, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = previous
