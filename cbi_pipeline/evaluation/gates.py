"""The gates between a scorecard and the champion: pure functions from figures to verdicts.

Belongs here: what passes, what fails, and what cannot be judged. Who may serve by that is `admission.py`; where
verdicts are stored and read again is `stages/gates.py`. A missing figure is a failed verdict that says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import (
    BENCHMARK,
    CHAMPION,
    COVERAGE,
    GATES,
    METRIC_PARITY,
    QUALITY,
    REPLAY,
    ROW_PARITY,
    TRIPWIRE,
    GateThresholds,
    Outcome,
    Verdict,
)
from cbi_pipeline.evaluation.benchmarks import LAST_PRICE
from cbi_pipeline.evaluation.density_scores import coverage_band
from cbi_pipeline.evaluation.metrics import ALL_FOLDS, SESSIONS_PER_MONTH
from cbi_pipeline.evaluation.scorecard import BENCHMARK_ENTRIES
from cbi_pipeline.evaluation.significance import diebold_mariano, squared_errors
from cbi_pipeline.evaluation.status import QualityTargets, evaluate_status

PARITY_DECIMALS: Final = 6
"""Of a difference that ought to be none: below that it is the order of sums."""
PARITY_METRICS: Final = (
    "mape",
    "rmse_ratio",
    "directional_accuracy",
    "coverage_50",
    "coverage_80",
    "coverage_90",
    "sharpe",
)
COVERED_PERCENT: Final = 80
_FORECASTS: Final = ("predicted_price", "predicted_price_champion")
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
    """Whether the entry is no worse than the best benchmark: not beyond chance, and not by more than a tolerance.

    The best one is that of the lowest mean squared error of log returns on the dates that all of them and the entry
    have, a bar set in hindsight: hence a tolerance, and a level that is shared among the benchmarks it was picked from
    (Bonferroni).

    Args:
        out_of_fold: rows of every entry (`OUT_OF_FOLD_COLUMNS`).
        entry: what would serve.
        thresholds: the bounds.
    """
    taking_part = out_of_fold[out_of_fold["entry"].isin([entry, *BENCHMARK_ENTRIES])]
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        losses = squared_errors(taking_part, horizon)
        rivals = [name for name in BENCHMARK_ENTRIES if name in losses]
        if losses.empty or entry not in losses or not rivals:
            verdicts.append(_missing(BENCHMARK, horizon, f"{entry} and a benchmark on common dates"))
            continue
        best = str(losses[rivals].mean().idxmin())
        verdicts.append(
            _no_worse(
                BENCHMARK,
                horizon,
                (losses[entry].to_numpy(), losses[best].to_numpy()),
                f"the best of {len(rivals)} benchmarks, {best}",
                worse=thresholds.benchmark_worse,
                p=thresholds.benchmark_p / len(rivals),
                thresholds=thresholds,
            )
        )
    return verdicts


def evaluate_tripwire(
    scores: pd.DataFrame, entry: str, also: Sequence[str], thresholds: GateThresholds
) -> list[Verdict]:
    """Whether a figure is too good to be true, which means a leak until proven otherwise.

    RMSE and MAPE as ratios to the last price's, and directional accuracy, of what would serve, of the same networks
    unshrunk and of what reads every feature directly: a leak moves these long before a network has earned a weight. Of
    the others an undefined direction is no finding: a network that training left at zero says the last price. Too few
    rows cannot be judged: in a year with one trend whoever is always long is always right. The verdict shows the
    figure that trips or else is nearest to its bound.

    Args:
        scores: long table as of `metrics.score`; rows of fold `all` are used.
        entry: what would serve.
        also: other entries whose figures must be believable too.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        figures = _too_good(scores, entry, horizon, thresholds)
        for name in also:
            *errors, direction = _too_good(scores, name, horizon, thresholds)
            figures += errors if direction.value is None else (*errors, direction)
        unknown = [figure.name for figure in figures if figure.value is None]
        if unknown:
            verdicts.append(_missing(TRIPWIRE, horizon, ", ".join(unknown)))
            continue
        nearest = min(figures, key=lambda figure: figure.distance)
        upper, n_eff = nearest.sign < 0, _Figures(scores, entry, horizon).n_eff
        text = f"{nearest.name} {nearest.value:.3f}, a leak {'above' if upper else 'below'} {nearest.bound:g}"
        verdicts.append(_judged(TRIPWIRE, horizon, nearest.value, nearest.bound, n_eff, text, thresholds, upper=upper))
    return verdicts


