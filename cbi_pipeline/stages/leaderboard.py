"""A finished scorecard for people: the leaderboard, its span in words, the spread over folds, and two pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import ScorecardRef
from cbi_pipeline.stages.evaluation import AVERAGE, lambda_table, load_out_of_fold, load_scores

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARD_FIGURES: Final = (
    "mape", "rmse_ratio", "rmse_ratio_low", "rmse_ratio_high", "dm_p_less", "mcs_p", "ratio_to_best_benchmark",
    "crps_ratio", "directional_accuracy", "direction_p", "coverage_80", "sharpe", "sharpe_se",
)  # fmt: skip


def leaderboard(scorecard: ScorecardRef) -> list[dict[str, Any]]:
    """One record per entry: `LEADERBOARD_FIGURES` and `n_eff` of each horizon, None where one is not defined. Networks
    with the weight that they earned come first, then their other entries and their averages, benchmarks last.

    All entries and horizons on the same dates: those on which every one of them has a forecast.
    """
    from cbi_pipeline.evaluation.metrics import COMMON_ROWS
    from cbi_pipeline.evaluation.scorecard import BENCHMARK_ENTRIES

    by_rule = [row["architecture"] for row in lambda_table(scorecard)]
    scores = load_scores(scorecard)
    entries = list(scores["entry"].unique())
    entries.sort(key=lambda entry: (entry not in by_rule, entry in BENCHMARK_ENTRIES, entry.startswith(f"{AVERAGE}_")))
    common = scores[(scores["fold"] == COMMON_ROWS) & scores["value"].notna()]
    rows = zip(common["entry"], common["horizon_months"], common["metric"], common["value"], strict=True)
    values = {(entry, horizon, metric): value for entry, horizon, metric, value in rows}
    n_eff = common.groupby("horizon_months")["n_eff"].first()
    return [
        {
            "entry": entry,
            **{f"{name}_{h}m": values.get((entry, h, name)) for h in HORIZONS_MONTHS for name in LEADERBOARD_FIGURES},
            **{f"n_eff_{h}m": n_eff.get(h) for h in HORIZONS_MONTHS},
        }
        for entry in entries
    ]


def fold_spread(scorecard: ScorecardRef) -> pd.DataFrame:
    """Mean and spread over the folds of MAPE, RMSE ratio, direction and Sharpe ratio; see `evaluation.scorecard`."""
    from cbi_pipeline.evaluation import scorecard as figures

    return figures.fold_spread(load_scores(scorecard))


def pictures(scorecard: ScorecardRef) -> dict[str, bytes]:
    """PNG files by title: skill by horizon with intervals, and loss against the last price through time."""
    from cbi_pipeline.evaluation.metrics import common_rows
    from cbi_pipeline.evaluation.significance import squared_errors
    from cbi_pipeline.reports.evaluation_figures import loss_png, skill_png

    rows = common_rows(load_out_of_fold(scorecard))
    return {
        "skill by horizon": skill_png(leaderboard(scorecard)),
        "loss against last price": loss_png({h: squared_errors(rows, h) for h in HORIZONS_MONTHS}),
    }


def scorecard_span(scorecard: ScorecardRef) -> str:
    """The as-of dates that the leaderboard is made of, in words: those that all entries have."""
    from cbi_pipeline.evaluation.metrics import common_rows

    dates = common_rows(load_out_of_fold(scorecard))["as_of_date"]
    return f"out of fold, {dates.min().date()} to {dates.max().date()}, common dates"
