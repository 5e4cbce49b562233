from __future__ import annotations

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES, availability_report
from cbi_pipeline.features.declarations import Pillar
from cbi_pipeline.features.report import monthly_presence
from cbi_pipeline.reports import feature_life
from cbi_pipeline.reports.feature_dictionary import LIFE_CHART


@pytest.fixture(scope="module")
def presence(starter_features):
    return monthly_presence(starter_features)


def test_the_stored_chart_shows_the_starter_bundle_and_is_small(presence):
    feature_life.check_chart(LIFE_CHART, presence)
    assert LIFE_CHART.stat().st_size <= 300_000


def test_presence_is_the_share_of_trade_dates_in_a_month(starter_features, presence):
    assert list(presence.columns) == list(FEATURE_NAMES)
    assert str(presence.index[0]) == "2002-07"
    assert str(presence.index[-1]) == "2024-12"
    april = starter_features.loc["2006-04", "palm_price"]
    assert presence.loc["2006-04", "palm_price"] == april.notna().sum() / len(april)
    assert 0 < presence.loc["2006-04", "palm_price"] < 1
    assert presence.loc["2006-03", "palm_price"] == 0
    assert presence.loc["2006-05", "palm_price"] == 1


def test_a_chart_of_something_else_is_refused(presence, starter_features, tmp_path):
    path = tmp_path / "life.png"
    with pytest.raises(FeatureError, match="no such file"):
        feature_life.check_chart(path, presence)
    path.write_bytes(feature_life.life_chart(presence, availability_report(starter_features)))
    feature_life.check_chart(path, presence)
    other = presence.copy()
    other.loc["2020-05", "close"] = 0.0
    with pytest.raises(FeatureError, match="does not show"):
        feature_life.check_chart(path, other)
    renamed = presence.rename(columns={"close": "settlement"})
    with pytest.raises(FeatureError, match="does not show"):
        feature_life.check_chart(path, renamed)


def test_bars_stand_where_the_feature_is_there(presence, starter_features):
    """Pixels of the chart: in July 2004, 2008 and 2015 as many bars as features of one pillar are there."""
    image = Image.open(BytesIO(feature_life.life_chart(presence, availability_report(starter_features)))).convert("RGB")
    pixels = np.asarray(image)
    colour = tuple(int(feature_life.COLOURS["substitution_and_macro"][place : place + 2], 16) for place in (1, 3, 5))
    same = (pixels == colour).all(axis=2)
    months = len(presence)
    left, width = 0.232 * image.width, 0.625 * image.width  # as in life_chart; the first month is 2002-07
    at = {year: int(left + width * ((year - 2002) * 12 + 0.5) / months) for year in (2004, 2008, 2015)}
    names = [feature.name for feature in CATALOGUE if feature.pillar == "substitution_and_macro"]
    whole = {year: int((presence.loc[f"{year}-07", names] == 1).sum()) for year in at}
    bars = {year: int((np.diff(same[:, column].astype(int)) == 1).sum()) for year, column in at.items()}
    assert bars == whole
    assert whole[2004] < whole[2008] < whole[2015] == len(names)


def test_shades_keep_never_and_always_apart():
    steps = feature_life._steps(np.array([0.0, 0.001, 0.5, 0.999, 1.0]))
    assert steps.tolist() == [0, 1, 2, feature_life.SHADES - 1, feature_life.SHADES]
    assert list(feature_life._runs(np.array([0, 4, 4, 0, 1]))) == [(1, 2, 4), (4, 1, 1)]


def test_every_pillar_has_its_own_colour():
    assert set(feature_life.COLOURS) == set(get_args(Pillar))
    assert len(set(feature_life.COLOURS.values())) == len(feature_life.COLOURS)
