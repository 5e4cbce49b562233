"""What assets hand to each other: small references to verified files, never the data itself.

A reference is stored as JSON by the IO manager, so that the state of the pipeline can be read with
any editor, and a reader can check the sha256 before it trusts the file.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cbi_pipeline.contracts.folds import FoldSpec


class Reference(BaseModel):
    """Base of all references."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class RawTableRef(Reference):
    """One raw table of a verified bundle."""

    table: str
    bundle_path: Path
    dataset_version: str
    sha256: str
    rows: int
    origin: str
    why: str
    last_trade_date: date


class ArtifactRef(Reference):
    """A content-addressed folder of computed files.

    `key` is the sha256 of everything that went in (inputs, configuration, code), so equal keys mean
    equal content; `reused` says whether this run found it instead of computing it.
    """

    kind: str
    key: str
    path: Path
    reused: bool


class FeaturesRef(ArtifactRef):
    """The curated features of one dataset."""

    dataset_version: str
    feature_hash: str
    rows: int
    first_date: date
    last_date: date


class FoldsRef(ArtifactRef):
    """Per-fold fits (anchor or scaler) on the features of `features_key`."""

    features_key: str
    folds: tuple[FoldSpec, ...]
    serving: FoldSpec
    sha256_by_fold: dict[str, str]


class CellRef(ArtifactRef):
    """One trained cell: an architecture in a fold, all targets and members, with its out-of-fold forecasts.

    `best_epochs` has, by target, one number a member; 0 means that no epoch beat the untrained network on validation.
    `n_parameters` is of one member.
    """

    architecture: str
    fold: str
    features_key: str
    anchors_key: str
    scalers_key: str
    members: int
    n_parameters: int
    best_epochs: dict[str, tuple[int, ...]]
    seconds: float


class FailedCellRef(Reference):
    """A cell whose training failed, and why; it holds the place of a trained one, so that nobody overlooks it."""

    architecture: str
    fold: str
    features_key: str
    anchors_key: str
    scalers_key: str
    reason: str


Cell = CellRef | FailedCellRef


class SelectionRef(ArtifactRef):
    """The chosen features of these folds; `selected_hash` is that of their lock."""

    features_key: str
    anchors_key: str
    scalers_key: str
    chosen: tuple[str, ...]
    selected_hash: str


class ScorecardRef(ArtifactRef):
    """Every entry x horizon x metric, and the out-of-fold forecasts behind it.

    `training_keys` has, by architecture, the hash of how its networks were made (`stages.training_keys`).
    """

    scorecard_id: str
    dataset_version: str
    feature_hash: str
    features_key: str
    anchors_key: str
    scalers_key: str
    training_keys: dict[str, str]
    rows: int


class WinnerRef(Reference):
    """The winning architecture and, in words, by how much."""

    architecture: str
    scorecard_id: str
    reason: str


class ModelRef(Reference):
    """The champion: a complete, verified folder under `models/`."""

    model_version: str
    path: Path
    architecture: str
    dataset_version: str
    scorecard_id: str
    reused: bool


class PredictionsRef(ArtifactRef):
    """Forecast rows of one trade date or of several, ready to be published.

    `model_version` made those of the last date. `made_without` says which sources were too old for which forecasts,
    `refused` for which missed trade dates there is none because the model needs such a source. `left_out` are sessions
    without a forecast that no model may forecast any more.
    """

    first_as_of_date: date
    as_of_date: date
    model_version: str
    rows: int
    made_without: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    left_out: tuple[date, ...] = ()


class WarehouseRef(Reference):
    """A table or view of the warehouse after a write.

    `full_name` is how its database finds it from anywhere; `console_url` the page that shows it, if there is one.
    """

    name: str
    location: str
    full_name: str
    console_url: str | None = None
    rows: int
    inserted: int
    unchanged: int


class LiveSkillRef(WarehouseRef):
    """The table `live_skill` after an evaluation, and what the evaluation says of the forecasts to be made.

    `errors` has, by horizon in months, why its forecasts are on HOLD: matured errors beyond the back-test, or such as
    cannot be judged. `inputs` says why all of them are: inputs of the model beyond their history.
    """

    evaluation_id: str
    as_of_date: date
    dataset_version: str
    model_version: str
    errors: dict[int, tuple[str, ...]]
    inputs: tuple[str, ...]