class _Figure(NamedTuple):
    """A figure of the tripwire, its bound, and on which side of that a leak lies: below (1) or above (-1)."""

    name: str
    value: float | None
    bound: float
    sign: int

    @property
    def distance(self) -> float:
        """How far it is from its bound, negative beyond it; only of a known figure."""
        return math.inf if self.value is None else self.sign * (self.value - self.bound)


def _too_good(scores: pd.DataFrame, entry: str, horizon: int, thresholds: GateThresholds) -> list[_Figure]:
    own, last_price = _Figures(scores, entry, horizon), _Figures(scores, LAST_PRICE, horizon)
    mape, last_mape = own.get("mape"), last_price.get("mape")
    mape_ratio = mape / last_mape if mape is not None and last_mape and own.n == last_price.n else None
    accuracy = own.get("directional_accuracy")
    return [
        _Figure(f"{entry}: RMSE to last price", own.get("rmse_ratio"), thresholds.leak_rmse_ratio, 1),
        _Figure(f"{entry}: MAPE to last price", mape_ratio, thresholds.leak_mape_ratio, 1),
        _Figure(f"{entry}: directional accuracy", accuracy, thresholds.leak_directional_accuracy, -1),
    ]


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
    out_of_fold: pd.DataFrame,
    entry: str,
    champion: str | None,
    champion_forecasts: pd.DataFrame | None,
    thresholds: GateThresholds,
) -> list[Verdict]:
    """Whether the entry is no worse than the model that serves: not beyond chance, and not by more than a tolerance.

    Losses are paired: squared errors of log returns on the dates that both have, against the outcomes known now, so
    that a champion of an earlier dataset is judged by what came true. Where that cannot be done it is no pass.

    Args:
        out_of_fold: rows of every entry (`OUT_OF_FOLD_COLUMNS`).
        entry: what would serve.
        champion: what serves, in words; None if nothing does.
        champion_forecasts: `as_of_date`, `horizon_months`, `predicted_price` that the champion was judged by; None if
            there are none.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        if champion is None:
            text = "passes because nothing serves yet"
            verdicts.append(_verdict(CHAMPION, horizon, "passed", None, None, None, text))
        elif champion_forecasts is None:
            text = f"the out-of-fold forecasts of {champion} are not in the warehouse"
            verdicts.append(_verdict(CHAMPION, horizon, "cannot judge", None, None, None, text))
        else:
            verdicts.append(
                _no_worse(
                    CHAMPION,
                    horizon,
                    _paired(out_of_fold[out_of_fold["entry"] == entry], champion_forecasts, horizon),
                    champion,
                    worse=thresholds.champion_worse,
                    p=thresholds.champion_p,
                    thresholds=thresholds,
                )
            )
    return verdicts


def _paired(own: pd.DataFrame, champion: pd.DataFrame, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors [n] of the entry and of the champion on common dates with a known outcome, in time order."""
    served = champion.assign(as_of_date=pd.to_datetime(champion["as_of_date"]))
    served = served.loc[served["horizon_months"] == horizon, ["as_of_date", "predicted_price"]]
    known = own[(own["horizon_months"] == horizon) & own["realised_price"].notna()]
    common = known.merge(served, on="as_of_date", suffixes=("", "_champion")).sort_values("as_of_date")
    outcome = common["realised_price"].to_numpy(float)
    losses = [np.log(common[name].to_numpy(float) / outcome) ** 2 for name in _FORECASTS]
    return losses[0], losses[1]


