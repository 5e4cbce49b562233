"""One clock for many processes: libfaketime, preloaded, reads from a file how far they are from the true time.

Only the time of day moves. Time-outs and pauses, which count by the monotonic clock, take as long as ever, and times of
files stay true.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_PRELOAD = {"linux": ("LD_PRELOAD", "libfaketime.so.1"), "darwin": ("DYLD_INSERT_LIBRARIES", "libfaketime.1.dylib")}
_TOLERANCE = timedelta(seconds=60)
_NOTICED_SECONDS = 2.0
"""A process reads the file once a second: at each look at the clock it would cost more than all the rest."""


class Clock:
    """A settable clock.

    Args:
        file: where the processes read it.
        now: what it shows at first.
    """

    def __init__(self, file: Path, now: datetime) -> None:
        self._file = file
        self.set(now)

    def now(self) -> datetime:
        """What it shows, UTC."""
        return datetime.now(UTC) + self._ahead

    def set(self, moment: datetime) -> None:
        """Move it, and wait until every process has noticed; it goes on from there as fast as ever."""
        self._ahead = moment - datetime.now(UTC)
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._ahead.total_seconds():+.3f}")
        os.replace(new, self._file)
        time.sleep(_NOTICED_SECONDS)

    def environment(self) -> dict[str, str]:
        """Variables of a process that lives by this clock."""
        variable, name = _PRELOAD[sys.platform]
        return {
            variable: str(_folder() / name),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def why_not(self) -> str | None:
        """Why processes of this machine cannot live by it; None if they can."""
        if sys.platform not in _PRELOAD or not Path(next(iter(self.environment().values()))).exists():
            return f"no libfaketime for {sys.platform}: `make install-dev` brings that of Linux"
        ask = "import time; print(time.time())"
        answer = subprocess.run(
            [sys.executable, "-c", ask], env={**os.environ, **self.environment()}, capture_output=True, text=True
        )
        if answer.returncode:
            return f"libfaketime does not work here: {answer.stderr.strip()}"
        seen = datetime.fromtimestamp(float(answer.stdout), UTC)
        return None if abs(seen - self.now()) < _TOLERANCE else "this system does not let libfaketime move the clock"


def _folder() -> Path:
    spec = importlib.util.find_spec("libfaketime")
    origin = Path(spec.origin) if spec and spec.origin else Path("libfaketime/__init__.py")
    return origin.parent / "vendor" / "libfaketime" / "src"
