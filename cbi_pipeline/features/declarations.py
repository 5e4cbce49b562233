"""What a feature declaration is made of: the types, and the raw series with their maximum ages.

A maximum age is stated here and nowhere else. Of other packages nothing but the standard library is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from cbi_pipeline.errors import FeatureError

Pillar = Literal[
    "prices", "technical", "substitution_and_macro", "weather", "positioning_and_regime", "supply_and_demand"
]
Transformation = Literal[
    "level",
    "log",
    "relative_to_close",
    "log_relative_to_close",
    "log_relative_to_trailing_mean",
    "difference_from_trailing_mean",
    "one_hot",
]
Range = tuple[float, float]
"""Smallest and largest, both inclusive."""
Bounds = tuple[float | None, float | None]
"""A range of which a side may be open (None)."""

NEVER: Final = "never"
"""What `missing_because` says of a column without gaps."""
NOT_NEGATIVE: Final[Bounds] = (0.0, None)
PERCENT: Final[Range] = (0.0, 100.0)
Z_SCORE: Final[Range] = (-16.0, 16.0)
"""A z-score within its own window of 252 is at most 251 / sqrt(252) = 15.8."""


@dataclass(frozen=True, slots=True)
class Input:
    """One series of a raw table, with the two facts that decide when its values are used.

    Args:
        table, column, key: rows of `table` whose `column` equals `key`.
        event_date: the column with the date a row describes.
        publication_lag: in words, when a value could first be known (the moment itself is `available_at`).
        maximum_age_days: a value is used while `trade date - event date` is at most this many calendar
            days, and is missing after: as long as holidays and the publication cadence explain, no longer.
        columns: what a feature calculates with; keys, dates and `available_at` choose the rows of every
            feature and stand here only where they enter the arithmetic. They take no part in comparison:
            a series is the same one whatever is read of it.
        history_only: the series stands for dates before another one begins, so today it can be neither
            stale nor missed.
    """

    table: str
    column: str
    key: str
    event_date: str
    publication_lag: str
    maximum_age_days: int
    columns: tuple[str, ...] = field(default=(), compare=False)
    history_only: bool = False

    def reading(self, *columns: str) -> Input:
        """The same series, of which these columns are read."""
        return replace(self, columns=columns)

    @property
    def label(self) -> str:
        """`table/key`, as lineage and error messages show it."""
        return f"{self.table}/{self.key}"


def _future(symbol: str, lag: str, age: int) -> Input:
    return Input("futures_daily", "symbol", symbol, "trade_date", lag, age, ("close",))


def _macro(series: str, lag: str, age: int) -> Input:
    return Input("macro_series", "series_id", series, "date", lag, age, ("value",))


_SAME_DAY: Final = "14:00 Chicago on its trade date"
_NEXT_DAY_H15: Final = "16:15 New York on the next US business day, so used from the session after that"
ZL: Final = _future("ZL", _SAME_DAY, 0)
ZS: Final = _future("ZS", _SAME_DAY, 0)
ZM: Final = _future("ZM", _SAME_DAY, 0)
CL: Final = _future("CL", _SAME_DAY, 4)
HO: Final = _future("HO", _SAME_DAY, 4)
FCPO: Final = _future("FCPO", "18:00 Kuala Lumpur on its trade date, before the same date's CBOT open", 7)
USDMYR: Final = _macro("USDMYR", "00:00 UTC of the next calendar day", 7)
DEXBZUS: Final = _macro("DEXBZUS", "H.10: 16:15 New York on the Monday after the week", 14)
VIXCLS: Final = _macro("VIXCLS", _NEXT_DAY_H15, 7)
DGS10: Final = _macro("DGS10", _NEXT_DAY_H15, 7)
DGS2: Final = _macro("DGS2", _NEXT_DAY_H15, 7)
_FEDERAL_REGISTER: Final = "Federal Register publication, 08:45 New York"
RFS: Final = Input("policy", "series", "rfs_bbd_volume", "published_on", _FEDERAL_REGISTER, 730, ("value",))
"""Its age counts from 31 December of the compliance year, to which `substitution.mandate_features` re-dates a rule."""
COT: Final = Input(
    "cot_weekly",
    "market_code",
    "007601",
    "report_date",
    "Friday 15:30 New York after the Tuesday: used from the next session",
    14,
)
CURVE: Final = Input("futures_curve", "symbol", "ZL", "trade_date", _SAME_DAY, 7, ("price",))
"""Seven calendar days are five sessions in a week without a holiday. The feed ends on 2023-11-30."""
CURVE_HISTORY: Final = Input(
    "futures_curve",
    "symbol",
    "ZL",
    "trade_date",
    _SAME_DAY + ", for trade dates before futures_daily names its contracts (2010-06-07)",
    0,
    ("price",),
    history_only=True,
)
_WASDE: Final = "on the release date, 08:30 New York to 2012 and 12:00 New York since"


def _wasde(item: str) -> Input:
    series = f"wasde_us_soybean_oil_{item}"
    return Input("fundamentals", "series_id", series, "release_date", _WASDE, 62, ("value",))


WASDE_STOCKS: Final = _wasde("ending_stocks")
"""62 days are two monthly intervals: the releases of 2013-10 and 2019-01 were cancelled."""
WASDE_USE: Final = _wasde("use_total")
_WORLD_BANK: Final = "third US business day of the next month, 12:00 UTC"
WB_PALM_OIL: Final = _macro("WB_PALM_OIL", _WORLD_BANK, 75)
WB_SOYBEAN_OIL: Final = _macro("WB_SOYBEAN_OIL", _WORLD_BANK, 75)
"""A month's age counts from its first day, so 75 days end two weeks after the next month should be out."""
D4_RINS: Final = _macro("EPA_D4_RINS", "20th of the next month or the US business day after it, 12:00 New York", 95)
PALM_STOCKS: Final = _macro("MPOB_PALM_STOCKS", "15th of the next month, 12:00 UTC", 88)
DTWEXBGS: Final = _macro("DTWEXBGS", "H.10: 16:15 New York on the Monday after the week", 14)
WEATHER: Final[dict[str, Input]] = {
    region: Input("weather_daily", "region", region, "date", "one to three days after the local day, by provider", 7)
    for region in ("brazil", "argentina", "midwest")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of the feature frame.

    Args:
        name, pillar, unit: as users see it.
        inputs: every series that the value is made of, with the columns that are read.
        formula: the arithmetic, in words or symbols.
        reference: where the method or the conversion comes from.
        function: dotted name of the pure function (a `PointInTime` in, columns by name out).
        transformation: what a network sees instead of the value (`driver_set.py`).
        missing_because: why values can be missing before and after the first usable row; NEVER if they cannot.
        possible: smallest and largest value that is not a defect: limits of the raw tables carried through
            the formula, and of the exchange. A record of twice the past stays inside; a wrong unit or a lost
            decimal point does not.
        by_definition: what the arithmetic cannot leave, whatever the data, so that a value outside is a
            defect of the formula.
        formula_version: raised whenever the formula changes, so that `feature_hash` changes with it.
        economic_reason: one line, why a price 3 to 12 months ahead could depend on it; '' for the 43 that
            the desk asked for.

    Raises:
        FeatureError: an input without columns.
    """

    name: str
    pillar: Pillar
    unit: str
    inputs: tuple[Input, ...]
    formula: str
    reference: str
    function: str
    transformation: Transformation
    missing_because: str
    possible: Range
    by_definition: Bounds = (None, None)
    formula_version: int = 1
    economic_reason: str = ""

    def __post_init__(self) -> None:
        for source in self.inputs:
            if not source.columns:
                rule = f"it does not say which columns it reads of {source.label}."
                raise FeatureError(self.name, rule, "name them with `.reading(...)` in its inputs.")

    @property
    def is_extra(self) -> bool:
        """Whether it stands beyond the 43 that the desk asked for."""
        return bool(self.economic_reason)

    @property
    def never_missing(self) -> bool:
        """Whether a missing value is a defect."""
        return self.missing_because == NEVER

    @property
    def raw_columns(self) -> dict[str, tuple[str, ...]]:
        """Columns that the value is computed from, by raw table, in the order of the inputs."""
        found: dict[str, tuple[str, ...]] = {}
        for source in self.inputs:
            found[source.table] = tuple(dict.fromkeys((*found.get(source.table, ()), *source.columns)))
        return found

    @property
    def publication_lag(self) -> str:
        """Publication lag of every input, in words."""
        return "; ".join(f"{i.label}: {i.publication_lag}" for i in self.inputs)

    @property
    def maximum_age_days(self) -> int:
        """Largest maximum age of the inputs, calendar days from the event date."""
        return max(i.maximum_age_days for i in self.inputs)
