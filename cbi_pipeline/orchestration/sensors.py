"""Sensors: `new_manifest` starts one `retrain` run for each bundle that is published."""

import dagster as dg

from cbi_pipeline.orchestration.assets.training import all_cells_tags
from cbi_pipeline.orchestration.jobs import DATASET_VERSION_TAG, retrain
from cbi_pipeline.orchestration.resources import BundleStoreResource, SettingsResource
from cbi_pipeline.profiles import get_profile


@dg.sensor(
    name="new_manifest",
    job=retrain,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks for bundles whose `_SUCCESS` has appeared and requests one run of all cells for each, in order.",
)
def new_manifest(
    context: dg.SensorEvaluationContext, bundle_store: BundleStoreResource, run_settings: SettingsResource
) -> dg.SensorResult:
    """One run per new bundle, oldest first, with the manifest's sha256 as run key.

    The cursor is the newest dataset_version that was looked at: a bundle that is sealed after a newer one is of no
    use to a forecast and is not run. A bundle whose manifest is at fault is logged once and passed over. A store that
    cannot be read fails the tick and leaves the cursor, so that the next tick looks again.
    """
    import hashlib

    from cbi_pipeline.bundle.sync import read_remote_manifest
    from cbi_pipeline.contracts.manifest import MANIFEST_FILE
    from cbi_pipeline.errors import BundleError

    store, tags = bundle_store.published(), all_cells_tags(get_profile(run_settings.load().profile))
    requests, problems, versions = [], [], store.sealed(after=context.cursor or "")
    for version in versions:
        try:
            _, ends = read_remote_manifest(store, version)
        except BundleError as problem:
            context.log.error(f"bundle {version} is passed over: {problem}")
            problems.append(str(problem))
            continue
        run_key = hashlib.sha256(ends[MANIFEST_FILE]).hexdigest()
        requests.append(dg.RunRequest(run_key=run_key, tags={**tags, DATASET_VERSION_TAG: version}))
    nothing = f"no new sound bundle in {store.location}"
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason("; ".join([nothing, *problems])),
        cursor=versions[-1] if versions else context.cursor,
    )
