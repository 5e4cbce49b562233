"""What a forecast, the forward pass, the code location and idle services cost, beside another commit of this checkout.

Run by hand on Linux: `python benchmarks/operation_cost.py --before COMMIT`. Each side works in a project that its own
`cbi run --profile smoke` filled, and they take turns on the same machine. `--project` has them work in copies of one
finished project instead; `--idle-seconds 0` leaves the services out, `--turns 0` all else, so that `--project` may then
be an empty folder.

- forecast: a fresh process of `cbi predict`; of the bundle that was forecast before, and of one whose features were
  never built and whose rows were never judged (what this machine had computed of it is removed first).
- forward pass: the networks of the profiles `quick` and `full` (one member, three), one day, one thread, median of 60.
- code location: a fresh process that imports `cbi_pipeline.definitions`.
- idle services: `cbi service run` of each that the commit has, with the code servers that they start. From a minute
  after the webserver knows the code they are looked at every second: median and largest sum of the memory of all
  processes, and the processor time that they used, ended ones included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
MEBI = 1 << 20
PREPARE = """
from cbi_pipeline.operation.service import SERVICES
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline.settings import load_settings

with open_instance(load_settings()):  # makes Dagster's databases, over which earlier commits' services fight
    print(*SERVICES)
"""
FORWARD = """
import json, statistics, time
import numpy as np, pandas as pd, torch
from cbi_pipeline.features.driver_set import load_driver_set
from cbi_pipeline.market_calendar import calendar_phases, target_dates
from cbi_pipeline.modeling.config import ARCHITECTURES
from cbi_pipeline.modeling.networks import build_ensemble
from cbi_pipeline.modeling.training import forward, name_spread_inputs
from cbi_pipeline.modeling.windows import cut_windows
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.registry.champion import load_serving
from cbi_pipeline.settings import load_settings

torch.set_num_threads(1)
settings = load_settings()
model, _ = load_serving(settings.models_dir)
frame = pd.read_parquet(next((settings.artifacts_dir / "features").glob("*/features.parquet")))
names = model.feature_lock.names
places = [list(frame.columns).index(name) for name in names]
scaled = np.ascontiguousarray(load_driver_set(model.path, model.scaler_sha256).transform(frame)[:, places])
phases = calendar_phases(frame.index, target_dates(frame.index))
row = torch.tensor([len(frame) - 1])
found = {}
for profile in ("quick", "full"):
    for architecture in ARCHITECTURES:
        config = name_spread_inputs(get_profile(profile).training(architecture, "anchored", 0), names)
        network, times = build_ensemble(config).eval(), []
        windows = cut_windows(scaled, names, phases, config.network, torch.device("cpu"))
        for _ in range(60):
            started = time.process_time()
            forward(network, windows, row, 1)
            times.append(1000 * (time.process_time() - started))
        found[f"{profile}, {architecture}"] = statistics.median(times)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Side:
    """A checkout, the project folder that it works in, and what was measured there."""

    name: str
    checkout: Path
    project: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its processes: nothing of the caller's settings, and bytecode kept, as a user has it."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CBI_", "DAGSTER_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        return inherited | {
            "PYTHONPATH": str(self.checkout),
            "CBI_PROJECT_DIR": str(self.project),
            "CBI_STARTER_DIR": str(REPOSITORY / "data" / "starter"),
            "CBI_PROFILE": "smoke",
        }

    def run(self, *arguments: str) -> tuple[float, float]:
        """CPU seconds and peak resident MiB of a Python process that must end well."""
        child = subprocess.Popen(
            [sys.executable, *arguments], env=self.environment, cwd=self.project, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"{self.name}: {' '.join(arguments)[:60]} failed")
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MEBI

    def predict(self, *, new: bool) -> tuple[float, float]:
        """`cbi predict`; `new`: as for a bundle that this machine has not seen."""
        for kind in ("features", "judged_bundles", "predictions") if new else ():
            shutil.rmtree(self.project / "data" / "artifacts" / kind, ignore_errors=True)
        return self.run("-m", "cbi_pipeline.cli", "predict")


