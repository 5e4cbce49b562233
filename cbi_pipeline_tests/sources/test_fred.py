"""FRED files: blanks, publication times and refused formats."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import MACRO_SERIES
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import fred


@pytest.fixture
def rows(provider_dir: Path) -> pd.DataFrame:
    return fred.read_macro_series(provider_dir)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_real_files_fit_the_contract(rows: pd.DataFrame) -> None:
    assert list(rows.columns) == [column.name for column in MACRO_SERIES.columns]
    MACRO_SERIES.pandera_schema().validate(MACRO_SERIES.to_pandas(MACRO_SERIES.to_arrow(rows)))
    assert set(rows["series_id"]) == {"DGS10", "DGS2", "VIXCLS", "DEXBZUS", "DTWEXBGS"}
    assert rows["date"].min() >= fred.FIRST_DATE


def test_known_values_and_their_publication(rows: pd.DataFrame) -> None:
    values = rows.set_index(["series_id", "date"])
    assert values.loc[("DGS10", "2024-12-31"), "value"] == 4.58
    assert values.loc[("DGS10", "2024-12-31"), "available_at"] == pd.Timestamp("2025-01-02 21:15", tz="UTC")
    assert values.loc[("VIXCLS", "2024-07-03"), "available_at"] == pd.Timestamp("2024-07-05 20:15", tz="UTC")
    assert values.loc[("DEXBZUS", "2024-12-31"), "value"] == 6.184
    assert values.loc[("DTWEXBGS", "2024-12-31"), "value"] == 129.488
    assert values.loc[("DTWEXBGS", "2024-12-31"), "available_at"] == pd.Timestamp("2025-01-06 21:15", tz="UTC")
    assert values.loc[("DTWEXBGS", "2006-01-02"), "value"] == 101.4155
    assert values.loc[("DEXBZUS", "2024-05-22"), "available_at"] == pd.Timestamp("2024-05-28 20:15", tz="UTC")


def test_every_value_is_published_after_its_day(rows: pd.DataFrame) -> None:
    assert (rows["available_at"] >= rows["date"].dt.tz_localize("UTC") + pd.Timedelta(days=1)).all()


def test_a_blank_in_the_real_file_makes_no_row(provider_dir: Path, rows: pd.DataFrame) -> None:
    text = (provider_dir / "fred" / "VIXCLS.csv").read_text(encoding="utf-8").splitlines()
    blank = [line.split(",")[0] for line in text if line.endswith(",") and line >= "1998"]
    assert blank, "the file no longer has a holiday to test with"
    vix = rows.loc[rows["series_id"] == "VIXCLS", "date"].dt.strftime("%Y-%m-%d")
    assert not set(blank) & set(vix)


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "DGS2.csv", "DATE,DGS2\n2020-01-02,1.58\n")
    with pytest.raises(SourceError, match=r"DGS2\.csv.*header.*observation_date"):
        fred.read_series(path, "DGS2")


def test_an_html_error_page_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "DGS2.csv", "<html><body>Too many requests</body></html>\n")
    with pytest.raises(SourceError, match="header"):
        fred.read_series(path, "DGS2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2020-01-03,abc", "data row 2, column DGS2.*'abc'"),
        ("2020-01-03,inf", "'inf'"),
        ("03/01/2020,1.5", "'03/01/2020'"),
        ("2020-01-02,1.6", "repeat"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "DGS2.csv", f"observation_date,DGS2\n2020-01-02,1.58\n{line}\n")
    with pytest.raises(SourceError, match=message):
        fred.read_series(path, "DGS2")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"DGS10\.csv.*missing"):
        fred.read_macro_series(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a readable CSV"):
        fred.read_series(write(tmp_path / "DGS2.csv", ""), "DGS2")
