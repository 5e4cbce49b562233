"""Two networks, two folds, two seeds of the smoke recipe on the starter bundle: what stages hand on, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from cbi_pipeline import stages
from cbi_pipeline.bundle.locate import find_bundle
from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef, SelectionRef
from cbi_pipeline.profiles import Profile, RollingFolds, get_profile
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline_tests.projects import made_once, new_project

TWO_FOLDS = get_profile("smoke").model_copy(
    update={"folds": RollingFolds(n_splits=2), "architectures": ("tcn", "nbeatsx"), "members": 2}
)
CELLS = [(architecture, fold) for architecture in TWO_FOLDS.architectures for fold in TWO_FOLDS.fold_names]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Lineage:
    """References in the order in which a run makes them. Shared: a test changes copies only."""

    store: ArtifactStore
    profile: Profile
    raw: dict[str, RawTableRef]
    features: FeaturesRef
    anchors: FoldsRef
    scalers: FoldsRef
    cells: dict[str, CellRef]
    scorecard: ScorecardRef
    selection: SelectionRef

    @property
    def market_tables(self) -> tuple[RawTableRef, ...]:
        return tuple(self.raw[name] for name in ("futures_daily", "futures_curve", "macro_series", "fundamentals"))

    @property
    def price_tables(self) -> tuple[RawTableRef, ...]:
        return self.raw["futures_daily"], self.raw["futures_curve"]

    def train(self, store: ArtifactStore, cells=CELLS, *, seed: int = 1):
        """`train_cells` of this lineage into another store."""
        return stages.train_cells(cells, self.run(store, seed))

    def run(self, store: ArtifactStore, seed: int = 1) -> stages.TrainingRun:
        """The `TrainingRun` of this lineage into a store."""
        return stages.TrainingRun(self.features, self.anchors, self.scalers, self.profile, seed, CPU, store)


@pytest.fixture(scope="session")
def lineage(tmp_path_factory) -> Lineage:
    torch.set_num_threads(1)
    return made_once(tmp_path_factory, "lineage", make_lineage)


def make_lineage(folder: Path) -> Lineage:
    settings = new_project(folder)
    store = ArtifactStore(settings.artifacts_dir)
    raw = stages.raw_table_references(find_bundle(settings))
    features, _ = stages.build_curated_features(tuple(raw.values()), store)
    market = tuple(raw[name] for name in ("futures_daily", "futures_curve", "macro_series", "fundamentals"))
    anchors, _ = stages.fit_anchors(features, market, TWO_FOLDS, store)
    scalers = stages.fit_scalers(features, anchors, store)
    run = stages.TrainingRun(features, anchors, scalers, TWO_FOLDS, 1, CPU, store)
    cells = {f"{cell.architecture}|{cell.fold}": cell for cell in stages.train_cells(CELLS, run)}
    prices = (raw["futures_daily"], raw["futures_curve"])
    scorecard = stages.build_scorecard(features, anchors, cells, prices, store, costs=settings.trading_costs)
    selection = stages.select_chosen_features(cells, run)
    return Lineage(store, TWO_FOLDS, raw, features, anchors, scalers, cells, scorecard, selection)


@pytest.fixture
def other_store(tmp_path) -> ArtifactStore:
    """An empty store."""
    return ArtifactStore(tmp_path / "other")
