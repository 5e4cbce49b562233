"""Installs the BigQuery server of the tests into `.emulators`; `make install-emulators` runs it.

The server needs Python 3.13 or newer. Where there is none, nothing is installed and its tests skip with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / ".emulators"
REQUIREMENTS = Path(__file__).with_name("emulators.txt")
INSTALLED = FOLDER / ".installed"
NO_PYTHON = "no Python 3.13 or newer on this machine (looked on PATH and under pyenv): install one, then `make test`"
_SEED = """
import duckdb, glob, site
pattern = "/**/*.duckdb_extension"
found = [path for folder in site.getsitepackages() for path in glob.glob(folder + pattern, recursive=True)]
with duckdb.connect() as connection:
    for path in sorted(found):
        connection.execute(f"FORCE INSTALL '{path}'")
print(f"{len(found)} extensions")
"""


def newer_python() -> Path | None:
    """A Python of version 3.13 or newer; None if there is none."""
    on_path = [found for minor in (13, 14, 15) if (found := shutil.which(f"python3.{minor}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    under_pyenv = sorted(pyenv.glob("3.1[3-9].*/bin/python"))
    return next((path for path in [Path(sys.executable), *map(Path, on_path), *under_pyenv] if _is_new(path)), None)


def _is_new(python: Path) -> bool:
    asked = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 13))"
    return subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode == 0


def server_environment() -> dict[str, str]:
    """Environment in which the server finds its extensions, and nothing of the user's own."""
    return {**os.environ, "HOME": str(FOLDER / "home"), "PYTHONPATH": ""}


def install() -> None:
    """Make `.emulators`, unless the requirements are installed there already."""
    if INSTALLED.exists() and INSTALLED.read_text() == REQUIREMENTS.read_text():
        return
    python = newer_python()
    if python is None:
        print(f"The BigQuery server of the tests is not installed: {NO_PYTHON}.")
        return
    print(f"Installing the BigQuery server of the tests into {FOLDER.name} with {python} ...")
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([python, "-m", "venv", FOLDER], check=True)
    (FOLDER / "home").mkdir()
    own = FOLDER / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run([own, "-m", "pip", "install", *quiet, "--requirement", REQUIREMENTS], check=True)
    subprocess.run([own, "-c", _SEED], check=True, env=server_environment())
    INSTALLED.write_text(REQUIREMENTS.read_text())


if __name__ == "__main__":
    install()
