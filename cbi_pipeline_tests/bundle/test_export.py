"""The cloud side, whole: a bundle into the raw tables of BigQuery, out of them again, and onto this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cbi_pipeline import cli
from cbi_pipeline.bundle.export import export_bundle, to_frame
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.read import load_tables, read_arrow_tables, read_manifest
from cbi_pipeline.bundle.rules import to_checked_table
from cbi_pipeline.bundle.starter import COMPRESSION_LEVEL
from cbi_pipeline.bundle.sync import sync_newest
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.tables import FUTURES_DAILY, POLICY, RAW_TABLES
from cbi_pipeline.errors import BundleError, WarehouseError
from cbi_pipeline.warehouse.bigquery_jobs import Jobs
from cbi_pipeline.warehouse.raw_tables import RawLoad, RawTables
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION

VERSION = "20241231T000000Z-00000000"


@pytest.fixture
def jobs(gcp_environment: None) -> Jobs:
    return Jobs(PROJECT, REGION, retry_seconds=10)


@pytest.fixture
def starter(starter_dir: Path) -> dict[str, pa.Table]:
    return read_arrow_tables(starter_dir, read_manifest(starter_dir))


@pytest.fixture
def raw(jobs: Jobs) -> Iterator[RawTables]:
    """Empty raw tables, removed afterwards."""
    made = RawTables(jobs, "scratch")
    made.create()
    yield made
    for suffix in ("_raw", "_staging"):
        jobs.client.delete_dataset(f"{PROJECT}.scratch{suffix}", delete_contents=True)


@pytest.fixture(scope="module")
def _loaded() -> set[str]:
    """Datasets that hold a bundle: to load it takes seconds."""
    return set()


@pytest.fixture
def fill(jobs: Jobs, _loaded: set[str]) -> Callable[[str, dict[str, pa.Table]], RawTables]:
    """Raw tables of a name that hold a bundle's, and stay for the module; a test restores what it changes."""

    def filled_with(name: str, tables: dict[str, pa.Table]) -> RawTables:
        made = RawTables(jobs, name)
        if name not in _loaded:
            made.create()
            assert made.load(tables, VERSION) == {key: RawLoad(t.num_rows, 0, 0, 0) for key, t in tables.items()}
            _loaded.add(name)
        return made

    return filled_with


@pytest.fixture
def filled(fill: Callable[[str, dict[str, pa.Table]], RawTables], starter: dict[str, pa.Table]) -> RawTables:
    """The raw tables of the starter bundle."""
    return fill("filled", starter)


@pytest.fixture
def small(fill: Callable[[str, dict[str, pa.Table]], RawTables], small_bundle: Path) -> RawTables:
    """The raw tables of a small bundle: what refuses an export does not hang on how much there is to export."""
    return fill("small", read_arrow_tables(small_bundle, read_manifest(small_bundle)))


def test_raw_tables_that_are_not_there_are_made_by_a_load(jobs: Jobs, bundle_uri: str) -> None:
    store = GcsBundleStore(bundle_uri)
    with pytest.raises(WarehouseError, match="404") as refused:
        export_bundle(RawTables(jobs, "nowhere"), store, store)
    assert "`cbi bundle load` makes what is missing" in refused.value.fix
    assert "migrate" not in refused.value.fix


def rows_of(jobs: Jobs, raw: RawTables, sql: str) -> list[dict]:
    return jobs.rows(sql.replace("FROM ", f"FROM `{PROJECT}`.{raw.location.split('.')[1]}."))


@contextmanager
def extra_row(jobs: Jobs, raw: RawTables, **changes: str) -> Iterator[None]:
    """A row of `macro_series` that stands in the raw table for the length of the block; values as SQL."""
    row = {
        "series_id": "'DGS10'",
        "date": "DATE '2025-01-02'",
        "value": "4.57",
        "available_at": "TIMESTAMP '2025-01-03 21:15:00+00'",
        "source": "'FRED DGS10'",
    } | changes
    table = f"`{raw.full_name('macro_series')}`"
    jobs.rows(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})")
    try:
        yield
    finally:
        jobs.rows(f"DELETE FROM {table} WHERE date >= '2025-01-01'")


@pytest.mark.slow
def test_a_bundle_goes_through_the_raw_tables_and_comes_back_the_same(filled, starter_dir, bundle_uri, tmp_path):
    store = GcsBundleStore(bundle_uri)
    exported = export_bundle(filled, store, store, compression_level=COMPRESSION_LEVEL)
    assert exported.published
    assert store.names("exporting") == ()
    assert exported.manifest.content_sha256 == read_manifest(starter_dir).content_sha256
    copy, skipped = sync_newest(store, tmp_path)
    assert skipped == ()
    assert verify_bundle(copy.path) == exported.manifest
    before, after = load_tables(starter_dir), load_tables(copy.path)
    for name in RAW_TABLES:
        pd.testing.assert_frame_equal(after[name], before[name])
    again = export_bundle(filled, store, store, compression_level=COMPRESSION_LEVEL)
    assert (again.published, again.manifest) == (False, exported.manifest)
    assert store.sealed() == (exported.manifest.dataset_version,)


