"""A damaged bundle is refused with file, row, rule and fix named, and counts as absent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cbi_pipeline.bundle.read import load_table, load_tables
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.verify import verify_bundle, verify_files
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.errors import BundleError

Rewrite = Callable[[Path, str, Callable[[pa.Table], pa.Table]], None]
Listing = Callable[[Path], dict[str, tuple[int, int]]]


@pytest.fixture
def refused(store_dir: Path, listing: Listing) -> Callable[..., BundleError]:
    """Verify, expect a refusal, and check that it names a fix, hides the bundle and writes nothing."""

    def refuse(bundle: Path, file: str, rule: str) -> BundleError:
        before = listing(store_dir)
        with pytest.raises(BundleError) as caught:
            verify_bundle(bundle)
        assert file in caught.value.subject
        assert rule in caught.value.rule
        assert "cbi bundle build" in caught.value.fix
        latest = LocalBundleStore(store_dir).latest()
        assert latest.bundle is None
        assert [(status.path, str(status.problem)) for status in latest.skipped] == [(bundle, str(caught.value))]
        assert listing(store_dir) == before
        return caught.value

    return refuse


def set_value(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    """The table with one cell changed, type and nullability kept."""
    position = table.schema.get_field_index(column)
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(position, table.schema.field(column), pa.array(values, table.schema.field(column).type))


def test_real_bundle_verifies_in_time(bundle: Path) -> None:
    verify_bundle(bundle)
    started = time.process_time()
    manifest = verify_bundle(bundle)
    assert time.process_time() - started < 2.0
    assert set(manifest.tables) == set(RAW_TABLES)


def test_loaded_frames_are_those_of_the_contract(bundle: Path) -> None:
    for name, frame in load_tables(bundle).items():
        contract = RAW_TABLES[name]
        assert list(frame.columns) == [column.name for column in contract.columns]
        assert str(frame[contract.event_date].dtype) == "datetime64[ns]"
        assert str(frame["available_at"].dtype) == "datetime64[ns, UTC]"
        assert contract.to_arrow(frame).equals(pq.read_table(bundle / f"{name}.parquet"))


@pytest.mark.parametrize("position", [4, 1000, -5])
def test_one_corrupt_byte(bundle: Path, refused: Callable[..., BundleError], position: int) -> None:
    file = bundle / "macro_series.parquet"
    content = bytearray(file.read_bytes())
    content[position] ^= 0x01
    file.write_bytes(content)
    refused(bundle, "macro_series.parquet", "sha256")
    with pytest.raises(BundleError, match=r"macro_series\.parquet.*sha256"):
        load_table(bundle, "macro_series")


def test_truncated_table(bundle: Path, refused: Callable[..., BundleError]) -> None:
    file = bundle / "policy.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    refused(bundle, "policy.parquet", "bytes")


def test_no_success_file(bundle: Path, refused: Callable[..., BundleError]) -> None:
    (bundle / SUCCESS_FILE).unlink()
    refused(bundle, SUCCESS_FILE, "unfinished")
    with pytest.raises(BundleError, match="_SUCCESS"):
        load_table(bundle, "policy")


def test_manifest_changed_after_seal(bundle: Path, refused: Callable[..., BundleError]) -> None:
    with (bundle / MANIFEST_FILE).open("ab") as file:
        file.write(b" ")
    refused(bundle, MANIFEST_FILE, "sha256")


def test_missing_and_extra_files(bundle: Path, refused: Callable[..., BundleError]) -> None:
    (bundle / ".DS_Store").write_bytes(b"")
    verify_bundle(bundle)
    (bundle / "weather_daily.parquet.bak").write_bytes(b"")
    refused(bundle, "weather_daily.parquet.bak", "only the files")
    (bundle / "weather_daily.parquet.bak").unlink()
    (bundle / "weather_daily.parquet").unlink()
    refused(bundle, "weather_daily.parquet", "missing")


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, found in ((tmp_path / "file", "this is a file"), (tmp_path / "absent", "there is none here")):
        for verify in (verify_bundle, verify_files):
            with pytest.raises(BundleError, match=found) as caught:
                verify(path)
            assert caught.value.subject == str(path)
            assert "cbi bundle list" in caught.value.fix


def test_absent_raw_table(bundle: Path, reseal: Callable[..., None], refused: Callable[..., BundleError]) -> None:
    manifest = json.loads((bundle / MANIFEST_FILE).read_bytes())
    del manifest["tables"]["cot_weekly"]
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    reseal(bundle, "policy")
    refused(bundle, MANIFEST_FILE, "missing ['cot_weekly']")


def test_reordered_columns(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    rewrite(bundle, "futures_daily", lambda t: t.select(["trade_date", "symbol", *t.column_names[2:]]))
    verify_files(bundle)
    refused(bundle, "futures_daily.parquet", "in the order")


def test_other_type(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    def as_float32(table: pa.Table) -> pa.Table:
        position = table.schema.get_field_index("value")
        return table.set_column(position, pa.field("value", pa.float32(), False), table["value"].cast(pa.float32()))

    rewrite(bundle, "macro_series", as_float32)
    refused(bundle, "macro_series.parquet", "value float")


@pytest.mark.parametrize("column", ["close", "open"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_price_that_is_no_number(
    bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError], column: str, value: float
) -> None:
    rewrite(bundle, "futures_daily", lambda t: set_value(t, column, 7, value))
    verify_files(bundle)
    error = refused(bundle, "futures_daily.parquet, row 7 (symbol=CL, trade_date=", "finite")
    assert error.rule.startswith(column)


def test_duplicate_row(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    rewrite(bundle, "cot_weekly", lambda t: pa.concat_tables([t.slice(0, 5), t.slice(4)]))
    verify_files(bundle)
    refused(bundle, "cot_weekly.parquet, row 5 (market_code=", "unique")


def test_rows_out_of_order(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    def swap(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table.slice(0, 3), table.slice(4, 1), table.slice(3, 1), table.slice(5)])

    rewrite(bundle, "weather_daily", swap)
    refused(bundle, "weather_daily.parquet, row 4 ", "sorted")


def test_value_out_of_range(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    rewrite(bundle, "weather_daily", lambda t: set_value(t, "tmax_c", 11, 320.0))
    refused(bundle, "weather_daily.parquet, row 11 (region=argentina", "tmax_c must satisfy")


def test_text_not_permitted(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    last = pq.read_metadata(bundle / "weather_daily.parquet").num_rows - 1
    rewrite(bundle, "weather_daily", lambda t: set_value(t, "region", last, "us"))
    refused(bundle, f"weather_daily.parquet, row {last} (region=us", "region must satisfy isin")


def test_known_before_it_happened(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    def earlier(table: pa.Table) -> pa.Table:
        return set_value(table, "available_at", 3, table["available_at"][3].as_py() - timedelta(days=20))

    rewrite(bundle, "fundamentals", earlier)
    refused(bundle, "fundamentals.parquet, row 3 (series_id=", "available_at must not be before release_date")


def test_trade_date_off_session(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    """The row of 2023-12-26 is dated Christmas Day; the session before is 12-22, so the order holds."""

    def onto_holiday(table: pa.Table) -> pa.Table:
        keys = list(zip(table["symbol"].to_pylist(), table["trade_date"].to_pylist(), strict=True))
        return set_value(table, "trade_date", keys.index(("ZL", date(2023, 12, 26))), date(2023, 12, 25))

    rewrite(bundle, "futures_daily", onto_holiday)
    refused(bundle, "symbol=ZL, trade_date=2023-12-25", "session of CBOT")


def test_prices_in_wrong_order(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    def swap(table: pa.Table) -> pa.Table:
        row = [high is not None for high in table["high"].to_pylist()].index(True)
        high, low = table["high"][row].as_py(), table["low"][row].as_py()
        assert high > low
        return set_value(set_value(table, "high", row, low), "low", row, high)

    rewrite(bundle, "futures_daily", swap)
    refused(bundle, "futures_daily, CL", "low must not be above")


def test_manifest_figures_must_be_those_of_the_table(
    bundle: Path, reseal: Callable[..., None], refused: Callable[..., BundleError]
) -> None:
    reseal(bundle, "policy", max_event_date="2030-01-01")
    refused(bundle, "policy.parquet", "max_event_date")


def test_source_without_owner_and_terms(bundle: Path, rewrite: Rewrite, refused: Callable[..., BundleError]) -> None:
    rewrite(bundle, "policy", lambda t: set_value(t, "source", 0, "an unknown list"))
    refused(bundle, "policy.parquet", "sources")


def test_seal_of_another_bundle_name(bundle: Path, store_dir: Path) -> None:
    bundle.rename(store_dir / "20990101T000000Z-00000000")
    latest = LocalBundleStore(store_dir).latest()
    assert latest.bundle is None
    assert latest.skipped[0].problem is not None
    assert "must be named" in latest.skipped[0].problem.rule
