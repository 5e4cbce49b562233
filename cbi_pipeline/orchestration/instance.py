"""DAGSTER_HOME: one folder under the project, with the instance settings of the repository's dagster.yaml."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.errors import CbiError
from cbi_pipeline.settings import REPOSITORY_DIR, Settings

if TYPE_CHECKING:
    import dagster as dg

_HEARTBEAT_SECONDS = 60.0
"""A daemon reports itself every 30 seconds."""


def prepare_dagster_home(settings: Settings) -> Path:
    """Create `.dagster/`, put the current dagster.yaml into it and point this process at it.

    Returns the folder. Child processes (webserver, daemon, code server) inherit the variable.
    """
    home = settings.dagster_dir
    home.mkdir(parents=True, exist_ok=True)
    configuration = (REPOSITORY_DIR / "dagster.yaml").read_bytes()
    target = home / "dagster.yaml"
    if not target.exists() or target.read_bytes() != configuration:
        replace_file(target, configuration)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator["dg.DagsterInstance"]:
    """Dagster's instance of this project.

    Raises:
        CbiError: one of its databases is damaged, or the disk refuses.
    """
    import dagster as dg
    from sqlalchemy.exc import DatabaseError

    home = prepare_dagster_home(settings)
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except DatabaseError as error:
        raise CbiError(
            str(home),
            f"a database of Dagster cannot be used ({error.orig}).",
            "look at the free disk space; a damaged one comes back with `cbi restore FILE --force`. Without a backup, "
            "move history/ and schedules/ away: only the record of earlier runs is lost.",
        ) from error


def run_state(settings: Settings, run_id: str) -> str | None:
    """How a run stands in this project's Dagster, e.g. `SUCCESS`; None if Dagster does not hold the run."""
    if not (settings.dagster_dir / "history").is_dir():
        return None
    with open_instance(settings) as instance:
        run = instance.get_run_by_id(run_id)
    return run.status.value if run else None


def why_busy(settings: Settings) -> str | None:
    """What is at work in this project, so that its state must not be copied or replaced now; None if nothing is."""
    if not (settings.dagster_dir / "history").is_dir():
        return None
    from cbi_pipeline.orchestration import orphans

    with open_instance(settings) as instance:
        return orphans.why_busy(instance)


def daemon_beats(settings: Settings) -> bool:
    """Whether a Dagster daemon of this project reported itself within the last minute."""
    if not (settings.dagster_dir / "schedules").is_dir():
        return False
    with open_instance(settings) as instance:
        beats = instance.get_daemon_heartbeats().values()
        return any(time.time() - beat.timestamp < _HEARTBEAT_SECONDS for beat in beats)
