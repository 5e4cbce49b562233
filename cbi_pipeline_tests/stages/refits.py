"""A refit of the lineage into a folder of models of its own, with the verdicts that it needs."""

from __future__ import annotations

from pathlib import Path

from cbi_pipeline import stages
from cbi_pipeline.contracts.references import ModelRef
from cbi_pipeline.settings import Settings
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import settings_of
from cbi_pipeline_tests.stages.conftest import Lineage


def settings_beside(models_dir: Path) -> Settings:
    """Settings whose models and warehouse lie in the folder of `models_dir`.

    The two test years of the lineage hold eight independent rows at three months, on which the anchor's direction was
    right in 83 %: by luck, which the tripwire cannot tell from a leak. Its bound here is wider.
    """
    folder = models_dir.parent
    return settings_of(
        folder, models_dir=models_dir, warehouse_path=folder / "warehouse.duckdb", gate_leak_directional_accuracy=0.9
    )


def warehouse_of(settings: Settings) -> DuckDBWarehouse:
    """Its warehouse, with the tables in place."""
    warehouse = DuckDBWarehouse(settings.warehouse_path)
    warehouse.migrate()
    return warehouse


def judge(lineage: Lineage, settings: Settings):
    """Every gate over the winner of the lineage."""
    return stages.judge(
        lineage.scorecard,
        lineage.cells,
        lineage.features,
        lineage.anchors,
        lineage.scalers,
        tuple(lineage.raw.values()),
        settings=settings,
        store=lineage.store,
        warehouse=warehouse_of(settings),
        run_id="a test",
    )


def refit(lineage: Lineage, models_dir: Path, scorecard=None, run=None, selection=None, judged=True) -> ModelRef:
    """Judge the winner, refit it, and promote it if it may serve."""
    settings = settings_beside(models_dir)
    if judged:
        judge(lineage, settings)
    winner, scorecard = stages.choose_winner(lineage.scorecard, lineage.cells), scorecard or lineage.scorecard
    given = {"settings": settings, "warehouse": warehouse_of(settings)}
    candidate = stages.refit_candidate(
        winner, scorecard, selection or lineage.selection, run or lineage.run(lineage.store), **given
    )
    return stages.promote_candidate(candidate, winner, scorecard, **given)
