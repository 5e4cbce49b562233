"""The card of a stored model, for people: what it is, what it was judged by, what it is for and what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import Verdict

if TYPE_CHECKING:
    from cbi_pipeline.registry.artifacts import ModelContent

_FIGURES: Final = {
    "RMSE / last price": ("rmse_ratio", "{:.3f}"),
    "from": ("rmse_ratio_low", "{:.2f}"),
    "to": ("rmse_ratio_high", "{:.2f}"),
    "CRPS / last price": ("crps_ratio", "{:.3f}"),
    "MAPE %": ("mape", "{:.1f}"),
    "direction": ("directional_accuracy", "{:.0%}"),
    "covered at 80 %": ("coverage_80", "{:.0%}"),
    "Sharpe": ("sharpe", "{:.2f}"),
}


def model_card(name: str, content: ModelContent, dataset_version: str, verdicts: Sequence[Verdict]) -> str:
    """Markdown of the card, as it stands when the model is stored.

    Args:
        name: version of the model.
        content: what it is made of; its metrics hold `window`, `folds`, `span` and `leaderboard`.
        dataset_version: the bundle that it was fitted on.
        verdicts: of the gates on the scorecard that it comes from; empty if they have not judged it.
    """
    from cbi_pipeline.modeling.config import TrainingConfig

    config, metrics = TrainingConfig.model_validate(content.config), content.metrics
    n_weights = sum(tensor.numel() for tensor in content.state_dict.values())
    lambdas = ", ".join(f"{h} months {content.anchor['lambda'][str(h)]:g}" for h in HORIZONS_MONTHS)
    folds = "\n".join(f"- {fold}: {first} to {last}" for fold, (first, last) in metrics["folds"].items())
    return f"""# {name}

Forecasts CBOT soybean oil (ZL, front contract, unadjusted close, cents/lb) 3, 6, 9 and 12 months ahead: an anchor made
of the futures curve, stocks-to-use and the palm oil price, plus a bounded residual of a network in proportion to the
weight it has earned.

## What it is

- architecture: {config.architecture}, {config.members} members, {n_weights:,} weights
- seeds: {", ".join(map(str, config.seeds))}
- weight of the network's residual, earned out of sample: {lambdas}
- data: bundle {dataset_version}, features of {metrics["window"][0]} to {metrics["window"][1]}; labels that were not
  known on the last day are left out (purged)
- features: {len(content.feature_names)} in the catalogue (hash {content.feature_hash}), of which the network may read
  {len(content.feature_lock.names)} (lock {content.feature_lock.hash})
- on the path to the mean: {", ".join(config.network.mean_path_inputs)}
- on the path to the spread: {", ".join(config.network.spread_inputs)}

## What it was judged by

Scorecard {metrics["scorecard_id"]}, {metrics["span"]}. The figures are those of the same settings in the
walk-forward folds below, never of this very refit, which knows all of the data. Below 1 is better than the last price;
intervals are 90 % block-bootstrap intervals.

{_scores(metrics["leaderboard"])}

Test spans of the folds:

{folds}

## Gates

{_gates(verdicts)}

## Limits

- What the folds show holds for the years they cover; a change of biofuel policy or of the contract's rules is not in
  them. Few of the rows are independent: a year has four periods of three months, and one of twelve.
- Intervals come from past volatility; in 2021 and 2022 they were too narrow.
- A price between the close and the next session, or in another month than the front one, is not forecast.

## Intended use

For a desk that buys or sells soybean oil and reads the status first: a row that says HOLD has not met the quality
targets and is shown for information. Not investment advice. To go back to the model before this one:
`cbi models rollback --reason 'why'`.
"""


def _scores(leaderboard: Sequence[Mapping[str, Any]]) -> str:
    head = f"| entry | months | {' | '.join(_FIGURES)} |\n|{'---|' * (len(_FIGURES) + 2)}"
    lines = [
        f"| {row['entry']} | {horizon} | "
        + " | ".join(_figure(row[f"{name}_{horizon}m"], form) for name, form in _FIGURES.values())
        + " |"
        for horizon in HORIZONS_MONTHS
        for row in leaderboard
    ]
    return "\n".join([head, *lines])


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _gates(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "No gate had judged this scorecard when the model was stored."
    lines = [f"| {v.name} | {v.kind} | {v.horizon_months} | {v.outcome} | {v.reason} |" for v in verdicts]
    return "\n".join(["| gate | kind | months | outcome | reason |", "|---|---|---|---|---|", *lines])
