"""The commands that look after a CBI at work: trace, reproduce, backup, restore, prune. Prints; decides nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cbi_pipeline.errors import CbiError, FeatureError
from cbi_pipeline.settings import load_settings

operations_app = typer.Typer()
console = Console()

Day = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Trade date of the forecast.")]


@operations_app.command("trace")
def trace(
    as_of_date: Day,
    horizon: Annotated[int, typer.Argument(help="Months: 3, 6, 9 or 12.")],
    model: Annotated[str | None, typer.Option(help="Model version; of the row written last by default.")] = None,
    feature: Annotated[str | None, typer.Option(help="Show one feature, with its newest source rows in full.")] = None,
) -> None:
    """Follow a published forecast back to model, scores, gates, features, source rows, bundle, commit and run."""
    from cbi_pipeline import stages
    from cbi_pipeline.orchestration.instance import run_state
    from cbi_pipeline.reports.lineage import feature_report, trace_report
    from cbi_pipeline.warehouse import open_warehouse

    settings = load_settings()
    warehouse = open_warehouse(settings, migrate=False)
    traced = stages.trace(as_of_date.date(), horizon, settings=settings, warehouse=warehouse, model_version=model)
    if feature is None:
        parts = trace_report(traced, settings.ui_url, run_state(settings, traced.row.run_id))
    elif feature in {value.name for value in traced.data.features}:
        parts = feature_report(traced, feature)
    else:
        rule = traced.data.problem or "there is no feature of this name."
        raise FeatureError(feature, rule, "`cbi trace` without --feature lists what there is.")
    for part in parts:
        console.print(part, highlight=False)


@operations_app.command("reproduce")
def reproduce(
    as_of_date: Day,
    horizon: Annotated[int | None, typer.Argument(help="Months; every horizon by default.")] = None,
) -> None:
    """Compute published forecasts again on CPU and compare bit by bit. Exit code 1 if a field differs."""
    from cbi_pipeline import stages
    from cbi_pipeline.reports.lineage import reproduction_table
    from cbi_pipeline.warehouse import open_warehouse

    settings = load_settings()
    results = stages.reproduce(
        as_of_date.date(), horizon, settings=settings, warehouse=open_warehouse(settings, migrate=False)
    )
    console.print(reproduction_table(results))
    if any(result.differing for result in results):
        raise typer.Exit(1)


@operations_app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write, e.g. cbi-2025-01-31.tar.gz.")],
    with_bundles: Annotated[bool, typer.Option("--with-bundles", help="Copy the bundles too.")] = False,
) -> None:
    """Write models, aliases, warehouse, Dagster's history and references to one archive, and read it back."""
    from cbi_pipeline.operation.backup import backup as write_backup
    from cbi_pipeline.orchestration.instance import why_busy

    settings = load_settings()
    manifest = write_backup(settings, file.resolve(), with_bundles=with_bundles, why_busy=lambda: why_busy(settings))
    size = sum(entry.bytes for entry in manifest.files.values())
    console.print(
        f"{file}: {len(manifest.files):,} files, {size:,} bytes, {file.stat().st_size:,} in the archive; verified.",
        highlight=False,
        soft_wrap=True,
    )
    for bundle in manifest.bundles:
        state = "included" if bundle.included else "listed only: --with-bundles copies it"
        console.print(f"  bundle {bundle.dataset_version}, {bundle.bytes:,} bytes: {state}", highlight=False)
    if manifest.warehouse == "bigquery":
        console.print("  The warehouse is BigQuery, which keeps its own copies; its tables are not in the archive.")


@operations_app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="An archive that `cbi backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a state that is another one.")] = False,
) -> None:
    """Put the state of an archive in place, verified first; another state is replaced by force only, whole or not."""
    from cbi_pipeline.operation.restore import restore as put_back
    from cbi_pipeline.orchestration.instance import daemon_beats, why_busy

    settings = load_settings()

    def busy() -> str | None:
        try:
            return why_busy(settings) or ("the Dagster daemon is at work" if daemon_beats(settings) else None)
        except CbiError:  # Dagster's own databases are damaged, which is a reason to restore
            if force:
                return None
            raise

    restored = put_back(settings, file.resolve(), force=force, why_busy=busy)
    stamp = f"{restored.manifest.created_at:%Y-%m-%d %H:%M} UTC"
    if restored.unchanged:
        console.print(f"The state is that of {stamp} already; nothing was replaced.", highlight=False)
    else:
        console.print(f"The state of {stamp} is in place.", highlight=False)
    for version in restored.added_bundles:
        console.print(f"  bundle {version} was added", highlight=False)
    if restored.manifest.project_dir != str(settings.project_dir):
        console.print(
            f"  It comes from {restored.manifest.project_dir}: the next `cbi run` computes again what lay there.",
            highlight=False,
            soft_wrap=True,
        )


@operations_app.command("prune")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would go.")] = False,
) -> None:
    """Remove models, bundles, computed files and runs beyond their limits; never what serves or what it needs."""
    from rich.table import Column, Table

    from cbi_pipeline.operation import prune as pruning
    from cbi_pipeline.orchestration.history import old_runs
    from cbi_pipeline.orchestration.instance import open_instance, why_busy

    settings = load_settings()
    with open_instance(settings) as instance:
        runs = old_runs(settings, instance)
        if dry_run:
            found = pruning.prunable(settings, runs)
        else:
            found = pruning.prune(settings, runs, why_busy=lambda: why_busy(settings))
    table = Table("kind", Column("name", overflow="fold"), Column("bytes", justify="right"))
    for thing in found:
        table.add_row(thing.kind, thing.name, f"{thing.bytes:,}")
    if found:
        console.print(table)
    verb = "would go" if dry_run else "removed"
    console.print(f"{len(found)} {verb}, {sum(thing.bytes for thing in found):,} bytes.", highlight=False)
