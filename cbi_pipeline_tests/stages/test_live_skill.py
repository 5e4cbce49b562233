"""Live skill through the warehouse, on real forecasts and closes: what counts, what is stored, what is on HOLD."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pandas as pd
import pytest

from cbi_pipeline import stages
from cbi_pipeline.alerts import open_box
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import FeaturesRef, LiveSkillRef
from cbi_pipeline.contracts.warehouse import LIVE_SKILL, OUT_OF_FOLD
from cbi_pipeline.errors import WarehouseError
from cbi_pipeline.evaluation.live_skill import WINDOW_SESSIONS, evaluate
from cbi_pipeline.features.validation.drift import GROSS_ALARM_RATE, measure_drift
from cbi_pipeline.orchestration.alerting import holds
from cbi_pipeline.orchestration.checks.live_skill import ERRORS, INPUTS, live_results
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline.orchestration.resources import build_resources
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.registry.champion import read_champion
from cbi_pipeline.stages import serving
from cbi_pipeline.stages.live_skill import _why_inputs_hold
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.grown_errors import with_errors
from cbi_pipeline_tests.projects import change_warehouse, run_job

RECORD_TO, SERVED_FROM = pd.Timestamp("2022-12-01"), pd.Timestamp("2023-06-01")


@pytest.fixture
def settings(copied_settings, anchor_record):
    """A project whose champion has a record of ten test years behind it, in place of the one of a smoke run."""
    champion, warehouse = read_champion(copied_settings.models_dir), DuckDBWarehouse(copied_settings.warehouse_path)
    change_warehouse(copied_settings, "DELETE FROM out_of_fold_forecasts")
    own = anchor_record[anchor_record["as_of_date"] < RECORD_TO]
    stamp = {"scorecard_id": champion.scorecard_id, "entry": champion.entry, "run_id": "a test", "code_commit": "none"}
    made = own.assign(created_at=pd.Timestamp("2024-01-01", tz="UTC"), **stamp)
    warehouse.merge(OUT_OF_FOLD.name, made[list(OUT_OF_FOLD.column_names)].to_dict("records"))
    return copied_settings


def publish(settings, finished_run, rows: pd.DataFrame, **values) -> None:
    """Put forecasts into the warehouse as the champion's, whatever else they need taken from a published row."""
    like = finished_run.outcome.forecast[0] | values
    wanted = [name for name in like if name in rows]
    records = [like | record for record in rows[wanted].to_dict("records")]
    DuckDBWarehouse(settings.warehouse_path).merge("predictions", records)


def judged(settings, as_of: date | None = None):
    """`evaluate_live_skill` on the references of the project, as of its last session or an earlier one."""
    features = load_reference(settings, "curated_features", FeaturesRef)
    return stages.evaluate_live_skill(
        features.model_copy(update={"last_date": as_of or features.last_date}),
        settings.models_dir,
        DuckDBWarehouse(settings.warehouse_path),
        run_id="a test",
    )


def stored(settings) -> pd.DataFrame:
    return DuckDBWarehouse(settings.warehouse_path).query("SELECT * FROM live_skill").to_pandas()


@pytest.fixture
def live(anchor_record):
    return anchor_record[anchor_record["as_of_date"] >= SERVED_FROM]


def test_figures_are_those_of_the_rows_and_are_stored_once(settings, finished_run, live, anchor_record):
    change_warehouse(settings, "DELETE FROM live_skill")
    publish(settings, finished_run, live)
    reference, found = judged(settings)
    again, _ = judged(settings)
    assert (reference.inserted, again.inserted, again.unchanged) == (36, 0, 36)
    assert again.evaluation_id == reference.evaluation_id
    expected = evaluate(live, anchor_record[anchor_record["as_of_date"] < RECORD_TO])
    assert list(found.figures) == expected
    rows = stored(settings).set_index(["horizon_months", "metric"])
    for one in expected:
        row = rows.loc[one.horizon_months, one.metric]
        assert row["value"] == pytest.approx(one.value, rel=1e-7)
        assert (row["n"], row["n_own"], row["windows"], row["outcome"]) == (21, 21, one.windows, one.outcome)
    assert (rows["as_of_date"] == date(2024, 12, 31)).all()
    assert reference.errors == dict.fromkeys(HORIZONS_MONTHS, ())
    assert all(check.passed for check in live_results(reference, found))


