"""Tables and progress in the terminal, with rich. Takes finished rows; computes nothing but layout."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import CbiError
from cbi_pipeline.modeling.config import Architecture

ARCHITECTURE_TITLES: Final[dict[Architecture, str]] = {
    "lstm_mha": "LSTM + attention",
    "tcn": "TCN",
    "nbeatsx": "N-BEATSx",
}
_WAYS: Final[dict[str, str]] = {
    "": " on anchor",
    "_lambda_0.1": ", lambda 0.1",
    "_lambda_0.25": ", lambda 0.25",
    "_lambda_1": ", full residual",
    "_raw": ", raw",
}
ENTRY_TITLES: Final[dict[str, str]] = {
    **{name + way: title + words for way, words in _WAYS.items() for name, title in ARCHITECTURE_TITLES.items()},
    "networks_lambda_1": "mean of networks, full residual",
    "networks_raw": "mean of networks, raw",
    "anchor": "anchor",
    "anchor_w1": "anchor, weight 1",
    "half_capped_curve": "half the curve",
    "futures_curve": "futures curve",
    "last_price": "last price",
    "historical_drift": "historical drift",
    "seasonal_naive": "month of the year",
    "ridge": "ridge",
    "boosted_trees": "boosted trees",
}
"""Entry of the leaderboard as readers know it: a network's weight on the anchor is by rule, fixed, or it has none."""
BETTER_LEVEL: Final = 0.05
OUTSIDE_LEVEL: Final = 0.25
_BETTER, _OUTSIDE = "*", "°"


class RunDisplay:
    """A line for every stage of a run: spinner, bar and time left while it works, its outcome when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.perf_counter()
        self._stages: dict[str, tuple[progress.ProgressEvent, float, float]] = {}
        self._left: dict[str, progress.TimeLeft] = {}
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def on_event(self, event: progress.ProgressEvent) -> None:
        """Take in one progress event; on a dumb terminal print a line when a stage ends."""
        now = time.perf_counter()
        first_seen = self._stages.get(event.stage, (event, now, now))[1]
        self._stages[event.stage] = (event, first_seen, now)
        self._left.setdefault(event.stage, progress.TimeLeft()).observe(event, now)
        if event.finished and not self._console.is_terminal:
            outcome = "re-used" if event.reused else "done"
            self._console.print(
                f"  {event.stage}: {outcome} in {now - first_seen:.1f} s. {event.note}", highlight=False
            )

    @property
    def reused_stages(self) -> list[str]:
        """Stages that found all they needed from an earlier run."""
        return [stage for stage, (event, _, _) in self._stages.items() if event.finished and event.reused]

    @property
    def computed_stages(self) -> list[str]:
        """Stages that computed something in this run."""
        return [stage for stage, (event, _, _) in self._stages.items() if event.finished and event.reused is False]

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the display was made."""
        return time.perf_counter() - self._started

    def __rich__(self) -> Group:
        grid = Table.grid(padding=(0, 1))
        for stage, (event, first_seen, last_seen) in self._stages.items():
            now = time.perf_counter()
            seconds = (last_seen if event.finished else now) - first_seen
            if event.finished:
                mark: Any = Text("=", "cyan") if event.reused else Text("✓", "green")
                note: Any = Text(("re-used  " if event.reused else "") + event.note, "dim")
            else:
                mark = self._spinner
                note = Table.grid(padding=(0, 1))
                bar = [ProgressBar(total=event.total, completed=event.done, width=24)] if event.total > 1 else []
                left = self._left[stage].seconds(now)
                eta = [Text(f"{progress.in_words(left)} left", "cyan")] if left is not None else []
                note.add_row(*bar, *eta, Text(event.note, "dim"))
            grid.add_row(mark, stage, Text(f"{seconds:5.1f} s", "dim"), note)
        return Group(grid)

    @contextmanager
    def live(self) -> Iterator[RunDisplay]:
        """Show the display while the block runs, and listen to its progress."""
        with progress.listening(self.on_event):
            if self._console.is_terminal:
                with Live(self, console=self._console, refresh_per_second=8) as self._live:
                    yield self
                self._live = None
            else:
                yield self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the display off the terminal while the block runs, so that it can ask a question."""
        if self._live is None:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()


def forecast_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The published forecast: one line a horizon. Prices in cents/lb."""
    first = rows[0]
    table = Table(
        title=f"ZL soybean oil, last trade date {first['as_of_date']}, last price {first['last_price']:.2f} cents/lb",
        title_justify="left",
    )
    for name in ("horizon", "target date", "forecast", "change", "80 % interval", "status"):
        table.add_column(name, justify="left" if name in ("target date", "status") else "right")
    for row in rows:
        change = row["predicted_price"] / row["last_price"] - 1.0
        table.add_row(
            f"{row['horizon_months']} months",
            str(row["target_date"]),
            f"{row['predicted_price']:.2f}",
            f"{change:+.1%}",
            f"{row['q10']:.2f} to {row['q90']:.2f}",
            Text(row["status"], "green" if row["status"] == "PRODUCTION" else "yellow"),
        )
    return table


