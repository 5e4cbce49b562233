"""The `cbi bundle` commands of those who run the data warehouse: raw tables into BigQuery, bundles out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cbi_pipeline.errors import SettingsError
from cbi_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from cbi_pipeline.warehouse.raw_tables import RawTables

console = Console()


def register(bundle_app: typer.Typer) -> None:
    """Add the commands to `cbi bundle`."""
    bundle_app.command("load")(load)
    bundle_app.command("export")(export)


def load(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of the bundle; the one a run would use by default.")
    ] = None,
    accept_revisions: Annotated[
        bool,
        typer.Option(
            "--accept-revisions", help="Replace stored rows that differ, keeping what they said in table revisions."
        ),
    ] = False,
) -> None:
    """Bring a bundle's tables into the raw tables of BigQuery, all or none; makes dataset and tables if need be."""
    from rich.table import Table

    from cbi_pipeline.bundle.locate import find_bundle
    from cbi_pipeline.bundle.read import read_arrow_tables
    from cbi_pipeline.bundle.verify import verify_bundle

    settings = load_settings()
    raw = _raw_tables(settings)
    folder = path if path is not None else find_bundle(settings).path
    manifest = verify_bundle(folder)
    with console.status("loading") as status:
        raw.create()
        done = raw.load(
            read_arrow_tables(folder, manifest),
            manifest.dataset_version,
            accept_revisions=accept_revisions,
            progress=status.update,
        )
    table = Table("raw table", "added", "revised", "recomputed", "unchanged")
    for name, outcome in done.items():
        counts = (outcome.added, outcome.revised, outcome.recomputed, outcome.unchanged)
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print(table)
    console.print(f"Bundle {manifest.dataset_version} is in {raw.location}", highlight=False, soft_wrap=True)


def export() -> None:
    """Export the raw tables of BigQuery as a bundle to CBI_BUNDLE_URI, checked by the rules of `build`, seal last."""
    from cbi_pipeline.bundle.export import export_bundle
    from cbi_pipeline.bundle.gcs import GcsBundleStore

    settings = load_settings()
    raw = _raw_tables(settings)
    if not settings.bundle_uri:
        rule = "it is empty, so that there is no bucket to export to."
        raise SettingsError("CBI_BUNDLE_URI", rule, "set it to gs://bucket/prefix.")
    store = GcsBundleStore(settings.bundle_uri)
    staging = GcsBundleStore(settings.export_uri or settings.bundle_uri)
    with console.status("exporting") as status:
        exported = export_bundle(raw, store, staging, progress=status.update)
    manifest = exported.manifest
    outcome = "is published in" if exported.published else "holds these very rows and was published already in"
    console.print(
        f"Bundle {manifest.dataset_version} {outcome} {store.location}: prices to {manifest.window.last_trade_date}",
        highlight=False,
        soft_wrap=True,
    )


def _raw_tables(settings: Settings) -> RawTables:
    from cbi_pipeline.warehouse.bigquery_jobs import Jobs
    from cbi_pipeline.warehouse.raw_tables import RawTables

    if not settings.gcp_project:
        rule = "it is empty, so that there is no project whose raw tables are meant."
        raise SettingsError("CBI_GCP_PROJECT", rule, "set it to the id of the Google Cloud project.")
    jobs = Jobs(settings.gcp_project, settings.bigquery_location, maximum_bytes_billed=settings.maximum_bytes_billed)
    return RawTables(jobs, settings.bigquery_dataset)