def test_nothing_after_the_day_of_the_evaluation_counts(settings, finished_run, live):
    """Closes that came later are tripled: figures already stored for that day stay exactly as they are."""
    day = date(2024, 6, 28)
    publish(settings, finished_run, live)
    before, found = judged(settings, day)
    last = {one.horizon_months: one.last_day for one in found.figures if one.metric == "mape"}
    assert last == {3: date(2024, 3, 28), 6: date(2023, 12, 28), 9: date(2023, 9, 28), 12: date(2023, 6, 28)}
    change_warehouse(settings, "UPDATE realized_prices SET close = close * 3 WHERE trade_date > '2024-06-28'")
    after, _ = judged(settings, day)
    assert (after.evaluation_id, after.inserted) == (before.evaluation_id, 0)
    change_warehouse(settings, "UPDATE realized_prices SET close = close * 3 WHERE trade_date > '2024-06-26'")
    with pytest.raises(WarehouseError, match="live_skill"):
        judged(settings, day)


def test_a_forecast_counts_once_however_many_bundles_hold_its_price(settings, finished_run, live):
    publish(settings, finished_run, live)
    before, found = judged(settings)
    copy = "SELECT * REPLACE ('20990101T000000Z-aaaaaaaa' AS dataset_version, close * 2 AS close) FROM realized_prices"
    change_warehouse(settings, f"INSERT INTO realized_prices {copy}")
    after, again = judged(settings)
    assert (after.evaluation_id, after.inserted) == (before.evaluation_id, 0)
    assert list(again.figures) == list(found.figures)


def test_forecasts_of_a_refit_before_count_until_the_model_has_its_own(settings, finished_run, live):
    """A model of another kind never counts; of two forecasts of a day that of the model that serves does."""
    champion, warehouse = read_champion(settings.models_dir), DuckDBWarehouse(settings.warehouse_path)
    entry = warehouse.query("SELECT * FROM model_registry").to_pylist()[0]
    for version, kind in (("older", champion.entry), ("other", "another_network")):
        warehouse.merge("model_registry", [entry | {"model_version": version, "entry": kind}])
    own = live[live["as_of_date"] >= live.groupby("horizon_months")["as_of_date"].transform(lambda d: d.iloc[-10])]
    publish(settings, finished_run, own)
    publish(settings, finished_run, live, model_version="older")
    publish(settings, finished_run, with_errors(live, 9.0), model_version="other")
    reference, found = judged(settings)
    assert reference.errors == dict.fromkeys(HORIZONS_MONTHS, ())
    assert {one.n for one in found.figures} == {WINDOW_SESSIONS}
    assert set(stored(settings).query("evaluation_id == @reference.evaluation_id")["n_own"]) == {10}


def test_too_few_matured_forecasts_are_green_and_say_so(settings, finished_run, live):
    publish(settings, finished_run, with_errors(live, 3.0).groupby("horizon_months").tail(WINDOW_SESSIONS - 1))
    reference, found = judged(settings)
    errors, _ = live_results(reference, found)
    assert errors.passed
    assert "3 months: 20 forecasts have matured, 21 are needed" in errors.description
    assert reference.errors == dict.fromkeys(HORIZONS_MONTHS, ())


