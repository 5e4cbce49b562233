"""The forecast rows of a trade date, by the model that serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import ForecastRow, Status
from cbi_pipeline.contracts.references import (
    FeaturesRef,
    PredictionsRef,
    RawTableRef,
)
from cbi_pipeline.errors import BundleError, WarehouseError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.raw import load_raw_tables

if TYPE_CHECKING:
    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.registry.champion import Champion
    from cbi_pipeline.warehouse.base import Warehouse

FORECAST_STAGE = "forecast"
_ROWS = "forecast_rows.json"
_PUBLISHED_SQL = """
SELECT * FROM predictions
WHERE as_of_date = @as_of_date AND model_version = @model_version
ORDER BY horizon_months
"""


def predict(
    features: FeaturesRef,
    raw: Sequence[RawTableRef],
    *,
    settings: Settings,
    run_id: str,
    store: ArtifactStore,
    models_dir: Path,
    warehouse: Warehouse,
) -> tuple[PredictionsRef, list[dict[str, Any]]]:
    """Forecast the last trade date of the features with the champion alias, verified.

    If these forecasts are published already, the published rows are handed on as they stand.

    Args:
        raw: futures_daily, futures_curve, macro_series, fundamentals.

    Returns:
        The reference, and the rows for display.

    Raises:
        ModelError: no champion, or it was altered, or reads other features.
        BundleError: features and raw tables come from different bundles.
        WarehouseError: a published forecast of this date and model has other numbers.
    """
    from cbi_pipeline.evaluation.benchmarks import prepare_market
    from cbi_pipeline.inference import forecast_rows
    from cbi_pipeline.registry.champion import load_serving

    progress.report(FORECAST_STAGE, 0, 1)
    if {features.dataset_version} != {reference.dataset_version for reference in raw}:
        raise BundleError(
            f"features of {features.dataset_version}",
            f"the raw tables are those of {sorted({reference.dataset_version for reference in raw})}.",
            "materialise raw tables, curated_features and daily_predictions together, or run `cbi predict`.",
        )
    model, champion = load_serving(models_dir)
    frame = load_features(features)
    rows = forecast_rows(
        model,
        frame,
        prepare_market(load_raw_tables(raw)),
        as_of=frame.index[-1],
        status=_statuses(model, champion, raw[0], settings),
        dataset_version=features.dataset_version,
        code_commit=code_commit(),
        run_id=run_id,
        created_at=datetime.now(UTC),
    )
    published = _published(rows, warehouse)
    rows = published or rows
    records = [row.model_dump(mode="json") for row in rows]

    def build(folder: Path) -> None:
        (folder / _ROWS).write_text(json.dumps(records, indent=1))

    artifact = store.get_or_build("predictions", {"rows": records}, build)
    reference = PredictionsRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=bool(published),
        as_of_date=rows[0].as_of_date,
        model_version=model.model_version,
        rows=len(rows),
    )
    progress.finish(FORECAST_STAGE, f"{len(rows)} horizons as of {rows[0].as_of_date}", reused=bool(published))
    return reference, records


def load_forecast_rows(reference: PredictionsRef) -> list[ForecastRow]:
    """The forecast rows of a reference, verified."""
    return [ForecastRow.model_validate(record) for record in read_json(reference, _ROWS)]


def stored_rows(warehouse: Warehouse, as_of_date: date, model_version: str) -> list[ForecastRow]:
    """The published rows of a date and model, shortest horizon first; empty if there are none."""
    key = {"as_of_date": as_of_date, "model_version": model_version}
    return [ForecastRow.model_validate(record) for record in warehouse.query(_PUBLISHED_SQL, key).to_pylist()]


def _statuses(
    model: LoadedModel, champion: Champion, prices: RawTableRef, settings: Settings
) -> dict[int, tuple[Status, list[str]]]:
    """PRODUCTION or HOLD per horizon: the out-of-fold metrics, how the model came to serve, the age of the data."""
    from cbi_pipeline.evaluation.status import QualityTargets, evaluate_status

    targets = QualityTargets(**settings.quality_targets)
    stale = why_stale(prices, settings.max_data_age_sessions, datetime.now(UTC).date())
    hold = [reason for reason in (stale, why_not_judged(champion)) if reason]
    by_horizon = model.metrics["by_horizon"]
    return {
        h: evaluate_status(by_horizon.get(str(h), {}), targets, stale="; ".join(hold) or None) for h in HORIZONS_MONTHS
    }


def why_not_judged(champion: Champion) -> str | None:
    """Why the gates do not stand behind the model that serves; None if they do."""
    return {
        "judged": None,
        "unjudged": "the evidence gates could not judge the model: too few independent out-of-fold rows",
        "override": f"the evidence gates were overridden by {champion.promoted_by}: {champion.reason}",
    }[champion.admission]


def why_stale(prices: RawTableRef, max_sessions: int, today: date) -> str | None:
    """Why the last price is too old to act on; None if it is not."""
    from cbi_pipeline.market_calendar import sessions

    if prices.origin == "starter":
        return f"the data end on {prices.last_trade_date}, where the starter bundle ends"
    age = len(sessions(prices.last_trade_date, today)) - 1
    if age <= max_sessions:
        return None
    return f"the data end on {prices.last_trade_date}, more than {max_sessions} sessions before the forecast was made"


def _published(rows: list[ForecastRow], warehouse: Warehouse) -> list[ForecastRow]:
    """The rows of this date and model as they were published; empty if they were not.

    Raises:
        WarehouseError: a published number differs from the one computed now.
    """
    stored = stored_rows(warehouse, rows[0].as_of_date, rows[0].model_version)
    if len(stored) != len(rows):
        return []
    for old, new in zip(stored, rows, strict=True):
        ignore = {"status", "status_reasons", "created_at", "run_id", "code_commit", "dataset_version"}
        differing = {
            name: (before, after)
            for name, before in old.model_dump(exclude=ignore).items()
            if before != (after := getattr(new, name))
        }
        if differing:
            raise WarehouseError(
                f"predictions, {old.as_of_date}, {old.horizon_months} months, {old.model_version}",
                f"a published forecast never changes, but these fields would: {differing}.",
                "look for a bundle with revised history; a refit (`cbi run`) publishes under its own model version.",
            )
    return stored
