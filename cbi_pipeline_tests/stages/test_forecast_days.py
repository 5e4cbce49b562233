"""Which sessions a forecast is made for: the newest, those that were missed, those that someone asks for."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import pandas as pd
import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.market_calendar import sessions
from cbi_pipeline.stages import serving
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.stages.test_serving import predict

WEEKS = sessions(date(2024, 12, 16), date(2024, 12, 31))


@pytest.fixture
def warehouse(tmp_path):
    made = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    made.migrate()
    return made


def fitted_to(day: str) -> SimpleNamespace:
    return SimpleNamespace(model_version="tcn-a", metrics={"window": ["2002-07-01", day]})


def publish(warehouse, day: str, finished_run) -> None:
    """A stored forecast of the finished run, as of another day."""
    row = finished_run.outcome.forecast[0]
    warehouse.merge("predictions", [row | {"as_of_date": date.fromisoformat(day)}])


@pytest.mark.parametrize(
    ("fitted", "published", "expected"),
    [
        ("2024-12-16", None, ["2024-12-31"]),
        ("2024-12-16", "2024-12-31", ["2024-12-31"]),
        ("2024-12-16", "2024-12-27", ["2024-12-30", "2024-12-31"]),
        ("2024-12-16", "2024-12-24", ["2024-12-26", "2024-12-27", "2024-12-30", "2024-12-31"]),
        ("2024-12-27", "2024-12-17", ["2024-12-27", "2024-12-30", "2024-12-31"]),
        ("2024-12-31", "2024-12-17", ["2024-12-31"]),
    ],
)
def test_what_was_missed_is_filled_from_the_calendar_as_far_as_the_model_has_not_seen_it(
    warehouse, finished_run, fitted, published, expected
):
    """2024-12-25 has no session, 28 and 29 are a weekend."""
    if published:
        publish(warehouse, published, finished_run)
    found = serving._missed_sessions(WEEKS, fitted_to(fitted), warehouse)
    assert [str(one.date()) for one in found] == expected


def test_days_between_two_dates():
    found = serving._sessions_between(WEEKS, date(2024, 12, 24), date(2024, 12, 27))
    assert [str(one.date()) for one in found] == ["2024-12-24", "2024-12-26", "2024-12-27"]
    with pytest.raises(ModelError, match="No trade date of the data lies there; they end on 2024-12-31"):
        serving._sessions_between(WEEKS, date(2025, 1, 2), date(2025, 1, 3))


def test_no_forecast_is_made_for_a_day_that_the_model_was_fitted_on(copied_settings):
    with pytest.raises(ModelError, match=r"fitted on data to 2024-12-31.*is no forecast"):
        predict(copied_settings, days=(date(2024, 12, 30), date(2024, 12, 31)))
    reference, _ = predict(copied_settings, days=(date(2024, 12, 31), date(2024, 12, 31)))
    assert (reference.first_as_of_date, reference.as_of_date, reference.rows) == (*(date(2024, 12, 31),) * 2, 4)


def test_an_older_bundle_is_not_forecast_by_a_model_that_knows_more():
    with pytest.raises(ModelError, match="fitted on data to 2024-12-31"):
        serving._require_unseen(fitted_to("2024-12-31"), pd.Timestamp("2024-12-30").date())
