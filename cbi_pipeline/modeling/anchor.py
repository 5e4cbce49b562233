"""The anchor: what a few economic facts alone say about ZL 3 to 12 months ahead.

`anchor_h = w * (curve_h + sigma_h * beta_h' x)`: half the futures carry, smoothly capped, plus a ridge
on two fundamentals. An input that is not known adds nothing, and `anchor_kind` says so. Inputs are
joined on `available_at`; the fit takes labels known before a given date only.

References:
    Ridge: Hoerl and Kennard (1970), Technometrics 12(1). Futures carry as a price forecast, and why
    half of it: Fama and French (1987), Journal of Business 60(1). Moments as means over the rows where
    their terms are known (available-case analysis): Little and Rubin (2019), Statistical Analysis with
    Missing Data, 3rd ed., section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.fundamentals import curve_carry, palm_ratio_deviation, session_numbers, stocks_to_use_deviation
from cbi_pipeline.market_calendar import as_of_times, target_dates
from cbi_pipeline.modeling.volatility import (
    front_price,
    long_run_sigma,
    sigma_h,
    state_at,
)

FUNDAMENTALS: Final = ("stocks_to_use_deviation", "palm_soybean_oil_ratio_deviation")
INPUT_COLUMNS: Final = ("carry", *FUNDAMENTALS)
ANCHOR_WEIGHT: Final = 0.5
CARRY_SHARE: Final = 0.5
CAP_SHARE_OF_SIGMA: Final = 0.25
TARGET_CLIP: Final = 2.0
PENALTY_PER_WEEK: Final = 10.0
HORIZON_WEEKS: Final[dict[int, int]] = {3: 13, 6: 26, 9: 39, 12: 52}
MIN_ROWS: Final = 104
"""Weekly rows on which each fundamental must be known before its coefficient is fitted."""

CURVE_MAX_AGE_SESSIONS: Final = 5
WASDE_MAX_AGE_DAYS: Final = 62
"""Since the release: two monthly intervals, since the releases of 2013-10 and 2019-01 were cancelled."""
WORLD_BANK_MAX_AGE_DAYS: Final = 75
"""Since the first day of the month described, which is published in the first days of the next."""

_KIND_NAMES: Final = {
    "carry": "curve",
    "stocks_to_use_deviation": "stocks_to_use",
    "palm_soybean_oil_ratio_deviation": "palm_ratio",
}


class AnchorFit(BaseModel):
    """Ridge coefficients of the anchor.

    Attributes:
        known_before: every label used was known before this date.
        beta: per horizon in months, per fundamental: units of sigma_h per unit of log deviation.
        rows: per horizon, weekly rows used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    known_before: date
    beta: dict[int, dict[str, float]]
    rows: dict[int, int]


def anchor_inputs(tables: Mapping[str, pd.DataFrame], index: pd.Index | None = None) -> pd.DataFrame:
    """The anchor's inputs as known at the close of each trade date.

    Args:
        tables: raw tables by name.
        index: trade dates; those of `front_price` if None.

    Returns:
        Columns `INPUT_COLUMNS`, missing where no value is known or the last one is older than its
        maximum age: carry 5 sessions, WASDE 62 days since its release, World Bank 75 days since the first
        day of the month it describes.
    """
    index = pd.DatetimeIndex(front_price(tables).index if index is None else index)
    carry = curve_carry(tables).rename(columns={"carry": "value"})
    by_session = pd.Series(session_numbers(carry.index), index=carry.index)
    joined = {
        "carry": _join(carry, index, session_numbers(index), by_session, CURVE_MAX_AGE_SESSIONS),
    }
    day = index.to_numpy().astype("datetime64[D]").astype(int)
    for name, frame, limit in (
        ("stocks_to_use_deviation", stocks_to_use_deviation(tables), WASDE_MAX_AGE_DAYS),
        ("palm_soybean_oil_ratio_deviation", palm_ratio_deviation(tables), WORLD_BANK_MAX_AGE_DAYS),
    ):
        by_day = pd.Series(frame.index.to_numpy().astype("datetime64[D]").astype(int), index=frame.index)
        joined[name] = _join(frame, index, day, by_day, limit)
    return pd.DataFrame(joined, index=index)[list(INPUT_COLUMNS)]


def _join(frame: pd.DataFrame, index: pd.DatetimeIndex, now: np.ndarray, event: pd.Series, limit: int) -> np.ndarray:
    """Last value available at each as-of time, missing where `now` - `event` exceeds `limit`. [len(index)]."""
    right = pd.DataFrame(
        {"time": frame["available_at"].dt.as_unit("ns"), "value": frame["value"], "event": event.astype(float)}
    ).sort_values(["time", "event"])
    left = pd.DataFrame({"time": as_of_times(index)})
    found = pd.merge_asof(left, right, on="time")
    return found["value"].where(now - found["event"] <= limit).to_numpy()


def curve_log_return(inputs: pd.DataFrame, state: pd.DataFrame, capped: bool) -> pd.DataFrame:
    """Log return that the futures curve implies, missing where the carry is unknown.

    Args:
        inputs: as of `anchor_inputs`.
        state: as of `volatility_state`.
        capped: True for the anchor's part, half the carry capped at `c tanh(curve / c)` with `c` a quarter of
            the long-run sigma at the horizon; False for the benchmark, the whole carry.

    Returns:
        Index of `inputs`, one column per horizon in months.
    """
    whole = pd.DataFrame({h: inputs["carry"] * h / 12 for h in HORIZONS_MONTHS})
    if not capped:
        return whole
    cap = CAP_SHARE_OF_SIGMA * long_run_sigma(state_at(state, inputs.index))
    return cap * np.tanh(CARRY_SHARE * whole / cap)


