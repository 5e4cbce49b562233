"""The whole loop, no step replaced: raw tables in BigQuery to a return manifest in the bucket, and a year after it.

The clients are Google's; they talk to servers on loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pandas as pd
import pytest
from google.cloud import storage

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.export import export_bundle
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.read import read_arrow_tables
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.references import FeaturesRef, LiveSkillRef, RawTableRef
from cbi_pipeline.contracts.returned import ReturnManifest, returned_table
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.inference import forecast_rows
from cbi_pipeline.market_calendar import sessions
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.orchestration.sensors import new_manifest
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.registry.champion import load_serving
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages import serving
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.raw import load_raw_tables
from cbi_pipeline.stages.stale import stale_inputs_of
from cbi_pipeline.stale_inputs import made_without
from cbi_pipeline.warehouse import named_warehouse
from cbi_pipeline.warehouse.bigquery_jobs import Jobs
from cbi_pipeline.warehouse.raw_tables import RawTables
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION
from cbi_pipeline_tests.projects import new_project, settings_of, without_stamps

pytestmark = pytest.mark.slow

END_OF_2023 = pd.Timestamp("2023-12-29T23:59", tz="UTC")
LAST_QUARTER = pd.Timestamp("2024-10-01")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Loop:
    """What one pass left: settings of the Mac, the raw tables and the bucket of the cloud side, the runs."""

    settings: Settings
    raw: RawTables
    store: GcsBundleStore
    requests: list[dg.RunRequest]
    runs: list[dg.DagsterRun]


@pytest.fixture(scope="module")
def loop(
    tmp_path_factory: pytest.TempPathFactory,
    gcp_variables: dict[str, str],
    own_datasets: None,
    new_bucket: Any,
    starter_year: Path,
) -> Iterator[Loop]:
    """Data to the end of 2023 go round once; then 2024 is exported as a second bundle, which the sensor sees."""
    folder = tmp_path_factory.mktemp("loop")
    dataset, uri = f"loop_{uuid4().hex[:8]}", f"gs://{new_bucket()}/cbi"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in gcp_variables.items():
            environment.setenv(name, value)
        settings = new_project(
            folder / "mac", warehouse="bigquery", gcp_project=PROJECT, bigquery_dataset=dataset, bundle_uri=uri
        )
        raw, store = RawTables(Jobs(PROJECT, REGION), dataset), GcsBundleStore(uri)
        raw.create()
        first = put(raw, starter_year)
        exported = export_bundle(raw, store, store)
        assert exported.published
        assert exported.manifest.content_sha256 == first
        requests = tick(settings)
        runs = [execute(settings, requests[0])]
        yield Loop(settings, raw, store, requests, runs)


def put(raw: RawTables, bundle: Path) -> str:
    """Bring a bundle into the raw tables; its content hash."""
    manifest = verify_bundle(bundle)
    raw.load(read_arrow_tables(bundle, manifest), manifest.dataset_version)
    return manifest.content_sha256


def tick(settings: Settings, cursor: str | None = None) -> list[dg.RunRequest]:
    """What the sensor asks for."""
    resources = {name: build_definitions(settings).resources[name] for name in ("bundle_store", "run_settings")}
    with dg.build_sensor_context(cursor=cursor, resources=resources) as context:
        return list(new_manifest(context).run_requests)


def execute(settings: Settings, request: dg.RunRequest, job: str = "retrain") -> dg.DagsterRun:
    """Do what the daemon does with a request."""
    prepare_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        result = (
            build_definitions(settings)
            .resolve_job_def(job)
            .execute_in_process(instance=instance, tags=request.tags, run_config=QUIET)
        )
        return result.dagster_run


def rows(settings: Settings, sql: str, **params: Any) -> list[dict[str, Any]]:
    return named_warehouse(settings).query(sql, params).to_pylist()


@pytest.fixture(scope="module")
def starter_year(_starter_tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter bundle's rows as they could be known at the end of 2023, as a bundle."""
    known = {name: frame[frame["available_at"] <= END_OF_2023] for name, frame in _starter_tables.items()}
    return build_bundle(known, tmp_path_factory.mktemp("2023"), created_at=datetime(2023, 12, 30, tzinfo=UTC)).path


def test_the_sensor_asks_for_one_run_of_the_exported_bundle(loop):
    assert len(loop.requests) == 1
    assert loop.requests[0].tags["cbi/dataset_version"] == loop.store.sealed()[0]
    assert [run.status for run in loop.runs] == [dg.DagsterRunStatus.SUCCESS]


def test_forecasts_metrics_and_verdicts_are_in_bigquery(loop):
    forecast = rows(loop.settings, "SELECT * FROM predictions ORDER BY horizon_months")
    assert [row["horizon_months"] for row in forecast] == [3, 6, 9, 12]
    assert {row["as_of_date"] for row in forecast} == {date(2023, 12, 29)}
    assert {row["dataset_version"] for row in forecast} == {loop.store.sealed()[0]}
    warehouse = named_warehouse(loop.settings)
    assert all(warehouse.row_count(name) for name in WAREHOUSE_TABLES)
    verdicts = rows(loop.settings, "SELECT name, outcome FROM gate_verdicts WHERE kind = 'parity'")
    assert {row["outcome"] for row in verdicts} == {"passed"}


