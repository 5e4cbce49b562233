"""Which sessions a run forecasts, and which model makes the forecast of each.

A model forecasts no session before the last one of the data it was fitted on. Sessions that were missed before the fit
of the model that serves are left to the one that served before it, as far as that has not seen them either; what no
model may forecast is named, and stays a gap.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_pipeline.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.registry.artifacts import LoadedModel
    from cbi_pipeline.registry.champion import Champion, Promotion
    from cbi_pipeline.warehouse.base import Warehouse

_NEWEST_SQL = "SELECT MAX(as_of_date) AS newest FROM predictions"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Sessions that one model forecasts, oldest first."""

    model: LoadedModel
    promotion: Promotion
    days: list[pd.Timestamp]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run forecasts, oldest first, and the sessions without a forecast that no model may forecast any more."""

    parts: list[Part]
    left_out: list[date]


def asked_sessions(
    sessions: pd.Index[pd.Timestamp], first: date, last: date, model: LoadedModel, champion: Champion
) -> Plan:
    """The sessions from one date to another, both included, by the model that serves.

    Raises:
        ModelError: the data have none of them, or the model was fitted on one.
    """
    days = [day for day in sessions if first <= day.date() <= last]
    if not days:
        raise ModelError(
            f"forecast of {first} to {last}",
            f"No trade date of the data lies there; they end on {sessions[-1].date()}.",
            "ask for trade dates of the bundle, or get a newer one.",
        )
    _require_unseen(model, days[0].date())
    return Plan([Part(model, champion, days)], [])


def missed_sessions(
    sessions: pd.Index[pd.Timestamp],
    model: LoadedModel,
    champion: Champion,
    warehouse: Warehouse,
    models_dir: Path,
    *,
    only_new: bool,
) -> Plan:
    """The sessions since the newest published forecast; the newest of the data alone where there is none yet.

    Args:
        sessions: of the data.
        model, champion: what serves.
        only_new: leave the newest session alone if it has a published forecast, whichever model made it; else it is
            forecast by the model that serves.

    Raises:
        ModelError: the model that serves was fitted on data beyond the newest session to forecast.
    """
    newest = warehouse.query(_NEWEST_SQL).to_pylist()[0]["newest"]
    missed = [day for day in sessions if day.date() > newest] if newest else []
    wanted = missed or ([] if newest and only_new else [sessions[-1]])
    if not wanted:
        return Plan([], [])
    _require_unseen(model, wanted[-1].date())
    own = [day for day in wanted if day.date() >= _fitted_to(model)]
    earlier = [day for day in wanted if day.date() < _fitted_to(model)]
    before = _before(champion, models_dir, model.feature_hash) if earlier else None
    filled = [day for day in earlier if before and day.date() >= _fitted_to(before)]
    parts = [Part(before, champion.previous, filled)] if before and champion.previous and filled else []
    return Plan([*parts, Part(model, champion, own)], [day.date() for day in earlier if day not in filled])


def _before(champion: Champion, models_dir: Path, feature_hash: str) -> LoadedModel | None:
    """The model that served before, if it can still be asked: it verifies, and reads the same features."""
    from cbi_pipeline.registry.artifacts import load_model

    if champion.previous is None:
        return None
    name, signed = champion.previous.model_version, champion.previous.manifest_sha256
    try:
        model = load_model(models_dir / name, manifest_sha256=signed)
    except ModelError as problem:
        _logger.warning("sessions before the fit of %s are left out: %s", champion.model_version, problem)
        return None
    return model if model.feature_hash == feature_hash else None


def _fitted_to(model: LoadedModel) -> date:
    """Last session of the data that the model was fitted on: from its close on, what it says is a forecast."""
    return date.fromisoformat(model.metrics["window"][1])


def _require_unseen(model: LoadedModel, day: date) -> None:
    if day < _fitted_to(model):
        raise ModelError(
            f"forecast of {day} by {model.model_version}",
            f"The model was fitted on data to {_fitted_to(model)}; what it says of days before is no forecast.",
            "ask for later days, with data that reach them; out_of_fold_forecasts has forecasts of earlier days.",
        )
