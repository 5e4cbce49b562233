"""The `cbi warehouse` commands: where the tables stand, what they lack, and bringing them up to date."""

from __future__ import annotations

import typer
from rich.console import Console

from cbi_pipeline.settings import load_settings

warehouse_app = typer.Typer(help="Warehouse: migrate tables and views, show and compare them.", no_args_is_help=True)
console = Console()


@warehouse_app.command("migrate")
def migrate() -> None:
    """Apply the migrations that are pending, and replace views that differ. Published rows stay as they are."""
    from cbi_pipeline.warehouse import named_warehouse

    warehouse = named_warehouse(load_settings())
    applied = warehouse.migrate()
    for migration in applied:
        console.print(f"applied {migration.version}: {migration.name}", highlight=False)
    if not applied:
        console.print("Nothing to apply.")
    console.print(f"{warehouse.location} is up to date.", highlight=False, soft_wrap=True)


@warehouse_app.command("status")
def status() -> None:
    """List the migrations, and every table with its rows. Exit code 1 while a migration is pending."""
    from rich.table import Table

    from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
    from cbi_pipeline.warehouse import named_warehouse

    warehouse = named_warehouse(load_settings())
    console.print(warehouse.location, highlight=False, soft_wrap=True)
    states = warehouse.migration_states()
    migrations = Table("version", "migration", "applied")
    for state in states:
        applied = f"{state.applied_at:%Y-%m-%d %H:%M} UTC" if state.applied_at else "[yellow]pending[/]"
        migrations.add_row(str(state.migration.version), state.migration.name, applied)
    console.print(migrations)
    if any(state.applied_at is None for state in states):
        console.print("`cbi warehouse migrate` applies what is pending.")
        raise typer.Exit(1)
    tables = Table("table", "rows")
    for name in WAREHOUSE_TABLES:
        tables.add_row(name, f"{warehouse.row_count(name):,}")
    console.print(tables)


@warehouse_app.command("diff")
def diff() -> None:
    """Compare tables and views with their contracts. Exit code 1 if they differ."""
    from cbi_pipeline.warehouse import named_warehouse

    warehouse = named_warehouse(load_settings())
    different = warehouse.differences()
    for difference in different:
        console.print(difference, style="yellow", highlight=False, soft_wrap=True)
    if different:
        raise typer.Exit(1)
    console.print(
        f"{warehouse.location}: tables and views are as their contracts say.", highlight=False, soft_wrap=True
    )
