"""Which sessions are forecast, and by which model: the newest, those that were missed, those that someone asks for."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import pytest

from cbi_pipeline.errors import ModelError
from cbi_pipeline.market_calendar import sessions
from cbi_pipeline.orchestration.checks.results import no_session_is_left_out
from cbi_pipeline.registry.champion import read_champion
from cbi_pipeline.stages import forecast_days
from cbi_pipeline.stages.forecast_days import Plan, asked_sessions, missed_sessions
from cbi_pipeline.stages.serving import load_forecast_rows
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import change_warehouse, flip_byte
from cbi_pipeline_tests.stages.test_serving import predict

WEEKS = sessions(date(2024, 12, 16), date(2024, 12, 31))


@pytest.fixture
def warehouse(tmp_path):
    made = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    made.migrate()
    return made


def fitted_to(day: str, version: str = "now") -> SimpleNamespace:
    return SimpleNamespace(model_version=version, metrics={"window": ["2002-07-01", day]}, feature_hash="a")


def publish(warehouse, day: str, finished_run) -> None:
    """A stored forecast of the finished run, as of another day."""
    row = finished_run.outcome.forecast[0]
    warehouse.merge("predictions", [row | {"as_of_date": date.fromisoformat(day)}])


@pytest.fixture
def planned(warehouse, finished_run, monkeypatch, tmp_path):
    """The plan of a run, its sessions by the version of the model: `now` serves, `before` served before it."""

    def plan(fitted: str, published: str | None, before: str | None = None, only_new: bool = False) -> Plan:
        if published:
            publish(warehouse, published, finished_run)
        earlier = fitted_to(before, "before") if before else None
        monkeypatch.setattr(forecast_days, "_before", lambda *_: earlier)
        champion = SimpleNamespace(previous=object() if before else None)
        return missed_sessions(WEEKS, fitted_to(fitted), champion, warehouse, tmp_path, only_new=only_new)

    return plan


def days_of(plan: Plan) -> dict[str, list[str]]:
    return {part.model.model_version: [str(day.date()) for day in part.days] for part in plan.parts}


@pytest.mark.parametrize(
    ("fitted", "published", "expected"),
    [
        ("2024-12-16", None, ["2024-12-31"]),
        ("2024-12-16", "2024-12-31", ["2024-12-31"]),
        ("2024-12-16", "2024-12-27", ["2024-12-30", "2024-12-31"]),
        ("2024-12-16", "2024-12-24", ["2024-12-26", "2024-12-27", "2024-12-30", "2024-12-31"]),
        ("2024-12-27", "2024-12-26", ["2024-12-27", "2024-12-30", "2024-12-31"]),
        ("2024-12-31", "2024-12-30", ["2024-12-31"]),
    ],
)
def test_what_was_missed_is_filled_from_the_calendar(planned, fitted, published, expected):
    """2024-12-25 has no session, 28 and 29 are a weekend."""
    plan = planned(fitted, published)
    assert days_of(plan) == {"now": expected}
    assert plan.left_out == []


def test_what_was_missed_before_a_new_fit_is_filled_by_the_model_before(planned):
    plan = planned("2024-12-30", "2024-12-24", before="2024-12-20")
    assert days_of(plan) == {"before": ["2024-12-26", "2024-12-27"], "now": ["2024-12-30", "2024-12-31"]}
    assert plan.left_out == []


@pytest.mark.parametrize(
    ("before", "filled", "left_out"),
    [
        (None, {}, ["2024-12-26", "2024-12-27"]),
        ("2024-12-27", {"before": ["2024-12-27"]}, ["2024-12-26"]),
        ("2024-12-31", {}, ["2024-12-26", "2024-12-27"]),
    ],
)
def test_what_no_model_may_forecast_is_named(planned, before, filled, left_out):
    plan = planned("2024-12-30", "2024-12-24", before=before)
    assert days_of(plan) == {**filled, "now": ["2024-12-30", "2024-12-31"]}
    assert [str(day) for day in plan.left_out] == left_out


def test_a_run_that_nobody_asked_for_leaves_a_published_session_alone(planned):
    assert days_of(planned("2024-12-31", "2024-12-31", only_new=True)) == {}
    assert days_of(planned("2024-12-31", "2024-12-31")) == {"now": ["2024-12-31"]}


def test_a_run_that_nobody_asked_for_forecasts_what_is_new(planned):
    assert days_of(planned("2024-12-16", None, only_new=True)) == {"now": ["2024-12-31"]}
    assert days_of(planned("2024-12-16", "2024-12-27", only_new=True)) == {"now": ["2024-12-30", "2024-12-31"]}


def test_days_between_two_dates():
    model, champion = fitted_to("2024-12-16"), SimpleNamespace()
    plan = asked_sessions(WEEKS, date(2024, 12, 24), date(2024, 12, 27), model, champion)
    assert days_of(plan) == {"now": ["2024-12-24", "2024-12-26", "2024-12-27"]}
    with pytest.raises(ModelError, match="No trade date of the data lies there; they end on 2024-12-31"):
        asked_sessions(WEEKS, date(2025, 1, 2), date(2025, 1, 3), model, champion)


def test_no_forecast_is_made_for_a_day_that_the_model_was_fitted_on(copied_settings):
    with pytest.raises(ModelError, match=r"fitted on data to 2024-12-31.*is no forecast"):
        predict(copied_settings, days=(date(2024, 12, 30), date(2024, 12, 31)))
    reference, _ = predict(copied_settings, days=(date(2024, 12, 31), date(2024, 12, 31)))
    assert (reference.first_as_of_date, reference.as_of_date, reference.rows) == (*(date(2024, 12, 31),) * 2, 4)


def test_an_older_bundle_is_not_forecast_by_a_model_that_knows_more(warehouse, tmp_path):
    with pytest.raises(ModelError, match="fitted on data to 2025-01-02"):
        missed_sessions(
            WEEKS, fitted_to("2025-01-02"), SimpleNamespace(previous=None), warehouse, tmp_path, only_new=True
        )


def test_a_published_session_is_handed_on_whichever_model_made_it(finished_run, copied_settings):
    change_warehouse(copied_settings, "UPDATE predictions SET model_version = 'another'")
    reference, _ = predict(copied_settings, only_new=True)
    assert (reference.model_version, reference.rows, reference.reused) == ("another", 4, True)
    published = [row | {"model_version": "another"} for row in finished_run.outcome.forecast]
    assert [row.model_dump() for row in load_forecast_rows(reference)] == published


def test_the_model_before_is_asked_only_if_it_verifies_and_reads_the_same_features(copied_settings):
    models = copied_settings.models_dir
    champion = read_champion(models)
    signed = champion.model_copy(update={"previous": champion})
    name = champion.model_version
    before = forecast_days._before(signed, models, finished_hash(models / name))
    assert before is not None
    assert before.model_version == name
    assert forecast_days._before(signed, models, "other features") is None
    assert forecast_days._before(champion, models, before.feature_hash) is None
    flip_byte(models / name / "weights.safetensors")
    assert forecast_days._before(signed, models, before.feature_hash) is None


def finished_hash(model) -> str:
    from cbi_pipeline.registry.artifacts import load_model

    return load_model(model).feature_hash


def test_a_session_that_is_left_out_turns_a_check_yellow(copied_settings):
    reference, _ = predict(copied_settings)
    assert no_session_is_left_out(reference).passed
    result = no_session_is_left_out(reference.model_copy(update={"left_out": (date(2024, 12, 27),)}))
    assert not result.passed
    assert result.severity.value == "WARN"
    assert "no forecast of 2024-12-27" in result.description
