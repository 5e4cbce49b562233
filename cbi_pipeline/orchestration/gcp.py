"""Resources of Google Cloud: the clients of `dagster_gcp`, and what uses them. Loaded where a setting asks for them."""

from typing import TYPE_CHECKING

import dagster as dg
from dagster_gcp import BigQueryResource, GCSResource

from cbi_pipeline.orchestration.resources import BundleStoreResource, SettingsResource, WarehouseResource
from cbi_pipeline.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client as BigQueryClient
    from google.cloud.storage import Client as StorageClient


class BigQueryWarehouseResource(WarehouseResource):
    """The warehouse in BigQuery, through the client of `BigQueryResource`."""

    bigquery: dg.ResourceDependency[BigQueryResource]

    def _client(self) -> "BigQueryClient":
        with self.bigquery.get_client() as client:
            return client


class GcsBundleStoreResource(BundleStoreResource):
    """Bundles in a bucket, through the client of `GCSResource`."""

    gcs: dg.ResourceDependency[GCSResource]

    def _client(self) -> "StorageClient":
        return self.gcs.get_client()


def gcp_resources(settings: Settings, run_settings: SettingsResource) -> dict[str, object]:
    """What the settings ask of Google Cloud, by resource key; it replaces the resources of this machine."""
    found: dict[str, object] = {}
    project = settings.gcp_project or None
    if settings.warehouse == "bigquery":
        client = BigQueryResource(project=project, location=settings.bigquery_location)
        found |= {
            "bigquery": client,
            "warehouse": BigQueryWarehouseResource(run_settings=run_settings, bigquery=client),
        }
    if settings.bundle_uri:
        bucket = GCSResource(project=project)
        found["gcs"] = bucket
        found["bundle_store"] = GcsBundleStoreResource(run_settings=run_settings, gcs=bucket)
    return found
