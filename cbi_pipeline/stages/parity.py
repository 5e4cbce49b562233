"""What the parity gates compare: metrics by the warehouse's SQL, forecasts by the serving path, features of past days.

Belongs here: how each second answer is made, from stored files and stored rows. What it is compared with, and by which
bound, is `evaluation/gates.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import Cell, CellRef, FeaturesRef, FoldsRef, RawTableRef, ScorecardRef
from cbi_pipeline.contracts.warehouse import OUT_OF_FOLD
from cbi_pipeline.provenance import code_commit, source_hash
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.folds import fold_named, load_market, load_scaler
from cbi_pipeline.stages.raw import content_of, load_raw_tables
from cbi_pipeline.stages.training import load_config, load_residuals, load_weights, trained_cells

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.warehouse.base import Warehouse

REPLAYED_DAYS: Final = 8
SESSIONS_PER_YEAR: Final = 252
_REPLAY: Final = "replay.json"


def metrics_by_sql(
    scorecard: ScorecardRef, entry: str, out_of_fold: pd.DataFrame, warehouse: Warehouse, run_id: str
) -> dict[int, dict[str, float | None]]:
    """Metrics of the entry as the warehouse's SQL computes them from its stored rows, which are written first."""
    own = out_of_fold[out_of_fold["entry"] == entry]
    stamp: dict[str, Any] = {"created_at": datetime.now(UTC), "run_id": run_id, "code_commit": code_commit()}
    rows = own[[name for name in OUT_OF_FOLD.column_names if name in own]]
    records = [
        {
            **record,
            "realised_price": None
            if record["realised_price"] != record["realised_price"]
            else record["realised_price"],
            "scorecard_id": scorecard.scorecard_id,
            **stamp,
        }
        for record in rows.to_dict("records")
    ]
    warehouse.merge(OUT_OF_FOLD.name, records)
    sql = (files("cbi_pipeline.warehouse") / "sql" / "metric_parity.sql").read_text(encoding="utf-8")
    found = warehouse.query(sql, {"scorecard_id": scorecard.scorecard_id, "entry": entry}).to_pylist()
    return {row.pop("horizon_months"): row for row in found}


def replayed_forecasts(
    entry: str, cells: Mapping[str, Cell], features: FeaturesRef, anchors: FoldsRef, scalers: FoldsRef
) -> dict[int, float]:
    """How far the serving path is from the out-of-fold medians that were scored, on days of the last fold.

    The medians were made in batches on the training device; here the stored scaler, the stored weights and the
    reference inference make them again, one day at a time.

    Returns:
        Per horizon, the largest absolute difference in units of sigma_h.
    """
    import numpy as np
    import pandas as pd

    from cbi_pipeline.market_calendar import calendar_phases
    from cbi_pipeline.modeling.training import reference_forecast

    cell = last_cell(entry, cells, anchors)
    frame, market = load_features(features), load_market(anchors)
    scaled = load_scaler(scalers, fold_named(scalers, cell.fold)).transform(frame)
    stored = load_residuals(cell)
    days = stored.index[np.linspace(0, len(stored) - 1, min(REPLAYED_DAYS, len(stored))).astype(int)]
    sessions = pd.DatetimeIndex(frame.index)
    phases = calendar_phases(sessions, market.targets.loc[sessions])
    again = reference_forecast(
        load_config(cell), load_weights(cell), scaled, tuple(frame.columns), phases, sessions.get_indexer(days)
    )
    difference = np.abs(again.median - stored.loc[days, list(HORIZONS_MONTHS)].to_numpy(float)).max(axis=0)
    return {horizon: float(value) for horizon, value in zip(HORIZONS_MONTHS, difference, strict=True)}


def replayed_features(features: FeaturesRef, raw: Sequence[RawTableRef], store: ArtifactStore) -> dict[str, list[str]]:
    """Per replayed day, the features that differ when they are made from what was known then alone.

    The days are the newest and the one a year before it. Computed once per feature frame.
    """

    def build(folder: Path) -> None:
        from cbi_pipeline.features.build import build_features
        from cbi_pipeline.market_calendar import as_of_time

        frame, tables = load_features(features), load_raw_tables(raw)
        differing = {}
        for day in frame.index[[-1 - SESSIONS_PER_YEAR, -1]]:
            moment = as_of_time(day)
            known = {name: t[t["available_at"] <= moment].reset_index(drop=True) for name, t in tables.items()}
            again = build_features(known).loc[[day]]
            differing[str(day.date())] = [n for n in frame.columns if not again[n].equals(frame.loc[[day], n])]
        (folder / _REPLAY).write_text(json.dumps(differing))

    inputs = {
        "features": features.key,
        "tables": content_of(raw),
        "code": source_hash("stages/parity", "features", "fundamentals", "market_calendar"),
    }
    return read_json(store.get_or_build("replay", inputs, build), _REPLAY)


def last_cell(entry: str, cells: Mapping[str, Cell], anchors: FoldsRef) -> CellRef:
    """The cell of an architecture in the newest fold."""
    last = anchors.folds[-1].name
    return next(cell for cell in trained_cells(cells) if (cell.architecture, cell.fold) == (entry, last))
