"""Malaysian palm-oil stocks: unit, gaps and publication."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import MACRO_SERIES
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import mpob
from cbi_pipeline_tests.sources.fetch.shapes import closing_stock


def write(data_dir: Path, text: str) -> Path:
    (data_dir / "mpob").mkdir()
    (data_dir / "mpob" / mpob.FILE_NAME).write_text(text, encoding="utf-8")
    return data_dir


def test_real_file(provider_dir: Path) -> None:
    rows = mpob.read_macro_series(provider_dir)
    assert list(rows.columns) == [column.name for column in MACRO_SERIES.columns]
    MACRO_SERIES.pandera_schema().validate(MACRO_SERIES.to_pandas(MACRO_SERIES.to_arrow(rows)))
    assert rows["date"].tolist() == pd.date_range("2016-01-01", "2024-12-01", freq="MS").tolist()
    by_month = rows.set_index("date")
    assert by_month.loc["2024-12-01", "value"] == pytest.approx(1708.756)
    # Eid of April 2024: no value of March was out by the 12th.
    assert by_month.loc["2024-03-01", "available_at"] == pd.Timestamp("2024-04-15 12:00", tz="UTC")
    assert by_month.loc["2024-12-01", "available_at"] == pd.Timestamp("2025-01-15 12:00", tz="UTC")


def test_an_empty_cell_makes_no_row(tmp_path: Path) -> None:
    write(tmp_path, "month,stock_t,export_t\n2020-01-01,,5\n2020-02-01,1700000,\n")
    rows = mpob.read_macro_series(tmp_path)
    assert rows[["date", "value"]].to_numpy().tolist() == [[pd.Timestamp("2020-02-01"), 1700.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("month,stock\n2020-01-01,1\n", "stock_t"),
        ("month,stock_t\n2020-01-01,1\n2020-01-01,2\n", "repeat"),
        ("month,stock_t\n2020M01,1\n", "2020M01"),
        ("month,stock_t\n2020-01-01,n.a.\n", r"n\.a\."),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        mpob.read_macro_series(write(tmp_path, text))


def edited(provider_dir: Path, folder: Path, **cells: object) -> Path:
    """The workbook of 2024 with other values in some cells."""
    path = mpob.workbook_path(folder, 2024)
    path.parent.mkdir(parents=True)
    path.write_bytes(closing_stock(provider_dir, 2024))
    book = openpyxl.load_workbook(path)
    for name, value in cells.items():
        book.active[name] = value
    book.save(path)
    return path


def test_the_newest_workbook_that_has_a_month_gives_it(provider_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mpob").mkdir()
    collected = "month,stock_t\n2022-11-01,2288000\n2022-12-01,1\n2024-12-01,1\n"
    (tmp_path / "mpob" / mpob.FILE_NAME).write_text(collected)
    for year, last in ((2023, "2023-11"), (2024, "2024-12")):
        mpob.workbook_path(tmp_path, year).write_bytes(closing_stock(provider_dir, year, last))
    ours, theirs = (mpob.read_macro_series(folder).set_index("date")["value"] for folder in (tmp_path, provider_dir))
    assert ours.index.tolist() == theirs.loc["2022-01":].index.tolist()
    pd.testing.assert_series_equal(ours, theirs.loc["2022-01":])


def test_a_workbook_reads_whatever_stands_in_months_to_come(provider_dir: Path, tmp_path: Path) -> None:
    path = mpob.workbook_path(tmp_path, 2024)
    path.parent.mkdir()
    expected = mpob.read_macro_series(provider_dir).set_index("date")["value"].loc["2023-01":"2024-08"]
    for gap in (0, None, "", "-", "\xa0", 0.0):
        path.write_bytes(closing_stock(provider_dir, 2024, "2024-08", gap=gap))
        pd.testing.assert_series_equal(mpob.read_macro_series(tmp_path).set_index("date")["value"], expected)


def test_numbers_may_be_text_with_commas_and_years_numbers_with_a_point(provider_dir: Path, tmp_path: Path) -> None:
    path = edited(provider_dir, tmp_path, C5="2,019,781", B3=2023.0)
    assert mpob.read_workbook(path).set_index("date").loc["2024-01-01", "tonnes"] == 2_019_781


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"B2": "FIRST"}, "Two rows must name months"),
        ({"B2": "FEB", "D2": "JAN"}, "Two rows must name months"),
        ({"B7": "JAN"}, "Two rows must name months"),
        ({"B3": 2022}, "the same two years"),
        ({"C3": None}, "the same two years"),
        ({"A4": "TOTAL PALM OIL"}, "one row TOTAL PALM OIL"),
        ({"C5": 0}, "reported after one of the same year"),
        ({"C5": -5}, "must have values, between"),
        ({"C5": "1.8 million"}, "must be a number"),
    ],
)
def test_a_changed_workbook_is_refused(
    provider_dir: Path, tmp_path: Path, cells: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        mpob.read_workbook(edited(provider_dir, tmp_path, **cells))
