"""World Bank Pink Sheet: months, gaps and publication."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import MACRO_SERIES
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import worldbank


def write(data_dir: Path, text: str) -> Path:
    folder = data_dir / "worldbank"
    folder.mkdir()
    (folder / worldbank.FILE_NAME).write_text(text, encoding="utf-8")
    return data_dir


def test_real_file(provider_dir: Path) -> None:
    rows = worldbank.read_macro_series(provider_dir)
    MACRO_SERIES.pandera_schema().validate(MACRO_SERIES.to_pandas(MACRO_SERIES.to_arrow(rows)))
    values = rows.set_index(["series_id", "date"])
    assert values.loc[("WB_PALM_OIL", "2024-12-01"), "value"] == 1189.73
    assert values.loc[("WB_SOYBEAN_OIL", "2024-12-01"), "value"] == 1063.63
    assert values.loc[("WB_PALM_OIL", "2024-12-01"), "available_at"] == pd.Timestamp("2025-01-06 12:00", tz="UTC")
    assert (
        values["available_at"] > values.index.get_level_values("date").tz_localize("UTC") + pd.offsets.MonthBegin(1)
    ).all()
    assert rows["date"].min() == worldbank.FIRST_MONTH
    assert rows.groupby("series_id").size().tolist() == [45 * 12, 45 * 12]


def test_an_ellipsis_makes_no_row(tmp_path: Path) -> None:
    write(tmp_path, "month,Palm oil,Soybean oil\n1990M01,…,447.0\n1990M02,270.0,…\n")
    rows = worldbank.read_macro_series(tmp_path)
    assert rows[["series_id", "value"]].to_numpy().tolist() == [["WB_PALM_OIL", 270.0], ["WB_SOYBEAN_OIL", 447.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("month,Palm oil,Soybean oil (US)\n1990M01,1,2\n", "Soybean oil"),
        ("month,Palm oil,Soybean oil\n1990M01,1,2\n1990M01,1,2\n", "repeat"),
        ("month,Palm oil,Soybean oil\n1990-01,1,2\n", "1990-01"),
        ("month,Palm oil,Soybean oil\n1990M01,n.a.,2\n", r"n\.a\."),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        worldbank.read_macro_series(write(tmp_path, text))
