"""Raw tables: a verified view of the newest bundle, one asset a table, each with its own schema."""

from collections.abc import Iterator

import dagster as dg

from cbi_pipeline.contracts.references import RawTableRef
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.orchestration.checks.raw import CHECKS_OF_EACH_TABLE, NAME, RECENT, data_are_recent, rows_make_sense
from cbi_pipeline.orchestration.freshness import EVERY_SESSION
from cbi_pipeline.orchestration.jobs import DATASET_VERSION_TAG, SESSION_TAG
from cbi_pipeline.orchestration.metadata import OWNERS, RAW_ASSET_NAMES, raw_table_schema
from cbi_pipeline.orchestration.resources import ArtifactStoreResource, BundleStoreResource


@dg.multi_asset(
    name="raw_tables",
    group_name="raw",
    can_subset=True,
    outs={
        asset_name: dg.AssetOut(
            dagster_type=RawTableRef,
            description=RAW_TABLES[table].description,
            kinds={"parquet"},
            owners=OWNERS,
            is_required=False,
            freshness_policy=EVERY_SESSION,
            metadata={"dagster/column_schema": raw_table_schema(RAW_TABLES[table])},
        )
        for table, asset_name in RAW_ASSET_NAMES.items()
    },
    check_specs=CHECKS_OF_EACH_TABLE,
)
def raw_tables(
    context: dg.AssetExecutionContext, bundle_store: BundleStoreResource, artifact_store: ArtifactStoreResource
) -> Iterator[dg.Output[RawTableRef] | dg.AssetCheckResult]:
    """Find the bundle of this run, verify every byte of it, and refer to its tables."""
    from cbi_pipeline import stages
    from cbi_pipeline.stages.raw import sense_warnings

    checks = {(key.asset_key.to_user_string(), key.name) for key in context.selected_asset_check_keys}
    references = stages.raw_table_references(bundle_store.find(context.run.tags.get(DATASET_VERSION_TAG)))
    for table, asset_name in RAW_ASSET_NAMES.items():
        if asset_name not in context.op_execution_context.selected_output_names:
            continue
        reference = references[table]
        yield dg.Output(
            reference,
            output_name=asset_name,
            data_version=dg.DataVersion(reference.sha256),
            metadata={
                "dagster/row_count": reference.rows,
                "dataset_version": reference.dataset_version,
                "sha256": reference.sha256,
                "origin": reference.origin,
                "why": reference.why,
                "file": dg.MetadataValue.path(str(reference.bundle_path / f"{table}.parquet")),
            },
        )
        if (asset_name, NAME) in checks:
            yield rows_make_sense(asset_name, sense_warnings(reference, artifact_store.open()))
        if (asset_name, RECENT) in checks:
            yield data_are_recent(asset_name, reference, context.run.tags.get(SESSION_TAG))
