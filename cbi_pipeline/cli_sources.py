"""The `cbi sources` commands: what each provider's data needs, how old it is, and bringing what is new."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cbi_pipeline.errors import SourceError
from cbi_pipeline.settings import Settings, load_settings

sources_app = typer.Typer(help="Sources: the providers' files under data/market.", no_args_is_help=True)
console = Console()

_REPLACEABLE = ("alfred", "databento", "usdmyr", "inmet", "inta")
"""What another source stands in for: FRED, Yahoo, FRED's DEXMAUS, NASA POWER."""
_COLOURS = {"current": "green", "late": "yellow", "ended": "dim", "missing": "red", "unreadable": "red"}


@sources_app.command("list")
def list_sources() -> None:
    """List every product: how its files come, which key that needs, and where it is published."""
    from rich.table import Column, Table

    from cbi_pipeline.sources import provenance_of
    from cbi_pipeline.sources.fetch.feeds import FEEDS
    from cbi_pipeline.sources.fetch.keys import find_key

    table = Table(
        "source", Column("product", overflow="fold"), "files come", "key", Column("published", overflow="fold")
    )
    for feed in FEEDS:
        product = provenance_of(feed.source)
        how = "by hand" if feed.fetch is None else "fetched"
        key = "none" if feed.key is None else f"{feed.key} ({'found' if find_key(feed.key) else 'not set'})"
        table.add_row(feed.name, product.product, how, key if feed.fetch else "", product.url)
    console.print(table)


@sources_app.command("status")
def status() -> None:
    """Show the last value of each source, its age, and the day by which the next value is expected."""
    from rich.table import Column, Table

    from cbi_pipeline.sources import provenance_of
    from cbi_pipeline.sources.fetch.feeds import FEEDS, status_of

    data_dir, today = load_settings().data_dir, _now().date()
    table = Table("source", "state", "last value", "age, days", "next by", Column("problem", overflow="fold"))
    with console.status("reading") as shown:
        for feed in FEEDS:
            shown.update(f"reading {feed.name}")
            state = status_of(feed, data_dir, provenance_of(feed.source).folder, today)
            cells = ("" if value is None else str(value) for value in (state.last, state.age_days, state.next_by))
            table.add_row(feed.name, f"[{_COLOURS[state.state]}]{state.state}[/]", *cells, state.problem)
    console.print(table)


@sources_app.command("fetch")
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Sources to fetch; all keyless ones by default.")] = None,
    max_cost: Annotated[
        float, typer.Option(min=0, help="US dollars that may be spent without asking, for a source that sells data.")
    ] = 0.0,
) -> None:
    """Bring what is new into data/market; a file that is there is replaced only by one that reads and is no shorter."""
    from cbi_pipeline.reports.console import RunDisplay
    from cbi_pipeline.sources.fetch.feeds import find_feed
    from cbi_pipeline.sources.fetch.run import fetch_all, keyless, what_keys_would_add

    chosen = [find_feed(name) for name in names] if names else keyless()
    display = RunDisplay(console)

    def agree(price: float) -> bool:
        with display.paused():
            console.print(f"What is missing costs {price:.2f} US dollars.", highlight=False)
            return price <= max_cost or typer.confirm("Buy it?")

    with display.live():
        results = fetch_all(chosen, load_settings().data_dir, _now(), agree)
    for result in results:
        for file in result.files:
            console.print(f"{result.feed.name}: {file.path.name} {file.outcome}, to {file.last}", highlight=False)
    for result in results:
        if result.error is not None:
            console.print(f"[red]{result.feed.name}[/] {escape(str(result.error))}", highlight=False, soft_wrap=True)
    if not names:
        for line in what_keys_would_add():
            console.print(line, highlight=False, soft_wrap=True)
    _say_what_is_missing()
    if any(result.error is not None for result in results):
        raise typer.Exit(1)


@sources_app.command("import")
def import_file(
    name: Annotated[str, typer.Argument(help="The source, as `cbi sources list` names it.")],
    file: Annotated[Path, typer.Argument(help="The file as it was saved; it is copied.")],
) -> None:
    """Put a file that is not fetched in its place, if it reads and is no shorter than the one that is there."""
    from cbi_pipeline.sources.fetch.by_hand import put

    result = put(name, file, load_settings().data_dir)
    console.print(
        f"{name}: {result.path} {result.outcome}, to {result.last}", highlight=False, markup=False, soft_wrap=True
    )


