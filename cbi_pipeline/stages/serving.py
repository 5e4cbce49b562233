"""The forecast rows of the newest trade date and of those that were missed, by the model that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_pipeline import progress
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import ForecastRow, Status
from cbi_pipeline.contracts.references import (
    FeaturesRef,
    LiveSkillRef,
    PredictionsRef,
    RawTableRef,
)
from cbi_pipeline.errors import BundleError, ModelError, WarehouseError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.raw import load_raw_tables
from cbi_pipeline.stages.stale import stale_inputs_of

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.registry.champion import Champion
    from cbi_pipeline.stale_inputs import StaleInput
    from cbi_pipeline.warehouse.base import Warehouse

FORECAST_STAGE = "forecast"
_MARKET_TABLES = ("futures_daily", "futures_curve", "macro_series", "fundamentals")
_ROWS = "forecast_rows.json"
_PUBLISHED_SQL = """
SELECT * FROM predictions
WHERE as_of_date BETWEEN @first AND @last AND model_version = @model_version
ORDER BY as_of_date, horizon_months
"""
_NEWEST_SQL = "SELECT MAX(as_of_date) AS newest FROM predictions"


def predict(
    features: FeaturesRef,
    raw: Sequence[RawTableRef],
    *,
    settings: Settings,
    run_id: str,
    store: ArtifactStore,
    models_dir: Path,
    warehouse: Warehouse,
    live: LiveSkillRef | None,
    days: tuple[date, date] | None = None,
) -> tuple[PredictionsRef, list[dict[str, Any]]]:
    """Forecast trade dates of the features with the champion alias, verified.

    Without `days` these are the last one and, before it, every session that has passed since the newest forecast in the
    warehouse, as far back as the model can tell. Rows that are published already are handed on as they stand.

    Each date is judged as of its own close. A missed one for which an input was stale that the model needs is passed
    over: what was not known then is never known then.

    Args:
        raw: every raw table.
        live: what became of earlier forecasts, by the same bundle and for the same model, or the rows are on HOLD.
        days: first and last trade date to forecast.

    Returns:
        The reference, and the rows of the last date for display.

    Raises:
        ModelError: no champion, or it was altered, or reads other features, or was fitted on data of an asked day.
        StaleInputsError: the newest date, or one of `days`, needs a source that is beyond its maximum age.
        BundleError: features and raw tables come from different bundles.
        WarehouseError: a published forecast of a date and this model has other numbers.
    """
    from cbi_pipeline.evaluation.benchmarks import prepare_market
    from cbi_pipeline.inference import forecast_rows
    from cbi_pipeline.registry.champion import load_serving
    from cbi_pipeline.stale_inputs import is_needed, made_without, refusal

    progress.report(FORECAST_STAGE, 0, 1)
    if {features.dataset_version} != {reference.dataset_version for reference in raw}:
        raise BundleError(
            f"features of {features.dataset_version}",
            f"the raw tables are those of {sorted({reference.dataset_version for reference in raw})}.",
            "materialise raw tables, curated_features and daily_predictions together, or run `cbi predict`.",
        )
    model, champion = load_serving(models_dir)
    frame = load_features(features)
    market = prepare_market(load_raw_tables(reference for reference in raw if reference.table in _MARKET_TABLES))
    statuses, created_at = _statuses(model, champion, raw[0], settings), datetime.now(UTC)
    statuses = _held_by_live(statuses, live, features.dataset_version, model.model_version)
    asked = _sessions_between(frame.index, *days) if days else _missed_sessions(frame.index, model, warehouse)
    _require_unseen(model, asked[0].date())
    stale = stale_inputs_of(model, frame, market.inputs, raw, asked)
    refused = [day for day in asked if is_needed(stale[day])]
    if refused and (days or refused[-1] == asked[-1]):
        raise refusal(stale[refused[-1]], refused[-1], model.model_version)
    asked = [day for day in asked if day not in refused]
    made: list[ForecastRow] = []
    for number, day in enumerate(asked):
        progress.report(FORECAST_STAGE, number, len(asked), str(day.date()))
        made += forecast_rows(
            model,
            frame,
            market,
            as_of=day,
            status={h: _held(statuses[h], made_without(stale[day], h)) for h in HORIZONS_MONTHS},
            dataset_version=features.dataset_version,
            code_commit=code_commit(),
            run_id=run_id,
            created_at=created_at,
        )
    rows, published = _with_published(made, warehouse)
    records = [row.model_dump(mode="json") for row in rows]

    def build(folder: Path) -> None:
        (folder / _ROWS).write_text(json.dumps(records, indent=1))

    artifact = store.get_or_build("predictions", {"rows": records}, build)
    first, last = rows[0].as_of_date, rows[-1].as_of_date
    reference = PredictionsRef(
        kind=artifact.kind,
        key=artifact.key,
        path=artifact.path,
        reused=published == len(rows),
        first_as_of_date=first,
        as_of_date=last,
        model_version=model.model_version,
        rows=len(rows),
        made_without=tuple(_named(stale, asked)),
        refused=tuple(_named(stale, refused)),
    )
    span = str(last) if first == last else f"{first} to {last}, {len(asked)} sessions"
    none = f"; none as of {', '.join(str(day.date()) for day in refused)}, stale inputs" if refused else ""
    progress.finish(FORECAST_STAGE, f"{len(HORIZONS_MONTHS)} horizons as of {span}{none}", reused=reference.reused)
    return reference, records[-len(HORIZONS_MONTHS) :]


def _sessions_between(sessions: pd.Index[pd.Timestamp], first: date, last: date) -> list[pd.Timestamp]:
    """The sessions from one date to another, both included."""
    asked = [day for day in sessions if first <= day.date() <= last]
    if not asked:
        raise ModelError(
            f"forecast of {first} to {last}",
            f"No trade date of the data lies there; they end on {sessions[-1].date()}.",
            "ask for trade dates of the bundle, or get a newer one.",
        )
    return asked


def _missed_sessions(sessions: pd.Index[pd.Timestamp], model: LoadedModel, warehouse: Warehouse) -> list[pd.Timestamp]:
    """The newest session, and before it those since the newest published forecast that the model has not seen."""
    published = warehouse.query(_NEWEST_SQL).to_pylist()[0]["newest"]
    if published is None:
        return [sessions[-1]]
    since = max(published, _fitted_to(model) - timedelta(days=1))
    return [day for day in sessions[:-1] if day.date() > since] + [sessions[-1]]


def _fitted_to(model: LoadedModel) -> date:
    """Last session of the data that the model was fitted on: from its close on, what it says is a forecast."""
    return date.fromisoformat(model.metrics["window"][1])


def _require_unseen(model: LoadedModel, first: date) -> None:
    if first < _fitted_to(model):
        raise ModelError(
            f"forecast of {first} by {model.model_version}",
            f"The model was fitted on data to {_fitted_to(model)}; what it says of days before is no forecast.",
            "ask for later days, with data that reach them; out_of_fold_forecasts has forecasts of earlier days.",
        )


def load_forecast_rows(reference: PredictionsRef) -> list[ForecastRow]:
    """The forecast rows of a reference, verified."""
    return [ForecastRow.model_validate(record) for record in read_json(reference, _ROWS)]


def stored_rows(warehouse: Warehouse, first: date, last: date, model_version: str) -> list[ForecastRow]:
    """The published rows of a model between two dates, oldest and shortest horizon first; empty if there are none."""
    key = {"first": first, "last": last, "model_version": model_version}
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


def _held(status: tuple[Status, list[str]], why: list[str]) -> tuple[Status, list[str]]:
    """The status of a forecast, on HOLD for these reasons before its own, if there are any."""
    return ("HOLD", [*why, *status[1]]) if why else status


def _named(stale: Mapping[pd.Timestamp, Sequence[StaleInput]], days: Sequence[pd.Timestamp]) -> Iterator[str]:
    """One line for each of the days that has stale sources."""
    from cbi_pipeline.stale_inputs import described

    for day in days:
        if stale[day]:
            yield f"{day.date()}: {', '.join(dict.fromkeys(described(one.source) for one in stale[day]))}"


def _held_by_live(
    statuses: dict[int, tuple[Status, list[str]]], live: LiveSkillRef | None, dataset_version: str, model_version: str
) -> dict[int, tuple[Status, list[str]]]:
    """The statuses, on HOLD where matured forecasts or the inputs of the model are a reason for it.

    An evaluation of other data or of another model says nothing of these, which is a reason too.
    """
    if live is None or (live.dataset_version, live.model_version) != (dataset_version, model_version):
        why = [f"live errors of {model_version} were not evaluated on {dataset_version}"]
        return {horizon: _held(status, why) for horizon, status in statuses.items()}
    return {horizon: _held(status, [*live.errors[horizon], *live.inputs]) for horizon, status in statuses.items()}


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


def _with_published(rows: list[ForecastRow], warehouse: Warehouse) -> tuple[list[ForecastRow], int]:
    """The rows, each as it was published if it was; and how many were.

    Raises:
        WarehouseError: a published number differs from the one computed now.
    """
    first, last = rows[0].as_of_date, rows[-1].as_of_date
    stored = {
        (row.as_of_date, row.horizon_months): row for row in stored_rows(warehouse, first, last, rows[0].model_version)
    }
    ignore = {"status", "status_reasons", "created_at", "run_id", "code_commit", "dataset_version"}
    merged = []
    for new in rows:
        old = stored.get((new.as_of_date, new.horizon_months), new)
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
        merged.append(old)
    return merged, sum((row.as_of_date, row.horizon_months) in stored for row in rows)