def test_views_show_what_was_written(loop):
    shown = named_warehouse(loop.settings).latest_forecast()
    assert shown == rows(loop.settings, "SELECT * FROM predictions ORDER BY horizon_months")
    assert rows(loop.settings, "SELECT COUNT(*) AS n FROM vw_model_leaderboard")[0]["n"] > 20
    assert rows(loop.settings, "SELECT COUNT(*) AS n FROM vw_production_forecast") == [{"n": 0}]
    gates = rows(loop.settings, "SELECT DISTINCT is_latest, serves FROM vw_gate_status")
    assert gates == [{"is_latest": 1, "serves": 1}]


def test_the_bucket_is_told_which_rows_are_back(loop):
    bucket, _, prefix = loop.store.location.removeprefix("gs://").partition("/")
    names = [blob.name for blob in storage.Client(project=PROJECT).list_blobs(bucket, prefix=f"{prefix}/returns/")]
    assert len(names) == 1
    manifest = ReturnManifest.model_validate_json(loop.store.read("returns", names[0].rpartition("/")[2]))
    assert (manifest.as_of_date, manifest.dataset_version) == (date(2023, 12, 29), loop.store.sealed()[0])
    assert manifest.run_id == loop.runs[0].run_id
    for name, told in manifest.tables.items():
        stored = rows(loop.settings, f"SELECT * FROM {name}")
        assert (told.rows, told) == (len(stored), returned_table(WAREHOUSE_TABLES[name], stored))
    assert {"predictions", "metrics", "live_skill"} <= set(manifest.tables)


def test_assets_name_their_table_and_its_page(loop):
    prepare_dagster_home(loop.settings)
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["warehouse", "predictions"]))
    metadata = event.asset_materialization.metadata
    dataset = loop.settings.bigquery_dataset
    assert metadata["dagster/table_name"].value == f"{PROJECT}.{dataset}.predictions"
    assert metadata["dagster/row_count"].value == 4
    assert metadata["console"].value.startswith("https://console.cloud.google.com/bigquery?project=cbi-test")


def test_a_year_written_day_by_day_is_one_back_fill_of_it(loop, starter_dir, tmp_path):
    """2024 arrives as one bundle: a run fills its sessions at once, in BigQuery. Written one by one they are the same.

    In BigQuery only the last quarter is written so: a year takes this server three minutes more.
    """
    put(loop.raw, starter_dir)
    second = export_bundle(loop.raw, loop.store, loop.store)
    assert second.published
    request = tick(loop.settings, cursor=loop.store.sealed()[0])[0]
    assert request.tags["cbi/dataset_version"] == second.manifest.dataset_version
    assert execute(loop.settings, request, "daily").status == dg.DagsterRunStatus.SUCCESS
    year = "SELECT * FROM predictions WHERE as_of_date >= '2024-01-01' ORDER BY as_of_date, horizon_months"
    at_once = rows(loop.settings, year)
    days = [day.date() for day in sessions(date(2024, 1, 1), date(2024, 12, 31))]
    assert [row["as_of_date"] for row in at_once[::4]] == days
    one_by_one = loop.settings.model_copy(
        update={
            "warehouse": "duckdb",
            "warehouse_path": tmp_path / "daily.duckdb",
            "bigquery_dataset": f"{loop.settings.bigquery_dataset}_daily",
        }
    )
    in_file, in_bigquery = (
        named_warehouse(one_by_one.model_copy(update={"warehouse": kind})) for kind in ("duckdb", "bigquery")
    )
    for warehouse in (in_file, in_bigquery):
        warehouse.migrate()
    for day in sessions(date(2024, 1, 1), date(2024, 12, 31)):
        made = forecast_of(loop.settings, day)
        assert in_file.merge("predictions", made).inserted == 4
        if day >= LAST_QUARTER:
            assert in_bigquery.merge("predictions", made).inserted == 4
    assert without_stamps(in_file.query(year).to_pylist()) == without_stamps(at_once)
    quarter = [row for row in at_once if row["as_of_date"] >= LAST_QUARTER.date()]
    assert without_stamps(in_bigquery.query(year).to_pylist()) == without_stamps(quarter)


def forecast_of(settings: Settings, day: pd.Timestamp) -> list[dict[str, Any]]:
    """The rows of one day, from what the last run left on disk."""
    model, champion, features, market, raw, live = _served(settings.project_dir)
    statuses = serving._statuses(model, champion, raw[0], settings)
    statuses = serving._held_by_live(statuses, live, raw[0].dataset_version, model.model_version)
    stale = stale_inputs_of(model, features, market.inputs, raw, [day])[day]
    made = forecast_rows(
        model,
        features,
        market,
        as_of=day,
        status={h: serving._held(status, made_without(stale, h)) for h, status in statuses.items()},
        dataset_version=raw[0].dataset_version,
        code_commit=code_commit(),
        run_id="one by one",
        created_at=datetime.now(UTC),
    )
    return [row.model_dump() for row in made]


@cache
def _served(root: Path) -> tuple[Any, ...]:
    settings = settings_of(root)
    raw = [load_reference(settings, f"raw_{name}", RawTableRef) for name in RAW_TABLES]
    features = load_features(load_reference(settings, "curated_features", FeaturesRef))
    live = load_reference(settings, "warehouse/live_skill", LiveSkillRef)
    return (*load_serving(settings.models_dir), features, prepare_market(load_raw_tables(raw)), raw, live)