@pytest.mark.slow
def test_the_commands_load_and_export(filled, bundle_uri, starter_dir, monkeypatch, capsys):
    for name, value in {
        "CBI_GCP_PROJECT": PROJECT,
        "CBI_BIGQUERY_DATASET": "filled",
        "CBI_BUNDLE_URI": bundle_uri,
        "CBI_EXPORT_URI": f"{bundle_uri}-under-way",
    }.items():
        monkeypatch.setenv(name, value)
    for arguments in (["load", str(starter_dir)], ["export"]):
        monkeypatch.setattr(sys, "argv", ["cbi", "bundle", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"Bundle {read_manifest(starter_dir).dataset_version} is in bigquery:{PROJECT}.filled_raw" in told
    (version,) = GcsBundleStore(bundle_uri).sealed()
    assert f"Bundle {version} is published in {bundle_uri}: prices to 2024-12-31" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"value": "CAST('nan' AS FLOAT64)"}, "value has a NaN; a gap is NULL"),
        ({"value": "999999"}, "value must satisfy less_than_or_equal_to"),
        ({"available_at": "TIMESTAMP '2025-01-01 00:00:00+00'"}, "available_at must not be before date"),
        ({"date": "DATE '2025-01-02'", "series_id": "'UNKNOWN'"}, "series_id must satisfy isin"),
    ],
)
def test_a_row_that_breaks_a_rule_is_never_published(small, jobs, bundle_uri, changes, told):
    store = GcsBundleStore(bundle_uri)
    with extra_row(jobs, small, **changes), pytest.raises(BundleError, match=told):
        export_bundle(small, store, store)
    assert store.sealed() == ()
    assert store.names("exporting") == ()


def test_a_key_that_stands_twice_is_never_published(small, jobs, bundle_uri):
    store = GcsBundleStore(bundle_uri)
    with extra_row(jobs, small), extra_row(jobs, small), pytest.raises(BundleError, match="must be unique"):
        export_bundle(small, store, store)
    assert store.sealed() == ()


def test_what_is_loaded_during_an_export_is_not_in_it(small, jobs, bundle_uri, small_bundle):
    store = GcsBundleStore(bundle_uri)
    with ExitStack() as changes:

        def load_meanwhile(told: str) -> None:
            if told.startswith("exporting futures_daily"):
                changes.enter_context(extra_row(jobs, small))

        exported = export_bundle(small, store, store, progress=load_meanwhile)
    assert exported.manifest.tables["macro_series"].rows == read_manifest(small_bundle).tables["macro_series"].rows


class LosesAShard(GcsBundleStore):
    """A bucket in which one of the exported objects is not there."""

    def names(self, folder: str) -> tuple[str, ...]:
        found = super().names(folder)
        return found[1:] if "macro_series" in folder else found


def test_a_lost_shard_is_noticed(small, bundle_uri):
    store = LosesAShard(bundle_uri)
    with pytest.raises(BundleError, match="rows that BigQuery exported, they hold 0"):
        export_bundle(small, store, store)
    assert store.sealed() == ()


def test_a_second_load_changes_nothing(raw, jobs, starter):
    small = {name: starter[name] for name in ("policy", "fundamentals")}
    first = raw.load(small, VERSION)
    assert first == {name: RawLoad(table.num_rows, 0, 0, 0) for name, table in small.items()}
    assert raw.load(small, VERSION) == {name: RawLoad(0, 0, 0, table.num_rows) for name, table in small.items()}
    assert rows_of(jobs, raw, "SELECT COUNT(*) AS n FROM policy")[0]["n"] == small["policy"].num_rows
    assert not list(jobs.client.list_tables(f"{PROJECT}.scratch_staging"))


def changed(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))


def test_a_revision_is_refused_unless_it_is_accepted_and_then_the_old_row_is_kept(raw, jobs, starter):
    tables = {name: starter[name] for name in ("policy", "fundamentals")}
    raw.load({"policy": tables["policy"]}, VERSION)
    was = tables["policy"]["value"][0].as_py()
    revised = tables | {"policy": changed(tables["policy"], "value", 0, was + 1)}
    with pytest.raises(WarehouseError, match=rf"policy \(series=rfs_bbd_volume.*stored {was}, offered {was + 1}") as no:
        raw.load(revised, VERSION)
    assert "--accept-revisions" in no.value.fix
    assert "(policy: 1)" in no.value.rule
    assert rows_of(jobs, raw, "SELECT COUNT(*) AS n FROM fundamentals")[0]["n"] == 0  # all tables or none
    assert rows_of(jobs, raw, "SELECT COUNT(*) AS n FROM revisions")[0]["n"] == 0

    done = raw.load(revised, VERSION, accept_revisions=True)
    assert done["policy"] == RawLoad(0, 1, 0, tables["policy"].num_rows - 1)
    (kept,) = rows_of(jobs, raw, "SELECT * FROM revisions")
    assert (kept["raw_table"], kept["dataset_version"]) == ("policy", VERSION)
    assert (json.loads(kept["stored"])["value"], json.loads(kept["offered"])["value"]) == (was, was + 1)
    year = tables["policy"]["effective_year"][0].as_py()
    assert kept["row_key"] == f"rfs_bbd_volume {year}"
    (now,) = rows_of(jobs, raw, f"SELECT value FROM policy WHERE effective_year = {year}")
    assert now["value"] == was + 1


