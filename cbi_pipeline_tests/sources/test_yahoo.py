"""Yahoo's daily rows: defects become gaps, closes stay, other dates are left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import yahoo

HEADER = "Date,Open,High,Low,Close,Volume\n"


def _write(folder: Path, text: str) -> Path:
    (folder / "yahoo").mkdir()
    path = folder / "yahoo" / "ZL=F_2000_2019.csv"
    path.write_text(text)
    return path


def test_contradicting_ranges_become_gaps_and_closes_stay(tmp_path: Path) -> None:
    _write(
        tmp_path,
        HEADER
        + "2005-11-22,21.94,22.03,21.94,21.979999542236328,132\n"
        + "2005-11-23,21.95,22.03,21.90,21.63,132\n"  # settled below the low of the electronic session
        + "2005-11-24,21.63,21.63,21.63,21.63,18\n"  # Thanksgiving
        + "2005-11-25,21.63,21.63,21.63,,77\n",  # no close
    )
    rows = yahoo.read_daily(tmp_path, "ZL")
    assert [str(day.date()) for day in rows["trade_date"]] == ["2005-11-22", "2005-11-23"]
    assert rows["close"].tolist() == [21.98, 21.63]
    assert rows["high"].isna().tolist() == [False, True]
    assert rows[["open", "low"]].isna().all(axis=1).tolist() == [False, True]
    assert rows["is_roll"].isna().all()
    assert rows["contract"].isna().all()
    assert rows["available_at"].iloc[0] == pd.Timestamp("2005-11-22 20:00", tz="UTC")


def test_ranges_rounded_to_whole_numbers_become_gaps(tmp_path: Path) -> None:
    _write(tmp_path, HEADER + "2005-11-22,22,23,21,22.43,1\n2005-11-23,22,23,21,22.00,1\n")
    rows = yahoo.read_daily(tmp_path, "ZL")
    assert rows[["open", "high", "low"]].isna().all(axis=None)
    assert rows["close"].tolist() == [22.43, 22.0]


@pytest.mark.parametrize("symbol", yahoo.SYMBOLS)
def test_real_files(provider_dir: Path, symbol: str) -> None:
    rows = yahoo.read_daily(provider_dir, symbol)
    days = pd.DatetimeIndex(rows["trade_date"])
    assert days.difference(market_calendar.sessions("2000-11-13", "2019-12-31")).empty
    complete = rows.dropna(subset=["high"])
    assert (complete["high"] >= complete[["open", "close"]].max(axis=1)).all()
    assert (complete["low"] <= complete[["open", "close"]].min(axis=1)).all()
    # The 2001 hole stays a hole in the thin ZL file; crude oil's ranges are rounded to dollars throughout.
    if symbol == "ZL":
        assert market_calendar.sessions("2001-01-03", "2001-01-12").intersection(days).empty
    assert complete.empty is (symbol == "CL")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Date,Open,High,Low,Adj Close,Volume\n", "header"),
        (HEADER, "at least one row"),
        (HEADER + "2005-11-22,1,1,1,abc,1\n", "number"),
        (HEADER + "22/11/2005,1,1,1,1,1\n", "format"),
        (HEADER + "2005-11-22,1,1,1,1,1\n2005-11-22,1,1,1,1,1\n", "repeat"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, rule: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(SourceError, match=rule) as caught:
        yahoo.read_daily(tmp_path, "ZL")
    assert str(path) in caught.value.subject


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="missing") as caught:
        yahoo.read_daily(tmp_path, "ZL")
    assert "ZL=F_2000_2019.csv" in caught.value.subject
