"""Does a network ever earn its weight? Tables of the last scorecard of a project, for docs/networks.md.

Run `cbi run --profile full` first. Prints markdown: pooled ratios on common rows, lambda by the rule, ratios fold by
fold, and how far the seeds of one network lie apart.

    python benchmarks/network_table.py
"""

from __future__ import annotations

import pandas as pd

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import ScorecardRef
from cbi_pipeline.evaluation.metrics import ALL_FOLDS, COMMON_ROWS
from cbi_pipeline.modeling.config import ARCHITECTURES
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.settings import load_settings
from cbi_pipeline.stages.evaluation import load_scores, seed_dispersion

SUFFIXES = {"": "by rule", "_lambda_0.1": "0.1", "_lambda_0.25": "0.25", "_lambda_1": "in full", "_raw": "raw"}


def main() -> None:
    scorecard = load_reference(load_settings(), "scorecard", ScorecardRef)
    scores = load_scores(scorecard).query("metric == 'rmse_ratio'")
    print(f"{stages.scorecard_span(scorecard)}\n")
    _pooled(scores)
    _weights(scorecard)
    _by_fold(scores)
    _seeds(seed_dispersion(scorecard))


def _pooled(scores: pd.DataFrame) -> None:
    table = scores[scores["fold"] == COMMON_ROWS].pivot(index="entry", columns="horizon_months", values="value")
    own = [a + suffix for a in ARCHITECTURES for suffix in SUFFIXES]
    print("| entry | 3 m | 6 m | 9 m | 12 m |\n|---|---|---|---|---|")
    for entry in [*own, *[entry for entry in table.index if entry not in own]]:
        print(f"| {_title(entry)} | " + " | ".join(f"{table.loc[entry, h]:.3f}" for h in HORIZONS_MONTHS) + " |")


def _weights(scorecard: ScorecardRef) -> None:
    rows = pd.DataFrame(stages.lambda_table(scorecard))
    earned = rows[rows["lambda_h"] > 0]
    print(f"\nWeights above 0 by the rule: {len(earned)} of {len(rows)} (architecture x fold x horizon).\n")
    for row in earned.to_dict("records"):
        print(
            f"- {row['architecture']}, {row['fold']}, {row['horizon_months']} m: {row['lambda_h']:g}. {row['reason']}"
        )


def _by_fold(scores: pd.DataFrame) -> None:
    folds = [fold for fold in scores["fold"].unique() if fold not in (ALL_FOLDS, COMMON_ROWS)]
    for horizon in HORIZONS_MONTHS:
        own = scores[scores["horizon_months"] == horizon].pivot(index="entry", columns="fold", values="value")
        shown = [fold for fold in folds if fold in own]
        print(f"\n{horizon} months\n\n| entry | " + " | ".join(name.removeprefix("test_") for name in shown) + " |")
        print("|---|" + "---|" * len(shown))
        for entry in ["anchor", *[a + s for a in ARCHITECTURES for s in SUFFIXES]]:
            print(f"| {_title(entry)} | " + " | ".join(f"{own.loc[entry, fold]:.3f}" for fold in shown) + " |")


def _seeds(seeds: pd.DataFrame) -> None:
    print("\n| network | target | " + " | ".join(f"{h} m" for h in HORIZONS_MONTHS) + " |\n|---|---|" + "---|" * 4)
    pooled = seeds[seeds["fold"] == ALL_FOLDS]
    for (architecture, target), own in pooled.groupby(["architecture", "target"], sort=False):
        cells = own.set_index("horizon_months")
        texts = [f"{cells.loc[h, 'mean']:.3f} ± {cells.loc[h, 'standard_deviation']:.3f}" for h in HORIZONS_MONTHS]
        print(f"| {architecture} | {target} | " + " | ".join(texts) + " |")


def _title(entry: str) -> str:
    for architecture in ARCHITECTURES:
        if entry.startswith(architecture):
            return f"{architecture}, {SUFFIXES[entry.removeprefix(architecture)]}"
    return entry.replace("_", " ")


if __name__ == "__main__":
    main()
