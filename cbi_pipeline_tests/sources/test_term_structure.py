"""The two nearest quoted soybean-oil contracts of every session."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline import market_calendar
from cbi_pipeline.contracts.tables import FUTURES_CURVE
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import term_structure

HEADER = "date,CARRY,PRICE,FORWARD,CARRY_CONTRACT,PRICE_CONTRACT,FORWARD_CONTRACT,row_source\n"


def _write(folder: Path, *rows: str) -> Path:
    path = folder / term_structure.FILE
    path.parent.mkdir()
    path.write_bytes(gzip.compress((HEADER + "\n".join(rows) + "\n").encode()))
    return path


def test_the_two_nearest_quoted_legs_whatever_their_names(tmp_path: Path) -> None:
    _write(
        tmp_path,
        "1984-12-31,20.0,21.0,,19850100,19850300,19850500,a",  # before the table begins
        "1985-01-02,22.0,23.0,21.0,19850500,19850700,19850300,a",  # CARRY is not the nearest
        "1985-01-03,22.5,,,19850300,19850500,19850700,a",  # one leg is quoted
        "1985-01-05,22.5,23.0,,19850300,19850500,19850700,a",  # Saturday
    )
    curve = term_structure.read_futures_curve(tmp_path)
    found = [(str(r.trade_date.date()), r.contract_month, r.price) for r in curve.itertuples()]
    assert found == [
        ("1985-01-02", "1985-03", 21.0),
        ("1985-01-02", "1985-05", 22.0),
        ("1985-01-03", "1985-03", 22.5),
    ]
    assert curve["available_at"].iloc[0] == pd.Timestamp("1985-01-02 20:00", tz="UTC")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("1985-01-02,22.0,,,,19850300,19850500,a", "YYYYMM00"),
        ("1985-01-02,22.0,,,19851300,19850300,19850500,a", "YYYYMM00"),
        ("1985-04-02,22.0,,,19850300,19850500,19850700,a", "after its delivery month"),
        ("1985-01-02,22.0,22.1,,19850300,19850300,19850500,a", "one price"),
    ],
)
def test_impossible_legs_are_named(tmp_path: Path, row: str, rule: str) -> None:
    path = _write(tmp_path, row)
    with pytest.raises(SourceError, match=rule) as caught:
        term_structure.read_futures_curve(tmp_path)
    assert str(path) in caught.value.subject
    assert "1985-0" in caught.value.subject


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, *(["1985-01-02,22.0,23.0,,19850300,19850500,19850700,a"] * 50))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="complete CSV"):
        term_structure.read_futures_curve(tmp_path)


def test_real_curve(provider_dir: Path) -> None:
    curve = term_structure.read_futures_curve(provider_dir)
    FUTURES_CURVE.pandera_schema().validate(FUTURES_CURVE.to_pandas(FUTURES_CURVE.to_arrow(curve)))
    days = pd.DatetimeIndex(curve["trade_date"].unique())
    assert days.difference(market_calendar.sessions("1985-01-01", "2024-12-31")).empty
    assert str(days.min().date()) == "1985-01-02"
    assert str(days.max().date()) == "2023-11-30"
    per_day = curve.groupby("trade_date").size()
    assert set(per_day) == {1, 2}
    assert (per_day == 2).mean() > 0.9
    last = curve[curve["trade_date"] == "2023-11-30"]
    assert dict(zip(last["contract_month"], last["price"], strict=True)) == {"2024-03": 52.12, "2024-05": 52.02}


def test_the_last_snapshot_of_the_day_session_counts_else_the_row_of_23(tmp_path: Path) -> None:
    header = "DATETIME,CARRY,CARRY_CONTRACT,PRICE,PRICE_CONTRACT,FORWARD,FORWARD_CONTRACT\n"
    rows = (
        "2022-08-12 18:00:00,68.31,20221000,67.99,20221200,67.55,20230100",
        "2022-08-12 19:00:00,68.12,20221000,67.92,20221200,67.37,20230100",
        "2022-08-12 23:00:00,68.3,20221000,67.97,20221200,67.56,20230100",
        "2022-08-15 23:00:00,67.44,20221000,66.99,20221200,66.54,20230100",
    )
    path = tmp_path / term_structure.SNAPSHOTS
    path.parent.mkdir()
    path.write_text(header + "\n".join(rows) + "\n")
    curve = term_structure.read_futures_curve(tmp_path)
    assert curve["price"].tolist() == [68.12, 67.92, 67.44, 66.99]


def test_snapshots_go_on_where_the_collected_file_ends(tmp_path: Path) -> None:
    _write(tmp_path, "2022-08-12,68.0,67.0,,20221000,20221200,20230100,a")
    (tmp_path / term_structure.SNAPSHOTS).write_text(
        "DATETIME,CARRY,CARRY_CONTRACT,PRICE,PRICE_CONTRACT,FORWARD,FORWARD_CONTRACT\n"
        "2022-08-12 19:00:00,68.12,20221000,67.92,20221200,67.37,20230100\n"
        "2022-08-15 19:00:00,67.43,20221000,66.98,20221200,66.53,20230100\n"
    )
    assert term_structure.read_futures_curve(tmp_path)["price"].tolist() == [68.0, 67.0, 67.43, 66.98]
