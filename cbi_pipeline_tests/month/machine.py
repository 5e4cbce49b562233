"""The machine that CBI lives on in the simulated month: its clock, its project, its daemon, sleep, power, commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import dagster as dg

from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.settings import Settings
from cbi_pipeline_tests.command_line import variables
from cbi_pipeline_tests.month.clock import Clock
from cbi_pipeline_tests.projects import REPOSITORY

_AT_WORK = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 1200.0


class Machine:
    """A computer whose code server and daemon are the services that `cbi service install` writes.

    Args:
        settings: of its project.
        clock: what every process on it takes for the time.
        own: further variables of its environment.
    """

    def __init__(self, settings: Settings, clock: Clock, own: Mapping[str, str]) -> None:
        self.settings, self.clock = settings, clock
        self.cpu_seconds = 0.0
        self._log = settings.project_dir / "services.log"
        self._services: list[subprocess.Popen[bytes]] = []
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("CBI_", "DAGSTER_"))}
        self._environment = {
            **outer,
            **variables(settings),
            **own,
            **clock.environment(),
            "DAGSTER_HOME": str(settings.dagster_dir),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
        }
        self.instance: dg.DagsterInstance | None = None

    def command(self, *words: str) -> str:
        """A command that someone types, e.g. `cbi run`; what it prints.

        Raises:
            AssertionError: it fails.
        """
        program = Path(sys.executable).with_name(words[0])
        done = subprocess.run(
            [str(program), *words[1:]], env=self._environment, cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def boot(self) -> None:
        """Start code server and daemon as the services do."""
        program = Path(sys.executable).with_name("cbi")
        with self._log.open("ab") as log:
            self._services = [
                subprocess.Popen(
                    [str(program), "service", "run", name],
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for name in ("code-server", "daemon")
            ]
        home = prepare_dagster_home(self.settings)
        self.wait_for(lambda: (home / "code-server" / "socket").exists(), "the code server to begin")
        self.instance = self.instance or dg.DagsterInstance.get()

    def power_off(self) -> None:
        """Every process ends at once, with no chance to say so."""
        self.cpu_seconds += self._used()
        self._end()

    def shut_down(self) -> None:
        """End the services in order."""
        for process in self._services:
            process.send_signal(signal.SIGTERM)
        for process in self._services:
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        self._end()

    def fall_asleep(self) -> None:
        """Every process stands still."""
        self._signal(signal.SIGSTOP)

    def wake_up(self, at: datetime) -> None:
        """Every process goes on, at another time of day."""
        self.clock.set(at)
        self._signal(signal.SIGCONT)

    def runs(self) -> list[dg.RunRecord]:
        """Every run, oldest first."""
        return list(self.instance.get_run_records(ascending=True))

    def at_work(self) -> list[dg.DagsterRun]:
        """Runs that wait or are under way."""
        return self.instance.get_runs(dg.RunsFilter(statuses=_AT_WORK))

    def wait_for(self, happened: Callable[[], object], what: str) -> None:
        """Let time pass until something has happened.

        Raises:
            AssertionError: it has not after a long time by the true clock, or a service ended.
        """
        end = time.monotonic() + _PATIENCE_SECONDS
        while not happened():
            assert time.monotonic() < end, f"{what}: waited in vain; the services say: {self._last_words()}"
            assert all(process.poll() is None for process in self._services), f"one ended: {self._last_words()}"
            time.sleep(_LOOK_SECONDS)

    def _end(self) -> None:
        self._signal(signal.SIGKILL)
        for process in self._services:
            process.wait()
        self._services = []

    def _signal(self, number: signal.Signals) -> None:
        for process in self._services:
            with suppress(ProcessLookupError):  # it ended, and so did all that it started
                os.killpg(process.pid, number)

    def _used(self) -> float:
        """CPU seconds of the services' processes, and of those that they waited for."""
        groups = ",".join(str(process.pid) for process in self._services)
        asked = ["ps", "S", "-o", "times=", "-g", groups]
        return sum(map(float, subprocess.run(asked, capture_output=True, text=True).stdout.split()))

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]
