"""Check of the trained cells. It is made by the step that trains, so that it judges the cells of that very run."""

import dagster as dg

from cbi_pipeline.contracts.references import FailedCellRef
from cbi_pipeline.orchestration.cells import Cells

EVERY_CELL_TRAINED = dg.AssetCheckSpec(
    "every_cell_trained",
    asset="trained_models",
    blocking=True,
    description="Every cell of the run was trained: an incomplete table of cells decides nothing.",
)


def every_cell_trained(cells: Cells) -> dg.AssetCheckResult:
    """Failed with ERROR severity if a cell failed; says which, and why."""
    failed = [cell for cell in cells.values() if isinstance(cell, FailedCellRef)]
    return dg.AssetCheckResult(
        check_name=EVERY_CELL_TRAINED.name,
        passed=not failed,
        description="; ".join(f"{cell.architecture} {cell.fold}: {cell.reason}" for cell in failed) or None,
        metadata={"cells": len(cells), "failed": len(failed)},
    )
