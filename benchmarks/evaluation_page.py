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
from cbi_pipeline.contracts.references import ScorecardRef, WinnerRef
from cbi_pipeline.evaluation.benchmarks import LAST_PRICE
from cbi_pipeline.evaluation.density_scores import density_scores_of
from cbi_pipeline.evaluation.density_table import PIT_COLUMNS
from cbi_pipeline.evaluation.metrics import COMMON_ROWS, common_rows, effective_n, metrics_of
from cbi_pipeline.evaluation.scorecard import compared
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.reports.console import ENTRY_TITLES
from cbi_pipeline.settings import load_settings
from cbi_pipeline.stages.evaluation import load_out_of_fold, load_scores
from cbi_pipeline.warehouse import open_warehouse

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "evaluation.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"

CHOICE_ENDS = pd.Timestamp("2020-12-31")
"""Settings of networks were chosen on the test days to here."""
RMSE_GOALS, CRPS_GOALS = (0.975, 0.965, 0.97, 0.97), (0.97, 0.96, 0.965, 0.965)
GATES_SQL = """
SELECT name, kind, horizon_months, outcome, reason FROM gate_verdicts
WHERE scorecard_id = @scorecard_id AND entry = @entry
QUALIFY ROW_NUMBER() OVER (PARTITION BY name, horizon_months ORDER BY created_at DESC) = 1
ORDER BY kind, name, horizon_months
"""

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
    "its interval": shown("{:.2f} to {:.2f}", "crps_ratio_low", "crps_ratio_high"),
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


def period_figures(rows: pd.DataFrame) -> pd.DataFrame:
    """Figures of every entry on the common rows of a period; index entry and horizon."""
    comparisons, groups = compared(rows), dict(iter(rows.groupby(["entry", "horizon_months"])))
    figures = {
        key: metrics_of(own) | density_scores_of(own, groups[LAST_PRICE, key[1]]) | comparisons[key]
        for key, own in groups.items()
    }
    return pd.DataFrame(figures).T


def periods(rows: pd.DataFrame, winner: str, entries: list[str]) -> Iterator[str]:
    """What serves beside the goals, then every entry, in the period of choice and after it."""
    common = common_rows(rows)
    spans = {
        "to 2020": common[common["as_of_date"] <= CHOICE_ENDS],
        "2021 on": common[common["as_of_date"] > CHOICE_ENDS],
        "whole": common,
    }
    by_span = {name: period_figures(own) for name, own in spans.items() if len(own)}
    counts = {
        name: " / ".join(
            f"{effective_n(len(own) / len(own.groupby(['entry', 'horizon_months'])), h):.1f}" for h in HORIZONS_MONTHS
        )
        for name, own in spans.items()
        if len(own)
    }
    words = "; ".join(f"{name} {count}" for name, count in counts.items())
    yield f"### What serves beside the goals, by period\n\nIndependent periods at 3 / 6 / 9 / 12 months: {words}.\n"
    yield "| | " + " | ".join(f"{h} months" for h in HORIZONS_MONTHS) + " |"
    yield "|---" * (len(HORIZONS_MONTHS) + 1) + "|"
    for title, goals, name in (("RMSE", RMSE_GOALS, "rmse_ratio"), ("CRPS", CRPS_GOALS, "crps_ratio")):
        yield f"| {title} / last price, goal | " + " | ".join(f"{goal:.3f}" for goal in goals) + " |"
        form = shown("{:.3f} ({:.2f} to {:.2f})", name, f"{name}_low", f"{name}_high")
        plain = shown("{:.3f}", name)
        for span, figures in by_span.items():
            cells = (figures.loc[(winner, h)] for h in HORIZONS_MONTHS)
            yield f"| {title}, {span} | " + " | ".join(form(own) or plain(own) for own in cells) + " |"
    for title, form in (
        ("DM p", shown("{:.2f}", "dm_p_less")),
        ("RMSE / best benchmark", shown("{:.3f}", "ratio_to_best_benchmark")),
        ("covered 50/80/90/95 %", COLUMNS["covered 50/80/90/95 %"]),
        ("direction", COLUMNS["direction"]),
    ):
        for span, figures in by_span.items():
            cells = (form(figures.loc[(winner, h)]) for h in HORIZONS_MONTHS)
            yield f"| {title}, {span} | " + " | ".join(cells) + " |"
    names = [name for name in by_span if name != "whole"]
    yield "\n### Every entry by period: RMSE, then CRPS, as ratios to last price; " + " &#124; ".join(names) + "\n"
    yield "| entry | " + " | ".join(f"{h} months" for h in HORIZONS_MONTHS) + " |"
    yield "|---" * (len(HORIZONS_MONTHS) + 1) + "|"
    pair = shown("{:.3f} {:.3f}", "rmse_ratio", "crps_ratio")
    for entry in entries:
        cells = (" &#124; ".join(pair(by_span[name].loc[(entry, h)]) for name in names) for h in HORIZONS_MONTHS)
        yield f"| {ENTRY_TITLES[entry]} | " + " | ".join(cells) + " |"
    yield ""


