"""What the warehouse keeps of the state of the data: the age of every source, and what the features are worth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from cbi_pipeline.contracts.references import FeaturesRef, RawTableRef, SelectionRef, WarehouseRef
from cbi_pipeline.contracts.warehouse import DATA_QUALITY, FEATURE_IMPORTANCE
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.publishing import table_reference
from cbi_pipeline.stages.raw import load_raw_tables
from cbi_pipeline.stages.selection import selection_record

if TYPE_CHECKING:
    from cbi_pipeline.features.validation.staleness import SourceAge
    from cbi_pipeline.warehouse.base import Warehouse


def publish_data_quality(
    features: FeaturesRef, raw: Sequence[RawTableRef], warehouse: Warehouse, *, run_id: str
) -> WarehouseRef:
    """Write how old each source was at the last session, with what `check_staleness` says of it."""
    from cbi_pipeline.features.validation.staleness import SOURCES, check_staleness, newest_known

    frame, tables = load_features(features), load_raw_tables(raw)
    found = {finding.subject: finding for finding in check_staleness(frame, tables, raw[0].last_trade_date)}
    last = frame.index[-1]
    newest = newest_known(tables, last, SOURCES)
    stamp = {
        "dataset_version": features.dataset_version,
        "features_key": features.key,
        "as_of_date": last.date(),
        **_written_by(run_id),
    }
    rows = [
        {
            "source": source.label,
            "raw_table": source.table,
            "newest_date": newest.get(source),
            "maximum_age_days": source.maximum_age_days,
            "outcome": found[source.label].severity if source.label in found else "fresh",
            "reason": found[source.label].reason if source.label in found else "",
            **stamp,
        }
        for source in SOURCES
        if not source.history_only
    ]
    return table_reference(DATA_QUALITY.name, warehouse, warehouse.merge(DATA_QUALITY.name, rows))


def source_ages_at(table: RawTableRef, day: date) -> list[SourceAge]:
    """How old every source of a raw table is at the close of a day."""
    import pandas as pd

    from cbi_pipeline.features.validation.staleness import SOURCES, source_ages

    sources = [source for source in SOURCES if source.table == table.table]
    return source_ages(load_raw_tables([table]), pd.Timestamp(day), sources)


def publish_feature_importance(selection: SelectionRef, warehouse: Warehouse, *, run_id: str) -> WarehouseRef:
    """Write rank and decision of every feature of the catalogue, one row each."""
    record = selection_record(selection)
    rows = [
        {
            "selection_id": selection.key[:16],
            "selected_hash": selection.selected_hash,
            **{name: decision[name] for name in ("feature", "pillar", "mean_rank", "folds_in_top", "decision")},
            "folds": record["summary"]["folds"],
            "chosen": int(decision["feature"] in selection.chosen),
            **_written_by(run_id),
        }
        for decision in record["decisions"]
    ]
    return table_reference(FEATURE_IMPORTANCE.name, warehouse, warehouse.merge(FEATURE_IMPORTANCE.name, rows))


def _written_by(run_id: str) -> dict[str, Any]:
    return {"created_at": datetime.now(UTC), "run_id": run_id, "code_commit": code_commit()}
