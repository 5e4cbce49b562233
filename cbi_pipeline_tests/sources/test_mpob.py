"""Malaysian palm-oil stocks: unit, gaps and publication."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import MACRO_SERIES
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import mpob


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
