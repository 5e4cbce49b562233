"""Progress as events: domain code reports, whoever shows it (terminal, log) listens.

A run has one display, process-wide; a log may listen alongside. Without a listener a report costs nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar


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


T = TypeVar("T")


def counted(stage: str, items: Iterable[T], name: Callable[[T], str] = str) -> Iterator[T]:
    """The items one by one; before each the listener is told how many of `stage` are done and which comes next."""
    listed = list(items)
    for done, item in enumerate(listed):
        report(stage, done, len(listed), name(item))
        yield item


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send reports to `listener` inside the block; the previous listener returns afterwards."""
    global _listener
    previous, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = previous


@contextmanager
def listening_alongside(listener: Listener) -> Iterator[None]:
    """Send reports to `listener` inside the block, and to the listener that was there before."""
    previous = _listener

    def both(event: ProgressEvent) -> None:
        listener(event)
        if previous is not None:
            previous(event)

    with listening(both):
        yield


class TimeLeft:
    """How long a stage will go on, from the pace of its latest reports; re-used work is soon forgotten."""

    _REPORTS: Final = 40

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=self._REPORTS)
        self._total = 0

    def observe(self, event: ProgressEvent, now: float) -> None:
        """Take in one event of the stage at `now`, in seconds."""
        self._total = event.total
        if not self._seen or event.done != self._seen[-1][1]:
            self._seen.append((now, event.done))

    def seconds(self, now: float) -> float | None:
        """Seconds left at `now`; None before the second unit is done, or if there is only one."""
        if len(self._seen) < 2 or self._total < 2:
            return None
        (first, done_first), (last, done_last) = self._seen[0], self._seen[-1]
        pace = (last - first) / max(done_last - done_first, 1)
        return max(0.0, pace * (self._total - done_last) - (now - last))


def in_words(seconds: float) -> str:
    """A time left as people say it: `12 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class ThrottledLog:
    """Listener that writes a `key=value` line of a working stage at most every `interval` seconds.

    Args:
        write: takes one line.
        interval: seconds between lines.
        clock: seconds since any moment.
    """

    def __init__(
        self, write: Callable[[str], object], interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._interval, self._clock = write, interval, clock
        self._left: dict[str, TimeLeft] = {}
        self._last = clock()

    def __call__(self, event: ProgressEvent) -> None:
        """Take in one event."""
        now = self._clock()
        left = self._left.setdefault(event.stage, TimeLeft())
        left.observe(event, now)
        if event.finished or now - self._last < self._interval:
            return
        self._last = now
        seconds = left.seconds(now)
        eta = "" if seconds is None else f" seconds_left={seconds:.0f}"
        self._write(f'stage="{event.stage}" done={event.done} total={event.total}{eta} note="{event.note}"')
