"""Real rows, broken one way at a time: the rule that is about that way finds it, by series and date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cbi_pipeline.bundle.build import build_bundle, prepare_bundle
from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.bundle.sense.table import RULES
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.manifest import MAX_ROWS_NAMED, Finding
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError

Tables = dict[str, pd.DataFrame]
KEYS = {
    "futures_daily": ("symbol", "trade_date"),
    "futures_curve": ("symbol", "trade_date"),
    "macro_series": ("series_id", "date"),
    "cot_weekly": ("market_code", "report_date"),
    "weather_daily": ("station", "date"),
    "policy": ("series", "published_on"),
    "fundamentals": ("series_id", "release_date"),
}


def of(tables: Tables, table: str, subject: str, first: str = "1900", last: str = "2100") -> pd.Series:
    key, day = KEYS[table]
    rows = tables[table]
    return rows[key].eq(subject) & rows[day].ge(pd.Timestamp(first)) & rows[day].le(pd.Timestamp(last))


def put(table: str, subject: str, first: str, last: str, **values: object) -> Callable[[Tables], None]:
    """Give the rows of a series from one date to another these values."""

    def change(tables: Tables) -> None:
        at = of(tables, table, subject, first, last)
        assert at.any()
        for column, value in values.items():
            tables[table].loc[at, column] = value

    return change


def scale(table: str, subject: str, columns: tuple[str, ...], by: float, *days: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        at = of(tables, table, subject, *days)
        assert at.any()
        tables[table].loc[at, list(columns)] *= by

    return change


def drop(table: str, subject: str, first: str, last: str = "2100") -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[table] = tables[table][~of(tables, table, subject, first, last)].reset_index(drop=True)

    return change


def earlier(table: str, subject: str, days: float, *span: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[table].loc[of(tables, table, subject, *span), "available_at"] -= pd.Timedelta(days=days)

    return change


def one_release_a_year(tables: Tables) -> None:
    last = tables["fundamentals"].drop_duplicates(["series_id", "marketing_year"], keep="last")
    tables["fundamentals"] = last.reset_index(drop=True)


def second_name(tables: Tables) -> None:
    rows = tables["weather_daily"]
    copy = rows[rows["station"].eq("A901 Cuiaba")].assign(station="A902 Copy")
    tables["weather_daily"] = pd.concat([rows, copy]).sort_values(["region", "station", "date"], ignore_index=True)


def shifted_reports(tables: Tables) -> None:
    tables["cot_weekly"]["report_date"] += pd.Timedelta(days=1)


def many_stations(tables: Tables) -> None:
    rows = tables["weather_daily"]
    at = of(tables, "weather_daily", "POWER Chicago", "2012-01-01", "2012-12-31")
    rows.loc[at, "station"] = [f"POWER {number}" for number in range(int(at.sum()))]
    tables["weather_daily"] = rows.sort_values(["region", "station", "date"], ignore_index=True)


def other_hemisphere(tables: Tables) -> None:
    rows = tables["weather_daily"]
    at = rows["station"].eq("NH0446 INTA Anguil")
    rows.loc[at, "region"] = "midwest"
    tables["weather_daily"] = rows.sort_values(["region", "station", "date"], ignore_index=True)


def copied_report(tables: Tables) -> None:
    rows = tables["cot_weekly"]
    at = np.flatnonzero(of(tables, "cot_weekly", "007601", "2020-06-01"))[0]
    numbers = [name for name in rows if name not in ("market_code", "report_date", "available_at", "source")]
    rows.loc[at, numbers] = rows.loc[at - 1, numbers]


def shifted_report(tables: Tables) -> None:
    rows = tables["cot_weekly"]
    rows.loc[of(tables, "cot_weekly", "007601", "2020-06-02", "2020-06-02"), "report_date"] += pd.Timedelta(days=2)


PRICES = ("open", "high", "low", "close", "back_adjusted_close")
BROKEN: list[tuple[str, str, str, str, Callable[[Tables], None]]] = [
    ("error", "bar_order", "futures_daily", "ZL", put("futures_daily", "ZL", "2020-03-02", "2020-03-02", high=20.0)),
    ("error", "jump", "futures_daily", "ZL", scale("futures_daily", "ZL", PRICES, 2.2, "2020-03-02", "2020-03-02")),
    (
        "error",
        "roll_gap",
        "futures_daily",
        "ZS",
        put("futures_daily", "ZS", "2013-06-03", "2013-06-03", roll_ratio=0.4),
    ),
    (
        "error",
        "back_adjustment",
        "futures_daily",
        "ZL",
        scale("futures_daily", "ZL", ("back_adjusted_close",), 1.01, "2015"),
    ),
    ("error", "stale", "futures_daily", "HO", put("futures_daily", "HO", "2015-03-02", "2015-03-20", close=1.9)),
    ("warning", "stale", "futures_daily", "HO", put("futures_daily", "HO", "2015-03-02", "2015-03-06", close=1.9)),
    ("error", "first_quote", "futures_daily", "FCPO", put("futures_daily", "FCPO", "2006", "2006-05-01", close=1448.0)),
    ("error", "zero", "futures_daily", "CL", put("futures_daily", "CL", "2020-04-20", "2020-04-20", close=0.0)),
    ("error", "flat_bars", "futures_daily", "FCPO", lambda t: flatten(t, "FCPO")),
    ("error", "palm_and_world_bank", "futures_daily", "FCPO", scale("futures_daily", "FCPO", PRICES, 0.24)),
    ("error", "soybean_oil_and_world_bank", "futures_daily", "ZL", scale("futures_daily", "ZL", PRICES, 0.453)),
    ("error", "hole", "futures_daily", "ZS", drop("futures_daily", "ZS", "2020-01-01", "2020-10-20")),
    ("warning", "hole", "futures_daily", "ZS", drop("futures_daily", "ZS", "2020-01-01", "2020-01-20")),
    ("warning", "early_end", "futures_daily", "ZM", drop("futures_daily", "ZM", "2024-12-01")),
    (
        "error",
        "curve_and_close",
        "futures_curve",
        "ZL",
        scale("futures_curve", "ZL", ("price",), 1.4, "2010", "2010-01-08"),
    ),
    ("error", "hole", "futures_curve", "ZL", drop("futures_curve", "ZL", "2015-01-01", "2015-06-01")),
    ("warning", "early_end", "futures_curve", "ZL", lambda _: None),
    (
        "error",
        "jump",
        "macro_series",
        "DEXBZUS",
        scale("macro_series", "DEXBZUS", ("value",), 10.0, "2015-03-02", "2015-03-02"),
    ),
    ("error", "stale", "macro_series", "VIXCLS", put("macro_series", "VIXCLS", "2015-01-01", "2016-03-01", value=15.0)),
    (
        "error",
        "first_quote",
        "macro_series",
        "DTWEXBGS",
        put("macro_series", "DTWEXBGS", "2006", "2006-03-01", value=101.0),
    ),
    ("error", "zero", "macro_series", "DEXBZUS", put("macro_series", "DEXBZUS", "2015-03-02", "2015-03-02", value=0.0)),
    ("error", "hole", "macro_series", "DGS10", drop("macro_series", "DGS10", "2000-05-01", "2023-10-01")),
    ("error", "hole", "macro_series", "WB_PALM_OIL", drop("macro_series", "WB_PALM_OIL", "2010-01-01", "2010-12-01")),
    ("warning", "early_end", "macro_series", "VIXCLS", drop("macro_series", "VIXCLS", "2024-12-01")),
    ("warning", "early_end", "macro_series", "EPA_D4_RINS", drop("macro_series", "EPA_D4_RINS", "2024-09-01")),
    (
        "error",
        "before_first_quote",
        "macro_series",
        "DTWEXBGS",
        put("macro_series", "DTWEXBGS", "2006", "2006-01-02", date=pd.Timestamp("2005-12-30")),
    ),
    (
        "error",
        "weekend",
        "macro_series",
        "DGS10",
        put("macro_series", "DGS10", "2020-03-02", "2020-03-02", date=pd.Timestamp("2020-03-01")),
    ),
    (
        "error",
        "first_of_month",
        "macro_series",
        "WB_PALM_OIL",
        put("macro_series", "WB_PALM_OIL", "2020-03-01", "2020-03-01", date=pd.Timestamp("2020-03-02")),
    ),
    ("error", "other_days", "cot_weekly", "007601", shifted_reports),
    ("error", "station_count", "weather_daily", "midwest", many_stations),
    ("error", "report_weekday", "cot_weekly", "007601", shifted_report),
    (
        "error",
        "sides_balance",
        "cot_weekly",
        "005602",
        put("cot_weekly", "005602", "2020-06-02", "2020-06-02", swap_long=1),
    ),
    (
        "error",
        "above_open_interest",
        "cot_weekly",
        "007601",
        put("cot_weekly", "007601", "2020-06-02", "2020-06-02", open_interest=9),
    ),
    (
        "error",
        "empty_group",
        "cot_weekly",
        "007601",
        put("cot_weekly", "007601", "2015", "2016", managed_money_long=0, managed_money_short=0),
    ),
    (
        "error",
        "empty_group",
        "cot_weekly",
        "007601",
        put("cot_weekly", "007601", "2015", "2016", commercial_long=0, commercial_short=0),
    ),
    ("error", "repeated_report", "cot_weekly", "007601", copied_report),
    (
        "error",
        "before_first_quote",
        "cot_weekly",
        "007601",
        put("cot_weekly", "007601", "2006", "2006-06-13", report_date=pd.Timestamp("2006-01-03")),
    ),
    ("error", "hole", "cot_weekly", "005602", drop("cot_weekly", "005602", "2015-01-01", "2015-12-31")),
    ("warning", "early_end", "cot_weekly", "026603", drop("cot_weekly", "026603", "2024-11-01")),
    (
        "error",
        "temperature_unit",
        "weather_daily",
        "A901 Cuiaba",
        scale("weather_daily", "A901 Cuiaba", ("tmax_c", "tmin_c"), 0.1),
    ),
    ("error", "rain_unit", "weather_daily", "A901 Cuiaba", scale("weather_daily", "A901 Cuiaba", ("precip_mm",), 0.04)),
    ("error", "season", "weather_daily", "NH0446 INTA Anguil", other_hemisphere),
    ("error", "station_identity", "weather_daily", "NH0446 INTA Anguil", other_hemisphere),
    ("error", "two_names", "weather_daily", "A901 Cuiaba", second_name),
    (
        "error",
        "dry_year",
        "weather_daily",
        "POWER Chicago",
        put("weather_daily", "POWER Chicago", "2012-01-01", "2012-12-31", precip_mm=0.0),
    ),
    (
        "error",
        "stale",
        "weather_daily",
        "POWER Chicago",
        put("weather_daily", "POWER Chicago", "2012-05-01", "2012-05-20", precip_mm=0.0, tmax_c=20.0, tmin_c=10.0),
    ),
    (
        "error",
        "upside_down",
        "weather_daily",
        "POWER Chicago",
        put("weather_daily", "POWER Chicago", "2012-05-01", "2012-05-01", tmax_c=2.0, tmin_c=10.0),
    ),
    ("warning", "hole", "weather_daily", "A819 Castro", lambda _: None),
    ("warning", "early_end", "weather_daily", "A819 Castro", lambda _: None),
    ("error", "vintages", "fundamentals", "wasde_us_soybean_oil_use_total", one_release_a_year),
    (
        "error",
        "revision",
        "fundamentals",
        "wasde_us_soybean_oil_use_total",
        scale("fundamentals", "wasde_us_soybean_oil_use_total", ("value",), 0.3, "2020-05-12", "2020-05-12"),
    ),
    (
        "error",
        "hole",
        "fundamentals",
        "wasde_us_soybean_oil_use_total",
        drop("fundamentals", "wasde_us_soybean_oil_use_total", "2020", "2020-08-01"),
    ),
    (
        "warning",
        "early_end",
        "fundamentals",
        "wasde_us_soybean_oil_use_total",
        drop("fundamentals", "wasde_us_soybean_oil_use_total", "2024-10-01"),
    ),
    ("error", "known_too_early", "futures_daily", "ZL", earlier("futures_daily", "ZL", 0.2, "2024-12-31")),
    ("error", "known_too_early", "futures_curve", "ZL", earlier("futures_curve", "ZL", 0.2, "2023-11-30")),
    *(
        ("error", "known_too_early", "macro_series", name, earlier("macro_series", name, 1, "2020"))
        for name in ("DGS10", "DEXBZUS", "USDMYR", "WB_PALM_OIL", "EPA_D4_RINS", "MPOB_PALM_STOCKS")
    ),
    ("error", "known_too_early", "cot_weekly", "007601", earlier("cot_weekly", "007601", 1, "2015", "2015-02-01")),
    ("error", "known_too_early", "weather_daily", "POWER Chicago", earlier("weather_daily", "POWER Chicago", 2)),
    ("error", "known_too_early", "policy", "rfs_bbd_volume", earlier("policy", "rfs_bbd_volume", 0.3)),
    (
        "error",
        "known_too_early",
        "fundamentals",
        "wasde_us_soybean_oil_use_total",
        earlier("fundamentals", "wasde_us_soybean_oil_use_total", 0.3, "2020"),
    ),
]


def flatten(tables: Tables, symbol: str) -> None:
    rows = tables["futures_daily"]
    at = rows["symbol"].eq(symbol)
    for column in ("open", "high", "low"):
        rows.loc[at, column] = rows.loc[at, "close"]


@pytest.fixture(scope="module")
def starter_judged(starter_dir: Path) -> tuple[Finding, ...]:
    from cbi_pipeline.bundle.read import load_tables

    judged = judge(load_tables(starter_dir))
    assert judged.errors == ()
    return judged.warnings


@pytest.mark.parametrize(
    ("severity", "rule", "table", "subject", "change"), BROKEN, ids=[f"{b[1]}-{b[2]}-{n}" for n, b in enumerate(BROKEN)]
)
def test_broken_rows_are_found(starter_tables: Tables, severity, rule, table, subject, change) -> None:
    change(starter_tables)
    needed = {table, "futures_daily", "macro_series"}
    judged = judge({name: rows for name, rows in starter_tables.items() if name in needed})
    found = judged.errors if severity == "error" else judged.warnings
    named = [finding for finding in found if (finding.rule, finding.table, finding.subject) == (rule, table, subject)]
    assert named, [(f.rule, f.table, f.subject) for f in found]
    assert len(named[0].first_rows) == min(named[0].rows, MAX_ROWS_NAMED)


def test_every_rule_is_broken_once() -> None:
    """Rules that compare with another source are in `test_agreement.py`."""
    compared = {("vix_cboe_and_fred", "macro_series"), ("ringgit_and_yahoo", "macro_series")}
    compared |= {("databento_and_yahoo", "futures_daily"), ("crude_and_spot", "futures_daily")}
    assert {(rule.name, rule.table) for rule in RULES} - compared == {(rule, table) for _, rule, table, _, _ in BROKEN}


def test_every_rule_says_why() -> None:
    for rule in RULES:
        assert rule.table in RAW_TABLES
        assert len(rule.holds) > 20, rule
        assert len(rule.reason) > 20, rule
        limits = [limit for limit in (rule.warning, rule.error) if limit is not None]
        assert limits, rule
        assert limits == sorted(limits), rule


@pytest.mark.parametrize(
    ("first", "last", "published"),
    [("2013-10-01", "2013-10-22", "2013-11-08"), ("2018-12-24", "2019-02-26", "2019-03-12")],
)
def test_reports_of_the_shutdowns_are_not_known_on_their_friday(starter_tables, first, last, published) -> None:
    """The Friday that the calendar alone would give is refused; the end of the backlog is what the bundle holds."""
    at = of(starter_tables, "cot_weekly", "007601", first, last)
    rows = starter_tables["cot_weekly"]
    assert (rows.loc[at, "available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d") == published).all()
    friday = rows.loc[at, "report_date"] + pd.Timedelta(days=3, hours=20.5)
    rows.loc[at, "available_at"] = friday.dt.tz_localize("UTC")
    judged = judge({"cot_weekly": rows})
    assert [(f.rule, f.subject, f.rows) for f in judged.errors] == [("known_too_early", "007601", int(at.sum()))]


def test_a_build_records_the_warnings(starter_tables: Tables, starter_judged: tuple[Finding, ...]) -> None:
    prepared = prepare_bundle(starter_tables, compression_level=1)
    assert prepared.manifest.schema_version == 2
    assert prepared.manifest.findings == starter_judged
    assert {finding.rule for finding in starter_judged} >= {"early_end", "hole", "jump", "roll_gap", "stale"}


def test_a_build_with_an_error_writes_nothing(starter_tables: Tables, tmp_path: Path) -> None:
    put("futures_daily", "CL", "2020-04-20", "2020-04-20", close=0.0)(starter_tables)
    with pytest.raises(BundleError, match=r"futures_daily, CL: .*2020-04-20.*nothing was written") as caught:
        build_bundle(starter_tables, tmp_path / "bundles", compression_level=1)
    assert "more findings refuse it: zero (CL)" in caught.value.rule
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_sealed_by_others_is_judged_too(bundle: Path, rewrite: Callable[..., None]) -> None:
    """The export of the cloud side has a manifest and a seal, and was never judged here."""

    def back_filled(table: pa.Table) -> pa.Table:
        frame = table.to_pandas()
        frame.loc[frame.index[frame["symbol"] == "FCPO"][:30], ["open", "high", "low", "close"]] = 1448.0
        return pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)

    rewrite(bundle, "futures_daily", back_filled)
    with pytest.raises(BundleError, match="futures_daily, FCPO"):
        verify_bundle(bundle)


def test_findings_of_a_published_bundle_are_read_back(starter_tables: Tables, tmp_path: Path) -> None:
    moment = datetime(2025, 1, 2, tzinfo=UTC)
    built = build_bundle(starter_tables, tmp_path / "bundles", created_at=moment, compression_level=1)
    assert verify_bundle(built.path).findings == read_manifest(built.path).findings == built.manifest.findings
