"""Two sources of one series: equal where they must be, within the contract difference elsewhere, and told if not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.second_opinions import CBOE_FILE, read_second_opinions

RULE_OF = {
    "VIXCLS": ("vix_cboe_and_fred", "macro_series"),
    "USDMYR": ("ringgit_and_yahoo", "macro_series"),
    "ZL": ("databento_and_yahoo", "futures_daily"),
    "CL": ("crude_and_spot", "futures_daily"),
}


@pytest.fixture(scope="module")
def opinions(provider_dir: Path) -> pd.DataFrame:
    return read_second_opinions(provider_dir)


def test_cboe_equals_fred_on_every_common_day(starter_tables, opinions) -> None:
    cboe = opinions[opinions["subject"] == "VIXCLS"].set_index("date")["value"]
    fred = starter_tables["macro_series"].query("series_id == 'VIXCLS'").set_index("date")["value"]
    common = fred.index.intersection(cboe.index)
    assert len(common) > 6800
    assert (fred[common] == cboe[common]).all()


def test_the_starter_agrees_with_every_second_opinion(starter_tables, opinions) -> None:
    judged = judge(starter_tables, opinions)
    assert judged.errors == ()
    warned = {finding.rule: finding.rows for finding in judged.warnings}
    compared = {rule: warned.get(rule) for rule, _ in RULE_OF.values()}
    assert compared == {
        "vix_cboe_and_fred": None,
        "databento_and_yahoo": 44,
        "crude_and_spot": 7,
        "ringgit_and_yahoo": 1,
    }


@pytest.mark.parametrize("subject", RULE_OF)
def test_a_value_that_another_source_contradicts_is_refused(starter_tables, opinions, subject) -> None:
    rule, table = RULE_OF[subject]
    wrong = opinions.copy()
    at = wrong.index[(wrong["subject"] == subject) & (wrong["date"] == "2018-06-05")]
    assert len(at) == 1
    wrong.loc[at, "value"] *= 100
    errors = judge({table: starter_tables[table]}, wrong).errors
    found = [(f.rule, f.subject, f.rows) for f in errors]
    assert found == [(rule, subject, 1)]
    assert errors[0].first_rows[0].startswith("2018-06-05: ")


def test_no_files_make_no_opinions(tmp_path: Path, starter_tables) -> None:
    none = read_second_opinions(tmp_path)
    assert none.empty
    assert judge({"macro_series": starter_tables["macro_series"]}, none).errors == ()


def test_a_file_that_breaks_its_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / CBOE_FILE
    file.parent.mkdir()
    file.write_text("<html>busy</html>")
    with pytest.raises(SourceError, match="vix-daily"):
        read_second_opinions(tmp_path)
