"""How forecasts that have matured fare beside the back-test of the model that serves.

Belongs here: from rows whose outcome is known to figures, bands and outcomes per horizon. Which rows count, and what an
outcome does to a forecast's status, is decided by `stages/live_skill.py`.

Figures. Those of the newest `WINDOW_SESSIONS` forecasts of a horizon that have matured; with fewer nothing is known
yet. Each is compared with the same figure on every window of as many consecutive sessions of the model's out-of-fold
record, so that overlap, autocorrelation and crises weigh in both alike. Record and live window share no day: a row of
the record counts if its outcome was known at the close from which the window's first forecast starts.

Judged are the RMSE ratio to last price (has the model lost what it was worth?) and MAPE (are the errors larger than
anything the record holds?), in logs, above only. A window's score is its distance from the median window in units of
their 90th percentile's distance. The limit of a figure at all horizons is the largest score of any window at any
horizon: one limit for four horizons, so that its false-alarm rate is that of one test. If periods are exchangeable,
that is 1 / (m + 1) a figure, with m the windows of the longest horizon that do not overlap (`alarm_rate` adds up the
two). A percentile of the windows would promise 5 % and break it: five years hold four such windows, eleven years ten.

Measured (`benchmarks/live_bands.py`), each stretch of the record judged by the others, share of days with an alarm of
any figure at any horizon: 1.3 % on the twelve test years of the profile `full`, most of them in the shock of 2021;
8.5 % on the five of `quick`. With the real errors of the stretch doubled 94 and 87 %, one and a half times as large 33
and 61 %. In windows of 63 forecasts false alarms are 4 and 37 %.

Bias, direction, coverage and CRPS are given with the range of their windows and decide nothing. Their false alarms are
many (bias 18 and 55 % of days: it is the trend of the price), and since 2021 the record holds windows without a single
outcome inside the 80 % interval, so that no coverage can be out of its range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

import numpy as np
import pandas as pd

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.metrics import INTERVALS, SESSIONS_PER_MONTH, effective_n

Outcome = Literal["within", "beyond", "not yet known", "cannot judge"]

WINDOW_SESSIONS: Final = 21
"""A month. Longer windows see a little more, and in a record of five years raise three times as many false alarms."""
MINIMUM_PERIODS: Final = 3
"""Windows of the record that do not overlap below which nothing is said to be beyond it."""
UNIT_QUANTILE: Final = 0.9
JUDGED: Final = ("rmse_ratio", "mape")
QUANTILE_LEVELS: Final = {"q05": 0.05, "q10": 0.1, "q25": 0.25, "q75": 0.75, "q90": 0.9, "q95": 0.95}
"""Quantiles that live and out-of-fold rows both keep; CRPS is twice the mean pinball loss over these six."""
FIGURES: Final = (
    *JUDGED,
    "rmse",
    "bias",
    "directional_accuracy",
    *(f"coverage_{nominal}" for nominal in INTERVALS),
    "crps",
)
ROW_COLUMNS: Final = (
    "as_of_date",
    "horizon_months",
    "target_date",
    "last_price",
    "predicted_price",
    *QUANTILE_LEVELS,
    "realised_price",
)
_LABELS: Final = {"rmse_ratio": "RMSE ratio to last price", "mape": "MAPE"}


@dataclass(frozen=True, slots=True)
class LiveFigure:
    """One figure of one horizon.

    Attributes:
        value: on the window's rows; None if it is not defined, as without a row.
        low, high: band of the back-test; None where there is no bound.
        n, n_eff: rows of the window, and rows that do not overlap.
        first_day, last_day: as-of dates of the window; None without a row.
        windows, periods: windows of the record, and how many of them do not overlap.
        judged: whether the outcome counts.
        reason: why it is not within; empty if it is.
    """

    horizon_months: int
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_eff: float
    first_day: date | None
    last_day: date | None
    windows: int
    periods: float
    judged: bool
    outcome: Outcome
    reason: str


def window_figures(rows: pd.DataFrame, length: int) -> pd.DataFrame:
    """All `FIGURES` on every window of consecutive rows.

    Args:
        rows: `ROW_COLUMNS` of one horizon, outcomes known, oldest first, at least `length`.
        length: rows of a window.

    Returns:
        [len(rows) - length + 1, figures]. MAPE in percent; errors, bias and CRPS in log price; shares 0 to 1. Missing
        where a figure is not defined: no price moved, or no forecast has a direction.
    """
    realised, last = np.log(rows["realised_price"].to_numpy(float)), np.log(rows["last_price"].to_numpy(float))
    error = np.log(rows["predicted_price"].to_numpy(float)) - realised
    foreseen, moved = (
        np.sign((rows[name] - rows["last_price"]).to_numpy()) for name in ("predicted_price", "realised_price")
    )
    inside = {
        f"coverage_{nominal}": rows["realised_price"].between(rows[low], rows[high]).to_numpy(float)
        for nominal, (low, high) in INTERVALS.items()
    }
    mean = {
        name: _rolling_mean(values, length)
        for name, values in {
            "mape": 100 * np.abs(np.expm1(error)),
            "squared": error**2,
            "squared_last": (last - realised) ** 2,
            "bias": error,
            "directed": (foreseen * moved != 0).astype(float),
            "right": (foreseen * moved > 0).astype(float),
            **inside,
            "crps": _crps(rows, realised),
        }.items()
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        derived = {
            "rmse": np.sqrt(mean["squared"]),
            "rmse_ratio": np.sqrt(mean["squared"] / mean["squared_last"]),
            "directional_accuracy": mean["right"] / mean["directed"],
        }
    return pd.DataFrame(mean | derived)[list(FIGURES)].replace([np.inf, -np.inf], np.nan)


def _rolling_mean(values: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, length).mean(axis=1)


def _crps(rows: pd.DataFrame, realised: np.ndarray) -> np.ndarray:
    miss = realised[:, None] - np.log(rows[list(QUANTILE_LEVELS)].to_numpy(float))
    levels = np.array(list(QUANTILE_LEVELS.values()))
    return 2 * np.maximum(levels * miss, (levels - 1) * miss).mean(axis=1)


@dataclass(frozen=True, slots=True)
class _Horizon:
    """The window of one horizon and the windows that it is compared with; without any, why not."""

    months: int
    rows: pd.DataFrame
    figures: pd.Series
    windows: pd.DataFrame
    periods: float
    outcome: Outcome
    reason: str


def evaluate(live: pd.DataFrame, record: pd.DataFrame) -> list[LiveFigure]:
    """Every figure of every horizon, judged against the record.

    Args:
        live: `ROW_COLUMNS` of forecasts whose outcome is known, one per as-of date and horizon.
        record: the same of the model's out-of-fold forecasts.

    Returns:
        `HORIZONS_MONTHS` x `FIGURES`.
    """
    horizons = [_horizon(months, live, record) for months in HORIZONS_MONTHS]
    found = bands({one.months: one.windows for one in horizons})
    return [_figure(one, metric, *found[one.months, metric]) for one in horizons for metric in FIGURES]


def bands(windows: Mapping[int, pd.DataFrame]) -> dict[tuple[int, str], tuple[float, float]]:
    """Lowest and highest value that a record explains, by horizon and figure; missing where there is no bound.

    Args:
        windows: `window_figures` by horizon; empty where nothing is to be judged.
    """
    found = {
        (months, metric): (float(own[metric].min()), float(own[metric].max()))
        for months, own in windows.items()
        for metric in FIGURES
    }
    for metric in JUDGED:
        scales = {months: _Scale.of(own[metric]) for months, own in windows.items()}
        limit = max((scale.largest_score for scale in scales.values() if scale), default=0.0)
        for months, scale in scales.items():
            high = float(np.exp(scale.middle + limit * scale.unit)) if scale else float("nan")
            found[months, metric] = float("nan"), high
    return found


@dataclass(frozen=True, slots=True)
class _Scale:
    """How a judged figure spreads over its windows, in logs: their median, how far above it their `UNIT_QUANTILE` lies,
    and the largest distance above it in units of that."""

    middle: float
    unit: float
    largest_score: float

    @staticmethod
    def of(windows: pd.Series) -> _Scale | None:
        """None without windows, or if they do not spread."""
        known = windows.to_numpy(float)
        logs = np.log(known[known > 0])
        if not len(logs):
            return None
        middle, upper = np.quantile(logs, [0.5, UNIT_QUANTILE])
        unit = float(upper - middle)
        return _Scale(float(middle), unit, float(logs.max() - middle) / unit) if unit > 0 else None


def alarm_rate(figures: Sequence[LiveFigure]) -> float | None:
    """At most how probable it is that a new period, exchangeable with those of the record, is beyond it; None if no
    figure is judged."""
    periods = [one.periods for one in figures if one.judged and one.high is not None]
    return min(1.0, len(JUDGED) / (min(periods) + 1)) if periods else None


def refusals(figures: Sequence[LiveFigure]) -> dict[int, list[str]]:
    """Why forecasts of each horizon are on HOLD; no reason where the judged figures are within, or not yet known."""
    return {
        months: list(
            dict.fromkeys(
                one.reason
                for one in figures
                if one.judged and one.horizon_months == months and one.outcome in ("beyond", "cannot judge")
            )
        )
        for months in HORIZONS_MONTHS
    }


def _horizon(months: int, live: pd.DataFrame, record: pd.DataFrame) -> _Horizon:
    own = live[live["horizon_months"] == months].sort_values("as_of_date").tail(WINDOW_SESSIONS)
    figures = window_figures(own, len(own)).iloc[0] if len(own) else pd.Series(np.nan, index=list(FIGURES))
    unknown = _Horizon(months, own, figures, pd.DataFrame(columns=list(FIGURES)), 0.0, "not yet known", "")
    if len(own) < WINDOW_SESSIONS:
        return replace(unknown, reason=f"{len(own)} forecasts have matured, {WINDOW_SESSIONS} are needed")
    first = own["as_of_date"].iloc[0]
    before = record[(record["horizon_months"] == months) & (record["target_date"] <= first)]
    periods = len(before) / (len(own) + months * SESSIONS_PER_MONTH)
    if periods < MINIMUM_PERIODS:
        reason = (
            f"live errors at {months} months cannot be judged: the back-test before {first.date()} holds {periods:.1f} "
            f"windows of {len(own)} forecasts that do not overlap, {MINIMUM_PERIODS} are needed"
        )
        return replace(unknown, periods=periods, outcome="cannot judge", reason=reason)
    windows = window_figures(before.sort_values("as_of_date"), len(own))
    return _Horizon(months, own, figures, windows, periods, "within", "")


def _figure(one: _Horizon, metric: str, low: float, high: float) -> LiveFigure:
    value, judged = float(one.figures[metric]), metric in JUDGED
    outcome, reason = one.outcome, one.reason
    if outcome == "within" and (np.isnan(value) or np.isnan(high)):
        outcome = "cannot judge"
        reason = f"{metric} at {one.months} months cannot be judged: it is not defined on these rows"
    elif outcome == "within" and (value > high or value < low):
        outcome, reason = "beyond", _beyond(one, metric, value, low, high)
    days = one.rows["as_of_date"]
    return LiveFigure(
        horizon_months=one.months,
        metric=metric,
        value=_known(value),
        low=_known(low),
        high=_known(high),
        n=len(days),
        n_eff=effective_n(len(days), one.months),
        first_day=days.iloc[0].date() if len(days) else None,
        last_day=days.iloc[-1].date() if len(days) else None,
        windows=len(one.windows),
        periods=one.periods,
        judged=judged,
        outcome=outcome,
        reason=reason,
    )


def _beyond(one: _Horizon, metric: str, value: float, low: float, high: float) -> str:
    if metric not in JUDGED:
        return f"{metric} at {one.months} months is outside the range of the back-test, {low:.3f} to {high:.3f}"
    digits, unit = (1, "%") if metric == "mape" else (3, "")
    return (
        f"live errors at {one.months} months are beyond the back-test band ({_LABELS[metric]} "
        f"{value:.{digits}f}{unit}, at most {high:.{digits}f}{unit} by {len(one.windows):,} windows of {len(one.rows)} "
        "forecasts)"
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
