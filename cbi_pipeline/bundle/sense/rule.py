"""What a sense rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cbi_pipeline.bundle.sense.series import Measured, Tables
from cbi_pipeline.contracts.tables import COT_WEEKLY, MACRO_SERIES

ABOVE_ZERO: Final = 1e-6
"""The limit of a rule that permits nothing: every size above rounding."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One sense rule.

    Args:
        name: what a finding is called.
        table: the raw table whose rows it is about.
        holds: what must hold.
        reason: why, with the figure that the limits rest on.
        check: measures; see `series.measured`.
        warning, error: the size from which on a row is one; None if it never is.
        unit: what the size is in.
    """

    name: str
    table: str
    holds: str
    reason: str
    check: Callable[[Tables], Measured]
    warning: float | None
    error: float | None
    unit: str = ""


def _days(**first: str) -> dict[str, pd.Timestamp]:
    return {name: pd.Timestamp(day) for name, day in first.items()}


FIRST_DATES: Final[dict[str, dict[str, pd.Timestamp]]] = {
    MACRO_SERIES.name: _days(
        DGS10="1962-01-02",
        DGS2="1976-06-01",
        VIXCLS="1990-01-02",
        DEXBZUS="1995-01-02",
        DTWEXBGS="2006-01-02",
        WB_PALM_OIL="1960-01-01",
        WB_SOYBEAN_OIL="1960-01-01",
        EPA_D4_RINS="2010-07-01",
    ),
    COT_WEEKLY.name: {code: pd.Timestamp("2006-06-13") for code in ("007601", "005602", "026603")}
    | {"037021": pd.Timestamp("2021-05-01")},
}
"""The first date that a series has at its publisher (the World Bank's month, FRED's and the CFTC's first rows)."""
