"""Palm oil futures and the ringgit rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts.tables import MACRO_SERIES
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa


def _write(folder: Path, file: str, text: str) -> Path:
    path = folder / file
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_fcpo_is_known_at_its_own_close(provider_dir: Path) -> None:
    rows = bursa.read_fcpo(provider_dir).set_index("trade_date")
    first = rows.loc["2006-04-12"]
    assert first[["open", "high", "low", "close", "volume"]].tolist() == [1449, 1460, 1449, 1460, 3596]
    assert first["available_at"] == pd.Timestamp("2006-04-12 10:00", tz="UTC")
    assert rows["contract"].isna().all()
    assert rows["is_roll"].isna().all()
    assert len(rows) == 4597


def test_fcpo_row_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    header = "trade_date,open,high,low,close,volume,raw_epoch_utc\n"
    _write(tmp_path, bursa.FCPO_FILE, header + "2006-04-12,1449,1450,1449,1460,3596,1144760400\n")
    with pytest.raises(SourceError, match="low <= open") as caught:
        bursa.read_fcpo(tmp_path)
    assert "2006-04-12" in caught.value.subject


def test_a_lone_bad_print_is_left_out_and_a_lasting_move_is_accepted_on_its_second_day() -> None:
    kept = bursa.accepted_rates(np.array([4.0, 4.3, 4.02, 4.5, 4.52, 4.53]))
    assert kept.tolist() == [True, False, True, False, True, True]


def test_accepting_a_rate_needs_no_later_rate() -> None:
    rates = np.array([4.0, 4.3, 4.02, 4.5, 4.52, 4.53])
    whole = bursa.accepted_rates(rates)
    for length in range(1, len(rates) + 1):
        assert bursa.accepted_rates(rates[:length]).tolist() == whole[:length].tolist()


def test_real_ringgit_leaves_two_bad_prints_out(provider_dir: Path) -> None:
    rows = bursa.read_usdmyr(provider_dir)
    MACRO_SERIES.pandera_schema().validate(MACRO_SERIES.to_pandas(MACRO_SERIES.to_arrow(rows)))
    raw = pd.read_csv(provider_dir / bursa.USDMYR_FILE, parse_dates=["date"])
    left_out = raw.loc[~raw["date"].isin(rows["date"])]
    # Yahoo's MYR=X closed at 4.2820 and 4.6860 on these two days.
    assert left_out["usdmyr"].tolist() == [4.5232, 4.9735]
    assert rows["available_at"].iloc[0] == pd.Timestamp("2001-08-28", tz="UTC")
    assert rows["value"].iloc[0] == 3.8001


@pytest.mark.parametrize("rate", ["", "0", "-4.1"])
def test_a_rate_that_is_not_positive_is_named(tmp_path: Path, rate: str) -> None:
    _write(tmp_path, bursa.USDMYR_FILE, f"date,usdmyr\n2001-08-27,3.8001\n2001-08-28,{rate}\n")
    with pytest.raises(SourceError, match="positive") as caught:
        bursa.read_usdmyr(tmp_path)
    assert "2001-08-28" in caught.value.subject


def _official_rates(folder: Path, text: str) -> None:
    (folder / "fred").mkdir()
    (folder / "fred" / "DEXMAUS.csv").write_text("observation_date,DEXMAUS\n" + text)


def test_rates_of_the_federal_reserve_follow_the_collected_ones(tmp_path: Path) -> None:
    (tmp_path / "palm").mkdir()
    (tmp_path / bursa.USDMYR_FILE).write_text("date,usdmyr\n2024-12-26,4.47\n2024-12-27,4.46\n")
    _official_rates(tmp_path, "2024-12-27,4.4650\n2024-12-30,4.4705\n2024-12-31,\n")
    rows = bursa.read_usdmyr(tmp_path)
    assert rows["value"].tolist() == [4.47, 4.46, 4.4705]
    assert rows["source"].tolist() == ["usdmyr spot", "usdmyr spot", "FRED DEXMAUS"]
    # H.10 brings a week's rates on the Monday after it, 16:15 New York
    assert rows["available_at"].iloc[-1] == pd.Timestamp("2025-01-06 21:15", tz="UTC")


def test_rates_of_the_federal_reserve_alone(tmp_path: Path) -> None:
    _official_rates(tmp_path, "2024-12-30,4.4705\n")
    assert bursa.read_usdmyr(tmp_path)["series_id"].tolist() == ["USDMYR"]
