"""Every known defect of the old warehouse's exports is caught, and the finding names it.

Duplicates are a matter of the schema layer; they are taken out before the sense rules look for what is below them.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cbi_pipeline.bundle.rules import to_checked_table
from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError
from cbi_pipeline_tests.bundle.sense import dirty_exports as dirty

WAREHOUSE = "forecasting_data_warehouse"
TIME_AND_PRICES = {"time": "trade_date"}


def schema_refusal(table: str, rows: pd.DataFrame) -> str:
    with pytest.raises(BundleError) as caught:
        to_checked_table(RAW_TABLES[table], rows, table, "see the test.")
    return str(caught.value)


def without_duplicates(table: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The last row of each key: now the schema layer has nothing to say."""
    contract = RAW_TABLES[table]
    rows = rows.drop_duplicates(list(contract.key), keep="last", ignore_index=True)
    return contract.to_pandas(to_checked_table(contract, rows, table, "see the test."))


def errors(**tables: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(rule, subject) to the number of rows and the first of them."""
    return {(f.rule, f.subject): f"{f.rows}: {f.first_rows[0]}" for f in judge(tables).errors}


def test_soybean_oil_has_bars_that_contradict_themselves_and_a_hole(provider_dir: Path) -> None:
    rows = dirty.prices(dirty.read(provider_dir, f"{WAREHOUSE}.soybean_oil_prices"), "ZL", TIME_AND_PRICES)
    found = errors(futures_daily=without_duplicates("futures_daily", on_sessions(rows)))
    assert found["bar_order", "ZL"].startswith("69")
    assert found["hole", "ZL"].startswith("1: 2020-10-21: no row in the 295 days before")


def test_a_trade_date_off_the_calendar_is_caught_by_the_schema(provider_dir: Path) -> None:
    rows = dirty.prices(dirty.read(provider_dir, f"{WAREHOUSE}.soybean_oil_prices"), "ZL", TIME_AND_PRICES)
    assert "session of CBOT" in schema_refusal("futures_daily", rows)


def test_soybeans_are_there_three_times(provider_dir: Path) -> None:
    rows = on_sessions(dirty.prices(dirty.read(provider_dir, f"{WAREHOUSE}.soybean_prices"), "ZS", TIME_AND_PRICES))
    refusal = schema_refusal("futures_daily", rows)
    assert "must be unique; it repeats the row before" in refusal
    assert "symbol=ZS, trade_date=2000-11-13" in refusal
    found = errors(futures_daily=without_duplicates("futures_daily", rows))
    assert found["hole", "ZS"].startswith("1: 2020-10-21")
    assert ("bar_order", "ZS") in found


def test_palm_prices_are_missing_where_the_export_says_they_are(provider_dir: Path) -> None:
    """`open_price` to `close_price` are NaN throughout."""
    columns = {"time": "trade_date", **{f"{name}_price": name for name in dirty.PRICES}}
    export = dirty.read(provider_dir, f"{WAREHOUSE}.palm_oil_prices").drop(columns=list(dirty.PRICES))
    refusal = schema_refusal("futures_daily", dirty.prices(export, "FCPO", columns))
    assert "close must have a value" in refusal
    assert "and 1052 more" in refusal


def test_palm_prices_of_the_export_are_dollars_and_flat(provider_dir: Path, starter_tables) -> None:
    """Its other four columns are one settlement written four times, in USD: no FCPO, which is ringgit."""
    export = dirty.read(provider_dir, f"{WAREHOUSE}.palm_oil_prices")
    rows = without_duplicates("futures_daily", dirty.prices(export, "FCPO", TIME_AND_PRICES))
    found = errors(futures_daily=rows, macro_series=starter_tables["macro_series"])
    assert found["palm_and_world_bank", "FCPO"].startswith("51: 2020-10-01")
    assert "% of its bars have one price" in found["flat_bars", "FCPO"]


def test_palm_prices_that_are_filled_back_before_the_first_quote(provider_dir: Path) -> None:
    export = dirty.read(provider_dir, "models_v4.palm_price_daily_complete")
    rows = dirty.prices(export, "FCPO", {"date": "trade_date", "palm_price": "close"})
    found = errors(futures_daily=without_duplicates("futures_daily", rows))
    assert found["first_quote", "FCPO"].startswith("1: 2020-01-02: 692.5 in 204 rows on end")


def test_managed_money_is_zero_in_every_report(provider_dir: Path) -> None:
    rows = dirty.reports(dirty.read(provider_dir, f"{WAREHOUSE}.cftc_cot"))
    assert "must be unique" in schema_refusal("cot_weekly", rows)
    found = errors(cot_weekly=without_duplicates("cot_weekly", rows))
    empty = found["empty_group", "007601"]
    assert empty.startswith("1: 2006-01-03: managed_money long and short are 0 in 828 reports on end")
    assert found["before_first_quote", "007601"].startswith("23: 2006-01-03")


def test_tenths_stored_as_units(provider_dir: Path) -> None:
    """Temperatures and rain of the NOAA stations are a tenth of what they were: July in Des Moines at 2.9 deg C."""
    rows = dirty.station_days(dirty.read(provider_dir, f"{WAREHOUSE}.weather_data"))
    assert "must be unique" in schema_refusal("weather_daily", rows)
    found = errors(weather_daily=without_duplicates("weather_daily", rows))
    noaa = {station for rule, station in found if rule == "temperature_unit"}
    assert noaa == {"GHCND:AR000875850", "GHCND:USW00014933", "GHCND:USW00094846"}
    assert all("median daily range" in text for (rule, _), text in found.items() if rule == "temperature_unit")


def test_stations_under_wrong_names(provider_dir: Path, starter_tables) -> None:
    """INMET stations are listed as NOAA's, one is A901 Cuiaba under a second name, one gauge never saw rain."""
    rows = without_duplicates(
        "weather_daily", dirty.station_days(dirty.read(provider_dir, f"{WAREHOUSE}.weather_data"))
    )
    found = errors(weather_daily=rows)
    listed = {station: text for (rule, station), text in found.items() if rule == "station_identity"}
    assert set(listed) == {f"INMET_A{number}" for number in (702, 807, 833, 901, 908, 923, 936)}
    assert all("listed in brazil by NOAA" in text for text in listed.values())
    assert found["dry_year", "INMET_A936"].startswith("1: 2024-12-31: no rain in the whole year")
    beside = pd.concat([starter_tables["weather_daily"], rows]).sort_values(["region", "station", "date"])
    found = errors(weather_daily=beside.reset_index(drop=True))
    assert "are those of INMET_A901" in found["two_names", "A901 Cuiaba"]


def test_currencies_are_there_several_times(provider_dir: Path) -> None:
    export = dirty.read(provider_dir, f"{WAREHOUSE}.currency_data")
    export = export[(export["from_currency"] == "USD") & (export["to_currency"] == "MYR")]
    refusal = schema_refusal("macro_series", dirty.macro(export, "USDMYR", "date", "rate"))
    assert "must be unique; it repeats the row before" in refusal
    assert "series_id=USDMYR, date=2001-08-27" in refusal


def test_intraday_quotes_stored_as_days(provider_dir: Path) -> None:
    """Several rates of one date, all different: which of them is the day's, nothing says."""
    export = dirty.read(provider_dir, f"{WAREHOUSE}.economic_indicators").query("indicator == 'usd_brl_rate'")
    assert export[export.duplicated("time", keep=False)].groupby("time")["value"].nunique().gt(1).all()
    refusal = schema_refusal("macro_series", dirty.macro(export, "DEXBZUS", "time", "value"))
    assert "must be unique; it repeats the row before" in refusal
    assert "series_id=DEXBZUS, date=2023-10-06" in refusal


def test_a_yield_lacks_23_years(provider_dir: Path) -> None:
    export = dirty.read(provider_dir, f"{WAREHOUSE}.economic_indicators").query("indicator == 'ten_year_treasury'")
    rows = dirty.macro(export, "DGS10", "time", "value")
    assert "must be unique" in schema_refusal("macro_series", rows)
    found = errors(macro_series=without_duplicates("macro_series", rows))
    assert found["hole", "DGS10"].startswith("1: 2023-10-06: no row in the 8558 days before")


def on_sessions(rows: pd.DataFrame) -> pd.DataFrame:
    """Without dates that are no session, which the schema refuses before it looks at anything else."""
    from cbi_pipeline.market_calendar import FIRST_DAY, LAST_DAY, sessions

    return rows[rows["trade_date"].isin(sessions(FIRST_DAY, LAST_DAY))].reset_index(drop=True)
