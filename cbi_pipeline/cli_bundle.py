"""The `cbi bundle` commands: build, verify, publish, sync, list, diff, prune. They compute nothing themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cbi_pipeline.errors import BundleError, SettingsError
from cbi_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.bundle.differences import TableDifference
    from cbi_pipeline.bundle.gcs import GcsBundleStore

bundle_app = typer.Typer(help="Bundles: immutable, verified parquet tables.", no_args_is_help=True)
console = Console()


@bundle_app.command("build")
def bundle_build(
    starter: Annotated[
        bool, typer.Option("--starter", help="Make the starter bundle of the repository instead.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of provider files; CBI_DATA_DIR by default.")] = None,
    without: Annotated[
        str,
        typer.Option(help="Sources to do without, as fcpo,emts,mpob: their features are missing."),
    ] = "",
) -> None:
    """Build a bundle from provider files; refused whole if any row breaks a rule."""
    from cbi_pipeline.bundle.build import build_bundle
    from cbi_pipeline.bundle.starter import build_starter
    from cbi_pipeline.sources import build_raw_tables
    from cbi_pipeline.sources.second_opinions import read_second_opinions

    settings = load_settings(**({"data_dir": data_dir.resolve()} if data_dir else {}))
    with console.status("building") as status:
        if starter:
            built = build_starter(settings.data_dir, settings.starter_dir, progress=status.update)
        else:
            tables = build_raw_tables(settings.data_dir, status.update, tuple(filter(None, without.split(","))))
            opinions = read_second_opinions(settings.data_dir)
            built = build_bundle(tables, settings.bundles_dir, opinions=opinions, progress=status.update)
    window = built.manifest.window
    outcome = "was there already, with the same content" if built.reused else "is built"
    console.print(
        f"Bundle {built.manifest.dataset_version} {outcome}: prices to {window.last_trade_date}, in {built.path}",
        highlight=False,
        soft_wrap=True,
    )


@bundle_app.command("verify")
def bundle_verify(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of the bundle; the one a run would use by default.")
    ] = None,
) -> None:
    """Verify every byte and row of a bundle; names the file, rule and fix if it is refused."""
    from cbi_pipeline.bundle.verify import verify_bundle

    if path is None:
        from cbi_pipeline.bundle.locate import find_bundle

        manifest = find_bundle(load_settings()).manifest
    else:
        manifest = verify_bundle(path)
    rows = sum(table.rows for table in manifest.tables.values())
    console.print(
        f"ok: {manifest.dataset_version}, {len(manifest.tables)} tables, {rows:,} rows, "
        f"trade dates {manifest.window.first_trade_date} to {manifest.window.last_trade_date}",
        highlight=False,
    )


@bundle_app.command("publish")
def bundle_publish(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of the bundle; the newest of this machine by default.")
    ] = None,
) -> None:
    """Upload a bundle to CBI_BUNDLE_URI, seal last; an upload that was interrupted goes on."""
    from cbi_pipeline.bundle.read import read_manifest
    from cbi_pipeline.bundle.store import LocalBundleStore

    settings = load_settings()
    store = _published(settings)
    if path is None:
        newest = LocalBundleStore(settings.bundles_dir).latest().bundle
        if newest is None:
            rule = "there is no sound bundle to publish."
            raise BundleError(str(settings.bundles_dir), rule, "make one: `cbi bundle build`.")
        path = newest.path
    outcome = "published in" if store.publish(path) else "was published already in"
    console.print(
        f"Bundle {read_manifest(path).dataset_version} {outcome} {store.location}", highlight=False, soft_wrap=True
    )


@bundle_app.command("sync")
def bundle_sync(
    version: Annotated[str | None, typer.Argument(help="dataset_version; the newest sound one by default.")] = None,
) -> None:
    """Copy a bundle from CBI_BUNDLE_URI to this machine and verify it; a copy that was interrupted goes on."""
    from cbi_pipeline.bundle.locate import find_remote_bundle

    settings = load_settings()
    _published(settings)
    with console.status("syncing") as status:
        located = find_remote_bundle(settings, version, status.update)
    console.print(f"{located.why} It is in {located.path}", highlight=False, soft_wrap=True)


def _published(settings: Settings) -> GcsBundleStore:
    from cbi_pipeline.bundle.gcs import GcsBundleStore

    if not settings.bundle_uri:
        rule = "it is empty, so that there is no bucket to publish to or sync from."
        raise SettingsError("CBI_BUNDLE_URI", rule, "set it to gs://bucket/prefix.")
    return GcsBundleStore(settings.bundle_uri)


@bundle_app.command("list")
def bundle_list() -> None:
    """List the bundles of this machine, the starter and, with CBI_BUNDLE_URI, those of the bucket, newest first."""
    from rich.table import Column, Table

    from cbi_pipeline.bundle.listing import local_bundles, remote_bundles

    settings = load_settings()
    found = local_bundles(settings.bundles_dir, settings.starter_dir)
    if settings.bundle_uri:
        found += remote_bundles(_published(settings))
    right = [Column(name, justify="right") for name in ("rows", "MB", "warnings")]
    table = Table(
        Column("bundle", overflow="fold"),
        Column("where", overflow="fold"),
        Column("created", overflow="fold"),
        Column("trade dates", overflow="fold"),
        *right,
        Column("state", overflow="fold"),
    )
    for one in found:
        if one.manifest is None:
            table.add_row(one.version, one.where, "", "", "", "", "", f"[red]absent: {one.problem}[/]")
            continue
        window, findings = one.manifest.window, one.manifest.findings
        table.add_row(
            one.version,
            one.where,
            f"{one.manifest.created_at:%Y-%m-%d %H:%M}",
            f"{window.first_trade_date} to {window.last_trade_date}",
            f"{one.rows:,}",
            f"{one.bytes / 1e6:.1f}",
            "" if findings is None else str(len(findings)),
            "ok",
        )
    console.print(table)


@bundle_app.command("diff")
def bundle_diff(
    old: Annotated[str, typer.Argument(help="A version of this machine, `starter`, or a bundle's folder.")],
    new: Annotated[str, typer.Argument(help="The bundle to compare it with, in the same way.")],
    rows: Annotated[int, typer.Option(help="How many rows of each kind to print.")] = 10,
) -> None:
    """Print what differs between two bundles: rows added, removed, and revised with old and new value."""
    from cbi_pipeline.bundle.differences import bundle_differences
    from cbi_pipeline.bundle.verify import verify_files

    settings = load_settings()
    folders = [_named(settings, name) for name in (old, new)]
    versions = [verify_files(folder).dataset_version for folder in folders]
    differences = bundle_differences(*folders)
    console.print(f"{versions[0]} to {versions[1]}", highlight=False)
    if not differences:
        console.print("The same rows.")
    for difference in differences:
        _print_difference(difference, rows)


@bundle_app.command("prune")
def bundle_prune(
    keep: Annotated[int, typer.Option(help="How many of the newest bundles stay.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Remove from the bucket, CBI_BUNDLE_URI, instead: after a question.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --published: do not ask.")] = False,
) -> None:
    """Remove old bundles of this machine and what interrupted copies left; never what a model in service came from.

    From a bucket it removes none that any model stored here was made from, and refuses where no model is stored:
    models of other machines are unknown to it.
    """
    from cbi_pipeline.bundle.prune import prune_bundles
    from cbi_pipeline.stages.bundles import datasets_in_service

    settings = load_settings()
    if published:
        _prune_published(settings, keep, dry_run=dry_run, yes=yes)
        return
    pruned = prune_bundles(settings.bundles_dir, keep, datasets_in_service(settings.models_dir), dry_run=dry_run)
    for version, why in pruned.kept:
        console.print(f"kept {version}: {why}", highlight=False, soft_wrap=True)
    for folder in pruned.removed:
        console.print(f"{'would remove' if dry_run else 'removed'} {folder.name}", highlight=False, soft_wrap=True)
    if not pruned.removed:
        console.print("Nothing to remove.")


def _prune_published(settings: Settings, keep: int, *, dry_run: bool, yes: bool) -> None:
    from cbi_pipeline.bundle.prune import plan_published, prune_published
    from cbi_pipeline.stages.bundles import datasets_of_models

    store = _published(settings)
    planned = plan_published(store, keep, datasets_of_models(settings.models_dir))
    for version, why in planned.kept:
        console.print(f"kept {version}: {why}", highlight=False, soft_wrap=True)
    for version in planned.removed:
        console.print(f"would remove {store.location}/{version}", highlight=False, soft_wrap=True)
    if not planned.removed:
        console.print("Nothing to remove.")
    elif not dry_run and (yes or typer.confirm(f"Remove {len(planned.removed)} from the bucket, for everyone?")):
        prune_published(store, planned)
        console.print(f"removed {len(planned.removed)}", highlight=False)


def _named(settings: Settings, name: str) -> Path:
    """The folder of a bundle that a person names."""
    from cbi_pipeline.contracts.manifest import is_dataset_version

    if name == "starter":
        return settings.starter_dir
    return settings.bundles_dir / name if is_dataset_version(name) else Path(name)


def _print_difference(difference: TableDifference, rows: int) -> None:
    revisions = difference.revisions
    parts = [f"{len(difference.added):,} rows added", f"{len(difference.removed):,} removed"]
    if difference.into_history:
        parts[0] += f" ({difference.into_history:,} of them into the past)"
    parts.append(f"{len(revisions):,} values of history revised")
    if difference.adjusted:
        parts.append(f"{difference.adjusted:,} back-adjusted closes changed by later rolls")
    console.print(f"\n[bold]{difference.table}[/]: {', '.join(parts)}", highlight=False)
    for title, frame in (("added", difference.added), ("removed", difference.removed), ("revised", revisions)):
        if len(frame):
            console.print(_rows(title, frame, rows))


def _rows(title: str, frame: pd.DataFrame, limit: int) -> object:
    from rich.table import Column, Table

    shown = frame.head(limit)
    caption = f"and {len(frame) - limit:,} more" if len(frame) > limit else None
    columns = [Column(name, overflow="fold") for name in shown.columns]
    table = Table(*columns, title=title, caption=caption, title_justify="left")
    for record in shown.itertuples(index=False, name=None):
        table.add_row(*(_cell(value) for value in record))
    return table


def _cell(value: object) -> str:
    """A value as text: nothing for a gap, the day of a midnight."""
    text = str(value)
    return "" if text in ("nan", "None", "NaT", "<NA>") else text.removesuffix(" 00:00:00")
