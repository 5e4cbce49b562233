"""What live skill reads, in both warehouses: each matured forecast once, at the close that one bundle has for it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

from cbi_pipeline.contracts.warehouse import MODEL_REGISTRY, OUT_OF_FOLD, REALIZED_PRICES
from cbi_pipeline.stages.live_skill import _matured, _record
from cbi_pipeline_tests.warehouse.test_views import row

CHAMPION: Any = SimpleNamespace(model_version="serving", entry="tcn", scorecard_id="card")
TARGET, LATER = date(2024, 6, 3), date(2024, 6, 4)
DAYS = [date(2023, 3, 1), date(2023, 3, 2), date(2023, 3, 3)]


def features(last: date) -> Any:
    return SimpleNamespace(last_date=last, dataset_version="data-1")


def fill(warehouse, forecast_row) -> None:
    """Two targets, each in two bundles; models that serve, served, and never did."""
    noon = datetime(2023, 3, 1, 12, tzinfo=UTC)
    closes = [("data-1", TARGET, 40.0), ("data-1", LATER, 41.0), ("data-2", TARGET, 90.0), ("data-2", LATER, 91.0)]
    prices = [row(REALIZED_PRICES, trade_date=day, dataset_version=v, close=close) for v, day, close in closes]
    warehouse.merge("realized_prices", prices)
    registered = {"older": "tcn", "newer": "tcn", "foreign": "nbeatsx"}
    warehouse.merge(
        "model_registry", [row(MODEL_REGISTRY, model_version=name, entry=kind) for name, kind in registered.items()]
    )
    made = [(DAYS[0], "older", 1), (DAYS[0], "newer", 2), (DAYS[0], "foreign", 3)]
    made += [(DAYS[1], "newer", 4), (DAYS[1], "serving", 0), (DAYS[2], "foreign", 5)]
    rows = [
        forecast_row(as_of_date=day, target_date=TARGET, model_version=name, created_at=noon.replace(minute=minute))
        for day, name, minute in made
    ]
    rows.append(forecast_row(as_of_date=DAYS[2], target_date=LATER, model_version="serving"))
    rows.append(
        forecast_row(as_of_date=DAYS[2], target_date=date(2025, 1, 2), horizon_months=6, model_version="serving")
    )
    warehouse.merge("predictions", rows)
    kept = [("card", "tcn", TARGET), ("card", "tcn", LATER), ("card", "nbeatsx", TARGET), ("other", "tcn", TARGET)]
    warehouse.merge(
        "out_of_fold_forecasts",
        [
            row(OUT_OF_FOLD, scorecard_id=card, entry=entry, target_date=target, as_of_date=day, fold=entry)
            for (card, entry, target), day in zip(kept, [*DAYS, DAYS[0]], strict=True)
        ],
    )


def test_each_forecast_counts_once_and_nothing_that_is_not_known_yet(warehouse, forecast_row):
    fill(warehouse, forecast_row)
    matured = [(DAYS[0], "newer", 40.0), (DAYS[1], "serving", 40.0), (DAYS[2], "serving", 41.0)]
    record = [(DAYS[0], 40.0), (DAYS[1], 41.0)]
    for last, live, known in ((LATER, 3, 2), (TARGET, 2, 1), (date(2024, 6, 2), 0, 0)):
        found = _matured(CHAMPION, features(last), warehouse)
        rows = zip(found["as_of_date"].dt.date, found["model_version"], found["realised_price"], strict=True)
        assert list(rows) == matured[:live]
        found = _record(CHAMPION, features(last), warehouse)
        assert list(zip(found["as_of_date"].dt.date, found["realised_price"], strict=True)) == record[:known]
