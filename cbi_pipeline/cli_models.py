"""The `cbi models` commands: what is stored, what serves, and changes of it by a person, each recorded with the reason.

Whether a model may serve is decided by `stages.gates`, whoever asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cbi_pipeline.settings import load_settings

if TYPE_CHECKING:
    from cbi_pipeline.registry.champion import Champion

models_app = typer.Typer(help="Models: list, compare, verify, promote, roll back, prune.", no_args_is_help=True)
console = Console()

Version = Annotated[str, typer.Argument(help="Version of a stored model: the name of its folder.")]


@models_app.command("list")
def models_list() -> None:
    """List the stored models, what serves among them, and which of them verify."""
    from rich.table import Column, Table

    from cbi_pipeline import stages

    table = Table(Column("model", overflow="fold"), "alias", "dataset", Column("state", overflow="fold"))
    for row in stages.stored_models(load_settings().models_dir):
        state = "ok" if row["problem"] is None else f"[red]{row['problem']}[/]"
        table.add_row(row["model_version"], row["aliases"], row["dataset_version"], state)
    console.print(table)


@models_app.command("show")
def show(version: Version) -> None:
    """Print the model card, and every gate's verdict on the model as it would be judged now."""
    from rich.table import Table

    from cbi_pipeline import stages

    settings = load_settings()
    card, verdicts = stages.model_report(version, settings)
    console.print(card, highlight=False)
    table = Table("gate", "kind", "months", "outcome", "reason")
    for verdict in verdicts:
        table.add_row(verdict.name, verdict.kind, str(verdict.horizon_months), verdict.outcome, verdict.reason)
    console.print(table if verdicts else "No gate has judged it against the model that serves now.")


@models_app.command("diff")
def diff(first: Version, second: Version) -> None:
    """Print what differs between two models: settings, inputs, anchor, figures."""
    from rich.table import Column, Table

    from cbi_pipeline import stages

    wide = (Column(name, overflow="fold") for name in ("what", first, second))
    table = Table(*wide)
    for name, one, other in stages.model_differences(load_settings().models_dir, first, second):
        table.add_row(name, one, other)
    console.print(table)


@models_app.command("refit")
def refit() -> None:
    """Refit the winner of the last scorecard as candidate, whatever the gates said: for a person to promote."""
    from cbi_pipeline.orchestration.run import refit_candidate

    candidate = refit_candidate(load_settings())
    console.print(
        f"Candidate: {candidate.model_version}\nLook at it with `cbi models show {candidate.model_version}`.",
        highlight=False,
        soft_wrap=True,
    )


@models_app.command("promote")
def promote(
    version: Version,
    override_reason: Annotated[
        str | None, typer.Option(help="Serve over failed evidence gates, on HOLD, for this reason. Parity stands.")
    ] = None,
) -> None:
    """Make a stored model the champion, if the stored verdicts of the gates let it."""
    from cbi_pipeline import stages

    _report(stages.promote(version, load_settings(), override_reason=override_reason))


@models_app.command("rollback")
def rollback(reason: Annotated[str, typer.Option(help="Why.")] = "rolled back by hand") -> None:
    """Make the previous champion the champion again; the next forecast is made by it."""
    from cbi_pipeline import stages

    _report(stages.roll_back(load_settings(), reason=reason))


@models_app.command("verify")
def verify(
    version: Annotated[str | None, typer.Argument(help="A version; every stored model by default.")] = None,
) -> None:
    """Verify every byte of a stored model. Exit code 1 if one does not verify."""
    from cbi_pipeline import stages

    found = stages.stored_models(load_settings().models_dir, version)
    for row in found:
        console.print(f"{row['model_version']}: {row['problem'] or 'ok'}", highlight=False, soft_wrap=True)
    if any(row["problem"] for row in found):
        raise typer.Exit(1)


@models_app.command("prune")
def prune(keep: Annotated[int, typer.Option(min=0, help="How many of the newest stay.")] = 5) -> None:
    """Remove older models; never the champion, the previous one or the candidate."""
    from cbi_pipeline.registry.champion import prune as prune_models

    removed = prune_models(load_settings().models_dir, keep)
    console.print(f"Removed {len(removed)}: {', '.join(removed) or 'nothing'}", highlight=False, soft_wrap=True)


def _report(champion: Champion) -> None:
    console.print(
        f"Champion: {champion.model_version} ({champion.admission}), by {champion.promoted_by}: {champion.reason}\n"
        f"Previous: {champion.previous.model_version if champion.previous else 'none'}",
        highlight=False,
        soft_wrap=True,
    )
