"""Two folds of the smoke recipe on the starter bundle: what stages hand to each other, made once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from cbi_pipeline import stages
from cbi_pipeline.bundle.locate import find_bundle
from cbi_pipeline.contracts.references import CellRef, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef, SelectionRef
from cbi_pipeline.profiles import Profile, get_profile
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline_tests.projects import new_project

TWO_FOLDS = Profile(name="smoke", n_splits=2, training=get_profile("smoke").training)
CELLS = [("tcn", "fold_1"), ("tcn", "fold_2")]
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

    def train(self, store: ArtifactStore, cells=CELLS, *, seed: int = 1):
        """`train_cells` of this lineage into another store."""
        return stages.train_cells(cells, self.run(store, seed))[0]

    def run(self, store: ArtifactStore, seed: int = 1) -> stages.TrainingRun:
        """The `TrainingRun` of this lineage into a store."""
        return stages.TrainingRun(self.features, self.anchors, self.scalers, self.profile, seed, CPU, store)


@pytest.fixture(scope="session")
def lineage(tmp_path_factory) -> Lineage:
    settings = new_project(tmp_path_factory.mktemp("lineage"))
    torch.set_num_threads(settings.threads)
    store = ArtifactStore(settings.artifacts_dir)
    raw = stages.raw_table_references(find_bundle(settings))
    features, _ = stages.build_curated_features(tuple(raw.values()), store)
    market = tuple(raw[name] for name in ("futures_daily", "futures_curve", "macro_series", "fundamentals"))
    anchors, _ = stages.fit_anchors(features, market, TWO_FOLDS, store)
    scalers = stages.fit_scalers(features, anchors, store)
    run = stages.TrainingRun(features, anchors, scalers, TWO_FOLDS, 1, CPU, store)
    trained, _ = stages.train_cells(CELLS, run)
    cells = {f"tcn|{cell.fold}": cell for cell in trained}
    scorecard = stages.build_scorecard(features, anchors, cells, store)
    selection = stages.select_chosen_features(features, anchors, scalers, cells, TWO_FOLDS, 1, store)
    return Lineage(store, TWO_FOLDS, raw, features, anchors, scalers, cells, scorecard, selection)


@pytest.fixture
def other_store(tmp_path) -> ArtifactStore:
    """An empty store."""
    return ArtifactStore(tmp_path / "other")
