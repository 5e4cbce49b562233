"""The `cbi sources` commands: what each provider's data needs, how old it is, and bringing what is new."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cbi_pipeline.settings import load_settings

if TYPE_CHECKING:
    from cbi_pipeline.sources.fetch.feeds import Feed

sources_app = typer.Typer(help="Sources: the providers' files under data/market.", no_args_is_help=True)
console = Console()

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

    data_dir, today = load_settings().data_dir, datetime.now(UTC).date()
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
    from cbi_pipeline.errors import SourceError
    from cbi_pipeline.sources.fetch.feeds import FEEDS, find_feed

    chosen = [find_feed(name) for name in names] if names else [f for f in FEEDS if f.fetch and f.key is None]
    failed: list[SourceError] = []
    for feed in chosen:
        try:
            _fetch_one(feed, max_cost)
        except SourceError as error:
            failed.append(error)
            console.print(f"[red]{feed.name}[/] {error}", highlight=False, soft_wrap=True)
    if not names:
        for feed in FEEDS:
            if feed.fetch and feed.key is not None:
                console.print(f"{feed.name} needs {feed.key}: `cbi sources fetch {feed.name}`.", highlight=False)
    _say_what_is_missing()
    if failed:
        raise typer.Exit(1)


def _say_what_is_missing() -> None:
    """A bundle is built from every product, so name those whose folder is not there."""
    from cbi_pipeline.sources import provenance_of
    from cbi_pipeline.sources.fetch.feeds import FEEDS

    data_dir = load_settings().data_dir
    missing = [feed.name for feed in FEEDS if not (data_dir / provenance_of(feed.source).folder).is_dir()]
    if missing:
        console.print(
            f"[yellow]A bundle needs every source, and {data_dir} has nothing yet of: {', '.join(missing)}. "
            "`cbi sources list` says where each is published.[/]",
            highlight=False,
            soft_wrap=True,
        )


def _fetch_one(feed: Feed, max_cost: float) -> None:
    """Fetch one feed and say what became of each file."""
    from cbi_pipeline.errors import SourceError
    from cbi_pipeline.sources import provenance_of

    if feed.fetch is None:
        product = provenance_of(feed.source)
        raise SourceError(
            feed.name,
            "Its files are not fetched.",
            f"take them from {product.url} and put them into {product.folder}/.",
        )

    def agree(price: float) -> bool:
        console.print(f"{feed.name}: what is missing costs {price:.2f} US dollars.", highlight=False)
        return price <= max_cost or typer.confirm("Buy it?")

    for file in feed.fetch(load_settings().data_dir, datetime.now(UTC), agree):
        console.print(f"{feed.name}: {file.path.name} {file.outcome}, to {file.last}", highlight=False)
