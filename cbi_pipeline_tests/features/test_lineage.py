from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES, build_features

VALUES = [
    (table, column.name)
    for table, contract in RAW_TABLES.items()
    for column in contract.columns
    if column.name not in {*contract.key, contract.event_date, "available_at", "source"}
]
"""Every column of a raw table that does not choose rows."""


def another(values: pd.Series) -> pd.Series:
    """Other values of the same type, present where `values` is; no two neighbours change alike."""
    place = np.arange(len(values))
    if pd.api.types.is_float_dtype(values):
        return values + values.abs() * 0.013 * (1 + np.sin(place))
    if pd.api.types.is_integer_dtype(values):
        return values + place % 7
    if set(values.dropna().unique()) <= {True, False}:
        return values.map({True: False, False: True})
    return "x" + values.astype("object")


@pytest.fixture(scope="module")
def moved(_starter_tables, starter_features) -> dict[tuple[str, str], set[str]]:
    """For every value column of the raw tables: the features that are other ones when it is."""

    def changed(table: str, column: str) -> set[str]:
        raw = _starter_tables[table]
        features = build_features({**_starter_tables, table: raw.assign(**{column: another(raw[column])})})
        return {name for name in FEATURE_NAMES if not features[name].equals(starter_features[name])}

    return {(table, column): changed(table, column) for table, column in VALUES}


@pytest.mark.slow
@pytest.mark.parametrize("feature", CATALOGUE, ids=FEATURE_NAMES)
def test_declared_columns_are_those_that_move_the_feature(moved, feature):
    declared = {(table, column) for table, columns in feature.raw_columns.items() for column in columns}
    assert declared & set(VALUES) == {place for place, names in moved.items() if feature.name in names}


@pytest.mark.parametrize("feature", CATALOGUE, ids=FEATURE_NAMES)
def test_declared_columns_exist(feature):
    columns = feature.raw_columns
    assert list(columns) == list(dict.fromkeys(source.table for source in feature.inputs))
    for table, names in columns.items():
        assert names
        assert set(names) <= {column.name for column in RAW_TABLES[table].columns}
