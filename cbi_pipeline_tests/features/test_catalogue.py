from __future__ import annotations

import subprocess
import sys

import pytest

from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES, Feature, catalogue, feature_hash
from cbi_pipeline.features.build import resolve
from cbi_pipeline.features.declarations import COT, CURVE, CURVE_HISTORY, ZL

LISTING = """
close close_returns log_returns high_low_spread open_close_spread
RSI_14 MACD_signal ATR_14 BB_upper BB_lower BB_width ADX_14 CCI_14
palm_price palm_spread palm_soybean_oil_spread soybean_crush_spread soybean_meal_spread WTI_price WTI_spread USD_BRL
USD_BRL_returns VIX_level VIX_zscore yield_curve_slope renewable_diesel_mandate
brazil_precip_7d_zscore brazil_precip_30d_zscore argentina_precip_7d_zscore argentina_precip_30d_zscore
midwest_precip_7d_zscore midwest_precip_30d_zscore brazil_GDD_base10C argentina_GDD_base10C midwest_GDD_base10C
CFTC_managed_money_long CFTC_managed_money_short CFTC_commercial_long CFTC_commercial_short
regime_bullish regime_bearish regime_sideways regime_volatile
"""
"""design.md section 4, in its order."""

EXTRAS = CATALOGUE[43:]


def test_the_43_names_in_order_come_first():
    wanted = LISTING.split()
    assert len(wanted) == 43
    assert list(FEATURE_NAMES[:43]) == wanted


def test_every_extra_and_nothing_else_gives_its_economic_reason():
    assert len(EXTRAS) <= 17
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    for feature in CATALOGUE:
        assert feature.is_extra == bool(feature.economic_reason) == (feature in EXTRAS)
        assert "\n" not in feature.economic_reason
    assert len({feature.economic_reason for feature in EXTRAS if "season_" not in feature.name}) == len(EXTRAS) - 2


def test_a_change_that_needs_the_curve_before_2010_is_not_aged_by_it():
    users = {feature.name for feature in CATALOGUE if CURVE_HISTORY in feature.inputs}
    assert {"log_returns", "RSI_14", "regime_volatile", "momentum_12m"} <= users
    assert "close" not in users
    assert CURVE_HISTORY.history_only
    assert not CURVE.history_only


@pytest.mark.parametrize("feature", CATALOGUE, ids=FEATURE_NAMES)
def test_every_input_stands_in_a_raw_table(feature):
    assert feature.inputs
    for source in feature.inputs:
        contract = RAW_TABLES[source.table]
        columns = {column.name: column for column in contract.columns}
        allowed = columns[source.column].allowed
        assert allowed is None or source.key in allowed
        assert contract.event_date == source.event_date
        assert source.label in feature.publication_lag
        assert source.maximum_age_days <= feature.maximum_age_days


@pytest.mark.parametrize("function", sorted({feature.function for feature in CATALOGUE}))
def test_every_function_exists(function):
    assert callable(resolve(function))


def test_a_series_is_the_same_whatever_is_read_of_it():
    assert ZL.reading("high", "low") == ZL
    assert ZL.reading("high", "low").columns == ("high", "low")
    assert hash(ZL.reading("high", "low")) == hash(ZL)


def test_an_input_of_which_nothing_is_read_is_refused():
    fields = _fields(CATALOGUE[0]) | {"inputs": (COT,)}
    with pytest.raises(FeatureError, match="close: it does not say which columns it reads of cot_weekly/007601"):
        Feature(**fields)


def test_hash_follows_names_order_and_formula_versions(monkeypatch):
    before = feature_hash()
    assert len(before) == 64
    monkeypatch.setattr(catalogue, "CATALOGUE", CATALOGUE[::-1])
    reversed_order = feature_hash()
    raised = (Feature(**{**_fields(CATALOGUE[0]), "formula_version": 99}), *CATALOGUE[1:])
    monkeypatch.setattr(catalogue, "CATALOGUE", raised)
    assert len({before, reversed_order, feature_hash()}) == 3


def _fields(feature):
    return {name: getattr(feature, name) for name in feature.__dataclass_fields__}


def test_catalogue_is_light_to_import():
    code = "import sys, cbi_pipeline.features; print(sorted({'pandas', 'numpy', 'talib'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
