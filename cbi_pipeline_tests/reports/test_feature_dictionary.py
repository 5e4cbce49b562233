from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.errors import FeatureError
from cbi_pipeline.features import CATALOGUE, FEATURE_NAMES, availability_report, feature_hash
from cbi_pipeline.features.declarations import Pillar, Transformation
from cbi_pipeline.reports.feature_dictionary import (
    PAGE,
    PILLAR_TITLES,
    TRANSFORMATIONS,
    check_page,
    dictionary_page,
)


@pytest.fixture(scope="module")
def page(starter_features) -> str:
    return dictionary_page(availability_report(starter_features), starter_features.index)


def entry(page: str, name: str) -> str:
    return page.split(f"\n### {name}\n")[1].split("\n#")[0]


def test_the_stored_page_is_up_to_date(page):
    check_page(PAGE.read_text(encoding="utf-8"), page)


def test_every_word_of_the_declarations_has_a_text():
    assert set(PILLAR_TITLES) == set(get_args(Pillar))
    assert set(TRANSFORMATIONS) == set(get_args(Transformation))


@pytest.mark.parametrize("feature", CATALOGUE, ids=FEATURE_NAMES)
def test_an_entry_holds_all_that_is_declared(page, feature):
    text = entry(page, feature.name)
    declared = (
        feature.unit,
        feature.formula,
        feature.reference,
        feature.missing_because,
        feature.economic_reason,
        feature.function,
        "{:,g} to {:,g}".format(*feature.possible),
        *(column for columns in feature.raw_columns.values() for column in columns),
        TRANSFORMATIONS[feature.transformation],
        *(source.label for source in feature.inputs),
        *(source.publication_lag for source in feature.inputs),
        *(f"up to {source.maximum_age_days} days" for source in feature.inputs if source.maximum_age_days),
    )
    for words in declared:
        assert words.replace("|", "\\|") in text


def test_features_stand_under_their_pillar_and_once(page):
    titles = {title: pillar for pillar, title in PILLAR_TITLES.items()}
    found = {}
    for section in page.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        found |= {line.removeprefix("### "): titles[title] for line in text.splitlines() if line.startswith("### ")}
    assert found == {feature.name: feature.pillar for feature in CATALOGUE}
    assert page.count("\n### ") == len(CATALOGUE)
    assert feature_hash() in page


def test_tables_are_whole(page):
    """Every row of a table has as many cells as its header."""
    width = 0
    for line in page.splitlines():
        cells = line.replace("\\|", "").count("|")
        width = 0 if not cells else width or cells
        assert cells == width, line


def test_life_is_told_as_measured(page):
    assert "| 2006-04-12 to 2024-12-31 (the last trade date), on every trade date |" in entry(page, "palm_price")
    assert "2002-07-01 (the first trade date) to 2024-12-31" in entry(page, "high_low_spread")
    assert "missing on 10.4 % of the trade dates since the first" in entry(page, "high_low_spread")


def test_a_feature_that_never_comes_and_a_tiny_gap(starter_features):
    frame = starter_features.assign(CCI_14=np.float32("nan"))
    frame.loc[frame.index[1], "close"] = np.nan
    text = dictionary_page(availability_report(frame), frame.index)
    assert "never in the starter bundle" in entry(text, "CCI_14")
    assert "| [`CCI_14`](#cci_14) | index | never | never | all |" in text
    assert "missing on 0.1 % of" in entry(text, "close"), "0.02 % does not read as none"


def test_the_same_input_gives_the_same_page(page, starter_features):
    assert dictionary_page(availability_report(starter_features), pd.DatetimeIndex(starter_features.index)) == page
    assert page.endswith("\n")
    assert not page.endswith("\n\n")


@pytest.mark.parametrize("found", ["", "one\nTWO\nthree\n", "one\ntwo\n", "one\ntwo\nthree\nfour\n"])
def test_a_stale_page_is_refused_with_the_line(found):
    with pytest.raises(FeatureError, match=r"docs/features.md, line \d: it is not .*\n- .*\n\+ .*\n To fix: run `cbi"):
        check_page(found, "one\ntwo\nthree\n")
    check_page("one\ntwo\n", "one\ntwo\n")
