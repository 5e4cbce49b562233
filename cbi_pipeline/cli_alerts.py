"""`cbi alerts`: what has been said, what waits, and whether the ways of sending work."""

from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.console import Console

from cbi_pipeline.settings import WEBHOOK_KEY, load_settings

alerts_app = typer.Typer(help="Alerts: list them, test the ways of sending.", no_args_is_help=True)
console = Console()


@alerts_app.command("list")
def list_() -> None:
    """List the alerts of this project, oldest first: when, by which ways they went out, what happened."""
    from rich.table import Table

    from cbi_pipeline.alerts import open_box

    table = Table("when (UTC)", "sent by", "what happened", "key")
    for key, posted in open_box(load_settings()).read().items():
        sent = ", ".join(posted.sent_by) or ("given up" if posted.done else "waits")
        table.add_row(f"{posted.at:%Y-%m-%d %H:%M}", sent, posted.alert.happened, key)
    console.print(table)


@alerts_app.command()
def test() -> None:
    """Send a test message by every way that is set. Exit code 1 if one fails, or none is set."""
    from cbi_pipeline.alerts import Alert, channels
    from cbi_pipeline.errors import AlertError
    from cbi_pipeline.sources.fetch.keys import find_key

    ways = channels(load_settings(), find_key)
    if not ways:
        raise AlertError(
            "alerts",
            "No way to send is set.",
            f"store {WEBHOOK_KEY} in the keychain (`keyring set cbi {WEBHOOK_KEY}`), or set CBI_ALERT_EMAIL_TO or "
            "CBI_ALERT_MACOS.",
        )
    alert = Alert(
        key="test",
        happened=f"this is a test, sent at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        not_done="nothing.",
        look="`cbi alerts list`",
    )
    problems = []
    for way in ways:
        try:
            way.send(alert)
        except AlertError as problem:
            problems.append(problem)
            console.print(f"[red]{problem}[/]", highlight=False, soft_wrap=True)
        else:
            console.print(f"sent by {way.name}", highlight=False)
    if problems:
        raise typer.Exit(1)