def status_reasons(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why rows are on HOLD: a reason shared by all horizons once, others per horizon."""
    reasons = {row["horizon_months"]: [r for r in row["status_reasons"].split("; ") if r] for row in rows}
    shared = [r for r in next(iter(reasons.values()), []) if all(r in other for other in reasons.values())]
    yield from (f"all horizons: {reason}" for reason in shared)
    for horizon, own in reasons.items():
        if rest := [r for r in own if r not in shared]:
            yield f"{horizon} months: " + "; ".join(rest)


def leaderboard_table(rows: Iterable[Mapping[str, Any]], subtitle: str) -> Table:
    """MAPE in percent and RMSE ratio to last price, per entry and horizon; rows as `stages.leaderboard` makes them.

    A line parts what is served, the other entries of each network, their averages, and what is no network.
    """
    table = Table(
        title=f"Leaderboard, {subtitle}",
        caption="MAPE in percent, then RMSE of log returns as a ratio to last price (below 1 is better). "
        f"{_BETTER} better than last price (Diebold-Mariano, p below {BETTER_LEVEL:g}). "
        f"{_OUTSIDE} outside the {1 - OUTSIDE_LEVEL:.0%} model confidence set.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("entry")
    for horizon in HORIZONS_MONTHS:
        table.add_column(f"{horizon} months", justify="right")
    group = None
    for row in rows:
        if group != (group := _group(row["entry"])):
            table.add_section()
        table.add_row(ENTRY_TITLES.get(row["entry"], row["entry"]), *(_errors(row, h) for h in HORIZONS_MONTHS))
    return table


def _errors(row: Mapping[str, Any], horizon: int) -> str:
    """MAPE, ratio and marks of an entry at a horizon; empty if one is not known."""
    mape, ratio = row[f"mape_{horizon}m"], row[f"rmse_ratio_{horizon}m"]
    better, in_set = row[f"dm_p_less_{horizon}m"], row[f"mcs_p_{horizon}m"]
    if mape is None or ratio is None:
        return ""
    mark = _BETTER if better is not None and better < BETTER_LEVEL else " "
    return f"{mape:.1f} {ratio:.3f}" + (_OUTSIDE if in_set is not None and in_set <= OUTSIDE_LEVEL else mark)


def evidence_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """What stands behind the networks with the weight that they earned; rows as `stages.leaderboard` makes them.

    Networks whose figures are the same, as those that earned no weight, share a block.
    """
    blocks: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for row in rows:
        if _group(row["entry"]) == "by rule":
            blocks.setdefault(tuple(_evidence(row, h) for h in HORIZONS_MONTHS), []).append(row["entry"])
    table = Table(
        title="What the forecast rests on, the same dates",
        caption="Intervals are to hold the true value in 90 % of cases; p is the probability of a figure this good "
        "without skill; the Sharpe ratio, after costs, has its standard error beside it.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for horizon in HORIZONS_MONTHS:
        table.add_column(f"{horizon} months", justify="right")
    for block, entries in blocks.items():
        table.add_section()
        table.add_row(
            Text(
                ", ".join(title for name, title in ARCHITECTURE_TITLES.items() if name in entries) + " on anchor",
                "bold",
            )
        )
        for name, cells in zip(_EVIDENCE, zip(*block, strict=True), strict=True):
            table.add_row(name, *cells)
    return table


_EVIDENCE: Final = (
    "RMSE / last price", "its interval", "p", "RMSE / best benchmark", "CRPS / last price", "80 % covered",
    "direction right", "p", "Sharpe ratio", "independent periods",
)  # fmt: skip


def _evidence(row: Mapping[str, Any], horizon: int) -> tuple[str, ...]:
    """Cells of `_EVIDENCE`; empty where a figure is not known."""

    def shown(form: str, *names: str) -> str:
        values = [row[f"{name}_{horizon}m"] for name in names]
        return "" if None in values else form.format(*values)

    return (
        shown("{:.3f}", "rmse_ratio"),
        shown("{:.2f}-{:.2f}", "rmse_ratio_low", "rmse_ratio_high"),
        shown("{:.2f}", "dm_p_less"),
        shown("{:.3f}", "ratio_to_best_benchmark"),
        shown("{:.3f}", "crps_ratio"),
        shown("{:.0%}", "coverage_80"),
        shown("{:.0%}", "directional_accuracy"),
        shown("{:.2f}", "direction_p"),
        shown("{:.2f}±{:.2f}", "sharpe", "sharpe_se"),
        shown("{:.1f}", "n_eff"),
    )


def _group(entry: str) -> str:
    """Of an entry at a fixed weight its network, or the average; the others are there for themselves or to compare."""
    if entry in ARCHITECTURE_TITLES:
        return "by rule"
    return next((name for name in (*ARCHITECTURE_TITLES, "networks") if entry.startswith(f"{name}_")), "benchmark")


def experiments_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """What was trained and how it fared, two lines each; rows of the warehouse table `experiments`."""
    table = Table(
        title="Experiments, newest first",
        caption="Validation loss of the best epochs, folds x seeds; then RMSE of log returns per horizon as a ratio to "
        "last price, the network's forecast taken in full",
        title_justify="left",
        caption_justify="left",
        show_lines=True,
    )
    table.add_column("experiment\nfirst written", no_wrap=True)
    table.add_column("network\ntarget, profile")
    for name in ("loss", *(f"{horizon} m" for horizon in HORIZONS_MONTHS)):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        ratios = (row[f"rmse_ratio_{horizon}m"] for horizon in HORIZONS_MONTHS)
        table.add_row(
            f"{row['experiment_id']}\n{row['created_at']:%Y-%m-%d %H:%M}",
            f"{ARCHITECTURE_TITLES[row['architecture']]}\n{row['target']}, {row['profile']}",
            f"{row['validation_loss']:.3f}\n{row['folds']} x {row['members']}",
            *("" if ratio is None else f"{ratio:.3f}" for ratio in ratios),
        )
    return table


def error_panel(error: CbiError) -> Panel:
    """A refusal: what, which rule, what to do."""
    body = Text.assemble((error.subject, "bold"), "\n", error.rule, "\n", ("To fix: ", "green"), error.fix)
    return Panel(body, title=type(error).__name__, title_align="left", border_style="red")
