"""The gates between a scorecard and the champion: pure functions from figures to verdicts, and the rule of admission.

Belongs here: what passes, what fails, what cannot be judged, and who may serve. Where verdicts are stored and read
again is `stages/gates.py`. A missing figure is a failed verdict that says so.

The written rule of admission (`admit`): every parity verdict must have passed, whoever asks. Every evidence verdict
must have passed too, with two exceptions. One that cannot be judged, for too few independent rows, lets a model serve
only where no judged model would be lost: nothing serves yet, or what serves was not judged either. And a person may
override evidence with a reason. In both cases every forecast row of the model is on HOLD and says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import (
    BENCHMARK,
    BLOCKING,
    CHAMPION,
    COVERAGE,
    GATES,
    METRIC_PARITY,
    QUALITY,
    REPLAY,
    ROW_PARITY,
    TRIPWIRE,
    Admission,
    GateThresholds,
    Outcome,
    Verdict,
)
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation.benchmarks import BENCHMARKS, LAST_PRICE
from cbi_pipeline.evaluation.density_scores import coverage_band
from cbi_pipeline.evaluation.metrics import ALL_FOLDS, SESSIONS_PER_MONTH
from cbi_pipeline.evaluation.significance import diebold_mariano, squared_errors
from cbi_pipeline.evaluation.status import QualityTargets, evaluate_status

PARITY_METRICS: Final = ("mape", "directional_accuracy", "coverage_80")
COVERED_PERCENT: Final = 80
_TARGETS: Final = ("mape", "sharpe", "directional_accuracy", "calibration_error")


class _Figures:
    """The metrics of one entry at one horizon over all its folds; a missing one is None."""

    def __init__(self, scores: pd.DataFrame, entry: str, horizon_months: int) -> None:
        own = scores[
            (scores["entry"] == entry) & (scores["horizon_months"] == horizon_months) & (scores["fold"] == ALL_FOLDS)
        ]
        self.values = {str(r["metric"]): float(r["value"]) for r in own.to_dict("records") if math.isfinite(r["value"])}
        self.n = int(own["n"].min()) if len(own) else 0
        self.n_eff = float(own["n_eff"].min()) if len(own) else 0.0

    def get(self, metric: str) -> float | None:
        return self.values.get(metric)


def evaluate_quality(scores: pd.DataFrame, entry: str, targets: QualityTargets) -> list[Verdict]:
    """The desk's four targets at each horizon: passed is PRODUCTION, failed is HOLD, with how far off they are.

    Args:
        scores: long table as of `metrics.score`; rows of fold `all` are used.
        entry: what would serve.
        targets: the desk's targets.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        own = _Figures(scores, entry, horizon)
        status, reasons = evaluate_status({name: own.get(name) for name in _TARGETS}, targets)
        outcome: Outcome = "passed" if status == "PRODUCTION" else "failed"
        met = float(len(_TARGETS) - len(reasons))
        text = "; ".join(reasons) or "all targets are met"
        verdicts.append(_verdict(QUALITY, horizon, outcome, met, float(len(_TARGETS)), own.n_eff, text))
    return verdicts


def evaluate_benchmark(out_of_fold: pd.DataFrame, entry: str, thresholds: GateThresholds) -> list[Verdict]:
    """Whether the best benchmark is better than the entry beyond sampling error.

    The best one is that of the lowest mean squared error of log returns on the dates that all of them and the entry
    have; the p-value is one-sided, `significance.diebold_mariano`.

    Args:
        out_of_fold: rows of every entry (`OUT_OF_FOLD_COLUMNS`).
        entry: what would serve.
        thresholds: the bounds.
    """
    taking_part = out_of_fold[out_of_fold["entry"].isin([entry, *BENCHMARKS])]
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        losses = squared_errors(taking_part, horizon)
        rivals = [name for name in BENCHMARKS if name in losses]
        if losses.empty or entry not in losses or not rivals:
            verdicts.append(_missing(BENCHMARK, horizon, f"{entry} and a benchmark on common dates"))
            continue
        best = str(losses[rivals].mean().idxmin())
        rows = horizon * SESSIONS_PER_MONTH
        test = diebold_mariano(losses[entry].to_numpy(), losses[best].to_numpy(), rows)
        ratio = math.sqrt(losses[entry].mean() / losses[best].mean())
        text = f"RMSE {ratio:.3f} of the best benchmark's ({best}), p of it being better {test.p_greater:.3f}"
        verdicts.append(
            _judged(
                BENCHMARK, horizon, test.p_greater, thresholds.benchmark_p, test.n_eff, text, thresholds, upper=False
            )
        )
    return verdicts