def weekly_rows(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The last date of `index` in each week ending on a Friday."""
    dates = pd.Series(index, index=index)
    return pd.DatetimeIndex(dates.groupby(index.to_period("W-FRI")).max())


def fit_anchor(front: pd.Series, inputs: pd.DataFrame, state: pd.DataFrame, known_before: pd.Timestamp) -> AnchorFit:
    """Fit `beta_h` on the weekly rows whose label is known before a date.

    Target `(log return - curve_h) / sigma_h`, clipped at 2; fundamentals divided by their training
    standard deviation; ridge without intercept, penalty 10 x horizon in weeks. A row takes part with the
    fundamentals it has: each moment is a mean over the rows where its terms are known, so that the
    palm ratio is learned from 1985 though WASDE vintages begin in 1995. A row with neither is dropped.

    Args:
        front: front price, cents/lb, by trade date.
        inputs: as of `anchor_inputs`, on the same dates.
        state: as of `volatility_state`.
        known_before: labels with a target date on or after this date are not used.

    Raises:
        ModelError: a fundamental is known on fewer than `MIN_ROWS` rows.
    """
    rows = weekly_rows(pd.DatetimeIndex(front.index))
    targets = target_dates(rows)
    sigma = sigma_h(state_at(state, rows))
    curve = curve_log_return(inputs.loc[rows], state, capped=True)
    log_front = np.log(front)
    beta, used = {}, {}
    for h in HORIZONS_MONTHS:
        realised = log_front.reindex(pd.DatetimeIndex(targets[h])).to_numpy() - log_front.loc[rows].to_numpy()
        known_curve = curve[h].where(inputs.loc[rows, "carry"].notna(), other=0.0)  # an unknown curve adds nothing
        target = pd.Series((realised - known_curve) / sigma[h], index=rows).clip(-TARGET_CLIP, TARGET_CLIP)
        usable = targets[h].lt(known_before) & target.notna() & inputs.loc[rows, list(FUNDAMENTALS)].notna().any(axis=1)
        x, y = inputs.loc[rows[usable], list(FUNDAMENTALS)], target[usable]
        if (short := x.notna().sum()).lt(MIN_ROWS).any():
            raise ModelError(
                f"anchor at {h} months, labels known before {known_before.date()}",
                f"each fundamental must be known on {MIN_ROWS} weekly rows, got {short.to_dict()}.",
                "fit on a later date, or add earlier fundamentals to the bundle.",
            )
        beta[h], used[h] = _available_case_ridge(x, y.to_numpy(), PENALTY_PER_WEEK * HORIZON_WEEKS[h]), len(x)
    return AnchorFit(known_before=known_before.date(), beta=beta, rows=used)


def _available_case_ridge(x: pd.DataFrame, y: np.ndarray, penalty: float) -> dict[str, float]:
    """Coefficients per unit of x, from moments that are each a mean over the rows where their terms are known.

    Solves `(G + penalty / n I) b = g` with `G_ij` the mean of `z_i z_j` and `g_i` the mean of `z_i y`, `z` being x per
    training standard deviation. Nothing stands in for an unknown term. On complete rows it is ordinary ridge.
    """
    scale = x.std(ddof=0)
    z = x / scale
    gram = pd.DataFrame({i: {j: (z[i] * z[j]).mean() for j in z} for i in z})
    moment = z.mul(y, axis=0).mean()
    beta = np.linalg.solve(gram.to_numpy() + penalty / len(y) * np.eye(len(gram)), moment.to_numpy())
    return dict(zip(x.columns, (beta / scale).tolist(), strict=True))


def anchor_log_return(
    fit: AnchorFit, inputs: pd.DataFrame, state: pd.DataFrame, weight: float = ANCHOR_WEIGHT
) -> pd.DataFrame:
    """Log return from the front price that the anchor expects; an unknown input adds nothing.

    Args:
        fit: fitted coefficients.
        inputs: as of `anchor_inputs`.
        state: as of `volatility_state`.
        weight: `w` of the design.

    Returns:
        Index of `inputs`, one column per horizon in months; missing only where sigma_h is unknown.
    """
    sigma = sigma_h(state_at(state, inputs.index))
    curve = curve_log_return(inputs, state, capped=True)
    columns = {}
    for h in HORIZONS_MONTHS:
        fundamental = inputs[list(FUNDAMENTALS)].mul(pd.Series(fit.beta[h])).sum(axis=1, skipna=True)
        terms = pd.DataFrame({"curve": curve[h], "fundamental": sigma[h] * fundamental})
        columns[h] = weight * terms.sum(axis=1, skipna=True).where(sigma[h].notna())
    return pd.DataFrame(columns)


def anchor_kind(inputs_row: pd.Series) -> str:
    """Which inputs the anchor could use, joined by '+': 'curve+stocks_to_use+palm_ratio', or 'last_price' if none."""
    known = [name for column, name in _KIND_NAMES.items() if pd.notna(inputs_row[column])]
    return "+".join(known) if known else "last_price"
