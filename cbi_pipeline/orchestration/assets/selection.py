"""The features that a model is locked to."""

import dagster as dg

from cbi_pipeline.contracts.references import FeaturesRef, FoldsRef, SelectionRef
from cbi_pipeline.orchestration.assets.training import training_run
from cbi_pipeline.orchestration.cells import Cells
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import DEVICE_POOL, ArtifactStoreResource, DeviceResource, SettingsResource


@dg.asset(group_name="evaluation", kinds={"scikitlearn"}, owners=OWNERS, pool=DEVICE_POOL)
def feature_selection(
    curated_features: FeaturesRef,
    fitted_anchor: FoldsRef,
    fitted_scaler: FoldsRef,
    trained_models: Cells,
    artifact_store: ArtifactStoreResource,
    device: DeviceResource,
    run_settings: SettingsResource,
) -> dg.Output[SelectionRef]:
    """The 30 to 60 features that a model may read: ranked inside the training part of each fold, kept where stable.

    Trees' SHAP values, mutual information and clustered permutation, each in excess of the same on shifted targets.
    What the networks themselves rest on is shown beside it. The champion is locked to names, order, dtype and hash.
    """
    from cbi_pipeline import stages

    run = training_run(curated_features, fitted_anchor, fitted_scaler, run_settings.load(), device, artifact_store)
    reference = stages.select_chosen_features(trained_models, run)
    record = stages.selection_record(reference)
    return dg.Output(
        reference,
        data_version=dg.DataVersion(reference.key),
        metadata={
            "reused": reference.reused,
            "selected_hash": reference.selected_hash,
            "summary": table([record["summary"]]),
            "decisions": table(sorted(record["decisions"], key=lambda row: row["mean_rank"])),
            "network_attribution": table({"cell": cell, **values} for cell, values in record["networks"].items()),
        },
    )
