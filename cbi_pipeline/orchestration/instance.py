"""DAGSTER_HOME: one folder under the project, with the instance settings of the repository's dagster.yaml."""

import os
from pathlib import Path

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.settings import REPOSITORY_DIR, Settings


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
