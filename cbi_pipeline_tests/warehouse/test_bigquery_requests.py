"""What is sent to BigQuery: every job in the region, with its ceiling and its labels, a query only after its plan."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import pytest
from google.cloud import bigquery

from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse import BigQueryWarehouse
from cbi_pipeline_tests.bigquery_server import PROJECT, REGION
from cbi_pipeline_tests.faulty_proxy import FaultyProxy, faulty_proxy

CEILING = 12_345_678


@pytest.fixture
def proxy(bigquery_warehouse, bigquery_url, monkeypatch):
    """In front of the server that holds an empty warehouse: every client made from now on talks through it."""
    with faulty_proxy(bigquery_url) as proxy:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
        yield proxy


def sent_jobs(proxy: FaultyProxy) -> list[dict]:
    """Every job that was asked for, whichever of the three ways: insert, upload, or a query at once."""
    found = []
    for request in proxy.requests:
        if request.method != "POST":
            continue
        if request.path.partition("?")[0].endswith("/queries"):
            found.append({"jobReference": request.json, "configuration": request.json | {"query": request.json}})
        elif "/jobs" in request.path:
            found.append(request.json)
    return found


def test_every_job_is_pinned_to_the_region_labelled_and_has_a_ceiling(proxy, forecast_row):
    """A migration, a write, a refused write with its query of what differs, and a read."""
    warehouse = BigQueryWarehouse(PROJECT, "cbi", REGION, maximum_bytes_billed=CEILING)
    warehouse.migrate()
    warehouse.merge("predictions", [forecast_row()])
    with pytest.raises(WarehouseError, match="never change"):
        warehouse.merge("predictions", [forecast_row(last_price=50.0)])
    warehouse.latest_forecast()
    warehouse._execute("ALTER TABLE metrics SET OPTIONS (labels = [('app', 'cbi'), ('layer', 'warehouse')])")
    jobs = sent_jobs(proxy)
    kinds = [next(kind for kind in ("load", "query") if kind in job["configuration"]) for job in jobs]
    assert kinds == [*["query"] * 2, "load", "query", "load", *["query"] * 5]
    assert [job["jobReference"]["location"] for job in jobs] == [REGION] * len(jobs)
    assert [job["configuration"]["labels"] for job in jobs] == [{"app": "cbi"}] * len(jobs)
    ceilings = [job["configuration"].get("query", {}).get("maximumBytesBilled") for job in jobs]
    assert ceilings == [None if kind == "load" else str(CEILING) for kind in kinds]


def test_a_query_is_planned_first_with_the_same_text_and_parameters(proxy, metric_row):
    warehouse = BigQueryWarehouse(PROJECT, "cbi", REGION, maximum_bytes_billed=CEILING)
    warehouse.query("SELECT * FROM metrics WHERE entry = @entry", {"entry": "anchor"})
    plan, read = sent_jobs(proxy)
    assert (plan["configuration"]["dryRun"], read["configuration"].get("dryRun", False)) == (True, False)
    for name in ("query", "queryParameters", "maximumBytesBilled", "useLegacySql"):
        assert plan["configuration"]["query"][name] == read["configuration"]["query"][name]
    assert read["configuration"]["query"]["queryParameters"] == [
        {"name": "entry", "parameterType": {"type": "STRING"}, "parameterValue": {"value": "anchor"}}
    ]
    assert "anchor" not in read["configuration"]["query"]["query"]
    assert read["jobReference"]["jobId"].startswith("cbi-query-")


def test_the_merge_names_the_days_whose_partitions_it_opens(proxy, forecast_row):
    warehouse = BigQueryWarehouse(PROJECT, "cbi", REGION)
    warehouse.merge("predictions", [forecast_row(as_of_date=date(2023, 3, day)) for day in (9, 1, 3)])
    merge = sent_jobs(proxy)[-1]["configuration"]["query"]
    assert "BETWEEN @first AND @last" in merge["query"]
    given = {one["name"]: one["parameterValue"]["value"] for one in merge["queryParameters"]}
    assert given == {"first": "2023-03-01", "last": "2023-03-09"}


class Planner:
    """A client whose plans say how much a query would read; it runs none."""

    def __init__(self, estimated_bytes: int) -> None:
        self.estimated_bytes, self.dry_runs = estimated_bytes, []

    def query(self, sql: str, *, job_config: bigquery.QueryJobConfig, **_: object) -> SimpleNamespace:
        self.dry_runs.append(job_config.dry_run)
        if not job_config.dry_run:
            raise InterruptedError
        return SimpleNamespace(statement_type="SELECT", total_bytes_processed=self.estimated_bytes)


def test_a_query_that_would_read_more_than_the_ceiling_is_not_run():
    client = Planner(CEILING + 1)
    warehouse = BigQueryWarehouse(PROJECT, "cbi", REGION, maximum_bytes_billed=CEILING, client=client)
    with pytest.raises(WarehouseError, match=r"12,345,679 bytes, at most 12,345,678.*CBI_MAXIMUM_BYTES_BILLED"):
        warehouse.query("SELECT 1 AS one")
    assert client.dry_runs == [True]


def test_a_query_that_reads_as_much_as_the_ceiling_is_run():
    client = Planner(CEILING)
    warehouse = BigQueryWarehouse(PROJECT, "cbi", REGION, maximum_bytes_billed=CEILING, client=client, retry_seconds=1)
    with pytest.raises(WarehouseError):
        warehouse.query("SELECT 1 AS one")
    assert client.dry_runs == [True, False]


@pytest.mark.parametrize("storage_api", [False, True])
def test_the_storage_api_is_used_as_the_setting_says(bigquery_warehouse, metric_row, monkeypatch, storage_api):
    bigquery_warehouse.merge("metrics", [metric_row()])
    asked = []

    def to_arrow(self, *, create_bqstorage_client: bool, **options: object):
        asked.append(create_bqstorage_client)
        return read(self, create_bqstorage_client=False, **options)

    read = bigquery.table.RowIterator.to_arrow
    monkeypatch.setattr(bigquery.table.RowIterator, "to_arrow", to_arrow)
    warehouse = BigQueryWarehouse(PROJECT, "cbi", REGION, storage_api=storage_api)
    assert warehouse.query("SELECT entry FROM metrics").to_pylist() == [{"entry": "anchor"}]
    assert asked == [storage_api]