@sources_app.command("coverage")
def coverage(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if the stored one is out of date.")
    ] = False,
) -> None:
    """Draw docs/images/weather_coverage.png: which weather station carries which region when."""
    from cbi_pipeline.atomic import replace_file
    from cbi_pipeline.bundle.read import load_tables
    from cbi_pipeline.reports import weather_coverage

    shown = weather_coverage.monthly_coverage(load_tables(load_settings().starter_dir)["weather_daily"])
    if check:
        weather_coverage.check_chart(weather_coverage.CHART, shown)
    else:
        replace_file(weather_coverage.CHART, weather_coverage.coverage_chart(shown))
    outcome = "is up to date" if check else "is written"
    console.print(f"{weather_coverage.CHART.name} {outcome}", highlight=False)


def fetch_and_build(settings: Settings) -> list[str]:
    """Bring what is new from every keyless source and build a bundle of all files, for a run that follows.

    Reports its progress to whoever listens.

    Returns:
        Sentences for the user: what failed, what the bundle does without, what each key would add.

    Raises:
        SettingsError: runs take their bundles from a bucket.
        SourceError: a file that a bundle needs is missing or cannot be read; the message names it.
        BundleError: a row breaks a rule.
    """
    from cbi_pipeline import progress
    from cbi_pipeline.bundle.build import build_bundle
    from cbi_pipeline.errors import SettingsError
    from cbi_pipeline.sources import build_raw_tables
    from cbi_pipeline.sources.fetch import run
    from cbi_pipeline.sources.second_opinions import read_second_opinions

    if settings.bundle_uri:
        rule = "with it every run takes its bundle from the bucket, so that what is fetched here would not be used."
        raise SettingsError("CBI_BUNDLE_URI", rule, "unset it, or run without --fetch.")
    results = run.fetch_all(run.keyless(), settings.data_dir, _now(), lambda price: False)
    failures = [
        f"{result.feed.name} could not be fetched, so that only what is there of it is used: {result.error}"
        for result in results
        if result.error is not None
    ]
    without = run.absent_optional(settings.data_dir)
    try:
        tables = build_raw_tables(settings.data_dir, lambda note: progress.report("bundle", 0, 1, note), without)
    except SourceError as error:
        raise SourceError(error.subject, " ".join([error.rule, *failures]), error.fix) from error
    built = build_bundle(
        tables,
        settings.bundles_dir,
        opinions=read_second_opinions(settings.data_dir),
        progress=lambda note: progress.report("bundle", 0, 1, note),
    )
    version = built.manifest.dataset_version
    progress.finish("bundle", f"{version}, prices to {built.manifest.window.last_trade_date}", reused=built.reused)
    return [*failures, *run.what_is_missing_without(without), *run.what_keys_would_add()]


def _now() -> datetime:
    return datetime.now(UTC)


def _say_what_is_missing() -> None:
    """Name the sources of which nothing is there, apart by whether a bundle can do without them."""
    from cbi_pipeline.sources import OPTIONAL, provenance_of
    from cbi_pipeline.sources.fetch.feeds import FEEDS
    from cbi_pipeline.sources.fetch.run import absent_optional

    data_dir = load_settings().data_dir
    missing = [feed.name for feed in FEEDS if not (data_dir / provenance_of(feed.source).folder).is_dir()]
    needed = [name for name in missing if name not in OPTIONAL and name not in _REPLACEABLE]
    if needed:
        console.print(
            f"[yellow]A bundle needs, and {data_dir} has nothing yet of: {', '.join(needed)}. "
            "`cbi sources list` says where each is published.[/]",
            highlight=False,
            soft_wrap=True,
        )
    absent = absent_optional(data_dir)
    if absent:
        console.print(
            f"[yellow]Not there, but a bundle can do without: {', '.join(absent)} "
            f"(`cbi bundle build --without {','.join(absent)}`).[/]",
            highlight=False,
            soft_wrap=True,
        )