def densities(scorecard: ScorecardRef, winner: str) -> Iterator[str]:
    """The candidates around the forecast that serves, and what the rule picked."""
    table = stages.load_density_table(scorecard)
    columns = {
        "CRPS / normal": shown("{:.3f}", "crps_to_normal"),
        "90 % interval": shown("{:.3f} to {:.3f}", "crps_to_normal_low", "crps_to_normal_high"),
        "DM p": shown("{:.2f}", "p_less"),
        "CRPS / last price": shown("{:.3f}", "crps_ratio"),
        "covered 50/80/90/95 %": COLUMNS["covered 50/80/90/95 %"],
        "calibration error": shown("{:.3f}", "calibration_error"),
        "width 50/80/90 % / last price's": shown(
            "{:.2f} {:.2f} {:.2f}", "relative_width_50", "relative_width_80", "relative_width_90"
        ),
        "PIT, % of outcomes by band": lambda row: " ".join(f"{100 * row[name]:.0f}" for name in PIT_COLUMNS),
        "uniform p": shown("{:.2f}", "pit_p"),
    }
    yield f"### Densities around the forecast of {ENTRY_TITLES[winner]}, all its dates\n"
    yield "| months | density | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 2) + "|"
    for _, row in table[table["architecture"] == winner].iterrows():
        cells = " | ".join(form(row) for form in columns.values())
        yield f"| {row['horizon_months']} | {row['density'].replace('_', ', ')} | {cells} |"
    yield "\nPIT bands: under the 5 % quantile, 5-10, 10-25, 25-50, 50-75, 75-90, 90-95, over the 95 % quantile;"
    yield "5 5 15 25 25 15 5 5 if calibrated.\n"
    choices = pd.DataFrame(stages.density_choices(scorecard))
    counts = ", ".join(f"{number} {name}" for name, number in choices["density"].value_counts().items())
    yield f"Of {len(choices)} choices (network, fold or serving, horizon): {counts}.\n"


def gates(records: list[dict[str, object]]) -> Iterator[str]:
    """Outcome of each gate, and the reasons of those that did not pass."""
    yield "### Gates on what serves\n"
    yield "| gate | kind | " + " | ".join(f"{h} months" for h in HORIZONS_MONTHS) + " |"
    yield "|---" * (len(HORIZONS_MONTHS) + 2) + "|"
    table = pd.DataFrame(records).set_index(["kind", "name", "horizon_months"])
    for kind, name in table.index.droplevel(2).unique():
        cells = (table.loc[(kind, name, h), "outcome"] for h in HORIZONS_MONTHS)
        yield f"| {name.replace('_', ' ')} | {kind} | " + " | ".join(cells) + " |"
    yield ""
    for (_, name, horizon), row in table[table["outcome"] != "passed"].iterrows():
        yield f"- {name.replace('_', ' ')}, {horizon} months, {row['outcome']}: {row['reason']}"
    yield ""


def main() -> None:
    settings = load_settings()
    scorecard = load_reference(settings, "scorecard", ScorecardRef)
    winner = load_reference(settings, "bakeoff_winner", WinnerRef).architecture
    judged = open_warehouse(settings, migrate=False).query(
        GATES_SQL, {"scorecard_id": scorecard.scorecard_id, "entry": winner}
    )
    entries = [record["entry"] for record in stages.leaderboard(scorecard)]
    lines = [
        f"Scorecard {scorecard.scorecard_id}, data {scorecard.dataset_version}, {stages.scorecard_span(scorecard)}.\n",
        *periods(load_out_of_fold(scorecard), winner, entries),
        *gates(judged.to_pylist()),
        *densities(scorecard, winner),
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
