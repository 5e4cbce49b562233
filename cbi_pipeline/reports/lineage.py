"""What a trace and a reproduction look like in the terminal. Takes finished results; computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import RenderableType
from rich.table import Column, Table

if TYPE_CHECKING:
    from cbi_pipeline.stages.reproduce import Reproduction
    from cbi_pipeline.stages.trace import Trace, TracedSource, TracedValue

_ROWS_IN_FULL: Final = 2
"""Of the newest rows of a source; more of them are counted, and shown when one feature is asked for."""


def trace_report(trace: Trace, ui_url: str, run_state: str | None) -> Iterator[RenderableType]:
    """Every part of a trace, from the row to the source rows.

    Args:
        ui_url: address of the Dagster UI.
        run_state: how the run ended, as the UI knows it; None if it does not know the run.
    """
    row, model, data = trace.row, trace.model, trace.data
    seen = run_state or "this machine's Dagster does not hold this run: it was removed, or ran elsewhere"
    yield _pairs(
        f"Forecast of {row.as_of_date} at {row.horizon_months} months",
        [
            ("target date", row.target_date),
            ("predicted price", f"{row.predicted_price!r} cents/lb, 80 % {row.q10:.2f} to {row.q90:.2f}"),
            ("last price", f"{row.last_price!r} cents/lb"),
            ("anchor", f"{row.anchor_price!r} cents/lb ({row.anchor_kind}), network's weight {row.lambda_h}"),
            ("status", f"{row.status} {row.status_reasons}".strip()),
            ("written", f"{_moment(row.created_at)} by code {row.code_commit}"),
            ("run", f"{row.run_id} ({seen})"),
            ("", f"{ui_url}/runs/{row.run_id}"),
            *((("also published by", ", ".join(trace.other_models)),) if trace.other_models else ()),
        ],
    )
    signed = model.sign_off
    yield _pairs(
        f"Model {row.model_version}",
        [
            ("stored model", model.problem or f"verifies; manifest sha256 {model.manifest_sha256}"),
            ("made", f"{_moment(model.saved_at)} from {model.trained_on}, code {model.code_commit}"),
            ("scaler sha256", row.scaler_sha256),
            *(
                (
                    ("signed off", f"{signed['action']} ({signed['admission']}) by {signed['promoted_by']}, "
                     f"{_moment(signed['promoted_at'])}: {signed['reason']}"),
                    ("its manifest", signed["manifest_sha256"]),
                    ("scorecard", f"{signed['scorecard_id']}, entry {signed['entry']}"),
                )
                if signed
                else (("signed off", "the warehouse holds no promotion of this model before the row was written"),)
            ),
        ],
    )  # fmt: skip
    yield _scores(trace) if trace.scores else "No score of the model is stored."
    yield _verdicts(trace) if trace.verdicts else "No verdict on the model is stored from before the row was written."
    yield _pairs(
        f"Bundle {row.dataset_version}",
        [("refused", data.problem)] if data.path is None else [
            ("folder", data.path),
            ("manifest sha256", data.manifest_sha256),
            ("made by code", data.producer_commit),
            *((("features", data.problem),) if data.problem else ()),
        ],
    )  # fmt: skip
    if data.features:
        yield _values("Anchor and density at the close", data.anchor)
        yield _values("Features at the close; * is read by the network", data.features)
        yield _sources("Sources at the close: rows of the newest date known then", data.sources)


def feature_report(trace: Trace, name: str) -> Iterator[RenderableType]:
    """One feature, its formula, and the newest source rows in full."""
    value = next(value for value in trace.data.features if value.name == name)
    yield _pairs(f"{name} at the close of {trace.row.as_of_date}", [
        ("value", f"{_shown(value)} {value.unit}"),
        ("formula", value.formula),
        ("read by the network", "yes" if value.read_by_network else "no"),
    ])  # fmt: skip
    for source in trace.data.sources:
        if source.label in value.sources:
            yield _sources("", (source,))
            table = Table(*(Column(column, overflow="fold") for column in (source.newest or ({},))[0]))
            for row in source.newest:
                table.add_row(*(_cell(entry) for entry in row.values()))
            yield table


def reproduction_table(results: Sequence[Reproduction]) -> Table:
    """One line a row that was computed again, and one for each field that differs."""
    table = Table("months", Column("model", overflow="fold"), "outcome", "field", "published", "computed now")
    for result in results:
        months, model = str(result.row.horizon_months), result.row.model_version
        if not result.differing:
            table.add_row(months, model, "[green]the same bits[/]", "", "", "")
        for field, (published, computed) in result.differing.items():
            table.add_row(months, model, "[red]differs[/]", field, repr(published), repr(computed))
    return table


def _pairs(title: str, rows: Sequence[tuple[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _scores(trace: Trace) -> Table:
    metrics = sorted({score["metric"] for score in trace.scores})
    table = Table("fold", *metrics, "rows", "independent", title="Scores out of fold, as stored", title_justify="left")
    for fold in dict.fromkeys(score["fold"] for score in trace.scores):
        own = {score["metric"]: score for score in trace.scores if score["fold"] == fold}
        figures = (own[name]["value"] if name in own else None for name in metrics)
        first = next(iter(own.values()))
        shown = ("" if figure is None else f"{figure:.4f}" for figure in figures)
        table.add_row(fold, *shown, str(first["n"]), f"{first['n_eff']:.1f}")
    return table


def _verdicts(trace: Trace) -> Table:
    title = f"Gates, as judged {_moment(trace.verdicts[0]['created_at'])}"
    table = Table("gate", "kind", "outcome", Column("reason", overflow="fold"), title=title, title_justify="left")
    for verdict in trace.verdicts:
        table.add_row(verdict["name"], verdict["kind"], verdict["outcome"], verdict["reason"])
    return table


def _values(title: str, values: Sequence[TracedValue]) -> Table:
    table = Table("", Column("value", justify="right"), "unit", Column("from", overflow="fold"), title=title,
                  title_justify="left")  # fmt: skip
    for value in values:
        mark = "*" if value.read_by_network else ""
        table.add_row(value.name + mark, _shown(value), value.unit, ", ".join(value.sources))
    return table


def _sources(title: str, sources: Sequence[TracedSource]) -> Table:
    heads = ("source", "describes", "known since, UTC", "rows", "known before it")
    table = Table(*(Column(head, overflow="fold") for head in heads), title=title, title_justify="left")
    for source in sources:
        if source.event_date is None:
            table.add_row(source.label, "[yellow]nothing was known[/]", "", "", "")
            continue
        old = f" [yellow]older than {source.too_old_after} days: not used[/]" if source.too_old_after else ""
        table.add_row(
            source.label,
            f"{source.event_date}{old}",
            ", ".join(dict.fromkeys(f"{row['available_at']:%Y-%m-%d %H:%M}" for row in source.newest)),
            _briefly(source),
            f"{source.known_rows - len(source.newest):,} rows from {source.first_event_date}",
        )
    return table


def _briefly(source: TracedSource) -> str:
    if len(source.newest) > _ROWS_IN_FULL:
        return f"{len(source.newest)} rows"
    return "; ".join(
        ", ".join(f"{name}={_cell(row[name])}" for name in source.read if row[name] == row[name])
        for row in source.newest
    )


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    return "" if value is None or value != value else str(value)


def _shown(value: TracedValue) -> str:
    return "missing" if value.value is None else f"{value.value:.9g}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "unknown"
