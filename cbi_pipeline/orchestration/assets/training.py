"""Trained models, partitioned architecture x fold, all cells of a run trained in one process."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from cbi_pipeline.contracts.references import CellRef, FailedCellRef, FeaturesRef, FoldsRef
from cbi_pipeline.modeling.config import Architecture
from cbi_pipeline.orchestration.cells import CELLS, Cells
from cbi_pipeline.orchestration.checks.training import EVERY_CELL_TRAINED, every_cell_trained
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import DEVICE_POOL, ArtifactStoreResource, DeviceResource, SettingsResource
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
    """Architecture x fold."""
    return CellPartitions(
        {
            "architecture": dg.StaticPartitionsDefinition(list(profile.architectures)),
            "fold": dg.StaticPartitionsDefinition(list(profile.fold_names)),
        }
    )


def _cells_of(profile: Profile) -> dict[str, tuple[Architecture, str]]:
    """Architecture and fold by partition key, in the order in which cells are trained."""
    return {
        str(dg.MultiPartitionKey({"architecture": architecture, "fold": fold})): (architecture, fold)
        for architecture in profile.architectures
        for fold in profile.fold_names
    }


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
        pool=DEVICE_POOL,
        dagster_type=CELLS,
        partitions_def=cell_partitions(profile),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[EVERY_CELL_TRAINED],
    )
    def trained_models(
        context: dg.AssetExecutionContext,
        curated_features: FeaturesRef,
        fitted_anchor: FoldsRef,
        fitted_scaler: FoldsRef,
        artifact_store: ArtifactStoreResource,
        device: DeviceResource,
        run_settings: SettingsResource,
    ) -> Iterator[dg.Output[Cells] | dg.AssetCheckResult]:
        """The networks of a cell, for both targets: what the anchor leaves over, and the log return itself.

        Each cell is stored the moment it is done, under the hash of its inputs, so a killed run resumes. A cell whose
        training fails is recorded with the reason; the others go on, and the check stops what depends on them.
        """
        from cbi_pipeline import progress, stages

        run = training_run(curated_features, fitted_anchor, fitted_scaler, run_settings.load(), device, artifact_store)
        wanted = {key: cell for key, cell in _cells_of(profile).items() if key in context.partition_keys}
        with progress.listening_alongside(progress.ThrottledLog(context.log.info)):
            references = stages.train_cells(
                list(wanted.values()), run, on_cell=lambda cell: context.log.info(cell_line(cell))
            )
        cells = dict(zip(wanted, references, strict=True))
        for key, cell in cells.items():
            context.add_asset_metadata(cell_metadata(cell), partition_key=key)
        yield dg.Output(cells)
        yield every_cell_trained(cells)

    return trained_models


def cell_line(cell: CellRef | FailedCellRef) -> str:
    """One `key=value` line of the log about a finished cell."""
    line = f"architecture={cell.architecture} fold={cell.fold}"
    if isinstance(cell, FailedCellRef):
        return f'{line} failed="{cell.reason}"'
    best = " ".join(f"best_epochs_{target}={','.join(map(str, own))}" for target, own in cell.best_epochs.items())
    return f"{line} reused={str(cell.reused).lower()} seconds={cell.seconds:.1f} {best}"


def cell_metadata(cell: CellRef | FailedCellRef) -> dict[str, Any]:
    """What the UI shows of a cell: counts, losses by epoch as a table and a picture; of a failed one the reason."""
    if isinstance(cell, FailedCellRef):
        return {"failed": True, "reason": cell.reason}
    from cbi_pipeline.reports.loss_curve import as_markdown, loss_curve_png
    from cbi_pipeline.stages.training import cell_record

    trained = {target: own["members"] for target, own in cell_record(cell)["targets"].items()}
    picture = loss_curve_png({target: [own["history"] for own in members] for target, members in trained.items()})
    return {
        "failed": False,
        "reused": cell.reused,
        "members": cell.members,
        "parameters": cell.n_parameters,
        "training_seconds": cell.seconds,
        **{f"best_epochs_{target}": ", ".join(map(str, own)) for target, own in cell.best_epochs.items()},
        "loss_curve": dg.MetadataValue.md(as_markdown(picture, "loss by epoch")),
        "loss_by_epoch": table(
            {"target": target, "seed": member["seed"], **epoch}
            for target, members in trained.items()
            for member in members
            for epoch in member["history"]
        ),
    }
