"""RFS obligations: known from the day the rule is printed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import MACRO_SERIES, POLICY
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import epa


@pytest.fixture
def rows(provider_dir: Path) -> pd.DataFrame:
    return epa.read_policy(provider_dir).set_index("effective_year")


def test_real_file_fits_the_contract(provider_dir: Path) -> None:
    frame = epa.read_policy(provider_dir)
    assert list(frame.columns) == [column.name for column in POLICY.columns]
    POLICY.pandera_schema().validate(POLICY.to_pandas(POLICY.to_arrow(frame)))
    assert frame["effective_year"].tolist() == list(range(2010, 2026))


def test_late_rules_are_known_late(rows: pd.DataFrame) -> None:
    # The 2014 obligation was set in December 2015, nearly a year after the year it binds.
    assert rows.loc[2014, "value"] == 1.63
    assert rows.loc[2014, "available_at"] == pd.Timestamp("2015-12-14 13:45", tz="UTC")
    assert rows.loc[2024, "available_at"] == pd.Timestamp("2023-07-12 12:45", tz="UTC")
    assert rows.loc[2024, "citation"] == "88 FR 44468"


def test_weaker_evidence_is_named(rows: pd.DataFrame) -> None:
    assert rows.index[rows["source"] == epa.SOURCE_WEAK_EVIDENCE].tolist() == [2021, 2022]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("billion", "million", "unit"), (",final,", ",proposed,", "status"), ("fr_doc", "doc", "header")],
)
def test_a_changed_file_is_refused(provider_dir: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (provider_dir / "epa" / epa.FILE_NAME).read_text(encoding="utf-8")
    (tmp_path / "epa").mkdir()
    (tmp_path / "epa" / epa.FILE_NAME).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        epa.read_policy(tmp_path)


def test_rins_of_a_month_in_millions_from_the_20th_of_the_next(provider_dir: Path) -> None:
    rins = epa.read_macro_series(provider_dir)
    assert list(rins.columns) == [column.name for column in MACRO_SERIES.columns]
    MACRO_SERIES.pandera_schema().validate(MACRO_SERIES.to_pandas(MACRO_SERIES.to_arrow(rins)))
    assert rins["date"].tolist() == pd.date_range("2010-07-01", "2024-12-01", freq="MS").tolist()
    by_month = rins.set_index("date")
    assert by_month.loc["2024-12-01", "value"] == pytest.approx(898.865628)
    assert by_month.loc["2010-07-01", "available_at"] == pd.Timestamp("2010-08-20 16:00", tz="UTC")
    # 20 January 2025 is Martin Luther King Jr. Day; 20 July 2024 a Saturday.
    assert by_month.loc["2024-12-01", "available_at"] == pd.Timestamp("2025-01-21 17:00", tz="UTC")
    assert by_month.loc["2024-06-01", "available_at"] == pd.Timestamp("2024-07-22 16:00", tz="UTC")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("month,d4\n2020-01-01,5\n", "d4_total"),
        ("month,d4_total\n2020-01-01,5\n2020-01-01,6\n", "repeat"),
        ("month,d4_total\n2020-01-01,\n", "''"),
    ],
)
def test_a_changed_rin_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "epa").mkdir()
    (tmp_path / "epa" / epa.RIN_FILE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        epa.read_macro_series(tmp_path)
