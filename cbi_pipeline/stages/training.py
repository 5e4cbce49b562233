"""Training of cells (architecture x fold): inputs put together, result stored the moment it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.folds import FoldSpec
from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import TrainingConfig
from cbi_pipeline.profiles import Profile
from cbi_pipeline.provenance import source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore, verify_artifact
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json, read_parquet
from cbi_pipeline.stages.folds import fold_named, load_market, load_scaler

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from cbi_pipeline.evaluation.benchmarks import Market
    from cbi_pipeline.features.driver_set import DriverSet
    from cbi_pipeline.modeling.training import CellInputs, OnEpoch

STAGE = "training"
_WEIGHTS, _RECORD, _RESIDUALS = "weights.safetensors", "cell.json", "residuals.parquet"


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

    def config(self, architecture: str) -> TrainingConfig:
        """Configuration of one architecture in this run."""
        return self.profile.training.model_copy(update={"architecture": architecture, "seed": self.seed})


def train_cells(
    cells: Sequence[tuple[str, str]], run: TrainingRun, on_cell: Callable[[CellRef], None] | None = None
) -> tuple[list[CellRef], list[list[dict[str, Any]]]]:
    """Train every (architecture, fold), each stored as soon as it is done.

    Args:
        cells: architecture and fold name of each.
        run: what they share.
        on_cell: told of each finished cell.

    Returns:
        Per cell: its reference, and its losses by epoch.
    """
    references, histories = [], []
    for done, (architecture, fold_name) in enumerate(cells):
        reference, history = train_one(architecture, fold_named(run.anchors, fold_name), run, at=(done, len(cells)))
        references.append(reference)
        histories.append(history)
        if on_cell is not None:
            on_cell(reference)
    reused = sum(reference.reused for reference in references)
    seconds = sum(reference.seconds for reference in references if not reference.reused)
    still = sum(reference.best_epoch == 0 for reference in references)
    note = f"{len(cells) - reused} cells trained in {seconds:.0f} s on {run.device.type}, {reused} re-used"
    if still:
        note += f"; {still} never beat the anchor on validation and add nothing"
    progress.finish(STAGE, note, reused=reused == len(cells))
    return references, histories


def train_one(
    architecture: str, fold: FoldSpec, run: TrainingRun, *, at: tuple[int, int] = (0, 1), stage: str = STAGE
) -> tuple[CellRef, list[dict[str, Any]]]:
    """Train one cell, or find it if the same inputs, configuration, code, device type and number of
    threads (the order of sums depends on it) made it before.

    Args:
        at: how many cells are done, of how many, for the progress display.
        stage: name of the stage in the progress display.
    """
    import torch

    config = run.config(architecture)
    inputs = {
        "features": run.features.key,
        "market": run.anchors.key,
        "scaler": run.scalers.sha256_by_fold[fold.name],
        "fold": fold.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
        "device": run.device.type,
        "threads": torch.get_num_threads(),
        "code": source_hash("modeling", "evaluation/walk_forward", "evaluation/benchmarks", "stages/training"),
    }

    def on_epoch(epoch: int, epochs: int, train_loss: float, validation_loss: float) -> None:
        note = f"{architecture} {fold.name}, epoch {epoch}: loss {train_loss:.3f}, validation {validation_loss:.3f}"
        progress.report(stage, at[0] * epochs + epoch, at[1] * epochs, note)

    def build(folder: Path) -> None:
        _train_into(folder, fold, run, config, on_epoch)

    progress.report(stage, at[0] * config.epochs, at[1] * config.epochs, f"{architecture} {fold.name}")
    artifact = run.store.get_or_build("cells", inputs, build)
    record = read_json(artifact, _RECORD)
    reference = CellRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=artifact.reused,
        architecture=architecture,
        fold=fold.name,
        features_key=run.features.key,
        anchors_key=run.anchors.key,
        scalers_key=run.scalers.key,
        best_epoch=record["best_epoch"],
        n_parameters=record["n_parameters"],
        seconds=record["seconds"],
    )
    return reference, record["history"]


def load_residuals(cell: CellRef) -> pd.DataFrame:
    """Bounded residuals of the cell's test rows: index as-of date, one column per horizon, units of sigma_h."""
    return read_parquet(cell, _RESIDUALS).rename(columns=int)


def load_weights(cell: CellRef) -> dict[str, torch.Tensor]:
    """Best weights of the cell, float32 on the CPU."""
    import safetensors.torch

    return safetensors.torch.load_file(verify_artifact(cell.path) / _WEIGHTS)


def _train_into(folder: Path, fold: FoldSpec, run: TrainingRun, config: TrainingConfig, on_epoch: OnEpoch) -> None:
    import dataclasses

    import pandas as pd
    import safetensors.torch

    from cbi_pipeline.modeling.training import train_cell

    frame = load_features(run.features)
    trained = train_cell(
        cell_inputs(frame, fold, load_market(run.anchors), load_scaler(run.scalers, fold)), config, run.device, on_epoch
    )
    safetensors.torch.save_file(trained.state_dict, folder / _WEIGHTS)
    pd.DataFrame(
        trained.predictions, index=frame.index[trained.prediction_rows], columns=[str(h) for h in HORIZONS_MONTHS]
    ).to_parquet(folder / _RESIDUALS)
    record = {
        "best_epoch": trained.best_epoch,
        "n_parameters": trained.n_parameters,
        "n_train": trained.n_train,
        "n_validation": trained.n_validation,
        "seconds": trained.seconds,
        "device": trained.device,
        "history": [dataclasses.asdict(epoch) for epoch in trained.history],
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1))


def cell_inputs(frame: pd.DataFrame, fold: FoldSpec, market: Market, drivers: DriverSet) -> CellInputs:
    """All that the network of a fold learns from: scaled features, residual targets, purged masks, test rows.

    The anchor under its targets is fitted on labels known before the validation part, so that neither part
    of the training sees the other's outcomes; the anchor that forecasts is fitted up to the test start.

    Args:
        frame: [T, F] curated features.
        fold: the fold to learn and to forecast.
        market: prices, anchor inputs, volatilities and outcomes of every session of the frame.
        drivers: the driver set fitted on the fold's training part.
    """
    import numpy as np
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import residual_targets
    from cbi_pipeline.evaluation.walk_forward import fold_masks
    from cbi_pipeline.modeling.anchor import anchor_log_return, fit_anchor
    from cbi_pipeline.modeling.training import CellInputs

    sessions = pd.DatetimeIndex(frame.index)
    fit = fit_anchor(market.front, market.inputs, market.state, pd.Timestamp(fold.validation_start))
    anchor = anchor_log_return(fit, market.inputs.loc[sessions], market.state)
    masks = fold_masks(fold, sessions, market.targets.loc[sessions])
    return CellInputs(
        feature_names=tuple(frame.columns),
        features=drivers.transform(frame),
        targets=residual_targets(market, anchor)[list(HORIZONS_MONTHS)].to_numpy(),
        train_mask=masks.train,
        validation_mask=masks.validation,
        prediction_rows=np.flatnonzero(masks.test),
    )
