"""What `cbi run` costs on this machine: wall and CPU seconds and peak memory, first run and second run.

Run by hand: `python benchmarks/run_cost.py`. Works on the starter bundle in a temporary project folder, so nothing
of the checkout is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parent.parent


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident GiB of a command."""
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("dagster.yaml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, folder)
        environment = {
            **os.environ,
            "CBI_PROJECT_DIR": folder,
            "CBI_STARTER_DIR": str(REPOSITORY / "data" / "starter"),
        }
        table = Table("command", "wall s", "CPU s", "peak GiB")
        for title, command in (
            ("cbi run, first", "run"),
            ("cbi run, again", "run"),
            ("cbi predict", "predict"),
            ("cbi --help", "--help"),
        ):
            wall, cpu, peak = timed([sys.executable, "-m", "cbi_pipeline.cli", command], environment)
            table.add_row(title, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
