"""Processes that build, publish and sync, to be killed in the middle: `python -m cbi_pipeline_tests.bundle.workers`.

Importing takes longer than the work, so one process imports and reads the tables once and forks a worker for each
line on its standard input; it has no thread of its own that a fork could lose. `start ACTION ARGUMENTS...` answers with
the worker's process id, `wait PID` with its exit code, negative if a signal ended it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

DONE, FAILED, NOTHING_TO_DO = 0, 1, 3
"""Exit codes of a worker that did the work, that could not, and that found it done."""
CREATED_AT = datetime(2025, 1, 2, tzinfo=UTC)


class Workers:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, action: str, *arguments: object) -> int:
        """Process id of a worker that has just begun."""
        return int(self._ask("start", action, *arguments))

    def wait(self, pid: int) -> int:
        """Exit code of a worker, once it has ended."""
        return int(self._ask("wait", pid))

    def run(self, action: str, *arguments: object) -> int:
        """Exit code of a worker that nobody disturbs."""
        return self.wait(self.start(action, *arguments))

    def _ask(self, *words: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()


@contextmanager
def workers(bundle: Path, errors: Path) -> Iterator[Workers]:
    """Workers on the tables of a bundle; what they write to standard error goes to a file."""
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cbi_pipeline_tests.bundle.workers", str(bundle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", errors.read_text()
        try:
            yield Workers(process)
        finally:
            process.kill()
            process.wait()


def serve(bundle: Path) -> None:
    """The process that forks."""
    from google.cloud import storage  # noqa: F401, imported before the first fork

    from cbi_pipeline.bundle import build
    from cbi_pipeline.bundle.gcs import GcsBundleStore
    from cbi_pipeline.bundle.read import load_tables
    from cbi_pipeline.bundle.sync import sync_bundle

    tables = load_tables(bundle)
    prepared = build.prepare_bundle(tables, created_at=CREATED_AT)

    def build_whole(store: str) -> int:
        built = build.build_bundle(tables, Path(store), created_at=CREATED_AT)
        return NOTHING_TO_DO if built.reused else DONE

    def write_only(store: str) -> int:
        """What a build does once its tables are packed: the part that writes."""
        build.prepare_bundle = lambda *_, **__: prepared  # type: ignore[assignment]
        return build_whole(store)

    def publish(uri: str) -> int:
        return DONE if GcsBundleStore(uri).publish(bundle) else NOTHING_TO_DO

    def sync(uri: str, here: str) -> int:
        return NOTHING_TO_DO if sync_bundle(GcsBundleStore(uri), bundle.name, Path(here)).reused else DONE

    actions = {"build": build_whole, "write": write_only, "publish": publish, "sync": sync}
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(int(words[0]), 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            code = FAILED
            try:
                code = actions[words[0]](*words[1:])
            finally:  # whatever happened, a worker must not go on as the process that forks
                if code == FAILED:
                    traceback.print_exc()
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
