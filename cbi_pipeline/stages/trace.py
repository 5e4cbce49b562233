"""From a published forecast row back to all that it was made of, as far as this machine still holds it.

Belongs here: finding model, sign-off, scores, verdicts, bundle, features and source rows of one row. What cannot be
found is said in words and never guessed. Printing is the business of the command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.contracts.tables import WEATHER_DAILY
from cbi_pipeline.errors import CbiError, WarehouseError
from cbi_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.features.declarations import Input
    from cbi_pipeline.features.point_in_time import PointInTime
    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.warehouse.base import Warehouse

SHOWN_METRICS: Final = ("rmse_ratio", "crps_ratio", "mape", "directional_accuracy", "coverage_80")
_ROWS_SQL: Final = """
SELECT * FROM predictions WHERE as_of_date = @as_of_date ORDER BY horizon_months, created_at DESC, model_version
"""
_SIGN_OFF_SQL: Final = """
SELECT * FROM model_registry WHERE model_version = @model_version AND promoted_at <= @moment
ORDER BY promoted_at DESC LIMIT 1
"""
_SCORES_SQL: Final = f"""
SELECT fold, metric, value, n, n_eff FROM metrics
WHERE scorecard_id = @scorecard_id AND entry = @entry AND horizon_months = @horizon_months
AND metric IN ({", ".join(f"'{name}'" for name in SHOWN_METRICS)})
ORDER BY fold, metric
"""
_VERDICTS_SQL: Final = """
SELECT * FROM gate_verdicts
WHERE scorecard_id = @scorecard_id AND entry = @entry AND horizon_months = @horizon_months AND created_at <= @moment
ORDER BY created_at DESC, judgement_id, kind, name
"""


@dataclass(frozen=True, slots=True)
class TracedModel:
    """The model of a row.

    Attributes:
        sign_off: the record of `model_registry` under which it served when the row was made; None if there is none.
        manifest_sha256, saved_at, trained_on, code_commit: of the stored model; None if `problem` says that it is gone
            or is not the one that was signed off.
    """

    sign_off: Mapping[str, Any] | None
    manifest_sha256: str | None
    saved_at: datetime | None
    trained_on: str | None
    code_commit: str | None
    locked_features: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class TracedSource:
    """One raw series as it was known at the row's close.

    Attributes:
        label: `table/key`.
        publication_lag: in words, when a value of it can first be known.
        read: columns that enter the arithmetic of a feature.
        newest: rows of the newest date it describes (of weather: the newest of each station), as the bundle stores
            them, each with `available_at` and `source`.
        event_date: that date; a rule of EPA counts as of the end of its compliance year.
        known_rows: all rows known then; a formula with a window reads on from the newest into the earlier ones.
        first_event_date: date of the earliest of them.
        too_old_after: maximum age in days if the newest is older, so that what needs it is missing; else None.
    """

    label: str
    publication_lag: str
    read: tuple[str, ...]
    newest: tuple[Mapping[str, Any], ...]
    event_date: date | None
    known_rows: int
    first_event_date: date | None
    too_old_after: int | None


@dataclass(frozen=True, slots=True)
class TracedValue:
    """A feature, or an input of the anchor, at the row's close; `value` is None where it is missing."""

    name: str
    value: float | None
    unit: str
    formula: str
    sources: tuple[str, ...]
    read_by_network: bool


