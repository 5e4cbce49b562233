"""What became of the forecasts that have matured, evaluated and stored before the next ones are made.

An evaluation knows the closes of one bundle and no other: an outcome counts if its target date is in it. It reads the
forecasts that earlier runs published; those of its own run cannot have matured, so that today's status hangs on nothing
that today's forecasts are part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts.references import FeaturesRef, LiveSkillRef
from cbi_pipeline.contracts.warehouse import LIVE_SKILL
from cbi_pipeline.provenance import code_commit, content_key, source_hash
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.publishing import table_reference

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.evaluation.live_skill import LiveFigure
    from cbi_pipeline.features.validation.drift import Drift
    from cbi_pipeline.registry.champion import Champion
    from cbi_pipeline.warehouse.base import Warehouse

_EVALUATING: Final = ("evaluation/live_skill", "evaluation/metrics", "stages/live_skill")
"""What decides a stored figure, beside the rows: other code writes rows of its own."""
_SIGNIFICANT_DIGITS: Final = 8
"""Of a stored figure: its last bits depend on the order of sums, and stored rows never change."""
_COLUMNS: Final = "as_of_date, horizon_months, target_date, last_price, predicted_price, q05, q10, q25, q75, q90, q95"
_MATURED_SQL: Final = f"""
SELECT {_COLUMNS}, p.model_version, r.close AS realised_price
FROM predictions AS p
JOIN realized_prices AS r ON r.trade_date = p.target_date
WHERE r.dataset_version = @dataset_version
  AND p.target_date <= @as_of
  AND (
    p.model_version = @model_version
    OR p.model_version IN (SELECT model_version FROM model_registry WHERE entry = @entry)
  )
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY p.as_of_date, p.horizon_months
  ORDER BY CAST(p.model_version = @model_version AS INT64) DESC, p.created_at DESC, p.model_version DESC
) = 1
ORDER BY as_of_date, horizon_months
"""
"""One forecast a day and horizon: that of the model that serves, else the one published last by a model of its kind. A
refit a month would otherwise never have a forecast of its own that has matured."""
_RECORD_SQL: Final = f"""
SELECT {_COLUMNS}, r.close AS realised_price
FROM out_of_fold_forecasts AS o
JOIN realized_prices AS r ON r.trade_date = o.target_date
WHERE o.as_of_date BETWEEN @first_day AND @as_of
  AND o.scorecard_id = @scorecard_id
  AND o.entry = @entry
  AND r.dataset_version = @dataset_version
  AND o.target_date <= @as_of
ORDER BY as_of_date, horizon_months
"""
_LONG_AGO: Final = date(1900, 1, 1)
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class LiveSkill:
    """What an evaluation found: figures with their bands, and how the inputs of the model compare with their past."""

    figures: Sequence[LiveFigure]
    drift: Drift


def evaluate_live_skill(
    features: FeaturesRef, models_dir: Path, warehouse: Warehouse, *, run_id: str
) -> tuple[LiveSkillRef, LiveSkill]:
    """Judge the matured forecasts of what serves by the closes of one bundle, and store every figure.

    Args:
        features: their bundle's closes must be in `realized_prices`; their last session is the day of the evaluation.

    Raises:
        ModelError: no model serves, or it was altered.
        WarehouseError: the same evaluation was stored with other figures.
    """
    from cbi_pipeline.evaluation.live_skill import WINDOW_SESSIONS, evaluate, refusals
    from cbi_pipeline.features.validation.drift import GROSS_ALARM_RATE, measure_drift
    from cbi_pipeline.registry.champion import load_serving

    model, champion = load_serving(models_dir)
    live, record = _matured(champion, features, warehouse), _record(champion, features, warehouse)
    figures = evaluate(live, record)
    drift = measure_drift(load_features(features), model.feature_lock.names, GROSS_ALARM_RATE)
    newest = live.groupby("horizon_months").tail(WINDOW_SESSIONS)
    own = newest[newest["model_version"] == champion.model_version].groupby("horizon_months").size()
    stamp = {
        "evaluation_id": _evaluation_id(champion, features, newest, len(record)),
        "as_of_date": features.last_date,
        "model_version": champion.model_version,
        "scorecard_id": champion.scorecard_id,
        "dataset_version": features.dataset_version,
        "created_at": datetime.now(UTC),
        "run_id": run_id,
        "code_commit": code_commit(),
    }
    rows = [{**_row(one), "n_own": int(own.get(one.horizon_months, 0)), **stamp} for one in figures]
    stored = table_reference(LIVE_SKILL.name, warehouse, warehouse.merge(LIVE_SKILL.name, rows))
    reference = LiveSkillRef(
        **stored.model_dump(),
        **{name: stamp[name] for name in ("evaluation_id", "as_of_date", "dataset_version", "model_version")},
        errors={months: tuple(found) for months, found in refusals(figures).items()},
        inputs=_why_inputs_hold(drift),
    )
    return reference, LiveSkill(figures, drift)


def _matured(champion: Champion, features: FeaturesRef, warehouse: Warehouse) -> pd.DataFrame:
    """Published forecasts whose outcome the bundle holds, one a day and horizon, oldest first."""
    return _with_days(warehouse, _MATURED_SQL, {**_asked(champion, features), "model_version": champion.model_version})


def _record(champion: Champion, features: FeaturesRef, warehouse: Warehouse) -> pd.DataFrame:
    """Out-of-fold forecasts that the model was judged by, with the outcomes of the bundle, oldest first."""
    own = {"scorecard_id": champion.scorecard_id, "first_day": _LONG_AGO}
    return _with_days(warehouse, _RECORD_SQL, {**_asked(champion, features), **own})


def _asked(champion: Champion, features: FeaturesRef) -> dict[str, Any]:
    return {"as_of": features.last_date, "dataset_version": features.dataset_version, "entry": champion.entry}


def _with_days(warehouse: Warehouse, sql: str, params: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    found = warehouse.query(sql, params).to_pandas()
    return found.assign(**{name: pd.to_datetime(found[name]) for name in ("as_of_date", "target_date")})


def _evaluation_id(champion: Champion, features: FeaturesRef, newest: pd.DataFrame, record_rows: int) -> str:
    """Hash of all that decides the figures: published forecasts, closes of a bundle and records never change."""
    forecasts = newest[["as_of_date", "horizon_months", "model_version"]].astype(str).to_numpy().tolist()
    return content_key(
        code=source_hash(*_EVALUATING),
        as_of_date=features.last_date,
        dataset_version=features.dataset_version,
        model_version=champion.model_version,
        record=(champion.scorecard_id, champion.entry, record_rows),
        forecasts=forecasts,
    )[:16]


def _row(figure: LiveFigure) -> dict[str, Any]:
    rounded = {name: _rounded(getattr(figure, name)) for name in ("value", "low", "high")}
    return {**asdict(figure), **rounded, "judged": int(figure.judged)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_SIGNIFICANT_DIGITS - 1}e}")


def _why_inputs_hold(drift: Drift) -> tuple[str, ...]:
    beyond = drift.scores[drift.scores > drift.threshold].sort_values(ascending=False)
    if beyond.empty:
        return ()
    named = ", ".join(f"{name} {score:.1f}" for name, score in beyond.head(_NAMED).items())
    return (
        f"inputs of the model are beyond their history ({named}; at most {drift.threshold:.1f} in 99 % of "
        f"{drift.blocks} earlier months)",
    )
