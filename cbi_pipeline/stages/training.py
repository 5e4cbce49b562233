"""Training of cells (architecture x fold): each learns both targets, and is stored the moment it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.contracts.references import Cell, CellRef, FailedCellRef, FeaturesRef, FoldsRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TARGETS, Architecture, Target, TrainingConfig
from cbi_pipeline.profiles import Profile
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore, verify_artifact
from cbi_pipeline.stages.cell_inputs import cell_inputs, only_features
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.folds import fold_named, load_market, load_scaler

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from cbi_pipeline.modeling.cells import OnEpoch, TrainedCell

STAGE = "training"
_RECORD, _FORECASTS = "cell.json", "forecasts.parquet"


class FailedTraining(ModelError):
    """The training of one cell failed by itself: its loss is no number, or a part of it has no usable row."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What all cells of a run share: the data they learn from, how they learn, and where results are kept.

    Raises:
        ModelError: anchors or scalers were fitted on other features or other folds: a scaler of a later fold would
            have seen the test.
    """

    features: FeaturesRef
    anchors: FoldsRef
    scalers: FoldsRef
    profile: Profile
    seed: int
    device: torch.device
    store: ArtifactStore

    def __post_init__(self) -> None:
        keys = {self.features.key, self.anchors.features_key, self.scalers.features_key}
        same_folds = (self.anchors.folds, self.anchors.serving) == (self.scalers.folds, self.scalers.serving)
        if len(keys) > 1 or not same_folds:
            raise ModelError(
                "training inputs",
                "features, anchors and scalers come from different runs: other features or other folds.",
                "materialise curated_features, fitted_anchor and fitted_scaler together, or run `cbi run`.",
            )

    @property
    def keys(self) -> dict[str, str]:
        """Keys of the data, as references that are made of them record them."""
        return {
            "features_key": self.features.key,
            "anchors_key": self.anchors.key,
            "scalers_key": self.scalers.key,
        }

    def config(self, architecture: str, target: Target) -> TrainingConfig:
        """How an architecture of the profile is built and trained for a target in this run."""
        return self.profile.training(cast("Architecture", architecture), target, self.seed)


def train_cells(
    cells: Sequence[tuple[str, str]], run: TrainingRun, on_cell: Callable[[Cell], None] | None = None
) -> list[Cell]:
    """Train every (architecture, fold), each stored as soon as it is done.

    A cell whose training fails by itself is recorded with the reason, and the others go on.

    Args:
        cells: architecture and fold name of each.
        run: what they share.
        on_cell: told of each cell that is done.

    Returns:
        One reference a cell.
    """
    references: list[Cell] = []
    for done, (architecture, fold_name) in enumerate(cells):
        fold = fold_named(run.anchors, fold_name)
        try:
            reference: Cell = train_one(architecture, fold, run, at=(done, len(cells)))
        except FailedTraining as error:
            reason = f"{error.subject}: {error.rule}"
            reference = FailedCellRef(architecture=architecture, fold=fold.name, reason=reason, **run.keys)
        references.append(reference)
        if on_cell is not None:
            on_cell(reference)
    trained = [reference for reference in references if isinstance(reference, CellRef)]
    new = [reference for reference in trained if not reference.reused]
    progress.finish(STAGE, _outcome(references, trained, new, run), reused=not new and len(trained) == len(cells))
    return references


def _outcome(cells: Sequence[Cell], trained: Sequence[CellRef], new: Sequence[CellRef], run: TrainingRun) -> str:
    seconds = sum(cell.seconds for cell in new)
    note = f"{len(new)} cells trained in {seconds:.0f} s on {run.device.type}, {len(trained) - len(new)} re-used"
    if len(cells) > len(trained):
        note += f", {len(cells) - len(trained)} failed"
    best = [epoch for cell in trained for epoch in cell.best_epochs["anchored"]]
    if still := best.count(0):
        note += f"; {still} of {len(best)} networks never beat the untrained one on validation and add nothing"
    return note


def train_one(
    architecture: str,
    fold: FoldSpec,
    run: TrainingRun,
    *,
    targets: Sequence[Target] = TARGETS,
    feature_names: tuple[str, ...] | None = None,
    at: tuple[int, int] = (0, 1),
    stage: str = STAGE,
) -> CellRef:
    """Train one cell, or find it if the same inputs, configuration, code, device type and number of
    threads (the order of sums depends on it) made it before.

    Args:
        targets: what its networks learn, each target by its own members.
        feature_names: all that the networks are given; every feature if None.
        at: how many cells are done, of how many, for the progress display.
        stage: name of the stage in the progress display.

    Raises:
        FailedTraining: the training failed by itself.
        ModelError: something that it needs is missing or was altered.
    """
    import torch

    configs = {target: run.config(architecture, target) for target in targets}
    inputs = {
        "features": run.features.key,
        "market": run.anchors.key,
        "scaler": run.scalers.sha256_by_fold[fold.name],
        "fold": fold.model_dump(mode="json"),
        "config": {target: config.model_dump(mode="json") for target, config in configs.items()},
        "feature_names": feature_names,
        "device": run.device.type,
        "threads": torch.get_num_threads(),
        "code": source_hash(
            "contracts/__init__", "modeling", "market_calendar", "evaluation/walk_forward", "evaluation/benchmarks",
            "stages/cell_inputs", "stages/training",
        ),
    }  # fmt: skip
    units = sum(config.members * config.fit.epochs for config in configs.values())
    progress.report(stage, at[0] * units, at[1] * units, f"{architecture} {fold.name}")

    def build(folder: Path) -> None:
        done = at[0] * units
        for target, config in configs.items():
            on_epoch = _reporter(stage, f"{architecture} {fold.name}, {target}", config.members, done, at[1] * units)
            trained[target] = _train(fold, run, config, feature_names, on_epoch)
            done += config.members * config.fit.epochs
        _store(trained, folder, run)

    trained: dict[Target, TrainedCell] = {}
    artifact = run.store.get_or_build("cells", inputs, build)
    record = read_json(artifact, _RECORD)["targets"]
    return CellRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        architecture=architecture,
        fold=fold.name,
        members=len(record[targets[0]]["members"]),
        n_parameters=record[targets[0]]["n_parameters"],
        best_epochs={target: tuple(m["best_epoch"] for m in own["members"]) for target, own in record.items()},
        seconds=sum(own["seconds"] for own in record.values()),
        **run.keys,
    )


def _reporter(stage: str, name: str, members: int, done: int, total: int) -> OnEpoch:
    def on_epoch(member: int, epoch: int, epochs: int, train_loss: float, validation_loss: float) -> None:
        which = f" seed {member + 1} of {members}" if members > 1 else ""
        note = f"{name}{which}, epoch {epoch}: loss {train_loss:.3f}, validation {validation_loss:.3f}"
        progress.report(stage, done + member * epochs + epoch, total, note)

    return on_epoch


def _train(
    fold: FoldSpec,
    run: TrainingRun,
    config: TrainingConfig,
    feature_names: tuple[str, ...] | None,
    on_epoch: OnEpoch,
) -> TrainedCell:
    from cbi_pipeline.modeling.training import train_cell

    frame, market, drivers = load_features(run.features), load_market(run.anchors), load_scaler(run.scalers, fold)
    cell = cell_inputs(frame, fold, market, drivers, config.target)
    if feature_names is not None:
        cell = only_features(cell, feature_names)
    try:
        return train_cell(cell, config, run.device, on_epoch)
    except ModelError as error:
        subject = f"cell {config.architecture}, {fold.name}, {config.target}, {error.subject}"
        raise FailedTraining(subject, error.rule, error.fix) from error


def _store(trained: Mapping[Target, TrainedCell], folder: Path, run: TrainingRun) -> None:
    import pandas as pd
    import safetensors.torch
    import torch

    dates = load_features(run.features).index
    for target, cell in trained.items():
        safetensors.torch.save_file(cell.state_dict, folder / _weights_file(target))
    pd.concat([_long(target, cell, dates) for target, cell in trained.items()]).to_parquet(
        folder / _FORECASTS, index=False
    )
    record = {
        "device": run.device.type,
        "torch": torch.__version__,
        "targets": {target: _record(cell) for target, cell in trained.items()},
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1))


def _record(cell: TrainedCell) -> dict[str, Any]:
    return {
        "config": cell.config.model_dump(mode="json"),
        "n_parameters": cell.n_parameters,
        "n_train": cell.n_train,
        "n_validation": cell.n_validation,
        "seconds": cell.seconds,
        "members": [
            {
                "seed": member.seed,
                "best_epoch": member.best_epoch,
                "seconds": member.seconds,
                "history": [asdict(epoch) for epoch in member.history],
            }
            for member in cell.members
        ],
    }


def _long(target: Target, cell: TrainedCell, dates: pd.Index) -> pd.DataFrame:
    """Forecasts of every member, one row per member, as-of date and horizon; columns of `load_forecasts`."""
    import pandas as pd

    asked = dates[cell.prediction_rows]
    by = pd.MultiIndex.from_product(
        [asked, range(len(cell.members)), HORIZONS_MONTHS], names=["as_of_date", "member", "horizon_months"]
    )
    offsets = cell.offsets.reshape(-1, len(QUANTILE_COLUMNS))
    columns = {f"offset_{name}": column for name, column in zip(QUANTILE_COLUMNS, offsets.T, strict=True)}
    frame = pd.DataFrame({"median": cell.medians.ravel(), **columns}, index=by).reset_index()
    return frame.assign(target=target)[["target", "member", "as_of_date", "horizon_months", "median", *columns]]


def _weights_file(target: Target) -> str:
    return f"{target}.safetensors"


def trained_cells(cells: Mapping[str, Cell]) -> list[CellRef]:
    """The cells of a complete table, in its order.

    Raises:
        ModelError: the training of a cell failed; all that did are named, with the reasons.
    """
    failed = [f"{c.architecture}, {c.fold} ({c.reason})" for c in cells.values() if isinstance(c, FailedCellRef)]
    if failed:
        raise ModelError(
            f"{len(failed)} of {len(cells)} cells",
            f"the table of trained cells is incomplete, these failed: {'; '.join(failed)}",
            "remove the cause, then run `cbi run`: it trains only what is missing.",
        )
    return [cell for cell in cells.values() if isinstance(cell, CellRef)]


def load_forecasts(cell: CellRef) -> pd.DataFrame:
    """Forecasts of the cell's test rows, one row per target, member, as-of date and horizon.

    `median` is in units of sigma_h; `offset_q05` ... `offset_q95` are quantiles less the median, in units of the
    density's sigma.
    """
    return read_parquet(cell, _FORECASTS)


def load_member_medians(cell: CellRef, target: Target) -> list[pd.DataFrame]:
    """Medians of each member on the cell's test rows: index as-of date, one column per horizon, units of sigma_h."""
    rows = load_forecasts(cell).query("target == @target").astype({"median": float})
    by = {"index": "as_of_date", "columns": "horizon_months", "values": "median"}
    return [rows[rows["member"] == member].pivot(**by) for member in range(cell.members)]


