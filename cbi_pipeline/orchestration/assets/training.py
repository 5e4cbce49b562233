"""Trained models, partitioned architecture x fold, all cells of a run trained in one process."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import ArtifactStoreResource, DeviceResource, SettingsResource
from cbi_pipeline.profiles import Profile, get_profile
from cbi_pipeline.settings import Settings

if TYPE_CHECKING:
    from cbi_pipeline.stages import TrainingRun


class CellPartitions(dg.MultiPartitionsDefinition):
    """Architecture x fold, whose runs are tagged with a cell or a range of cells, never with single dimensions.

    The Jobs page starts a range of cells as one run, and Dagster 1.13 leaves the dimension tags of the first
    cell on it. Those win over the range, so that only the first cell would be trained.
    """

    def get_tags_for_partition_key(self, partition_key: str) -> Mapping[str, str]:
        """The tag of the cell."""
        return {"dagster/partition": partition_key}


def cell_partitions(profile: Profile) -> CellPartitions:
    """Architecture x fold, in the order in which cells are trained."""
    return CellPartitions(
        {
            "architecture": dg.StaticPartitionsDefinition(list(profile.architectures)),
            "fold": dg.StaticPartitionsDefinition(list(profile.fold_names)),
        }
    )


def all_cells_tags(profile: Profile) -> dict[str, str]:
    """Run tags that select every cell, so that one run trains them all."""
    keys = cell_partitions(profile).get_partition_keys()
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def training_run(
    features: FeaturesRef,
    anchors: FoldsRef,
    scalers: FoldsRef,
    settings: Settings,
    device: DeviceResource,
    artifact_store: ArtifactStoreResource,
) -> "TrainingRun":
    """What all cells of a run share, bound to this machine's device and store."""
    from cbi_pipeline.stages import TrainingRun

    profile, store = get_profile(settings.profile), artifact_store.open()
    return TrainingRun(features, anchors, scalers, profile, settings.seed, device.torch_device(), store)


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
        wanted = [
            (key.keys_by_dimension["architecture"], key.keys_by_dimension["fold"]) for key in context.partition_keys
        ]
        cells, curves = stages.train_cells(
            wanted,
            training_run(curated_features, fitted_anchor, fitted_scaler, settings, device, artifact_store),
            on_cell=lambda cell: context.log.info(
                f"{cell.architecture} {cell.fold}: {'re-used' if cell.reused else f'trained in {cell.seconds:.1f} s'}, "
                f"best epoch {cell.best_epoch}"
            ),
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
