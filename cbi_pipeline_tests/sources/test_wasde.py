"""WASDE vintages: what was known when."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import FUNDAMENTALS
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import wasde

STOCKS = "wasde_us_soybean_oil_ending_stocks"
USE = "wasde_us_soybean_oil_use_total"


@pytest.fixture
def rows(provider_dir: Path) -> pd.DataFrame:
    return wasde.read_fundamentals(provider_dir)


def test_real_file_fits_the_contract(rows: pd.DataFrame) -> None:
    assert list(rows.columns) == [column.name for column in FUNDAMENTALS.columns]
    FUNDAMENTALS.pandera_schema().validate(FUNDAMENTALS.to_pandas(FUNDAMENTALS.to_arrow(rows)))
    assert rows["release_date"].nunique() == 357


def test_all_vintages_are_kept(rows: pd.DataFrame) -> None:
    newest = rows.set_index(["series_id", "release_date", "marketing_year"])["value"]
    assert newest[STOCKS, pd.Timestamp("2024-12-10"), "2024/25"] == 1506.0
    assert newest[USE, pd.Timestamp("2024-12-10"), "2024/25"] == 29100.0
    assert newest[STOCKS, pd.Timestamp("1995-01-12"), "1993/94"] == 1103.0
    of_one_year = rows[(rows["series_id"] == STOCKS) & (rows["marketing_year"] == "2022/23")]
    assert len(of_one_year) > 24
    assert of_one_year["value"].nunique() > 5


@pytest.mark.parametrize(
    ("release_date", "moment"),
    [
        ("1995-01-12", "1995-01-12 13:30"),
        ("2012-07-11", "2012-07-11 12:30"),
        ("2012-12-11", "2012-12-11 13:30"),
        ("2013-01-11", "2013-01-11 17:00"),
        ("2024-07-12", "2024-07-12 16:00"),
        ("1995-02-12", "1995-02-17 13:30"),  # a Sunday in the file
        ("2000-04-01", "2000-04-17 12:30"),  # a Saturday in the file; the report came out on the 11th
    ],
)
def test_release_time(rows: pd.DataFrame, release_date: str, moment: str) -> None:
    of_release = rows.loc[rows["release_date"] == release_date, "available_at"]
    assert set(of_release) == {pd.Timestamp(moment, tz="UTC")}


def test_no_release_is_known_before_its_day_and_on_a_week_end(rows: pd.DataFrame) -> None:
    assert (rows["available_at"] >= rows["release_date"].dt.tz_localize("UTC")).all()
    assert (rows["available_at"].dt.dayofweek < 5).all()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "usda").mkdir()
    path = tmp_path / "usda" / wasde.FILE_NAME
    with pytest.raises(SourceError, match="missing"):
        wasde.read_fundamentals(tmp_path)
    path.write_text("release_date,marketing_year,ending_stocks\n2020-01-10,2019/20,1515\n")
    with pytest.raises(SourceError, match="use_total"):
        wasde.read_fundamentals(tmp_path)
    header, row = "release_date,marketing_year,ending_stocks,use_total\n", "2020-01-10,2019/20,1515,24650\n"
    path.write_text(header + row + row)
    with pytest.raises(SourceError, match="repeat"):
        wasde.read_fundamentals(tmp_path)
    path.write_text(header + "2020-01-10,2019/20,,24650\n")
    assert list(wasde.read_fundamentals(tmp_path)["series_id"]) == [USE]
