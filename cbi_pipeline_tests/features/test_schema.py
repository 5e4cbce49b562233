from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import import_pandera
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES
from cbi_pipeline.features.schema import feature_schema


def test_the_starter_bundle_passes(starter_features):
    feature_schema().validate(starter_features, lazy=True)


def test_what_is_possible_lies_in_what_the_definition_allows():
    for feature in CATALOGUE:
        low, high = feature.possible
        least, most = feature.by_definition
        assert low < high
        assert least is None or low >= least
        assert most is None or high <= most
        if feature.transformation == "one_hot":
            assert feature.by_definition == (0.0, 1.0)


def test_columns_are_the_catalogues():
    schema = feature_schema()
    assert list(schema.columns) == list(FEATURE_NAMES)
    assert {str(column.dtype) for column in schema.columns.values()} == {"float32"}
    assert all(column.description for column in schema.columns.values())


def with_value(name, value):
    def change(frame):
        frame = frame.copy()
        frame.iloc[-1, frame.columns.get_loc(name)] = value
        return frame

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(with_value("RSI_14", 100.5), id="above the largest value"),
        pytest.param(with_value("midwest_GDD_base10C", -1.0), id="below the smallest value"),
        pytest.param(with_value("close", np.nan), id="missing where nothing can be"),
        pytest.param(with_value("regime_volatile", 0.5), id="neither 0 nor 1"),
        pytest.param(with_value("regime_volatile", np.nan), id="one state missing alone"),
        pytest.param(lambda f: f.assign(regime_bullish=f["regime_bullish"] * 0), id="no state"),
        pytest.param(lambda f: f.assign(regime_bullish=f["regime_bullish"] * 0 + 1), id="two states"),
        pytest.param(
            lambda f: f.assign(open_close_spread=f["high_low_spread"] + 1), id="open - close above high - low"
        ),
        pytest.param(lambda f: f.assign(BB_lower=f["BB_upper"] + 1), id="bands crossed"),
        pytest.param(lambda f: f.assign(CCI_14=f["CCI_14"].astype("float64")), id="another dtype"),
        pytest.param(lambda f: f[[*f.columns[1:], f.columns[0]]], id="another order"),
        pytest.param(lambda f: f.assign(extra=np.float32(1)), id="one more column"),
        pytest.param(lambda f: f.drop(columns="CCI_14"), id="one column less"),
        pytest.param(lambda f: f.iloc[::-1], id="descending"),
        pytest.param(lambda f: pd.concat([f, f.iloc[[-1]]]), id="a date twice"),
        pytest.param(lambda f: f.rename_axis("date"), id="another index"),
    ],
)
def test_another_frame_is_refused(starter_features, change):
    errors = import_pandera().errors
    with pytest.raises((errors.SchemaError, errors.SchemaErrors)):
        feature_schema().validate(change(starter_features))


def test_a_gap_is_no_defect(starter_features):
    feature_schema().validate(with_value("palm_price", np.nan)(starter_features))
