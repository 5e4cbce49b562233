"""Stations in use, their regions, gaps and publication lags."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cbi_pipeline.contracts.tables import WEATHER_DAILY
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import weather


@pytest.fixture(scope="module")
def collected(provider_dir: Path) -> pd.DataFrame:
    return pd.read_parquet(provider_dir / "weather" / weather.FILE_NAME)


@pytest.fixture(scope="module")
def weather_rows(provider_dir: Path) -> pd.DataFrame:
    return weather.read_weather_daily(provider_dir)


def write(data_dir: Path, frame: pd.DataFrame) -> Path:
    (data_dir / "weather").mkdir()
    frame.to_parquet(data_dir / "weather" / weather.FILE_NAME, index=False)
    return data_dir


def test_station_table_is_sound() -> None:
    names = [station.name for station in weather.STATIONS]
    assert len(set(names)) == len(names)
    assert len(names) == 25
    assert {station.region for station in weather.STATIONS} == {"brazil", "argentina", "midwest"}
    assert {station.product for station in weather.STATIONS} == set(weather.PUBLICATION_LAG_DAYS)
    assert all(station.reason for station in weather.STATIONS)
    assert min(weather.PUBLICATION_LAG_DAYS.values()) >= 1


def test_real_file_fits_the_contract(weather_rows: pd.DataFrame) -> None:
    assert list(weather_rows.columns) == [column.name for column in WEATHER_DAILY.columns]
    WEATHER_DAILY.pandera_schema().validate(WEATHER_DAILY.to_pandas(WEATHER_DAILY.to_arrow(weather_rows)))
    assert set(weather_rows["station"]) == {station.name for station in weather.STATIONS}


def test_no_filled_yearly_or_unsourced_series(weather_rows: pd.DataFrame) -> None:
    assert not weather_rows["station"].str.contains("Daymet|NoiaJr|arbo|^WH ").any()


def test_values_are_those_observed(collected: pd.DataFrame, weather_rows: pd.DataFrame) -> None:
    theirs = collected[collected["station"].isin(weather_rows["station"])]
    both = weather_rows.merge(theirs, on=["station", "date"], suffixes=("", "_collected"), validate="one_to_one")
    assert len(both) == len(weather_rows)
    pd.testing.assert_series_equal(both["precip_mm"], both["prcp_mm"], check_names=False)
    kept = ~(both["tmin_c_collected"] > both["tmax_c_collected"])
    for name in ("tmax_c", "tmin_c"):
        pd.testing.assert_series_equal(both.loc[kept, name], both.loc[kept, f"{name}_collected"], check_names=False)
        assert both.loc[~kept, name].isna().all()
    assert 0 < (~kept).sum() < 100


def test_nulled_values_stay_gaps(weather_rows: pd.DataFrame) -> None:
    parana = weather_rows[weather_rows["station"] == "NH0114 INTA Parana"].set_index("date")
    assert parana.loc["2017-03-01":"2018-12-31", "precip_mm"].isna().sum() > 300
    assert parana.loc["2016-08-01":"2016-08-31"].empty


@pytest.mark.parametrize(
    ("station", "date", "known"),
    [
        ("USW00014839 Milwaukee WI", "2024-12-30", "2024-12-31 18:00"),
        ("USC00133438 Greenfield IA", "2010-07-01", "2010-07-03 18:00"),
        ("A901 Cuiaba", "2024-06-01", "2024-06-03 18:00"),
        ("NH0046 UNR - Zavalla (EMC)", "2020-01-31", "2020-02-02 18:00"),
        ("POWER Chicago", "2024-12-28", "2024-12-31 18:00"),
    ],
)
def test_publication(weather_rows: pd.DataFrame, station: str, date: str, known: str) -> None:
    row = weather_rows[(weather_rows["station"] == station) & (weather_rows["date"] == date)]
    assert row["available_at"].tolist() == [pd.Timestamp(known, tz="UTC")]


def test_no_day_is_known_before_it_ended(weather_rows: pd.DataFrame) -> None:
    # 1 day + 12 h UTC is after local midnight everywhere in the Americas.
    assert (weather_rows["available_at"] >= weather_rows["date"].dt.tz_localize("UTC") + pd.Timedelta(hours=36)).all()


def test_a_station_that_vanished_is_refused(collected: pd.DataFrame, tmp_path: Path) -> None:
    write(tmp_path, collected[collected["station"] != "A901 Cuiaba"])
    with pytest.raises(SourceError, match="A901 Cuiaba"):
        weather.read_weather_daily(tmp_path)


def test_a_station_in_another_region_is_refused(collected: pd.DataFrame, tmp_path: Path) -> None:
    moved = collected["region"].mask(collected["station"] == "POWER Chicago", "brazil")
    with pytest.raises(SourceError, match="POWER Chicago"):
        weather.read_weather_daily(write(tmp_path, collected.assign(region=moved)))


def test_a_day_twice_is_refused(collected: pd.DataFrame, tmp_path: Path) -> None:
    again = collected[collected["station"] == "A901 Cuiaba"].head(1)
    with pytest.raises(SourceError, match="repeat"):
        weather.read_weather_daily(write(tmp_path, pd.concat([collected, again], ignore_index=True)))


@pytest.mark.parametrize("column", ["station", "prcp_mm", "tmin_c"])
def test_a_missing_column_is_refused(collected: pd.DataFrame, tmp_path: Path, column: str) -> None:
    with pytest.raises(SourceError, match=r"stations_daily\.parquet"):
        weather.read_weather_daily(write(tmp_path, collected.head(1000).drop(columns=column)))


def test_a_truncated_file_is_refused(provider_dir: Path, tmp_path: Path) -> None:
    source = provider_dir / "weather" / weather.FILE_NAME
    assert pq.read_metadata(source).num_rows > 0
    (tmp_path / "weather").mkdir()
    (tmp_path / "weather" / weather.FILE_NAME).write_bytes(source.read_bytes()[:-100])
    with pytest.raises(SourceError, match="not a station table"):
        weather.read_weather_daily(tmp_path)