def test_a_write_that_breaks_off_leaves_nothing(raw, jobs, starter):
    tables = {name: starter[name] for name in ("policy", "fundamentals")}
    with raw._staged(tables, "broken", None) as staging:
        gone = staging | {"fundamentals": f"{PROJECT}.scratch_staging.gone"}
        with pytest.raises(WarehouseError, match="gone"):
            raw._replace(gone, VERSION, "broken")
    assert rows_of(jobs, raw, "SELECT COUNT(*) AS n FROM policy")[0]["n"] == 0
    raw.load(tables, VERSION)
    assert rows_of(jobs, raw, "SELECT COUNT(*) AS n FROM policy")[0]["n"] == tables["policy"].num_rows


def test_a_column_computed_from_the_whole_series_is_no_revision(raw, jobs, starter):
    prices = starter["futures_daily"].filter(pc.equal(starter["futures_daily"]["symbol"], "HO")).slice(0, 50)
    raw.load({"futures_daily": prices}, VERSION)
    scaled = [value * 1.01 for value in prices["back_adjusted_close"].to_pylist()]
    position, field = prices.schema.get_field_index("back_adjusted_close"), prices.schema.field("back_adjusted_close")
    rolled = prices.set_column(position, field, pa.array(scaled, pa.float64()))
    assert raw.load({"futures_daily": rolled}, VERSION)["futures_daily"] == RawLoad(0, 0, 50, 0)
    stored = rows_of(jobs, raw, "SELECT back_adjusted_close AS v FROM futures_daily ORDER BY trade_date")
    assert [row["v"] for row in stored] == scaled
    assert rows_of(jobs, raw, "SELECT COUNT(*) AS n FROM revisions")[0]["n"] == 0


def test_what_bigquery_writes_is_brought_to_the_contract(starter):
    """Several shards, rows in any order, every column nullable, 64-bit integers, moments without their zone."""
    table = starter["policy"]
    written = table.cast(
        pa.schema(
            [
                pa.field(f.name, {pa.int32(): pa.int64(), f.type: f.type}.get(f.type, f.type), nullable=True)
                for f in table.schema
            ]
        )
    )
    naive = written["available_at"].cast(pa.timestamp("us"))
    written = written.set_column(written.schema.get_field_index("available_at"), "available_at", naive)
    backwards = written.take(list(range(written.num_rows))[::-1]).select(written.column_names[::-1])
    frame = to_frame(POLICY, [backwards.slice(0, 5), backwards.slice(5)], "policy")
    assert to_checked_table(POLICY, frame, "policy", "").equals(table.replace_schema_metadata(None).combine_chunks())


@pytest.mark.parametrize(
    ("column", "type_", "told"),
    [
        ("effective_year", pa.string(), "effective_year must be exported as int32, found string"),
        ("value", pa.float32(), "value must be exported as double, found float"),
        ("available_at", pa.timestamp("us", tz="America/New_York"), "available_at must be exported as timestamp"),
    ],
)
def test_another_type_is_refused(starter, column, type_, told):
    table = starter["policy"]
    values = pa.array([None] * table.num_rows, type_)
    shard = table.set_column(table.schema.get_field_index(column), column, values)
    with pytest.raises(BundleError, match=told):
        to_frame(POLICY, [shard], "policy")


def test_a_missing_column_and_a_number_that_does_not_fit_are_refused(starter):
    with pytest.raises(BundleError, match="has the columns of its contract"):
        to_frame(FUTURES_DAILY, [starter["futures_daily"].drop_columns(["volume"])], "futures_daily")
    table = starter["policy"].slice(0, 1)
    position = table.schema.get_field_index("effective_year")
    shard = table.set_column(position, "effective_year", pa.array([2**31], pa.int64()))
    with pytest.raises(BundleError, match="every value must fit its column"):
        to_frame(POLICY, [shard], "policy")


def test_a_dataset_in_another_region_is_refused(gcp_environment):
    RawTables(Jobs(PROJECT, "europe-west1"), "elsewhere").create()
    with pytest.raises(WarehouseError, match="It is in europe-west1"):
        RawTables(Jobs(PROJECT, REGION), "elsewhere").create()


def test_dates_and_moments_at_both_ends_survive(raw, jobs, starter):
    """The types themselves, beyond what the rules of a bundle allow."""
    moment = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    row = starter["fundamentals"].slice(0, 2).to_pylist()
    row[0] |= {"release_date": date(1, 1, 1), "value": 5e-324, "available_at": datetime(1, 1, 1, tzinfo=UTC)}
    row[1] |= {"release_date": date(9999, 12, 31), "value": 1.7976931348623157e308, "available_at": moment}
    raw.load({"fundamentals": pa.Table.from_pylist(row, starter["fundamentals"].schema)}, VERSION)
    assert rows_of(jobs, raw, "SELECT * FROM fundamentals ORDER BY release_date") == row
