"""What BigQuery says of datasets, tables and views, compared with the contracts; and the datasets themselves.

Only metadata is read here: no job is run and no byte is billed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts.warehouse import SCHEMA_MIGRATIONS, WAREHOUSE_TABLES, WarehouseTable
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.warehouse.dialect import same_query
from cbi_pipeline.warehouse.statements import LABELS

if TYPE_CHECKING:
    from google.cloud import bigquery

    from cbi_pipeline.contracts.warehouse_views import WarehouseView

DAY_MILLISECONDS: Final = 24 * 60 * 60 * 1000
_DATASETS: Final = {
    "": "Tables of CBI: forecasts, metrics, verdicts. Rows never change.",
    "_views": "Views of CBI, which dashboards read.",
    "_staging": "Rows of CBI on their way into a table; every table here is removed after a day.",
    "_raw": "Raw tables of CBI: observations as the providers gave them, from which bundles are exported.",
}
WAREHOUSE_DATASETS: Final = ("", "_views", "_staging")
RAW_DATASETS: Final = ("_raw", "_staging")
_LEGACY_NAMES: Final = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


class Catalogue:
    """Metadata of the datasets of one warehouse.

    Args:
        client: an open client.
        project, dataset, region: as in `BigQueryWarehouse`.
        retry: of every request.
        full_name: `project.dataset.table` of a table or view.
    """

    def __init__(
        self,
        client: bigquery.Client,
        project: str,
        dataset: str,
        region: str,
        retry: Any,
        full_name: Callable[[str], str],
    ) -> None:
        self._client, self._project, self._dataset, self._region = client, project, dataset, region
        self._retry, self._full_name = retry, full_name

    def ensure_datasets(self, suffixes: Iterable[str] = WAREHOUSE_DATASETS) -> None:
        """Make the datasets that are missing.

        Args:
            suffixes: what follows the name of the tables' dataset.

        Raises:
            WarehouseError: one is in another region.
        """
        from google.cloud import bigquery

        for suffix in suffixes:
            name = f"{self._project}.{self._dataset}{suffix}"
            found = self._find_dataset(name)
            if found is None:
                made = bigquery.Dataset(name)
                made.location, made.description, made.labels = self._region, _DATASETS[suffix], LABELS
                if suffix == "_staging":
                    made.default_table_expiration_ms = DAY_MILLISECONDS
                found = self._client.create_dataset(made, exists_ok=True, retry=self._retry)
            if not self._is_here(found):
                raise WarehouseError(
                    f"dataset {name}",
                    f"It is in {found.location}, every dataset and job of this warehouse must be in {self._region}.",
                    f"set CBI_BIGQUERY_LOCATION={found.location}, or name a dataset in {self._region} with "
                    "CBI_BIGQUERY_DATASET.",
                )

    def dataset_differences(self) -> list[str]:
        """In what the datasets differ from what `ensure_datasets` and `authorise_views` make, in words."""
        different = []
        for suffix in WAREHOUSE_DATASETS:
            found = self._find_dataset(f"{self._project}.{self._dataset}{suffix}")
            if found is None:
                different.append(f"dataset {self._dataset}{suffix} is missing")
            elif not self._is_here(found):
                different.append(f"dataset {found.dataset_id} is in {found.location}, should be in {self._region}")
            elif suffix == "" and not self._lets_views_in(found):
                different.append(f"dataset {found.dataset_id} does not let the views of {self._dataset}_views read it")
            elif suffix == "_staging" and found.default_table_expiration_ms != DAY_MILLISECONDS:
                different.append(f"dataset {found.dataset_id} does not remove its tables after a day")
        return different

    def _find_dataset(self, name: str) -> bigquery.Dataset | None:
        from google.api_core.exceptions import NotFound

        try:
            return self._client.get_dataset(name, retry=self._retry)
        except NotFound:
            return None

    def _is_here(self, dataset: bigquery.Dataset) -> bool:
        return str(dataset.location).lower() == self._region.lower()

    @property
    def _views(self) -> dict[str, str]:
        return {"projectId": self._project, "datasetId": f"{self._dataset}_views"}

    def _lets_views_in(self, dataset: bigquery.Dataset) -> bool:
        return self._views in [
            entry.entity_id["dataset"] for entry in dataset.access_entries if entry.entity_type == "dataset"
        ]

    def find(self, name: str) -> bigquery.Table | None:
        """A table or view; None if there is none."""
        from google.api_core.exceptions import NotFound

        try:
            return self._client.get_table(self._full_name(name), retry=self._retry)
        except NotFound:
            return None

    def table_differences(
        self,
        contracts: Iterable[WarehouseTable] = (SCHEMA_MIGRATIONS, *WAREHOUSE_TABLES.values()),
        *,
        structure_only: bool,
    ) -> list[str]:
        """In what the tables differ from their contracts, in words.

        Args:
            contracts: the tables to look at.
            structure_only: leave out descriptions and labels, which no row depends on.
        """
        different = []
        for contract in contracts:
            found = self.find(contract.name)
            if found is None:
                different.append(f"table {contract.name} is missing")
                continue
            expected, actual = _expected(contract, structure_only), _actual(found, structure_only)
            different += [
                f"table {contract.name}: {fact} is {actual.get(fact)}, should be {expected.get(fact)}"
                for fact in sorted(expected.keys() | actual.keys())
                if expected.get(fact) != actual.get(fact)
            ]
        return different

    def view_difference(self, view: WarehouseView, query: str) -> str | None:
        """In what a view differs from its file, in words; None if in nothing."""
        found = self.find(view.name)
        if found is None:
            return f"view {view.name} is missing"
        if not found.view_query or not same_query(found.view_query, query):
            return f"view {view.name} has another query"
        return None if found.description == view.description else f"view {view.name} has another description"

    def authorise_views(self) -> None:
        """Let the views' dataset read the tables' dataset, so that a reader of views needs no right on tables."""
        from google.api_core.exceptions import PreconditionFailed
        from google.api_core.retry import Retry, if_exception_type
        from google.cloud import bigquery

        @Retry(predicate=if_exception_type(PreconditionFailed), initial=0.1, maximum=1.0, timeout=10.0)
        def authorise() -> None:
            """Once more if another changed the dataset between reading and writing."""
            dataset = self._client.get_dataset(f"{self._project}.{self._dataset}", retry=self._retry)
            if not self._lets_views_in(dataset):
                views = {"dataset": self._views, "targetTypes": ["VIEWS"]}
                entry = bigquery.AccessEntry(entity_type="dataset", entity_id=views)
                dataset.access_entries = [*dataset.access_entries, entry]
                self._client.update_dataset(dataset, ["access_entries"], retry=self._retry)

        authorise()


def _expected(contract: WarehouseTable, structure_only: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "column order": contract.column_names,
        "partition": (contract.partition_unit, contract.partition_by),
        "clustering": contract.cluster_by,
        "primary key": contract.key,
        **{f"column {column.name}": f"{column.type} {column.mode}" for column in contract.columns},
    }
    if not structure_only:
        facts |= {"description": contract.description, "labels": LABELS}
        facts |= {f"description of {column.name}": column.description for column in contract.columns}
    return facts


def _actual(found: bigquery.Table, structure_only: bool) -> dict[str, Any]:
    partition = found.time_partitioning
    constraints = found.table_constraints
    key = constraints.primary_key if constraints is not None else None
    facts: dict[str, Any] = {
        "column order": tuple(field.name for field in found.schema),
        "partition": (partition.type_, partition.field) if partition is not None else None,
        "clustering": tuple(found.clustering_fields or ()),
        "primary key": tuple(key.columns) if key is not None else (),
        **{
            f"column {field.name}": f"{_LEGACY_NAMES.get(field.field_type, field.field_type)} {field.mode}"
            for field in found.schema
        },
    }
    if not structure_only:
        facts |= {"description": found.description, "labels": dict(found.labels)}
        facts |= {f"description of {field.name}": field.description for field in found.schema}
    return facts
