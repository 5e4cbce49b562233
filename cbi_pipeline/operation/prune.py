"""What this machine keeps, within limits, and what may go: models, bundles, computed files, old runs and their logs.

What serves, served before or was refitted last never goes, nor do the bundles that these were fitted on, nor what the
last materialisation of an asset refers to. All else can be computed or fetched again, or is told apart by `cbi trace`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cbi_pipeline.atomic import remove_directory
from cbi_pipeline.operation.backup import refuse_while_busy
from cbi_pipeline.processes import only_run
from cbi_pipeline.settings import Settings

Kind = Literal["model", "bundle", "computed files", "run"]
_DAY: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Prunable:
    """One thing that may go, and how many bytes come free."""

    kind: Kind
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class OldRuns:
    """Runs of Dagster's history beyond their days, and the way to delete one; Dagster itself is not known here."""

    found: tuple[Prunable, ...]
    delete: Callable[[str], None]


def prunable(settings: Settings, runs: OldRuns) -> list[Prunable]:
    """All that may go now.

    Raises:
        ModelError: an alias, or the manifest of a model with one, cannot be read: nobody knows what it protects.
    """
    from cbi_pipeline.registry import champion

    models = champion.prunable(settings.models_dir, settings.keep_models)
    bundles = _prune_bundles(settings, dry_run=True)
    return [
        *(Prunable("model", name, size_of(settings.models_dir / name)) for name in models),
        *(Prunable("bundle", folder.name, size_of(folder)) for folder in bundles),
        *(
            Prunable("computed files", path.relative_to(settings.artifacts_dir).as_posix(), size_of(path))
            for path in _old_artifacts(settings)
        ),
        *runs.found,
    ]


def prune(settings: Settings, runs: OldRuns, *, why_busy: Callable[[], str | None]) -> list[Prunable]:
    """Remove all that may go, each thing in one step; what was removed.

    Raises:
        CbiError: a run is at work; nothing is removed then.
        ModelError: as in `prunable`.
    """
    from cbi_pipeline.registry import champion

    settings.dagster_dir.mkdir(parents=True, exist_ok=True)
    with only_run(settings.dagster_dir):
        refuse_while_busy(why_busy)
        found = prunable(settings, runs)
        _prune_bundles(settings, dry_run=False)
        champion.prune(settings.models_dir, settings.keep_models)
        for thing in found:
            match thing.kind:
                case "computed files":
                    remove_directory(settings.artifacts_dir / thing.name)
                case "run":
                    runs.delete(thing.name)
    return found


def _prune_bundles(settings: Settings, *, dry_run: bool) -> tuple[Path, ...]:
    """Bundles beyond the newest, without those that a model with an alias came from or that assets refer to."""
    from cbi_pipeline.bundle.prune import prune_bundles
    from cbi_pipeline.stages.bundles import datasets_in_service

    named = {version for reference in _references(settings) if (version := reference.get("dataset_version"))}
    needed = dict.fromkeys(named, "assets refer to it") | datasets_in_service(settings.models_dir)
    return prune_bundles(settings.bundles_dir, settings.keep_bundles, needed, dry_run=dry_run).removed


def size_of(path: Path) -> int:
    """Bytes of all files below a folder, or of a file; 0 if it is not there."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _old_artifacts(settings: Settings) -> Iterator[Path]:
    """Folders of computed files that no asset refers to, older than their days."""
    named = {reference["path"] for reference in _references(settings) if "key" in reference}
    oldest = time.time() - settings.keep_days_of_artifacts * _DAY
    for path in sorted(settings.artifacts_dir.glob("*/*")):
        kept = path.name.startswith(".") or str(path) in named
        if path.is_dir() and not kept and path.stat().st_mtime < oldest:
            yield path


def _references(settings: Settings) -> Iterator[dict[str, Any]]:
    """The stored reference of every asset, as JSON values."""
    for file in sorted((settings.dagster_dir / "references").rglob("*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))
