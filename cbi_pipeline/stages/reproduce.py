"""A published forecast row computed again from its bundle and its model, and compared bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.contracts.forecast import ForecastRow
from cbi_pipeline.errors import FeatureError
from cbi_pipeline.settings import Settings
from cbi_pipeline.stages.trace import other_features, published_rows, sign_off, signed_off_model

if TYPE_CHECKING:
    from cbi_pipeline.warehouse.base import Warehouse

_NOT_COMPUTED: Final = frozenset({"status", "status_reasons", "dataset_version", "code_commit", "run_id", "created_at"})
"""Fields that hang on the day and the run of the first writing, not on bundle and model."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A published row, and by field what it says and what was computed now, where the two are not the same bits."""

    row: ForecastRow
    differing: Mapping[str, tuple[Any, Any]]


def reproduce(
    as_of_date: date, horizon_months: int | None, *, settings: Settings, warehouse: Warehouse
) -> list[Reproduction]:
    """Compute every published row of a date again, on CPU; at one horizon, or at all.

    Raises:
        WarehouseError: no such row was published.
        FeatureError: this code makes other features than the row was made from.
        BundleError, ModelError: the bundle or the model is gone, or is not the one that the row was made from.
    """
    rows = published_rows(warehouse, as_of_date, horizon_months)
    for row in rows:
        _refuse_other_features(row)
    made: dict[tuple[str, str], dict[int, ForecastRow]] = {}
    for row in rows:
        key = row.model_version, row.dataset_version
        if key not in made:
            made[key] = _computed(row, settings, warehouse)
    return [
        Reproduction(row, differing_fields(row, made[row.model_version, row.dataset_version][row.horizon_months]))
        for row in rows
    ]


def _refuse_other_features(row: ForecastRow) -> None:
    """Raises FeatureError if this code makes other features than the row was made from."""
    from cbi_pipeline.features.catalogue import feature_hash

    if row.feature_hash != feature_hash():
        raise FeatureError(
            f"forecast of {row.as_of_date} at {row.horizon_months} months",
            other_features(row),
            f"`git checkout {row.code_commit.removesuffix('-dirty')}`, then run the same command.",
        )


def differing_fields(published: ForecastRow, computed: ForecastRow) -> dict[str, tuple[Any, Any]]:
    """Field to both values, where they are not the same to the last bit; 0.0 and -0.0 are not the same."""
    pairs = {
        name: (getattr(published, name), getattr(computed, name))
        for name in ForecastRow.model_fields
        if name not in _NOT_COMPUTED
    }
    return {name: (one, other) for name, (one, other) in pairs.items() if _bits(one) != _bits(other)}


def _bits(value: Any) -> Any:
    return value.hex() if isinstance(value, float) else value


def _computed(row: ForecastRow, settings: Settings, warehouse: Warehouse) -> dict[int, ForecastRow]:
    """Rows by horizon, as bundle and model of a row give them now."""
    import pandas as pd

    from cbi_pipeline.bundle.locate import find_published_bundle
    from cbi_pipeline.bundle.read import load_tables
    from cbi_pipeline.contracts import HORIZONS_MONTHS
    from cbi_pipeline.evaluation.benchmarks import prepare_market
    from cbi_pipeline.features.build import build_features
    from cbi_pipeline.inference import forecast_rows

    model = signed_off_model(row, sign_off(row, warehouse), settings.models_dir)
    path, manifest = find_published_bundle(settings, row.dataset_version)
    tables = load_tables(path)
    rows = forecast_rows(
        model,
        build_features(tables),
        prepare_market(tables),
        as_of=pd.Timestamp(row.as_of_date),
        status={horizon: ("HOLD", ["not compared"]) for horizon in HORIZONS_MONTHS},
        dataset_version=manifest.dataset_version,
        code_commit=row.code_commit,
        run_id=row.run_id,
        created_at=row.created_at,
    )
    return {made.horizon_months: made for made in rows}
