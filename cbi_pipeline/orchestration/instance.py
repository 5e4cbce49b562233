"""DAGSTER_HOME: one folder under the project, with the instance settings of the repository's dagster.yaml."""

import os
from pathlib import Path

from cbi_pipeline.settings import Settings


def prepare_dagster_home(settings: Settings) -> Path:
    """Create `.dagster/`, put the current dagster.yaml into it and point this process at it.

    Returns the folder. Child processes (webserver, daemon, code server) inherit the variable.
    """
    home = settings.dagster_dir
    home.mkdir(parents=True, exist_ok=True)
    configuration = (settings.project_dir / "dagster.yaml").read_text()
    target = home / "dagster.yaml"
    if not target.exists() or target.read_text() != configuration:
        temporary = home / "dagster.yaml.tmp"
        temporary.write_text(configuration)
        temporary.replace(target)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    return home
