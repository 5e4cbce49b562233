"""Correlations whose sign is certain: parts of a formula, a feature and what it summarises, and substitutes.

Parts. A margin rises when one product rises and all else stands still. The simple correlation does not show that: in
52 % of the trailing years from 2002 to 2024 the crush margin fell, on balance, when oil rose, since soybeans rose too.
So the changes of a feature are regressed on the changes of all its parts together, and each coefficient has to
have its sign. Data cannot break that; a wrong leg, unit or sign in the formula does, so it is an error.

Pairs. Simple correlations, as errors where one follows from the other and as warnings where it is economics. Beside
each stands the smallest value of any trailing year to 2024: a limit of zero leaves that much room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.build import check_frame
from cbi_pipeline.features.declarations import CL, DGS2, DGS10, HO, ZM, ZS, Input
from cbi_pipeline.features.point_in_time import PointInTime
from cbi_pipeline.features.validation.findings import Finding, Severity

CHECK: Final = "signs"
WINDOW_SESSIONS: Final = 252
MINIMUM_OBSERVED: Final = 126
"""Rows of the window with a value on both sides; with fewer there is no verdict, and the staleness check says why."""

Part = Input | str
"""A source, or the name of a feature of the frame."""

PARTS: Final[Mapping[str, Mapping[Part, int]]] = {
    "soybean_crush_spread": {ZM: 1, "close": 1, ZS: -1},
    "soybean_meal_spread": {"close": 1, ZM: -1},
    "WTI_spread": {"close": 1, CL: -1},
    "palm_spread": {"palm_price": 1, HO: -1},
    "palm_soybean_oil_spread": {"palm_price": 1, "close": -1},
    "heating_oil_spread": {"close": 1, HO: -1},
    "yield_curve_slope": {DGS10: 1, DGS2: -1},
}


@dataclass(frozen=True)
class Pair:
    """Two series that go together.

    Args:
        subject, with_what: for readers; `subject` is a feature.
        series: the two series of [T] from the frame.
        severity: error where it follows from definitions, warning where it is economics.
        smallest: smallest correlation in any trailing window of the real history to 2024-12.
    """

    subject: str
    with_what: str
    series: Callable[[pd.DataFrame], tuple[pd.Series, pd.Series]]
    severity: Severity
    smallest: float


def _log_change(column: pd.Series, sessions: int) -> pd.Series:
    return np.log(column.where(column > 0)).diff(sessions)


PAIRS: Final[tuple[Pair, ...]] = (
    Pair(
        "RSI_14",
        "the return of 14 sessions",
        lambda f: (f["RSI_14"], f["log_returns"].rolling(14).sum()),
        "error",
        0.807,
    ),
    Pair(
        "CCI_14",
        "the return of 14 sessions",
        lambda f: (f["CCI_14"], f["log_returns"].rolling(14).sum()),
        "error",
        0.624,
    ),
    Pair(
        "VIX_zscore",
        "changes of VIX_level",
        lambda f: (f["VIX_zscore"].diff(), f["VIX_level"].diff()),
        "error",
        0.834,
    ),
    Pair(
        "USD_BRL_returns",
        "the change of USD_BRL over 21 sessions",
        lambda f: (f["USD_BRL_returns"], _log_change(f["USD_BRL"], 21)),
        "error",
        0.825,
    ),
    Pair(
        "palm_price",
        "the return of soybean oil, its substitute",
        lambda f: (_log_change(f["palm_price"], 1), f["log_returns"]),
        "warning",
        0.126,
    ),
    Pair(
        "CFTC_commercial_short",
        "managed-money longs over 21 sessions: hedgers sell what funds buy",
        lambda f: (f["CFTC_commercial_short"].diff(21), f["CFTC_managed_money_long"].diff(21)),
        "warning",
        0.358,
    ),
)


def check_signs(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Wrong signs over the last 252 rows: of the parts of a formula and of pairs that go together.

    Args:
        frame: [T, F] from `build_features(tables)`.
        tables: raw tables by name: the parts are read from there, not from the features.

    Raises:
        FeatureError: the frame is not the catalogue's, or the tables hold no usable ZL.
    """
    check_frame(frame)
    known = PointInTime.from_tables(tables)
    window = frame.index[-WINDOW_SESSIONS:]
    findings = []
    for name, signs in PARTS.items():
        parts = pd.DataFrame({_label(part): _values(part, frame, known) for part in signs})
        coefficients = change_coefficients(frame[name].loc[window], parts.reindex(window))
        for part, sign in signs.items():
            found = coefficients.get(_label(part))
            if found is not None and not found * sign > 0:
                wanted = "above 0" if sign > 0 else "below 0"
                reason = f"All else equal, it does not {'rise' if sign > 0 else 'fall'} when {_label(part)} rises."
                findings.append(Finding(CHECK, "error", name, float(found), wanted, reason))
    values = frame.astype("float64")
    for pair in PAIRS:
        one, other = (series.loc[window] for series in pair.series(values))
        if (one.notna() & other.notna()).sum() < MINIMUM_OBSERVED or min(one.nunique(), other.nunique()) < 2:
            continue  # a constant has no correlation; `constant.py` reports it
        found = one.corr(other)
        if not found > 0:
            reason = (
                f"It does not move with {pair.with_what}; the smallest correlation of any trailing year to 2024 was "
                f"{pair.smallest:g}."
            )
            findings.append(Finding(CHECK, pair.severity, pair.subject, float(found), "above 0", reason))
    return findings


def change_coefficients(whole: pd.Series, parts: pd.DataFrame) -> dict[str, float]:
    """Least-squares coefficients of the changes of `whole` on the changes of its parts; empty with too few rows.

    Args:
        whole: [T], any unit.
        parts: [T, P], columns by name, same index.
    """
    changes = pd.concat([whole.rename("whole"), parts], axis=1).astype("float64").diff().dropna()
    if len(changes) < MINIMUM_OBSERVED:
        return {}
    design = np.column_stack([np.ones(len(changes)), changes[parts.columns].to_numpy()])
    solution = np.linalg.lstsq(design, changes["whole"].to_numpy(), rcond=None)[0]
    return dict(zip(parts.columns, solution[1:], strict=True))


def _label(part: Part) -> str:
    return part if isinstance(part, str) else part.label


def _values(part: Part, frame: pd.DataFrame, known: PointInTime) -> pd.Series:
    if isinstance(part, str):
        return frame[part]
    value = "value" if part.table == "macro_series" else "close"
    return known.latest(part, [value])[value]
