"""The curve from Databento: contracts by their numbers, sessions by the rules of the prices."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import FUTURES_CURVE
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import curve, databento, databento_curve, term_structure
from cbi_pipeline_tests.sources.fetch.shapes import databento_curve as curve_file

NAME = "glbx-mdp3-20241201-20241231.ohlcv-1h.dbn.zst"
SPAN = {"d0": "2024-12-01", "d1": "2025-01-01"}


@pytest.fixture
def folder(tmp_path: Path, provider_dir: Path) -> Path:
    """A data folder with December 2024 of the curve, and the collected contract prices."""
    (tmp_path / "term_structure").symlink_to(provider_dir / "term_structure")
    content, numbers = curve_file(provider_dir)
    path = tmp_path / databento_curve.FOLDER / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    names = {numbers["ZL.c.0"]: "ZLF5", numbers["ZL.c.1"]: "ZLH5"}
    result = {number: [{**SPAN, "s": name}] for number, name in names.items()}
    databento_curve.symbology_path(path).write_text(json.dumps({"result": result, "partial": [], "not_found": []}))
    return tmp_path


def _change(folder: Path, old: str, new: str) -> None:
    path = databento_curve.symbology_path(folder / databento_curve.FOLDER / NAME)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_two_contracts_a_session_after_the_collected_prices(folder: Path, provider_dir: Path) -> None:
    rows = curve.read_futures_curve(folder)
    FUTURES_CURVE.pandera_schema().validate(FUTURES_CURVE.to_pandas(FUTURES_CURVE.to_arrow(rows)))
    collected = term_structure.read_futures_curve(folder)
    pd.testing.assert_frame_equal(rows.iloc[: len(collected)], collected)
    bought = rows.iloc[len(collected) :].reset_index(drop=True)
    assert bought.groupby("trade_date")["contract_month"].apply(list).map(tuple).unique().tolist() == [
        ("2025-01", "2025-03")
    ]
    assert bought["trade_date"].min() == pd.Timestamp("2024-12-02")
    assert bought["source"].str.startswith("databento GLBX.MDP3 ohlcv-1h ZL.c.").all()
    # the file holds the bars of the month's most active contracts, so its closes are theirs
    closes = databento.read_daily(provider_dir).query("symbol == 'ZL' and trade_date >= '2024-12-02'")
    nearest = bought[bought["contract_month"] == "2025-01"].set_index("trade_date")["price"]
    same = closes.set_index("trade_date")["close"].loc["2024-12-02":"2024-12-17"]
    pd.testing.assert_series_equal(nearest.loc["2024-12-02":"2024-12-17"], same, check_names=False)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('"ZLH5"', '"ZSH5"', "contract such as ZLF5"),
        ('"1002"', '"1003"', "contract of 1002"),
        ('"ZLH5"', '"ZLF5"', "repeat"),
        ('"d0"', '"from"', "symbology.resolve"),
        ('{"result"', '{"answer"', "symbology.resolve"),
    ],
)
def test_another_answer_is_refused(folder: Path, old: str, new: str, rule: str) -> None:
    _change(folder, old, new)
    with pytest.raises(SourceError, match=rule):
        databento_curve.read_futures_curve(folder)


def test_a_year_of_one_digit_is_the_next_such_year(folder: Path) -> None:
    _change(folder, '"ZLH5"', '"ZLZ4"')
    _change(folder, '"ZLF5"', '"ZLN4"')  # July 2024 is over: it must be 2034
    rows = databento_curve.read_futures_curve(folder)
    assert set(rows["contract_month"]) == {"2024-12", "2034-07"}
