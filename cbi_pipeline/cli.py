"""The `cbi` command. Reads settings, calls one function per command, prints; computes nothing itself.

Heavy libraries are imported inside the commands, so that `cbi --help` answers at once.
"""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cbi_pipeline import __version__, cli_cloud
from cbi_pipeline.cli_alerts import alerts_app
from cbi_pipeline.cli_bundle import bundle_app
from cbi_pipeline.cli_features import features_app
from cbi_pipeline.cli_models import models_app
from cbi_pipeline.cli_operations import operations_app
from cbi_pipeline.cli_service import service_app
from cbi_pipeline.cli_sources import fetch_and_build, sources_app
from cbi_pipeline.cli_warehouse import warehouse_app
from cbi_pipeline.errors import CbiError
from cbi_pipeline.profiles import ProfileName
from cbi_pipeline.settings import (
    REPOSITORY_DIR,
    Settings,
    current_environment,
    load_settings,
    nearest_known,
    unknown_variables,
)

app = typer.Typer(
    help="CBI: forecasts of CBOT soybean oil futures (ZL), 3, 6, 9 and 12 months ahead.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bundle_app, name="bundle")
cli_cloud.register(bundle_app)
app.add_typer(alerts_app, name="alerts")
app.add_typer(features_app, name="features")
app.add_typer(models_app, name="models")
app.add_typer(service_app, name="service")
app.add_typer(sources_app, name="sources")
app.add_typer(warehouse_app, name="warehouse")
app.add_typer(operations_app)

_NEW_OBJECTS = 50_000
"""Objects made before Python looks for cycles among the young ones (700 by default): imports and tables make hundreds
of thousands that live on, and looking through them takes a tenth of a prediction's processor time."""

INTERRUPTED = 130
"""Exit code with which typer answers Ctrl-C."""

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})

console = Console()
error_console = Console(stderr=True)


def main() -> None:
    """Entry point: a CbiError or a full disk becomes a panel and exit code 1, Ctrl-C 130; a bug keeps its traceback."""
    from cbi_pipeline.reports.console import error_panel

    gc.set_threshold(_NEW_OBJECTS)
    try:
        app()
    except CbiError as error:
        error_console.print(error_panel(error))
        sys.exit(1)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        rule = f"the disk refuses: {error.strerror}. What was finished before is whole, and is found by the next run."
        fix = "free some space (`cbi prune --dry-run` shows what may go), or make the disk writable; then run it again."
        error_console.print(error_panel(CbiError(str(error.filename or "a file of CBI"), rule, fix)))
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            error_console.print("\nStopped. What was finished is kept; the same command goes on from there.")
        raise


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit
    for name in unknown_variables(current_environment()):
        hint = f" Did you mean {near}?" if (near := nearest_known(name)) else ""
        error_console.print(f"[yellow]{name} is set, but no such setting exists.{hint}[/]", highlight=False)
    _undo_killed_restore()


def _undo_killed_restore() -> None:
    from cbi_pipeline.operation.state import MARKER

    settings = load_settings()
    if (settings.project_dir / MARKER).exists():
        from cbi_pipeline.operation.restore import recover

        if recover(settings):
            error_console.print("A restore was killed in its middle: the state from before it is back.")


@app.command()
def run(
    profile: Annotated[
        ProfileName | None, typer.Option(help="Folds, networks and training effort; CBI_PROFILE by default.")
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="First bring what is new from the sources without a key, as a new bundle."),
    ] = False,
) -> None:
    """Run the main job: find data, build features, train, evaluate, forecast, publish. Re-uses what has not changed."""
    settings = load_settings(**({"profile": profile} if profile else {}))
    _execute(settings, "retrain", before=fetch_and_build if fetch else None)


@app.command()
def predict(
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First trade date.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last trade date.")] = None,
) -> None:
    """Forecast the newest trade date, and those missed before it, with the champion that serves; without training."""
    given = [day.date() for day in (first or last, last or first) if day]
    _execute(load_settings(), "daily", days=(given[0], given[1]) if given else None)


@app.command()
def leaderboard() -> None:
    """Print the last scorecard: every entry per horizon, on the same dates."""
    _print_leaderboard(load_settings())


@app.command()
def experiments() -> None:
    """List every network that was trained and published: its settings' hash, folds, seeds, losses and errors."""
    from cbi_pipeline import stages
    from cbi_pipeline.reports.console import experiments_table
    from cbi_pipeline.warehouse import open_warehouse

    console.print(experiments_table(stages.experiments(open_warehouse(load_settings(), migrate=False))))


