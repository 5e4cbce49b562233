"""CFTC reports: verbatim positions, overlaps, and when each was published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import COT_WEEKLY
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import cftc


@pytest.fixture(scope="module")
def cftc_rows(provider_dir: Path) -> pd.DataFrame:
    return cftc.read_cot_weekly(provider_dir)


@pytest.fixture
def one_year(provider_dir: Path, tmp_path: Path) -> Path:
    """A data folder with the reports of 2024 only, to damage."""
    (tmp_path / "cftc").mkdir()
    for name in ("fut_disagg_txt_2024.txt", cftc.BACK_HISTORY_FILE, cftc.EXCEPTIONS_FILE):
        shutil.copyfile(provider_dir / "cftc" / name, tmp_path / "cftc" / name)
    return tmp_path


def damage(data_dir: Path, old: str, new: str) -> None:
    path = data_dir / "cftc" / "fut_disagg_txt_2024.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_real_files_fit_the_contract(cftc_rows: pd.DataFrame) -> None:
    assert list(cftc_rows.columns) == [column.name for column in COT_WEEKLY.columns]
    COT_WEEKLY.pandera_schema().validate(COT_WEEKLY.to_pandas(COT_WEEKLY.to_arrow(cftc_rows)))
    assert cftc_rows.groupby("market_code").size().to_dict() == {
        "005602": 783,
        "007601": 969,
        "026603": 783,
        "037021": 155,
    }


def test_columns_are_mapped_to_the_right_groups(cftc_rows: pd.DataFrame) -> None:
    # Figures read by eye from the verbatim line of soybeans, 2022-12-27.
    row = cftc_rows.set_index(["market_code", "report_date"]).loc[("005602", "2022-12-27")]
    expected = {
        "open_interest": 595601,
        "commercial_long": 184169,
        "commercial_short": 351018,
        "swap_long": 97092,
        "swap_short": 30324,
        "managed_money_long": 148868,
        "managed_money_short": 19624,
        "other_reportable_long": 30875,
        "other_reportable_short": 26600,
        "non_reportable_long": 46858,
        "non_reportable_short": 80296,
    }
    assert row[list(expected)].to_dict() == expected


def test_back_history_ends_where_official_files_begin(cftc_rows: pd.DataFrame) -> None:
    oil = cftc_rows[cftc_rows["market_code"] == "007601"].set_index("report_date")
    assert (oil.loc[:"2009-12-31", "source"] == cftc.SOURCE_BACK_HISTORY).all()
    assert (oil.loc["2010-01-01":, "source"] == cftc.SOURCE).all()
    assert oil.index.to_series().diff().max() <= pd.Timedelta(days=8)


def test_official_file_wins_where_both_have_a_report(one_year: Path) -> None:
    history = one_year / "cftc" / cftc.BACK_HISTORY_FILE
    history.write_text(history.read_text().replace("2009-12-29", "2024-12-31"))
    rows = cftc.read_cot_weekly(one_year).set_index(["market_code", "report_date"])
    assert rows.loc[("007601", "2024-12-31"), "source"] == cftc.SOURCE


@pytest.mark.parametrize(
    ("as_of", "published"),
    [
        ("2024-12-24", "2024-12-30 20:30"),
        ("2024-08-13", "2024-08-16 19:30"),
        ("2023-01-31", "2023-02-24 20:30"),  # recorded exception: ION cyber incident
        ("2023-03-14", "2023-03-21 19:30"),
        ("2013-10-08", "2013-11-08 20:30"),
        ("2019-01-15", "2019-03-12 19:30"),
        ("2008-07-01", "2009-10-20 19:30"),
    ],
)
def test_publication(cftc_rows: pd.DataFrame, as_of: str, published: str) -> None:
    rows = cftc_rows[(cftc_rows["market_code"] == "007601") & (cftc_rows["report_date"] == as_of)]
    assert rows["available_at"].tolist() == [pd.Timestamp(published, tz="UTC")]


def test_never_known_before_the_friday_after(cftc_rows: pd.DataFrame) -> None:
    friday = cftc_rows["report_date"] + pd.to_timedelta(4 - cftc_rows["report_date"].dt.dayofweek, unit="D")
    assert (cftc_rows["available_at"] >= friday.dt.tz_localize("UTC") + pd.Timedelta(hours=19)).all()
    assert cftc_rows.groupby("market_code")["available_at"].is_monotonic_increasing.all()


def test_every_recorded_exception_is_honoured(provider_dir: Path, cftc_rows: pd.DataFrame) -> None:
    exceptions = cftc.read_release_exceptions(provider_dir / "cftc" / cftc.EXCEPTIONS_FILE)
    oil = cftc_rows[cftc_rows["market_code"] == "007601"].set_index("report_date")["available_at"]
    assert len(exceptions) == 9
    for as_of, published in exceptions.items():
        assert oil[pd.Timestamp(as_of)].tz_convert("America/New_York").date() == published


def test_a_dot_is_a_gap(one_year: Path) -> None:
    damage(one_year, " 23238,", " .,")
    rows = cftc.read_cot_weekly(one_year).set_index(["market_code", "report_date"])
    assert rows.loc[("037021", "2024-12-31"), "commercial_long"] is pd.NA


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("M_Money_Positions_Long_All", "Managed_Money_Long", "M_Money_Positions_Long_All"),
        ("Report_Date_as_YYYY-MM-DD", "Report_Date", "Report_Date_as"),
        ("FutOnly", "Combined", "futures-only"),
        ("2024-12-31", "31.12.2024", r"31\.12\.2024"),
        ("2024-12-31", "2024-12-24", "repeat"),
    ],
)
def test_a_changed_file_is_refused(one_year: Path, old: str, new: str, message: str) -> None:
    if old == "FutOnly":
        path = one_year / "cftc" / "fut_disagg_txt_2024.txt"
        head, body = path.read_text().split("\n", 1)
        path.write_text(head + "\n" + body.replace(old, new, 1))
    else:
        damage(one_year, old, new)
    with pytest.raises(SourceError, match=message):
        cftc.read_cot_weekly(one_year)


def test_an_exception_before_its_report_is_refused(one_year: Path) -> None:
    path = one_year / "cftc" / cftc.EXCEPTIONS_FILE
    path.write_text(path.read_text().replace("2023-02-24,", "2023-01-24,", 1))
    with pytest.raises(SourceError, match="before its as-of date"):
        cftc.read_cot_weekly(one_year)


def test_no_yearly_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no yearly file"):
        cftc.read_cot_weekly(tmp_path)
