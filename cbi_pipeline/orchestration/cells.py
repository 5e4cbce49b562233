"""The Dagster type of the table of cells, trained or failed, that assets hand on by partition key."""

from typing import TYPE_CHECKING, Final

import dagster as dg

from cbi_pipeline.contracts.references import CellRef, FailedCellRef

CELLS: Final = dg.DagsterType(
    name="Cells",
    description="Trained or failed cells by partition key.",
    typing_type=dict[str, CellRef | FailedCellRef],
    type_check_fn=lambda _, value: all(isinstance(cell, CellRef | FailedCellRef) for cell in value.values()),
)
if TYPE_CHECKING:
    Cells = dict[str, CellRef | FailedCellRef]
else:
    Cells = CELLS  # as an annotation: Dagster 1.13 infers no type from a dict of a union
