"""Whether the inputs of a forecast are fresh enough, trade date by trade date, before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cbi_pipeline.contracts.references import RawTableRef
from cbi_pipeline.stages.raw import load_raw_tables

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.stale_inputs import StaleInput


def stale_inputs_of(
    model: LoadedModel,
    features: pd.DataFrame,
    anchor_inputs: pd.DataFrame,
    raw: Sequence[RawTableRef],
    days: Sequence[pd.Timestamp],
) -> dict[pd.Timestamp, list[StaleInput]]:
    """Per trade date, as of its own close, the stale sources of inputs that the model reads and does not have.

    Only the tables that feed such an input are read: none on a day on which nothing is missing.

    Args:
        raw: every raw table.
    """
    from cbi_pipeline.features.driver_set import load_driver_set
    from cbi_pipeline.stale_inputs import missing_inputs, sources_of, stale_inputs

    drivers = load_driver_set(model.path, model.scaler_sha256)
    missing = {day: missing_inputs(model, drivers, features, anchor_inputs, day) for day in days}
    asked = {source.table for names in missing.values() for source in sources_of(names)}
    tables = load_raw_tables(reference for reference in raw if reference.table in asked) if asked else {}
    return {day: stale_inputs(names, tables, day) for day, names in missing.items()}