@dataclass(frozen=True, slots=True)
class TracedData:
    """The bundle of a row, and what was computed from it; `problem` says why there is nothing to show."""

    path: Path | None
    manifest_sha256: str | None
    producer_commit: str | None
    features: tuple[TracedValue, ...]
    anchor: tuple[TracedValue, ...]
    sources: tuple[TracedSource, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is known of a published row. `other_models` published the same date and horizon too."""

    row: ForecastRow
    other_models: tuple[str, ...]
    model: TracedModel
    scores: tuple[Mapping[str, Any], ...]
    verdicts: tuple[Mapping[str, Any], ...]
    data: TracedData


def trace(
    as_of_date: date, horizon_months: int, *, settings: Settings, warehouse: Warehouse, model_version: str | None = None
) -> Trace:
    """Follow one published row back to its sources.

    Args:
        model_version: whose row, where several models published one; the row that was written last by default.

    Raises:
        WarehouseError: no such row was published.
    """
    rows = published_rows(warehouse, as_of_date, horizon_months)
    row = next((row for row in rows if model_version in (None, row.model_version)), None)
    if row is None:
        fix = f"name one of: {', '.join(other.model_version for other in rows)}."
        raise WarehouseError(f"predictions, {as_of_date}", f"{model_version} published no row then.", fix)
    record = sign_off(row, warehouse)
    model, found = _traced_model(row, record, settings.models_dir)
    judged = record or (found.metrics if found else None)
    scores, verdicts = _evidence(row, judged, warehouse)
    return Trace(
        row=row,
        other_models=tuple(other.model_version for other in rows if other is not row),
        model=model,
        scores=scores,
        verdicts=verdicts,
        data=_traced_data(row, model.locked_features, settings),
    )


def published_rows(warehouse: Warehouse, as_of_date: date, horizon_months: int | None = None) -> list[ForecastRow]:
    """Every published row of a date, at one horizon or at all, that written last first within a horizon.

    Raises:
        WarehouseError: there is none.
    """
    stored = warehouse.query(_ROWS_SQL, {"as_of_date": as_of_date}).to_pylist()
    rows = [ForecastRow.model_validate(record) for record in stored]
    rows = [row for row in rows if horizon_months in (None, row.horizon_months)]
    if not rows:
        what = f"{horizon_months} months" if horizon_months else "any horizon"
        raise WarehouseError(
            f"predictions, {as_of_date}",
            f"no forecast of that date at {what} was published in {warehouse.location}.",
            "ask for a trade date that was forecast; the newest is in `vw_latest_forecast`.",
        )
    return rows


def sign_off(row: ForecastRow, warehouse: Warehouse) -> dict[str, Any] | None:
    """The record of `model_registry` under which the model served when the row was made; None if there is none."""
    key = {"model_version": row.model_version, "moment": row.created_at}
    found = warehouse.query(_SIGN_OFF_SQL, key).to_pylist()
    return found[0] if found else None


def signed_off_model(row: ForecastRow, record: Mapping[str, Any] | None, models_dir: Path) -> LoadedModel:
    """The stored model of a row, verified against the manifest that was signed off where that is on record.

    Raises:
        ModelError: it is gone, or is not the one that was signed off.
    """
    from cbi_pipeline.registry.artifacts import checked_name, load_model

    signed_off = record["manifest_sha256"] if record else None
    return load_model(models_dir / checked_name(row.model_version), manifest_sha256=signed_off)


def _traced_model(
    row: ForecastRow, record: Mapping[str, Any] | None, models_dir: Path
) -> tuple[TracedModel, LoadedModel | None]:
    try:
        model = signed_off_model(row, record, models_dir)
    except CbiError as error:
        return TracedModel(record, None, None, None, None, (), str(error)), None
    traced = TracedModel(
        sign_off=record,
        manifest_sha256=model.manifest_sha256,
        saved_at=model.manifest.created_at,
        trained_on=model.manifest.provenance.get("dataset_version"),
        code_commit=model.manifest.provenance.get("code_commit"),
        locked_features=model.feature_lock.names,
        problem=None,
    )
    return traced, model


def _evidence(
    row: ForecastRow, judged: Mapping[str, Any] | None, warehouse: Warehouse
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """Scores of the folds, and the verdicts of the last judgement before the row was made; both as stored."""
    if judged is None:
        return (), ()
    own = {name: judged[name] for name in ("scorecard_id", "entry")} | {"horizon_months": row.horizon_months}
    scores = warehouse.query(_SCORES_SQL, own).to_pylist()
    verdicts = warehouse.query(_VERDICTS_SQL, {**own, "moment": row.created_at}).to_pylist()
    last = verdicts[0]["judgement_id"] if verdicts else None
    return tuple(scores), tuple(verdict for verdict in verdicts if verdict["judgement_id"] == last)


def _traced_data(row: ForecastRow, locked: Sequence[str], settings: Settings) -> TracedData:
    """Features, anchor inputs and source rows of the row's day, computed again from the row's own bundle."""
    from cbi_pipeline.bundle.locate import find_published_bundle
    from cbi_pipeline.bundle.read import load_tables
    from cbi_pipeline.contracts.manifest import MANIFEST_FILE
    from cbi_pipeline.features.catalogue import CATALOGUE, feature_hash

    try:
        path, manifest = find_published_bundle(settings, row.dataset_version)
    except CbiError as error:
        return TracedData(None, None, None, (), (), (), str(error))
    digest = hashlib.sha256((path / MANIFEST_FILE).read_bytes()).hexdigest()
    bundle = (path, digest, manifest.producer.git_commit)
    if row.feature_hash != feature_hash():
        return TracedData(*bundle, (), (), (), other_features(row))
    from cbi_pipeline.features.point_in_time import PointInTime

    tables = load_tables(path)
    features = _feature_values(row.as_of_date, locked, tables)
    anchor = _anchor_values(row.as_of_date, tables)
    known = PointInTime.from_tables(tables)
    read: dict[Input, dict[str, None]] = {}
    for source in (source for feature in CATALOGUE for source in feature.inputs if not source.history_only):
        read.setdefault(source, {}).update(dict.fromkeys(source.columns))
    sources = tuple(_traced_source(source, tuple(names), known, row.as_of_date) for source, names in read.items())
    return TracedData(*bundle, features, anchor, sources, None)


def other_features(row: ForecastRow) -> str:
    """Why the features of a row cannot be computed by this code."""
    from cbi_pipeline.features.catalogue import feature_hash

    return (
        f"The row was made from features {row.feature_hash[:12]}; this code makes {feature_hash()[:12]}. "
        f"Check out the row's commit, {row.code_commit}, to compute them."
    )


def _feature_values(day: date, locked: Sequence[str], tables: Mapping[str, pd.DataFrame]) -> tuple[TracedValue, ...]:
    import pandas as pd

    from cbi_pipeline.features.build import build_features
    from cbi_pipeline.features.catalogue import CATALOGUE

    values = build_features(tables).loc[pd.Timestamp(day)]
    return tuple(
        TracedValue(
            name=feature.name,
            value=_number(values[feature.name]),
            unit=feature.unit,
            formula=feature.formula,
            sources=tuple(dict.fromkeys(source.label for source in feature.inputs)),
            read_by_network=feature.name in locked,
        )
        for feature in CATALOGUE
    )


def _anchor_values(day: date, tables: Mapping[str, pd.DataFrame]) -> tuple[TracedValue, ...]:
    """What the anchor starts from: the front price, the inputs of its fit, the variances of the density."""
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import prepare_market
    from cbi_pipeline.features.declarations import CURVE, WASDE_STOCKS, WASDE_USE, WB_PALM_OIL, WB_SOYBEAN_OIL, ZL
    from cbi_pipeline.modeling.volatility import state_at

    market, moment = prepare_market(tables), pd.Timestamp(day)
    inputs, state = market.inputs.loc[moment], state_at(market.state, pd.DatetimeIndex([moment])).iloc[0]
    made_of = {
        "carry": ("log price per year", (CURVE,)),
        "stocks_to_use_deviation": ("log ratio", (WASDE_STOCKS, WASDE_USE)),
        "palm_soybean_oil_ratio_deviation": ("log ratio", (WB_PALM_OIL, WB_SOYBEAN_OIL)),
    }
    rows: list[tuple[str, Any, str, tuple[Input, ...]]] = [
        ("front_price", float(market.front.loc[moment]), "cents/lb", (ZL,))
    ]
    rows += [(name, inputs[name], unit, sources) for name, (unit, sources) in made_of.items()]
    rows += [(str(name), value, "annualised variance", (ZL, CURVE)) for name, value in state.items()]
    return tuple(
        TracedValue(name, _number(value), unit, "", tuple(source.label for source in sources), False)
        for name, value, unit, sources in rows
    )


def _number(value: Any) -> float | None:
    """The value, None where it is missing."""
    return None if value != value else float(value)


def _traced_source(source: Input, columns: Sequence[str], known: PointInTime, day: date) -> TracedSource:
    """The rows of a series that were known at the close of a day, in publication order as features read them."""
    import pandas as pd

    from cbi_pipeline.market_calendar import as_of_time

    rows, close = _rows_as_read(source, known), pd.Timestamp(day)
    rows = rows[rows["available_at"] <= as_of_time(close)]
    if rows.empty:
        return TracedSource(source.label, source.publication_lag, tuple(columns), (), None, 0, None, None)
    dates = rows[source.event_date]
    newest = rows.index[dates == dates.max()]
    if source.table == WEATHER_DAILY.name:
        of_stations = rows.groupby("station", sort=True).tail(1)
        fresh = (close - of_stations[source.event_date]).dt.days <= source.maximum_age_days
        newest = of_stations.index[fresh] if fresh.any() else newest
    age = (close - dates.max()).days
    return TracedSource(
        label=source.label,
        publication_lag=source.publication_lag,
        read=tuple(columns),
        newest=tuple(known.tables[source.table].loc[newest].to_dict("records")),
        event_date=dates.max().date(),
        known_rows=len(rows),
        first_event_date=dates.min().date(),
        too_old_after=source.maximum_age_days if age > source.maximum_age_days else None,
    )


def _rows_as_read(source: Input, known: PointInTime) -> pd.DataFrame:
    """Rows of a series as features read them: rules as they come into force, each weather station by itself."""
    import pandas as pd

    from cbi_pipeline.features.declarations import RFS
    from cbi_pipeline.features.point_in_time import in_publication_order
    from cbi_pipeline.features.substitution import mandate_rows

    if source == RFS:
        return mandate_rows(known)
    if source.table != WEATHER_DAILY.name:
        return known.rows(source)
    table = known.tables[source.table]
    stations = table[table[source.column] == source.key].groupby("station", sort=True)
    return pd.concat([in_publication_order(rows, source.event_date) for _, rows in stations])