def evaluate_tripwire(scores: pd.DataFrame, entry: str, thresholds: GateThresholds) -> list[Verdict]:
    """Whether a figure is too good to be true, which means a leak until proven otherwise.

    RMSE and MAPE as ratios to the last price's, and directional accuracy. The verdict shows the figure that trips or
    else is nearest to its bound.

    Args:
        scores: long table as of `metrics.score`; rows of fold `all` are used.
        entry: what would serve.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        own, last_price = _Figures(scores, entry, horizon), _Figures(scores, LAST_PRICE, horizon)
        mape, last_mape = own.get("mape"), last_price.get("mape")
        same_rows = own.n == last_price.n
        figures = {
            "RMSE to last price": (own.get("rmse_ratio"), thresholds.leak_rmse_ratio, 1),
            "MAPE to last price": (
                mape / last_mape if mape is not None and last_mape and same_rows else None,
                thresholds.leak_mape_ratio,
                1,
            ),
            "directional accuracy": (own.get("directional_accuracy"), thresholds.leak_directional_accuracy, -1),
        }
        unknown = [name for name, (value, _, _) in figures.items() if value is None]
        if unknown:
            verdicts.append(_missing(TRIPWIRE, horizon, ", ".join(unknown)))
            continue
        distance = {name: sign * (value - bound) for name, (value, bound, sign) in figures.items() if value is not None}
        nearest = min(distance, key=lambda name: distance[name])
        value, bound, sign = figures[nearest]
        text = f"{nearest} {value:.3f}, a leak {'below' if sign > 0 else 'above'} {bound:g}"
        verdicts.append(_judged(TRIPWIRE, horizon, value, bound, own.n_eff, text, thresholds, upper=sign < 0))
    return verdicts


def evaluate_coverage(scores: pd.DataFrame, entry: str, thresholds: GateThresholds) -> list[Verdict]:
    """Whether the coverage of the 80 % interval is inside the band that its few independent rows leave to chance.

    Args:
        scores: long table as of `metrics.score`; rows of fold `all` are used.
        entry: what would serve.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        own = _Figures(scores, entry, horizon)
        covered = own.get(f"coverage_{COVERED_PERCENT}")
        if covered is None:
            verdicts.append(_missing(COVERAGE, horizon, f"coverage at {COVERED_PERCENT} %"))
            continue
        low, high = coverage_band(COVERED_PERCENT, own.n, horizon, thresholds.coverage_confidence)
        text = f"coverage {covered:.3f} at a nominal {COVERED_PERCENT} %, band {low:.3f} to {high:.3f}"
        upper = covered > COVERED_PERCENT / 100
        bound = high if upper else low
        verdicts.append(_judged(COVERAGE, horizon, covered, bound, own.n_eff, text, thresholds, upper=upper))
    return verdicts