def _no_worse(
    name: str,
    horizon: int,
    losses: tuple[np.ndarray, np.ndarray],
    rival: str,
    *,
    worse: float,
    p: float,
    thresholds: GateThresholds,
) -> Verdict:
    """Whether an entry is no worse than a rival: not beyond chance, and its RMSE not by more than a share.

    Args:
        losses: [n] squared errors of the entry and of the rival on the same dates, in time order.
        rival: in words.
        worse: how much above the rival's the RMSE may be.
        p: least one-sided p-value of being worse (`significance.diebold_mariano`).
    """
    (own, other), rows, bound = losses, horizon * SESSIONS_PER_MONTH, 1 + worse
    if not len(own):
        return _verdict(name, horizon, "cannot judge", None, bound, 0.0, f"no common date with {rival}")
    ratio, test = math.sqrt(own.mean() / other.mean()), diebold_mariano(own, other, rows)
    text = f"RMSE {ratio:.3f} of that of {rival}, at most {bound:.4g}; p of being worse {test.p_greater:.3f}, "
    text += f"at least {p:.3g}"
    if test.n_eff >= thresholds.min_n_eff and test.p_greater < p:
        return _verdict(name, horizon, "failed", ratio, bound, test.n_eff, text)
    return _judged(name, horizon, ratio, bound, test.n_eff, text, thresholds, upper=True)


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
        bounds = {name: thresholds.sharpe_parity if name == "sharpe" else thresholds.metric_parity for name in off}
        worst = max(off, key=lambda name: off[name] / bounds[name])
        here, there = pairs[worst]
        value = round(off[worst], PARITY_DECIMALS) if math.isfinite(off[worst]) else None
        text = f"{len(off)} metrics equal" if value == 0 else f"{worst} {here:.6g} here, {there:.6g}"
        text += " by the warehouse's SQL"
        outcome: Outcome = "passed" if off[worst] <= bounds[worst] else "failed"
        verdicts.append(_verdict(METRIC_PARITY, horizon, outcome, value, bounds[worst], own.n_eff, text))
    return verdicts


def evaluate_row_parity(difference: Mapping[int, float], what: str, thresholds: GateThresholds) -> list[Verdict]:
    """Whether a network answers for one day what it answers for that day among others.

    Args:
        difference: per horizon, the largest absolute difference of a network output, in units of sigma.
        what: what was compared, in words.
        thresholds: the bounds.
    """
    verdicts = []
    for horizon in HORIZONS_MONTHS:
        found = difference.get(horizon)
        if found is None or not math.isfinite(found):
            verdicts.append(_missing(ROW_PARITY, horizon, "the network's answer for one row or for a batch"))
            continue
        outcome: Outcome = "passed" if found <= thresholds.row_parity else "failed"
        found = round(found, PARITY_DECIMALS)
        text = f"one row and a batch differ by {found:.3g}, at most {thresholds.row_parity:g} ({what})"
        verdicts.append(_verdict(ROW_PARITY, horizon, outcome, found, thresholds.row_parity, None, text))
    return verdicts


def evaluate_replay(differing: Mapping[str, Sequence[str]]) -> list[Verdict]:
    """Whether what was made from all data is made again, bit for bit, from what was known at the time alone.

    One answer for all horizons: they read the same features, scalers, anchors and labels.

    Args:
        differing: per replayed day or fold, what is not the same.
    """
    names = sorted({name for own in differing.values() for name in own})
    text = f"{', '.join(names) or 'everything is the same'} ({', '.join(differing)} replayed)"
    outcome: Outcome = "failed" if names else "passed"
    return [
        _verdict(REPLAY, horizon, outcome, float(len(names)), 0.0, None, text)
        if differing
        else _missing(REPLAY, horizon, "no day was replayed")
        for horizon in HORIZONS_MONTHS
    ]


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