@app.command()
def doctor(
    gcp: Annotated[
        bool, typer.Option("--gcp", help="Check also each right on Google Cloud, by a harmless call.")
    ] = False,
    publisher: Annotated[
        bool,
        typer.Option("--publisher", help="With --gcp: check also what publishing bundles needs; writes one object."),
    ] = False,
) -> None:
    """Check Python, packages, device, data, warehouse and disk; print the settings. Exit code 1 if a fix is due."""
    from cbi_pipeline.reports.doctor import doctor_tables, examine
    from cbi_pipeline.reports.doctor_gcp import examine_gcp

    settings = load_settings()
    findings = examine(settings, current_environment())
    if gcp:
        findings += examine_gcp(settings, publisher=publisher)
    for table in doctor_tables(settings, findings):
        console.print(table)
    if any(not finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port of the web server.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI: the same assets, where `Materialize all` does what `cbi run` does."""
    import os

    from cbi_pipeline.orchestration.instance import prepare_dagster_home, why_busy

    settings = load_settings()
    prepare_dagster_home(settings)
    if busy := why_busy(settings):  # which fails the runs of a process that is no more
        console.print(f"In this project {busy}.", highlight=False)
    os.chdir(settings.dagster_dir)
    os.environ.setdefault("PYTHONWARNINGS", "ignore:Function")  # `dagster dev` announces its successor at every start
    console.print(f"Dagster UI: http://{host}:{port}/asset-groups (Ctrl-C stops it)", highlight=False)
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execv(
        dagster,
        [dagster, "dev", "--workspace", str(REPOSITORY_DIR / "workspace.yaml"), "--host", host, "--port", str(port)],
    )


def _execute(
    settings: Settings,
    job: str,
    *,
    days: tuple[date, date] | None = None,
    before: Callable[[Settings], list[str]] | None = None,
) -> None:
    """Run a job and print what it forecasts; `before` comes first, under the same display, and says what to print."""
    from cbi_pipeline import stages
    from cbi_pipeline.orchestration.run import execute_job, reference_path
    from cbi_pipeline.reports.console import RunDisplay, forecast_table, status_reasons
    from cbi_pipeline.warehouse import named_warehouse

    display = RunDisplay(console)
    with display.live():
        for line in before(settings) if before else ():
            console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
        outcome = execute_job(settings, job, days)
    data = outcome.data
    console.print(f"\n[{'bold yellow' if data.origin == 'starter' else 'bold'}]Data:[/] {data.why}\n", highlight=False)
    console.print(forecast_table(outcome.forecast))
    reasons = list(status_reasons(outcome.forecast))
    stale = stages.why_stale(data, settings.max_data_age_sessions, datetime.now(UTC).date())
    if stale and not any(stale in reason for reason in reasons):
        reasons.insert(0, f"today: {stale}")
    for reason in reasons:
        console.print(f"  {reason}", style="yellow", highlight=False)
    console.print()
    if reference_path(settings, "scorecard").exists():
        _print_leaderboard(settings)
        console.print()
    reused, computed = display.reused_stages, display.computed_stages
    if reused:
        console.print(f"Re-used, because nothing they depend on has changed: {', '.join(reused)}.", highlight=False)
    if computed:
        console.print(f"Computed: {', '.join(computed)}.", highlight=False)
    console.print(
        f"Forecast rows: {outcome.published}. Warehouse: {named_warehouse(settings).location}\n"
        f"Model: {outcome.model_path}\n"
        f"Data: {data.dataset_version} in {data.bundle_path}\n"
        f"UI: `make ui`, then {settings.ui_url}/asset-groups\n"
        f"Run {outcome.run_id[:8]}, {display.elapsed_seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )


def _print_leaderboard(settings: Settings) -> None:
    from cbi_pipeline import stages
    from cbi_pipeline.contracts.references import ScorecardRef
    from cbi_pipeline.orchestration.run import load_reference
    from cbi_pipeline.reports.console import evidence_table, leaderboard_table

    reference = load_reference(settings, "scorecard", ScorecardRef)
    records = stages.leaderboard(reference)
    console.print(leaderboard_table(records, stages.scorecard_span(reference)))
    console.print(evidence_table(records))


if __name__ == "__main__":
    main()