def evaluate_champion(
    scores: pd.DataFrame,
    entry: str,
    incumbent: Mapping[int, float | None] | None,
    why_none: str,
    thresholds: GateThresholds,
) -> list[Verdict]:
    """Whether the RMSE ratio is not above that of the model that serves, by more than a tolerance.

    Args:
        scores: long table as of `metrics.score`; rows of fold `all` are used.
        entry: what would serve.
        incumbent: RMSE ratio to last price of the serving model by horizon, scored on the same dataset and folds; None
            if there is no such model.
        why_none: why there is none, in words.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        own = _Figures(scores, entry, horizon)
        ratio = own.get("rmse_ratio")
        if ratio is None:
            verdicts.append(_missing(CHAMPION, horizon, "RMSE to last price"))
        elif incumbent is None:
            text = f"passes only because there is no comparable champion: {why_none}"
            verdicts.append(_verdict(CHAMPION, horizon, "passed", ratio, None, own.n_eff, text))
        elif (served := incumbent.get(horizon)) is None:
            verdicts.append(_missing(CHAMPION, horizon, "the champion's RMSE to last price"))
        else:
            bound = served * (1 + thresholds.champion_worse)
            text = f"RMSE to last price {ratio:.4f}, the champion's {served:.4f}, at most {bound:.4f}"
            verdicts.append(_judged(CHAMPION, horizon, ratio, bound, own.n_eff, text, thresholds, upper=True))
    return verdicts


def evaluate_metric_parity(
    scores: pd.DataFrame, entry: str, by_sql: Mapping[int, Mapping[str, float | None]], thresholds: GateThresholds
) -> list[Verdict]:
    """Whether metrics computed by the warehouse's SQL from the stored rows equal the local ones.

    Args:
        scores: long table as of `metrics.score`; rows of fold `all` are used.
        entry: what would serve.
        by_sql: `PARITY_METRICS` by horizon, as the warehouse computes them, and `n`, the rows it found.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        own, found = _Figures(scores, entry, horizon), by_sql.get(horizon, {})
        pairs = {name: (own.get(name), found.get(name)) for name in PARITY_METRICS}
        unknown = [name for name, pair in pairs.items() if None in pair]
        if unknown or found.get("n") != own.n:
            text = f"{', '.join(unknown) or 'rows'} ({own.n} rows here, {found.get('n') or 0:.0f} in the warehouse)"
            verdicts.append(_missing(METRIC_PARITY, horizon, text))
            continue
        off = {
            name: _relative(here, there)
            for name, (here, there) in pairs.items()
            if here is not None and there is not None
        }
        worst = max(off, key=lambda name: off[name])
        here, there = pairs[worst]
        text = f"{worst} {here:.6g} here, {there:.6g} by the warehouse's SQL"
        outcome: Outcome = "passed" if off[worst] <= thresholds.metric_parity else "failed"
        verdicts.append(
            _verdict(METRIC_PARITY, horizon, outcome, off[worst], thresholds.metric_parity, own.n_eff, text)
        )
    return verdicts


