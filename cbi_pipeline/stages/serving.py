"""The forecast rows of the newest trade date and of those that were missed, by the model that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
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
from cbi_pipeline.errors import BundleError, WarehouseError
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.registry.artifact_store import ArtifactStore
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.files import read_json
from cbi_pipeline.stages.forecast_days import asked_sessions, missed_sessions
from cbi_pipeline.stages.raw import load_raw_tables
from cbi_pipeline.stages.stale import stale_inputs_of

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.registry.champion import Promotion
    from cbi_pipeline.stages.forecast_days import Plan
    from cbi_pipeline.stale_inputs import StaleInput
    from cbi_pipeline.warehouse.base import Warehouse

FORECAST_STAGE = "forecast"
_MARKET_TABLES = ("futures_daily", "futures_curve", "macro_series", "fundamentals")
_ROWS = "forecast_rows.json"
RowKey = tuple[date, int, str]
_PUBLISHED_SQL = """
SELECT * FROM predictions
WHERE as_of_date BETWEEN @first AND @last
ORDER BY as_of_date, horizon_months, model_version
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
    live: LiveSkillRef | None,
    days: tuple[date, date] | None = None,
    only_new: bool = False,
) -> tuple[PredictionsRef, list[dict[str, Any]]]:
    """Forecast trade dates of the features with the champion alias, verified.

    Without `days` these are the last one and, before it, every session that has passed since the newest forecast in the
    warehouse; those before the champion's fit by the model that served before it. Rows that are published already are
    handed on as they stand.

    Each date is judged as of its own close. A missed one for which an input was stale that the model needs is passed
    over: what was not known then is never known then.

    Args:
        raw: every raw table.
        live: what became of earlier forecasts, by the same bundle and for the same model, or the rows are on HOLD.
        days: first and last trade date to forecast.
        only_new: leave the last trade date alone if it has a published forecast of any model, so that runs which nobody
            asked for publish one forecast of a session.

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
    from cbi_pipeline.stale_inputs import made_without

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
    plan = (
        asked_sessions(frame.index, *days, model, champion)
        if days
        else missed_sessions(frame.index, model, champion, warehouse, models_dir, only_new=only_new)
    )
    stale = {
        day: found
        for part in plan.parts
        for day, found in stale_inputs_of(part.model, frame, market.inputs, raw, part.days).items()
    }
    refused = _refused_days(plan, stale, every_day_counts=days is not None)
    created_at = datetime.now(UTC)
    made: list[ForecastRow] = []
    for part in plan.parts:
        statuses = _statuses(part.model, part.promotion, raw[0], settings)
        statuses = _held_by_live(statuses, live, features.dataset_version, part.model.model_version)
        for day in part.days:
            if day in refused:
                continue
            progress.report(FORECAST_STAGE, len(made) // len(HORIZONS_MONTHS), len(stale), str(day.date()))
            made += forecast_rows(
                part.model,
                frame,
                market,
                as_of=day,
                status={h: _held(statuses[h], made_without(stale[day], h)) for h in HORIZONS_MONTHS},
                dataset_version=features.dataset_version,
                code_commit=code_commit(),
                run_id=run_id,
                created_at=created_at,
            )
    rows, published = _with_published(made, warehouse) if made else _newest_published(warehouse)
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
        model_version=rows[-1].model_version,
        rows=len(rows),
        made_without=tuple(_named(stale, [day for day in stale if day not in refused])),
        refused=tuple(_named(stale, refused)),
        left_out=tuple(plan.left_out),
    )
    span = str(last) if first == last else f"{first} to {last}, {len(stale) - len(refused)} sessions"
    none = f"; none as of {', '.join(str(day.date()) for day in refused)}, stale inputs" if refused else ""
    progress.finish(FORECAST_STAGE, f"{len(HORIZONS_MONTHS)} horizons as of {span}{none}", reused=reference.reused)
    return reference, records[-len(HORIZONS_MONTHS) :]


def load_forecast_rows(reference: PredictionsRef) -> list[ForecastRow]:
    """The forecast rows of a reference, verified."""
    return [ForecastRow.model_validate(record) for record in read_json(reference, _ROWS)]


def stored_rows(warehouse: Warehouse, first: date, last: date) -> dict[RowKey, ForecastRow]:
    """The published rows between two dates, by what names a row."""
    found = warehouse.query(_PUBLISHED_SQL, {"first": first, "last": last}).to_pylist()
    return {row_key(row): row for row in map(ForecastRow.model_validate, found)}


def row_key(row: ForecastRow) -> RowKey:
    """What names a row: session, horizon and model."""
    return row.as_of_date, row.horizon_months, row.model_version


def _statuses(
    model: LoadedModel, champion: Promotion, prices: RawTableRef, settings: Settings
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


def _refused_days(
    plan: Plan, stale: Mapping[pd.Timestamp, Sequence[StaleInput]], *, every_day_counts: bool
) -> list[pd.Timestamp]:
    """The days of which there is no forecast, since a stale source feeds what their model needs.

    Raises:
        StaleInputsError: the newest day is one of them, or every day counts and one is.
    """
    from cbi_pipeline.stale_inputs import is_needed, refusal

    refused = [day for day, found in stale.items() if is_needed(found)]
    if refused and (every_day_counts or refused[-1] == plan.parts[-1].days[-1]):
        raise refusal(stale[refused[-1]], refused[-1], plan.parts[-1].model.model_version)
    return refused


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


def why_not_judged(champion: Promotion) -> str | None:
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
    stored = stored_rows(warehouse, rows[0].as_of_date, rows[-1].as_of_date)
    ignore = {"status", "status_reasons", "created_at", "run_id", "code_commit", "dataset_version"}
    merged = []
    for new in rows:
        old = stored.get(row_key(new), new)
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
    return merged, sum(row_key(row) in stored for row in rows)


def _newest_published(warehouse: Warehouse) -> tuple[list[ForecastRow], int]:
    """The rows of the newest published session as they stand, and how many there are."""
    rows = [ForecastRow.model_validate(record) for record in warehouse.latest_forecast()]
    return rows, len(rows)
