from __future__ import annotations

from dataclasses import replace
from datetime import date
from hashlib import sha256

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import RobustScaler

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import FEATURE_NAMES
from cbi_pipeline.features.driver_set import (
    CLIP,
    FILE_NAME,
    SHA256_NAME,
    DriverSet,
    fit_driver_set,
    load_driver_set,
)
from cbi_pipeline.features.transformations import network_view

START, END = date(2015, 1, 2), date(2018, 1, 2)


@pytest.fixture(scope="module")
def drivers(starter_features):
    return fit_driver_set(starter_features, START, END)


def test_training_rows_have_median_zero_and_unit_interquartile_range(starter_features, drivers):
    rows = (starter_features.index >= pd.Timestamp(START)) & (starter_features.index <= pd.Timestamp(END))
    scaled = pd.DataFrame(drivers.transform(starter_features)[rows], columns=list(FEATURE_NAMES))[list(drivers.scaled)]
    spread = scaled.quantile(0.75) - scaled.quantile(0.25)
    assert np.allclose(scaled.median(), 0.0, atol=1e-5)
    assert np.allclose(spread[spread > 0], 1.0, atol=1e-4)


def test_output_is_float32_with_gaps_kept_and_nothing_invented(starter_features, drivers):
    scaled = drivers.transform(starter_features)
    seen = network_view(starter_features)
    usable = ~np.isin(FEATURE_NAMES, list(drivers.unusable))
    assert scaled.dtype == np.float32
    assert scaled.shape == starter_features.shape
    assert (np.isnan(scaled) == seen.isna().to_numpy())[:, usable].all()
    assert np.isnan(scaled[:, ~usable]).all()
    assert np.nanmax(np.abs(scaled)) <= CLIP


def test_one_hots_pass_unscaled(starter_features, drivers):
    regimes = [place for place, name in enumerate(FEATURE_NAMES) if name.startswith("regime_")]
    assert len(regimes) == 4
    assert set(np.unique(drivers.transform(starter_features)[2000:, regimes])) == {0.0, 1.0}


def test_rows_after_the_training_span_do_not_move_the_scaler(starter_features, drivers):
    later = starter_features.index > pd.Timestamp(END)
    changed = starter_features.copy()
    changed[later] *= np.float32(3.0)
    again = fit_driver_set(changed, START, END)
    assert again.center.tobytes() == drivers.center.tobytes()
    assert again.scale.tobytes() == drivers.scale.tobytes()
    changed[~later] *= np.float32(3.0)
    assert fit_driver_set(changed, START, END).center.tobytes() != drivers.center.tobytes()


def test_columns_that_cannot_be_scaled_are_missing_all_through(starter_features):
    constant = starter_features.assign(VIX_level=np.float32(20.0))
    early = fit_driver_set(constant, date(2003, 1, 2), date(2005, 12, 30))
    assert early.unusable["VIX_level"] == "constant in the training span"
    assert early.unusable["palm_price"].startswith("0 observed")
    assert "palm_price" not in early.scaled
    scaled = early.transform(constant)
    for name in early.unusable:
        assert np.isnan(scaled[:, FEATURE_NAMES.index(name)]).all()
    assert "close" not in early.unusable


def test_an_empty_training_span_is_refused(starter_features):
    with pytest.raises(FeatureError, match="holds no row"):
        fit_driver_set(starter_features, date(1990, 1, 2), date(1991, 1, 2))


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[list(frame.columns[1:]) + list(frame.columns[:1])],
        lambda frame: frame.astype("float64"),
        lambda frame: frame.drop(columns="CCI_14"),
        lambda frame: frame.rename(columns={"CCI_14": "CCI_20"}),
    ],
    ids=["order", "dtype", "missing", "name"],
)
def test_another_frame_is_refused(starter_features, drivers, change):
    with pytest.raises(FeatureError):
        drivers.transform(change(starter_features))


@pytest.mark.parametrize(
    "change",
    [{"feature_hash": "0" * 64}, {"names": FEATURE_NAMES[::-1]}, {"transformations": ("level",) * len(FEATURE_NAMES)}],
    ids=["hash", "names", "transformations"],
)
def test_another_catalogue_is_refused(starter_features, drivers, tmp_path, change):
    other = replace(drivers, **change)
    with pytest.raises(FeatureError, match="not those of this version"):
        other.transform(starter_features)
    with pytest.raises(FeatureError, match="not those of this version"):
        load_driver_set(tmp_path, other.save(tmp_path))


def test_saved_and_loaded_gives_the_same_numbers(starter_features, drivers, tmp_path):
    digest = drivers.save(tmp_path)
    assert digest == sha256((tmp_path / FILE_NAME).read_bytes()).hexdigest()
    assert (tmp_path / SHA256_NAME).read_text().split() == [digest, FILE_NAME]
    assert digest == fit_driver_set(starter_features, START, END).save(tmp_path), "the same data gives the same file"
    loaded = load_driver_set(tmp_path, digest)
    assert loaded.transform(starter_features).tobytes() == drivers.transform(starter_features).tobytes()
    assert (loaded.train_start, loaded.train_end) == (START, END)


def test_numbers_are_those_of_scikit_learn(starter_features, drivers):
    """Bit for bit, before they are cut and stored in float32."""
    seen = network_view(starter_features)[list(drivers.scaled)]
    own = RobustScaler().fit(seen.loc[str(START) : str(END)].to_numpy())
    expected = np.clip(own.transform(seen.to_numpy()), -CLIP, CLIP).astype(np.float32)
    places = [FEATURE_NAMES.index(name) for name in drivers.scaled]
    assert drivers.transform(starter_features)[:, places].tobytes() == expected.tobytes()


def test_a_file_that_holds_scikit_learns_object_is_read_as_before(starter_features, drivers, tmp_path):
    """Models in service were saved so; `cbi reproduce` computes their rows again."""
    scaler = RobustScaler()
    scaler.center_, scaler.scale_ = drivers.center, drivers.scale
    names = [name for name in DriverSet.__dataclass_fields__ if name not in ("center", "scale")]
    joblib.dump({name: getattr(drivers, name) for name in names} | {"scaler": scaler}, tmp_path / FILE_NAME)
    loaded = load_driver_set(tmp_path, sha256((tmp_path / FILE_NAME).read_bytes()).hexdigest())
    assert loaded.transform(starter_features).tobytes() == drivers.transform(starter_features).tobytes()


def test_a_tampered_file_is_refused_before_it_is_unpickled(drivers, tmp_path, monkeypatch):
    digest = drivers.save(tmp_path)
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / FILE_NAME).write_bytes(content)
    loads = []
    monkeypatch.setattr(joblib, "load", lambda *_, **__: loads.append(1))
    with pytest.raises(FeatureError, match="was not read"):
        load_driver_set(tmp_path, digest)
    (tmp_path / SHA256_NAME).write_text(f"{sha256(content).hexdigest()}  {FILE_NAME}\n")
    with pytest.raises(FeatureError, match="was not read"):
        load_driver_set(tmp_path, digest)
    assert loads == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FeatureError, match="no driver set"):
        load_driver_set(tmp_path, "0" * 64)
