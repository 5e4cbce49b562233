"""The feature frame as a pandera schema: names, order, dtype, and the ranges that definitions imply.

A range is the catalogue's `by_definition`: the arithmetic cannot leave it, so that a value outside is a defect and
never a market. `build.check_frame` is the fast check of shape; this one reads every value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cbi_pipeline.contracts.tables import import_pandera
from cbi_pipeline.features.catalogue import CATALOGUE, DTYPE
from cbi_pipeline.features.declarations import Feature

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera

_ROUNDING: Final = 1e-4
"""cents/lb; float32 keeps seven digits of a difference of prices near 100."""


def feature_schema() -> pandera.DataFrameSchema:
    """Schema of the frame that `build_features` returns, [T, F].

    Every column float32 and, unless it is never missing, nullable; exactly the catalogue's columns in its order; index
    `trade_date`, ascending and unique. Over columns: high - low holds open - close, the upper Bollinger band is not
    below the lower one, and the one-hot columns are missing together or add up to 1.
    """
    library = import_pandera()

    def column_schema(feature: Feature) -> pandera.Column:
        least, most = feature.by_definition
        checks = [library.Check.isin((0.0, 1.0))] if feature.transformation == "one_hot" else []
        if least is not None:
            checks.append(library.Check.ge(least))
        if most is not None:
            checks.append(library.Check.le(most))
        description = f"{feature.formula} [{feature.unit}]"
        return library.Column(DTYPE, checks, nullable=not feature.never_missing, description=description)

    return library.DataFrameSchema(
        {feature.name: column_schema(feature) for feature in CATALOGUE},
        index=library.Index(
            "datetime64[ns]",
            library.Check(lambda dates: dates.is_monotonic_increasing, name="ascending", error="dates do not ascend"),
            unique=True,
            name="trade_date",
        ),
        checks=[
            library.Check(_open_close_within_range, name="open_close_within_high_low"),
            library.Check(_bands_in_order, name="bollinger_bands_in_order"),
            library.Check(_exactly_one_hot, name="exactly_one_hot"),
        ],
        strict=True,
        ordered=True,
    )


def _open_close_within_range(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["open_close_spread"].abs() > frame["high_low_spread"] + _ROUNDING)


def _bands_in_order(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["BB_lower"] > frame["BB_upper"])


def _exactly_one_hot(frame: pd.DataFrame) -> pd.Series:
    states = frame[[feature.name for feature in CATALOGUE if feature.transformation == "one_hot"]]
    return states.isna().all(axis=1) | (states.notna().all(axis=1) & (states.sum(axis=1) == 1))