@contextmanager
def checkout_of(commit: str) -> Iterator[Path]:
    """A worktree of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkout"
        git = ["git", "-C", str(REPOSITORY), "worktree"]
        subprocess.run([*git, "add", "--detach", str(path), commit], check=True, capture_output=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


@contextmanager
def services_of(side: Side) -> Iterator[list[int]]:
    """The services of a project, with the code loaded; their process numbers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked = subprocess.run([sys.executable, "-c", PREPARE], env=side.environment, capture_output=True, check=True)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "cbi_pipeline.cli", "service", "run", name, "--port", str(port)],
            env=side.environment,
            cwd=side.project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for name in asked.stdout.decode().split()
    ]
    try:
        deadline = time.monotonic() + 300
        while not _knows_the_code(port):
            if time.monotonic() > deadline:
                raise SystemExit(f"{side.name}: the webserver does not answer, or not with the code")
            time.sleep(1)
        yield [process.pid for process in started]
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _knows_the_code(port: int) -> bool:
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    url = f"http://127.0.0.1:{port}/graphql?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(json.load(response)["data"]["repositoriesOrError"].get("nodes"))
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@dataclass(frozen=True)
class Process:
    """A process of the services at a moment; CPU seconds include those of children that ended."""

    name: str
    resident_mib: float
    proportional_mib: float
    cpu_seconds: float


def processes_of(number: int) -> list[Process]:
    """A process and all that it started, as far as they are there when looked at."""
    folder = Path("/proc") / str(number)
    try:
        children = [child for file in folder.glob("task/*/children") for child in file.read_text().split()]
        command = (folder / "cmdline").read_text().replace("\0", " ")
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
        rows = (folder / "smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return []
    sizes = dict(line.split()[:2] for line in rows)  # nothing of a process that has ended and is not waited for
    name = next((n for n in ("webserver", "api grpc", "daemon") if n in command), command[:40])
    own = Process(
        "code server" if name == "api grpc" else name,
        float(sizes.get("Rss:", 0)) / 1024,
        float(sizes.get("Pss:", 0)) / 1024,
        sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
    )
    return [own, *(row for child in children for row in processes_of(int(child)))]


def idle(side: Side, seconds: int) -> dict[str, float]:
    """What idle services take: figures by what was measured."""
    with services_of(side) as services:
        time.sleep(60)
        looks: list[list[Process]] = []
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            looks.append([row for number in services for row in processes_of(number)])
            time.sleep(1)
        minutes = (time.monotonic() - began) / 60
    for name in sorted({row.name for look in looks for row in look}):
        sums = [sum(row.resident_mib for row in look if row.name == name) for look in looks]
        print(f"{side.name}: {name} {statistics.median(sums):.0f} MiB, at most {max(sums):.0f}")
    resident = [sum(row.resident_mib for row in look) for look in looks]
    used = [sum(row.cpu_seconds for row in look) for look in looks]
    return {
        "resident MiB": statistics.median(resident),
        "resident MiB at the peak": max(resident),
        "proportional MiB": statistics.median(sum(row.proportional_mib for row in look) for look in looks),
        "CPU s a minute": (used[-1] - used[0]) / minutes,
    }


def measure(sides: list[Side], turns: int, idle_seconds: int) -> dict[str, dict[str, float]]:
    """Figures by what was measured and side: least CPU seconds of the turns, largest peaks."""
    found: dict[str, dict[str, float]] = {}

    def note(what: str, side: Side, value: float, best: object = min) -> None:
        known = found.setdefault(what, {})
        known[side.name] = best(known.get(side.name, value), value)  # type: ignore[operator]

    for side in sides if turns else ():
        side.predict(new=False)  # bytecode is written, the code's own artifacts are built
    for _ in range(turns):
        for side in sides:
            for title, new in (("predict, again", False), ("predict, new bundle", True)):
                seconds, peak = side.predict(new=new)
                note(f"{title}: CPU s", side, seconds)
                note(f"{title}: peak MiB", side, peak, max)
            note("code location: CPU s", side, side.run("-c", "import cbi_pipeline.definitions")[0])
    for side in sides if idle_seconds else ():
        for what, value in idle(side, idle_seconds).items():
            note(f"idle services: {what}", side, value)
    for side in sides if turns else ():
        printed = subprocess.run(
            [sys.executable, "-c", FORWARD], env=side.environment, cwd=side.project, capture_output=True, check=True
        )
        for name, milliseconds in json.loads(printed.stdout).items():
            note(f"forward pass, {name}: CPU ms", side, milliseconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, help="commit to compare with")
    parser.add_argument("--project", type=Path, help="a finished project for both; each makes its own by default")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--idle-seconds", type=int, default=200)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        before = stack.enter_context(checkout_of(arguments.before))
        sides = [Side("before", before, folder / "before"), Side("now", REPOSITORY, folder / "now")]
        for side in sides:
            if arguments.project:
                shutil.copytree(arguments.project, side.project)
            else:
                side.project.mkdir()
                side.run("-m", "cbi_pipeline.cli", "run", "--profile", "smoke")
        found = measure(sides, arguments.turns, arguments.idle_seconds)
    table = Table("", "before", "now", "ratio")
    for what, value in found.items():
        old, new = value["before"], value["now"]
        table.add_row(what, f"{old:.1f}", f"{new:.1f}", f"{new / old:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
