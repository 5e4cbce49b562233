"""Raw tables in, the feature frame out: the catalogue decides which columns, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

import numpy as np
import pandas as pd

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features.catalogue import CATALOGUE, DTYPE, FEATURE_NAMES
from cbi_pipeline.features.declarations import Feature
from cbi_pipeline.features.point_in_time import PointInTime

PillarFunction = Callable[[PointInTime], Mapping[str, pd.Series]]


def build_features(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every catalogued feature on every ZL trade date, as known at 14:00 Chicago that day.

    Args:
        tables: raw tables by name, as in `contracts.tables`.

    Returns:
        [T, F] float32, index `trade_date`, columns in the catalogue's order; missing is NaN.

    Raises:
        FeatureError: a ZL row breaks the time convention, or a function does not return its column.
    """
    known = PointInTime.from_tables(tables)
    computed: dict[str, pd.Series] = {}
    for function in dict.fromkeys(feature.function for feature in CATALOGUE):
        computed |= resolve(function)(known)
    return assemble(computed, known.sessions, CATALOGUE)


def resolve(dotted_name: str) -> PillarFunction:
    """The function that a catalogue entry names."""
    module, _, name = dotted_name.rpartition(".")
    return getattr(import_module(module), name)


def assemble(
    computed: Mapping[str, pd.Series], sessions: pd.DatetimeIndex, catalogue: Iterable[Feature]
) -> pd.DataFrame:
    """Order the computed columns as the catalogue says; an infinite value (division by zero) is missing.

    Raises:
        FeatureError: a column is declared and not computed, or computed and not declared.
    """
    declared = {feature.name: feature.function for feature in catalogue}
    undeclared = sorted(set(computed) - set(declared))
    if undeclared:
        raise FeatureError(", ".join(undeclared), "computed but not declared.", "add an entry to features/catalogue/.")
    for name, function in declared.items():
        if name not in computed:
            raise FeatureError(
                name, f"declared but not returned by {function}.", "return that column, or name the right function."
            )
    columns = {name: computed[name].to_numpy("float64") for name in declared}
    frame = pd.DataFrame(columns, index=sessions)
    return frame.where(np.isfinite(frame)).astype(DTYPE)


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse a frame that is not exactly the catalogue's names, order and dtype, ascending by date.

    Raises:
        FeatureError: names the first column at fault.
    """
    fix = "build the frame with features.build_features of this version."
    for position, (found, wanted) in enumerate(zip(frame.columns, FEATURE_NAMES, strict=False)):
        if found != wanted:
            raise FeatureError(f"column {position}", f"{found!r} stands where {wanted!r} belongs.", fix)
    if len(frame.columns) != len(FEATURE_NAMES):
        raise FeatureError("feature frame", f"{len(frame.columns)} columns, {len(FEATURE_NAMES)} wanted.", fix)
    wrong = [name for name in FEATURE_NAMES if str(frame[name].dtype) != DTYPE]
    if wrong:
        raise FeatureError(wrong[0], f"dtype {frame[wrong[0]].dtype}, {DTYPE} wanted.", fix)
    if not (frame.index.is_monotonic_increasing and frame.index.is_unique):
        raise FeatureError("feature frame", "trade dates are not ascending and unique.", fix)
