"""The scorecard of the last run, as tables and pictures of docs/evaluation.md. Run by hand after `cbi run`:
`python benchmarks/evaluation_page.py`.

Reads the project folder of the settings (CBI_PROJECT_DIR). Prints the tables in Markdown, writes them into the page
between its markers, and the pictures into docs/images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import ScorecardRef
from cbi_pipeline.evaluation.metrics import COMMON_ROWS
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.reports.console import ENTRY_TITLES
from cbi_pipeline.settings import load_settings
from cbi_pipeline.stages.evaluation import load_scores

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "evaluation.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"

Form = Callable[[pd.Series], str]


def shown(form: str, *names: str) -> Form:
    """A cell of the named figures; empty if one is not defined."""

    def cell(figures: pd.Series) -> str:
        values = [float(figures[name]) for name in names]
        return form.format(*values) if all(map(math.isfinite, values)) else ""

    return cell


COLUMNS: dict[str, Form] = {
    "MAPE %": shown("{:.1f}", "mape"),
    "RMSE / last price": shown("{:.3f}", "rmse_ratio"),
    "90 % interval": shown("{:.2f} to {:.2f}", "rmse_ratio_low", "rmse_ratio_high"),
    "DM p": shown("{:.2f}", "dm_p_less"),
    "set p": shown("{:.2f}", "mcs_p"),
    "/ best benchmark": shown("{:.3f}", "ratio_to_best_benchmark"),
    "CRPS / last price": shown("{:.3f}", "crps_ratio"),
    "covered 50/80/90/95 %": shown(
        "{:.0%} {:.0%} {:.0%} {:.0%}", "coverage_50", "coverage_80", "coverage_90", "coverage_95"
    ),
    "direction": shown("{:.0%}", "directional_accuracy"),
    "its p": shown("{:.2f}", "direction_p"),
    "Sharpe": shown("{:.2f} ± {:.2f}", "sharpe", "sharpe_se"),
    "deflated": shown("{:.2f}", "deflated_sharpe"),
}


def leaderboards(scores: pd.DataFrame, entries: list[str]) -> Iterator[str]:
    """One table a horizon, on the dates that all entries have."""
    common = scores[scores["fold"] == COMMON_ROWS]
    for horizon in HORIZONS_MONTHS:
        own = common[common["horizon_months"] == horizon]
        table = own.pivot(index="entry", columns="metric", values="value")
        yield f"### {horizon} months, {own['n'].iloc[0]:,} dates, {own['n_eff'].iloc[0]:.1f} independent periods\n"
        yield "| entry | " + " | ".join(COLUMNS) + " |"
        yield "|---" * (len(COLUMNS) + 1) + "|"
        for entry in entries:
            cells = (form(table.loc[entry]) for form in COLUMNS.values())
            yield f"| {ENTRY_TITLES[entry]} | " + " | ".join(cells) + " |"
        yield ""


def spread(scorecard: ScorecardRef, entries: list[str]) -> Iterator[str]:
    """Mean and standard deviation over the folds of MAPE and Sharpe ratio."""
    table = stages.fold_spread(scorecard).set_index(["entry", "horizon_months"])
    yield f"### Mean ± standard deviation over {table['folds'].max()} folds: MAPE in percent; Sharpe ratio\n"
    yield "| entry | " + " | ".join(f"{h} months" for h in HORIZONS_MONTHS) + " |"
    yield "|---" * (len(HORIZONS_MONTHS) + 1) + "|"
    mape, sharpe = (
        shown("{:.1f} ± {:.1f}", "mean_mape", "std_mape"),
        shown("; {:.2f} ± {:.2f}", "mean_sharpe", "std_sharpe"),
    )
    for entry in entries:
        rows = (table.loc[(entry, h)] for h in HORIZONS_MONTHS)
        yield f"| {ENTRY_TITLES[entry]} | " + " | ".join(mape(row) + sharpe(row) for row in rows) + " |"


def main() -> None:
    scorecard = load_reference(load_settings(), "scorecard", ScorecardRef)
    entries = [record["entry"] for record in stages.leaderboard(scorecard)]
    lines = [
        f"Scorecard {scorecard.scorecard_id}, data {scorecard.dataset_version}, {stages.scorecard_span(scorecard)}.\n",
        *leaderboards(load_scores(scorecard), entries),
        *spread(scorecard, entries),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + text + END + rest.partition(END)[2])
    for title, png in stages.pictures(scorecard).items():
        (DOCS / "images" / f"{title.replace(' ', '_')}.png").write_bytes(png)


if __name__ == "__main__":
    main()
