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
from cbi_pipeline.evaluation.anchor_skill import HALF_CURVE
from cbi_pipeline.evaluation.benchmarks import FUTURES_CURVE, LAST_PRICE
from cbi_pipeline.evaluation.density_scores import density_scores_of
from cbi_pipeline.evaluation.metrics import COMMON_ROWS, common_rows, metrics_of
from cbi_pipeline.modeling.config import ARCHITECTURES
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.reports.console import ENTRY_TITLES
from cbi_pipeline.settings import load_settings
from cbi_pipeline.stages.evaluation import FULL_RESIDUAL_SUFFIX, load_out_of_fold, load_scores
from cbi_pipeline.warehouse import open_warehouse

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "evaluation.md"
SECOND_PERIOD = 2021
RMSE_GOALS = {3: 0.975, 6: 0.965, 9: 0.97, 12: 0.97}
CRPS_GOALS = {3: 0.97, 6: 0.96, 9: 0.965, 12: 0.965}
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


def periods(scorecard: ScorecardRef) -> Iterator[str]:
    """RMSE and CRPS as ratios to last price, to the end of 2020, from 2021 on, and in all, beside the goals."""
    rows = common_rows(load_out_of_fold(scorecard))
    late = rows["as_of_date"] >= pd.Timestamp(SECOND_PERIOD, 1, 1)
    parts = {f"to {SECOND_PERIOD - 1}": rows[~late], f"from {SECOND_PERIOD}": rows[late], "all": rows}
    parts = {name: part for name, part in parts.items() if len(part)}
    winner = stages.lambda_table(scorecard)[0]["architecture"]
    entries = (winner, *(f"{a}{FULL_RESIDUAL_SUFFIX}" for a in ARCHITECTURES), FUTURES_CURVE, HALF_CURVE, "anchor_w1")
    titles = {**ENTRY_TITLES, winner: "networks on anchor (served)"}
    for title, name, goals in (("RMSE", "rmse_ratio", RMSE_GOALS), ("CRPS", "crps_ratio", CRPS_GOALS)):
        yield f"### {title} as a ratio to last price, by period of as-of dates\n"
        yield "| entry | period | " + " | ".join(f"{h} months" for h in HORIZONS_MONTHS) + " |"
        yield "|---" * (len(HORIZONS_MONTHS) + 2) + "|"
        yield "| goal | | " + " | ".join(f"{goals[h]:.3f}" for h in HORIZONS_MONTHS) + " |"
        for entry in entries:
            for period, part in parts.items():
                cells = " | ".join(f"{ratio(part, entry, h, name):.3f}" for h in HORIZONS_MONTHS)
                yield f"| {titles[entry]} | {period} | {cells} |"
        yield ""


def ratio(rows: pd.DataFrame, entry: str, horizon: int, name: str) -> float:
    """One figure of one entry at one horizon."""
    own, last_price = (
        rows[(rows["entry"] == which) & (rows["horizon_months"] == horizon)] for which in (entry, LAST_PRICE)
    )
    return {**metrics_of(own), **density_scores_of(own, last_price)}[name]


def gates() -> Iterator[str]:
    """What the gates said of the winner in the last judgement that the warehouse holds."""
    found = open_warehouse(load_settings(), migrate=False).query(
        "SELECT name, kind, horizon_months, outcome, reason FROM gate_verdicts "
        "WHERE judgement_id = (SELECT judgement_id FROM gate_verdicts ORDER BY created_at DESC LIMIT 1) "
        "ORDER BY kind, name, horizon_months"
    )
    yield "### Gates\n"
    yield "| gate | kind | months | outcome | reason |"
    yield "|---|---|---|---|---|"
    for row in found.to_pylist():
        yield f"| {row['name']} | {row['kind']} | {row['horizon_months']} | {row['outcome']} | {row['reason']} |"


def main() -> None:
    scorecard = load_reference(load_settings(), "scorecard", ScorecardRef)
    entries = [record["entry"] for record in stages.leaderboard(scorecard)]
    lines = [
        f"Scorecard {scorecard.scorecard_id}, data {scorecard.dataset_version}, {stages.scorecard_span(scorecard)}.\n",
        *leaderboards(load_scores(scorecard), entries),
        *spread(scorecard, entries),
        "",
        *periods(scorecard),
        *gates(),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + text + END + rest.partition(END)[2])
    for title, png in stages.pictures(scorecard).items():
        (DOCS / "images" / f"{title.replace(' ', '_')}.png").write_bytes(png)


if __name__ == "__main__":
    main()
