"""From raw tables to a promotion through the stages, on five folds: what the leak drill puts its leaks into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cbi_pipeline import stages
from cbi_pipeline.bundle.locate import find_bundle
from cbi_pipeline.contracts.references import ModelRef, ScorecardRef, SelectionRef, WinnerRef
from cbi_pipeline.contracts.verdict import Verdict
from cbi_pipeline.profiles import Profile, RollingFolds, get_profile
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.settings import Settings
from cbi_pipeline.warehouse import open_warehouse

ONE_FOLD = get_profile("smoke").model_copy(update={"architectures": ("nbeatsx",)})
FIVE_FOLDS = ONE_FOLD.model_copy(update={"folds": RollingFolds(n_splits=5)})
"""The least on which every gate can judge at every horizon."""

_MARKET = ("futures_daily", "futures_curve", "macro_series", "fundamentals")


@dataclass(frozen=True)
class Judged:
    """A scorecard, the verdicts on it, and all that its winner is refitted from."""

    settings: Settings
    run: stages.TrainingRun
    scorecard: ScorecardRef
    winner: WinnerRef
    selection: SelectionRef
    verdicts: tuple[Verdict, ...]

    def failed(self) -> dict[str, list[int]]:
        """Horizons at which each gate failed, by gate; quality targets stop nobody and are left out."""
        found: dict[str, list[int]] = {}
        for verdict in self.verdicts:
            if verdict.outcome == "failed" and verdict.kind != "quality":
                found.setdefault(verdict.name, []).append(verdict.horizon_months)
        return found

    def refit(self) -> ModelRef:
        """The winner, refitted as candidate."""
        warehouse = open_warehouse(self.settings)
        return stages.refit_candidate(
            self.winner, self.scorecard, self.selection, self.run, settings=self.settings, warehouse=warehouse
        )

    def promote(self, candidate: ModelRef) -> ModelRef:
        """The candidate as champion, as a run does it."""
        warehouse = open_warehouse(self.settings)
        return stages.promote_candidate(
            candidate, self.winner, self.scorecard, settings=self.settings, warehouse=warehouse
        )


def score_and_judge(settings: Settings, profile: Profile) -> Judged:
    """Features, folds, networks, scorecard and verdicts, into a folder of artifacts that nothing else has written to.

    Artifacts are found by the hash of the source, which a leak planted in memory does not change: every leak needs a
    folder of its own.
    """
    store, device = ArtifactStore(settings.artifacts_dir), torch.device("cpu")
    raw = stages.raw_table_references(find_bundle(settings))
    features, _ = stages.build_curated_features(tuple(raw.values()), store)
    anchors, _ = stages.fit_anchors(features, [raw[name] for name in _MARKET], profile, store)
    scalers = stages.fit_scalers(features, anchors, store)
    run = stages.TrainingRun(features, anchors, scalers, profile, 1, device, store)
    names: Sequence[tuple[str, str]] = [(a, fold) for a in profile.architectures for fold in profile.fold_names]
    cells = {f"{cell.architecture}|{cell.fold}": cell for cell in stages.train_cells(names, run)}
    prices = (raw["futures_daily"], raw["futures_curve"])
    scorecard = stages.build_scorecard(features, anchors, cells, prices, store, costs=settings.trading_costs)
    warehouse = open_warehouse(settings)
    judgement = stages.judge(
        scorecard, cells, features, anchors, scalers, tuple(raw.values()),
        settings=settings, store=store, warehouse=warehouse, run_id="a drill",
    )  # fmt: skip
    winner, selection = stages.choose_winner(scorecard, cells), stages.select_chosen_features(cells, run)
    return Judged(settings, run, scorecard, winner, selection, judgement.verdicts)