def test_errors_that_cannot_be_compared_are_yellow_and_on_hold(settings, finished_run, live):
    change_warehouse(settings, "DELETE FROM out_of_fold_forecasts")
    publish(settings, finished_run, live)
    reference, found = judged(settings)
    errors, _ = live_results(reference, found)
    assert (errors.passed, errors.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert all("cannot be judged" in reason for months in reference.errors.values() for reason in months)


@pytest.mark.slow
def test_a_run_with_errors_twice_as_large_ends_well_and_its_rows_are_on_hold(settings, finished_run, live):
    """The whole daily job: red in the UI, written all the same, the reason in the row and in the table."""
    change_warehouse(settings, "DELETE FROM predictions")
    publish(settings, finished_run, with_errors(live, 2.0))
    cursor = tick_of_holds(settings)
    outcome, _ = run_job(settings, "daily")
    tick_of_holds(settings, cursor)
    assert list(open_box(settings).read()) == [f"hold/{ERRORS}/{outcome.run_id}"]
    reference = load_reference(settings, "warehouse/live_skill", LiveSkillRef)
    assert reference.errors[3]
    assert [row["as_of_date"] for row in outcome.forecast] == [date(2024, 12, 31)] * 4
    for row in outcome.forecast:
        own = reference.errors[row["horizon_months"]]
        assert row["status"] == "HOLD"
        assert "; ".join(own) in row["status_reasons"]
        assert all(reason.startswith("live errors at ") for reason in own)
    with open_instance(settings) as instance:
        logged = instance.all_logs(outcome.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        checks = {c.check_name: c for c in (e.get_dagster_event().asset_check_evaluation_data for e in logged)}
    assert (checks[ERRORS].passed, checks[ERRORS].severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "RMSE ratio to last price" in checks[ERRORS].description
    assert "judged" in checks[ERRORS].metadata
    assert checks[INPUTS].passed
    rows = stored(settings).query("evaluation_id == @reference.evaluation_id and judged == 1")
    assert set(rows["outcome"]) >= {"beyond"}
    view = DuckDBWarehouse(settings.warehouse_path).query("SELECT * FROM vw_live_skill").to_pandas()
    assert view.set_index("horizon_months").loc[3, "outcome"] == "beyond"
    assert set(LIVE_SKILL.column_names) == set(rows)


def tick_of_holds(settings, cursor=None):
    """What the sensor hands on to its next tick."""
    resources = {"run_settings": build_resources(settings)["run_settings"]}
    with (
        open_instance(settings) as instance,
        dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context,
    ):
        return holds.evaluate_tick(context).cursor


# --- inputs, and the status --------------------------------------------------------------------------------------


def test_inputs_beyond_their_history_hold_every_forecast(starter_features):
    """The month to 2020-03-27, judged by the months before it: real, and as red as any since 2014."""
    drift = measure_drift(starter_features.loc[:"2020-03-27"], false_alarm_rate=GROSS_ALARM_RATE)
    reason = _why_inputs_hold(drift)[0]
    assert reason.startswith("inputs of the model are beyond their history (BB_upper ")
    assert f"at most {drift.threshold:.1f} in 99 % of {drift.blocks} earlier months" in reason
    assert _why_inputs_hold(measure_drift(starter_features, false_alarm_rate=GROSS_ALARM_RATE)) == ()


@pytest.fixture
def reference(finished_run) -> LiveSkillRef:
    return load_reference(finished_run.settings, "warehouse/live_skill", LiveSkillRef)


def held(live: LiveSkillRef | None, dataset: str, model: str):
    statuses = {horizon: ("PRODUCTION", []) for horizon in HORIZONS_MONTHS}
    return serving._held_by_live(statuses, live, dataset, model)


def test_a_reason_holds_its_own_horizon_and_inputs_hold_all(reference):
    own = reference.dataset_version, reference.model_version
    assert {status for status, _ in held(reference, *own).values()} == {"PRODUCTION"}
    errors = held(reference.model_copy(update={"errors": reference.errors | {6: ("why",)}}), *own)
    assert {horizon: status for horizon, (status, _) in errors.items()} == {
        3: "PRODUCTION",
        6: "HOLD",
        9: "PRODUCTION",
        12: "PRODUCTION",
    }
    assert errors[6][1] == ["why"]
    inputs = held(reference.model_copy(update={"inputs": ("drift",)}), *own)
    assert set(map(str, inputs.values())) == {str(("HOLD", ["drift"]))}


def test_an_evaluation_of_other_data_or_of_another_model_lets_nothing_through(reference):
    for given in (
        held(None, "data", "model"),
        held(reference, "data", reference.model_version),
        held(reference, reference.dataset_version, "model"),
    ):
        assert {status for status, _ in given.values()} == {"HOLD"}
        assert "were not evaluated on" in given[3][1][0]