def load_residuals(cell: CellRef) -> pd.DataFrame:
    """What the network adds to the anchor on the test rows, mean of the members; as `load_member_medians`."""
    return mean_of(load_member_medians(cell, "anchored"))


def load_raw(cell: CellRef) -> pd.DataFrame:
    """The network's forecast of the log return itself on the test rows, mean of members; as `load_member_medians`."""
    return mean_of(load_member_medians(cell, "raw"))


def mean_of(members: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean of frames with the same index and columns."""
    return sum(members[1:], start=members[0]) / len(members)


def load_weights(cell: CellRef, target: Target = "anchored") -> dict[str, torch.Tensor]:
    """Best weights of all members for a target (the keys of `networks.Ensemble`), float32 on the CPU."""
    import safetensors.torch

    return safetensors.torch.load_file(verify_artifact(cell.path) / _weights_file(target))


def load_config(cell: CellRef, target: Target = "anchored") -> TrainingConfig:
    """What the networks of a target were trained with; the inputs of both paths are named."""
    return TrainingConfig.model_validate(cell_record(cell)["targets"][target]["config"])


def cell_record(cell: CellRef) -> dict[str, Any]:
    """How the training went: `device`, `torch`, and of each of the `targets` its config, counts, seconds and `members`
    (seed, best epoch, seconds, history by epoch)."""
    return read_json(cell, _RECORD)
