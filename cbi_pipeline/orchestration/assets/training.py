"""Trained models, partitioned architecture x fold, all cells of a run trained in one process."""

import dagster as dg

from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import ArtifactStoreResource, DeviceResource, SettingsResource
from cbi_pipeline.profiles import Profile, get_profile


def cell_partitions(profile: Profile) -> dg.MultiPartitionsDefinition:
    """Architecture x fold, in the order in which cells are trained."""
    return dg.MultiPartitionsDefinition(
        {
            "architecture": dg.StaticPartitionsDefinition(list(profile.architectures)),
            "fold": dg.StaticPartitionsDefinition(list(profile.fold_names)),
        }
    )


def all_cells_tags(profile: Profile) -> dict[str, str]:
    """Run tags that select every cell, so that one run trains them all."""
    keys = cell_partitions(profile).get_partition_keys()
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def build_trained_models(profile: Profile) -> dg.AssetsDefinition:
    """The `trained_models` asset for the folds and architectures of a profile."""

    @dg.asset(
        group_name="training",
        kinds={"pytorch"},
        owners=OWNERS,
        partitions_def=cell_partitions(profile),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def trained_models(
        context: dg.AssetExecutionContext,
        curated_features: FeaturesRef,
        fitted_anchor: FoldsRef,
        fitted_scaler: FoldsRef,
        artifact_store: ArtifactStoreResource,
        device: DeviceResource,
        run_settings: SettingsResource,
    ) -> dict[str, CellRef]:
        """One network a cell: it learns the bounded residual on the anchor, and forecasts its fold's test sessions.

        Each cell is stored the moment it is done, under the hash of its inputs, so a killed run resumes.
        """
        from cbi_pipeline import stages

        settings = run_settings.load()
        cells, curves = stages.train_cells(
            [(key.keys_by_dimension["architecture"], key.keys_by_dimension["fold"]) for key in context.partition_keys],
            curated_features,
            fitted_anchor,
            fitted_scaler,
            get_profile(settings.profile),
            seed=settings.seed,
            device=device.torch_device(),
            store=artifact_store.open(),
        )
        for key, cell, curve in zip(context.partition_keys, cells, curves, strict=True):
            context.add_asset_metadata(
                {
                    "reused": cell.reused,
                    "best_epoch": cell.best_epoch,
                    "parameters": cell.n_parameters,
                    "training_seconds": cell.seconds,
                    "loss_by_epoch": table(curve),
                },
                partition_key=str(key),
            )
        return {str(key): cell for key, cell in zip(context.partition_keys, cells, strict=True)}

    return trained_models