def evaluate_row_parity(difference: Mapping[int, float], thresholds: GateThresholds) -> list[Verdict]:
    """Whether a network answers for one day what it answers for that day among others.

    Args:
        difference: per horizon, the largest absolute difference of a network output, in units of sigma.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        found = difference.get(horizon)
        if found is None or not math.isfinite(found):
            verdicts.append(_missing(ROW_PARITY, horizon, "the network's answer for one row or for a batch"))
            continue
        outcome: Outcome = "passed" if found <= thresholds.row_parity else "failed"
        text = f"one row and a batch differ by {found:.3g}, at most {thresholds.row_parity:g}"
        verdicts.append(_verdict(ROW_PARITY, horizon, outcome, found, thresholds.row_parity, None, text))
    return verdicts


def evaluate_replay(differing: Mapping[str, Sequence[str]]) -> list[Verdict]:
    """Whether the features of past days, made again from what was known then alone, are those that were trained on.

    One answer for all horizons: they read the same features.

    Args:
        differing: per replayed day, the features that are not bit for bit the same.
    """
    names = sorted({name for own in differing.values() for name in own})
    text = f"{', '.join(names) or 'every feature is the same'} ({', '.join(differing)} replayed)"
    outcome: Outcome = "failed" if names else "passed"
    return [
        _verdict(REPLAY, horizon, outcome, float(len(names)), 0.0, None, text)
        if differing
        else _missing(REPLAY, horizon, "no day was replayed")
        for horizon in HORIZONS_MONTHS
    ]


def admit(verdicts: Iterable[Verdict], *, incumbent: Admission | None, override_reason: str | None = None) -> Admission:
    """How a model may serve, by the rule at the head of this module.

    Args:
        verdicts: those that are stored on it.
        incumbent: how the model that serves came to serve; None if none serves.
        override_reason: why a person overrides the evidence gates, if one does.

    Raises:
        ModelError: it may not serve; names every gate that stands against it.
    """
    found = {(verdict.name, verdict.horizon_months): verdict for verdict in verdicts}
    against: dict[str, list[str]] = {"parity": [], "evidence": []}
    unjudged = []
    for name in BLOCKING:
        for horizon in HORIZONS_MONTHS:
            verdict = found.get((name, horizon))
            if verdict is None:
                against[GATES[name]].append(f"{name} at {horizon} months was never judged")
            elif verdict.outcome == "cannot judge" and verdict.kind == "evidence":
                unjudged.append(f"{name} at {horizon} months: {verdict.reason}")
            elif not verdict.passed:
                against[GATES[name]].append(f"{name} at {horizon} months: {verdict.reason}")
    if against["parity"]:
        raise _refusal(against["parity"], "parity gates cannot be overridden: find out why the figures differ.")
    if override_reason is not None and (against["evidence"] or unjudged):
        return "override"
    if against["evidence"]:
        raise _refusal(
            against["evidence"],
            "materialise scorecard, whose checks judge it, then champion; or let it serve on HOLD: "
            "`cbi models promote VERSION --override-reason TEXT`.",
        )
    if not unjudged:
        return "judged"
    if not may_serve_unjudged(incumbent):
        raise _refusal(
            unjudged,
            "run a profile with more folds: a model that the gates can judge is not replaced by one that they cannot.",
        )
    return "unjudged"


def stops(verdict: Verdict, incumbent: Admission | None) -> bool:
    """Whether a verdict stands against a promotion, by the rule of `admit`."""
    if verdict.passed or verdict.kind == "quality":
        return False
    return not (verdict.outcome == "cannot judge" and verdict.kind == "evidence" and may_serve_unjudged(incumbent))


def may_serve_unjudged(incumbent: Admission | None) -> bool:
    """Whether no judged model would be lost to one that the evidence gates cannot judge."""
    return incumbent in (None, "unjudged")


def _refusal(against: list[str], fix: str) -> ModelError:
    return ModelError("promotion to champion", f"refused by {'; '.join(against)}.", fix)


def _judged(
    name: str,
    horizon: int,
    value: float | None,
    bound: float,
    n_eff: float,
    text: str,
    thresholds: GateThresholds,
    *,
    upper: bool,
) -> Verdict:
    """Passed if the value is not beyond the bound; not judged if it rests on too few independent rows."""
    if n_eff < thresholds.min_n_eff:
        few = f"{n_eff:.1f} independent rows, fewer than {thresholds.min_n_eff:g} ({text})"
        known = value if value is not None and math.isfinite(value) else None
        return _verdict(name, horizon, "cannot judge", known, bound, n_eff, few)
    if value is None or not math.isfinite(value):
        return _missing(name, horizon, text)
    outcome: Outcome = "passed" if (value <= bound if upper else value >= bound) else "failed"
    return _verdict(name, horizon, outcome, value, bound, n_eff, text)


def _missing(name: str, horizon: int, what: str) -> Verdict:
    return _verdict(name, horizon, "failed", None, None, None, f"not known: {what}")


def _verdict(
    name: str,
    horizon: int,
    outcome: Outcome,
    value: float | None,
    threshold: float | None,
    n_eff: float | None,
    reason: str,
) -> Verdict:
    return Verdict(
        name=name,
        kind=GATES[name],
        horizon_months=horizon,
        outcome=outcome,
        value=value,
        threshold=threshold,
        n_eff=n_eff,
        reason=reason,
    )


def _relative(here: float, there: float) -> float:
    """Difference as a share of the local figure; infinite where that is zero and the other is not."""
    if here == there:
        return 0.0
    return abs(there - here) / abs(here) if here else math.inf
