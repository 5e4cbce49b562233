"""The gates in a run: what fails stops the champion however it is started, and nothing moves."""

from __future__ import annotations

import shutil

import dagster as dg
import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.references import ModelRef, ScorecardRef
from cbi_pipeline.contracts.verdict import BENCHMARK, BLOCKING, CHAMPION, GATES, METRIC_PARITY, TRIPWIRE, Verdict
from cbi_pipeline.contracts.warehouse import GATE_VERDICTS, MODEL_REGISTRY
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import CbiError, ModelError, SettingsError
from cbi_pipeline.evaluation import gates
from cbi_pipeline.orchestration.instance import prepare_dagster_home
from cbi_pipeline.orchestration.run import execute_job, load_reference, refit_candidate
from cbi_pipeline.registry.champion import CHAMPION_FILE, aliases, read_champion
from cbi_pipeline.stages.gates import judgement_id, stored_verdicts
from cbi_pipeline.warehouse import DuckDBWarehouse
from cbi_pipeline_tests.projects import change_warehouse, copy_project, run_job

pytestmark = pytest.mark.slow

EVALUATE = {
    "metrics_equal_warehouse_sql": "evaluate_metric_parity",
    "one_row_equals_batch": "evaluate_row_parity",
    "replayed_features_equal": "evaluate_replay",
    "no_worse_than_best_benchmark": "evaluate_benchmark",
    "tripwire": "evaluate_tripwire",
    "coverage_in_band": "evaluate_coverage",
    "no_worse_than_champion": "evaluate_champion",
}


def launch(settings, *assets: str) -> dg.ExecuteInProcessResult:
    """Materialise some assets with their checks, as the UI does; the result, whatever became of it."""
    prepare_dagster_home(settings)
    definitions = build_definitions(settings)
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        return job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(name) for name in assets], raise_on_error=False
        )


def refusal_of(result: dg.ExecuteInProcessResult, step: str) -> str:
    (failure,) = (event for event in result.all_events if event.is_step_failure and event.step_key == step)
    return str(failure.step_failure_data.error)


def rows(settings, table, order: str) -> list[dict]:
    warehouse = DuckDBWarehouse(settings.warehouse_path)
    return warehouse.query(f"SELECT * FROM {table.name} ORDER BY {order}").to_pylist()


def alias_bytes(settings) -> bytes:
    return (settings.models_dir / CHAMPION_FILE).read_bytes()


# --- a run that went well ----------------------------------------------------------------------------------------


def test_every_gate_is_stored_at_every_horizon(finished_run):
    found = rows(finished_run.settings, GATE_VERDICTS, "name, horizon_months")
    assert [(row["name"], row["horizon_months"]) for row in found] == sorted(
        (name, horizon) for name in GATES for horizon in HORIZONS_MONTHS
    )
    scorecard = load_reference(finished_run.settings, "scorecard", ScorecardRef)
    assert {row["scorecard_id"] for row in found} == {scorecard.scorecard_id}
    assert {row["dataset_version"] for row in found} == {scorecard.dataset_version}
    assert {row["outcome"] for row in found if row["kind"] == "parity"} == {"passed"}


def test_one_fold_is_too_little_evidence_so_the_first_model_serves_unjudged_and_on_hold(finished_run):
    settings = finished_run.settings
    found = rows(settings, GATE_VERDICTS, "name, horizon_months")
    assert {r["outcome"] for r in found if r["name"] == TRIPWIRE} == {"cannot judge"}
    assert read_champion(settings.models_dir).admission == "unjudged"
    for row in finished_run.outcome.forecast:
        assert row["status"] == "HOLD"
        assert "the evidence gates could not judge the model" in row["status_reasons"]
    (entry,) = rows(settings, MODEL_REGISTRY, "promoted_at")
    assert (entry["admission"], entry["promoted_by"], entry["replaced"]) == ("unjudged", "cbi run", None)
    version = finished_run.outcome.model_path.name
    assert aliases(settings.models_dir) == {"champion": version, "candidate": version}


def test_champion_alone_is_launched_again_and_changes_nothing(copied_settings):
    before = alias_bytes(copied_settings)
    assert launch(copied_settings, "champion").success
    assert alias_bytes(copied_settings) == before


# --- a gate that fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKING)
def test_a_failing_gate_turns_the_run_red_at_its_check_and_nothing_after_it_runs(copied_settings, monkeypatch, name):
    judge_well = getattr(gates, EVALUATE[name])

    def fail(*arguments):
        return [
            v.model_copy(update={"outcome": "failed"}) if v.horizon_months == 9 else v for v in judge_well(*arguments)
        ]

    monkeypatch.setattr(gates, EVALUATE[name], fail)
    change_warehouse(copied_settings, "DELETE FROM gate_verdicts")
    before = alias_bytes(copied_settings)
    result = launch(copied_settings, "scorecard", "bakeoff_winner", "candidate", "champion")
    assert not result.success
    red = [
        check.check_name
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]
    assert red == [name]
    started = {event.step_key for event in result.all_events if event.is_step_start}
    assert not started & {"bakeoff_winner", "candidate", "champion"}
    assert alias_bytes(copied_settings) == before

    alone = launch(copied_settings, "champion")
    assert f"{name} at 9 months" in refusal_of(alone, "champion")
    assert alias_bytes(copied_settings) == before


# --- champion alone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM gate_verdicts", "was never judged"),
        (
            "DELETE FROM gate_verdicts WHERE name = 'tripwire' AND horizon_months = 12",
            "tripwire at 12 months was never",
        ),
        (
            "UPDATE gate_verdicts SET outcome = 'failed' WHERE name = 'one_row_equals_batch'",
            "one_row_equals_batch at 3",
        ),
        ("UPDATE gate_verdicts SET judgement_id = 'another', scorecard_id = 'another'", "was never judged"),
    ],
)
def test_champion_alone_reads_the_stored_verdicts_and_refuses(copied_settings, statement, told):
    change_warehouse(copied_settings, statement)
    before = alias_bytes(copied_settings)
    assert told in refusal_of(launch(copied_settings, "champion"), "champion")
    assert alias_bytes(copied_settings) == before


@pytest.mark.parametrize("changed", [{"gate_benchmark_p": 0.10}, {"target_mape_percent": 6.0}, {"gate_min_n_eff": 5.0}])
def test_verdicts_by_other_bounds_are_no_verdicts(finished_run, tmp_path, changed):
    settings = copy_project(finished_run.settings, tmp_path / "copy", **changed)
    before = alias_bytes(settings)
    assert "was never judged" in refusal_of(launch(settings, "champion"), "champion")
    assert alias_bytes(settings) == before


def test_verdicts_on_another_scorecard_dataset_or_champion_have_another_id(finished_run):
    settings = finished_run.settings
    own = judgement_id("s", "d", "tcn", None, settings)
    others = [
        judgement_id("t", "d", "tcn", None, settings),
        judgement_id("s", "e", "tcn", None, settings),
        judgement_id("s", "d", "nbeatsx", None, settings),
        judgement_id("s", "d", "tcn", "tcn-20241231-00000000", settings),
    ]
    assert len({own, *others}) == 5
    assert stored_verdicts(DuckDBWarehouse(settings.warehouse_path), own) == []


def test_a_scorecard_that_is_newer_than_the_verdicts_promotes_nothing(finished_run, tmp_path):
    """Other costs make another scorecard, materialised without its checks: old verdicts speak for no refit of it."""
    settings = copy_project(finished_run.settings, tmp_path / "copy", trading_ticks_per_side=2.0)
    before, old = alias_bytes(settings), load_reference(settings, "scorecard", ScorecardRef)
    prepare_dagster_home(settings)
    definitions = build_definitions(settings)
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize(
            list(definitions.assets),
            resources=dict(definitions.resources),
            instance=instance,
            selection=dg.AssetSelection.assets("scorecard").without_checks(),
        ).success
    assert load_reference(settings, "scorecard", ScorecardRef).scorecard_id != old.scorecard_id
    assert "come from another scorecard" in refusal_of(launch(settings, "champion"), "champion")
    result = launch(settings, "bakeoff_winner", "candidate", "champion")
    assert "was never judged" in refusal_of(result, "champion")
    assert alias_bytes(settings) == before


def test_a_check_that_raises_promotes_nothing(copied_settings, monkeypatch):
    def broken(*_):
        raise ModelError("a gate", "It broke.", "mend it.")

    monkeypatch.setattr(gates, "evaluate_coverage", broken)
    change_warehouse(copied_settings, "DELETE FROM gate_verdicts")
    before = alias_bytes(copied_settings)
    result = launch(copied_settings, "scorecard", "bakeoff_winner", "candidate", "champion")
    assert "It broke." in refusal_of(result, "gates")
    assert "champion" not in {event.step_key for event in result.all_events if event.is_step_start}
    assert "was never judged" in refusal_of(launch(copied_settings, "champion"), "champion")
    assert alias_bytes(copied_settings) == before


def test_what_cannot_be_judged_does_not_replace_a_judged_model(copied_settings):
    """The champion becomes a judged one of another scorecard: the checks are red, and champion alone refuses."""
    settings = copied_settings
    alias = settings.models_dir / CHAMPION_FILE
    champion = read_champion(settings.models_dir)
    other = champion.model_copy(update={"scorecard_id": "another scorecard", "admission": "judged"})
    alias.write_text(other.model_dump_json(indent=2))
    before = alias_bytes(settings)
    result = launch(settings, "scorecard", "bakeoff_winner", "candidate", "champion")
    red = {
        check.check_name
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    }
    assert CHAMPION in red, "its out-of-fold forecasts are not in the warehouse"
    assert "champion" not in {event.step_key for event in result.all_events if event.is_step_start}
    assert "a judged model is not replaced" in refusal_of(launch(settings, "champion"), "champion")
    assert alias_bytes(settings) == before


def test_a_refit_alone_is_a_candidate_that_a_person_may_promote_over_the_gates(copied_settings, monkeypatch):
    judge_well = gates.evaluate_benchmark
    monkeypatch.setattr(
        gates, "evaluate_benchmark", lambda *a: [v.model_copy(update={"outcome": "failed"}) for v in judge_well(*a)]
    )
    change_warehouse(copied_settings, "DELETE FROM gate_verdicts")
    (copied_settings.models_dir / CHAMPION_FILE).unlink()
    shutil.rmtree(next(copied_settings.models_dir.glob("*-2024*")))
    with pytest.raises(CbiError, match="no_worse_than_best_benchmark") as red:
        execute_job(copied_settings, "retrain")
    assert "cbi models refit" in red.value.fix
    candidate = refit_candidate(copied_settings)
    assert aliases(copied_settings.models_dir) == {"candidate": candidate.model_version}
    card, _ = stages.model_report(candidate.model_version, copied_settings)
    assert "| no_worse_than_best_benchmark | evidence | 3 | failed |" in card
    with pytest.raises(ModelError, match="no_worse_than_best_benchmark") as refusal:
        stages.promote(candidate.model_version, copied_settings)
    assert f"cbi models promote {candidate.model_version} --override-reason" in refusal.value.fix
    stages.promote(candidate.model_version, copied_settings, override_reason="the desk wants to see it")
    assert read_champion(copied_settings.models_dir).admission == "override"


def judged(settings) -> list[Verdict]:
    names = list(Verdict.model_fields)
    return [Verdict(**{name: row[name] for name in names}) for row in rows(settings, GATE_VERDICTS, "name")]


# --- by hand -----------------------------------------------------------------------------------------------------


def test_evidence_is_overridden_with_a_reason_that_is_recorded_and_shown(copied_settings):
    change_warehouse(copied_settings, f"UPDATE gate_verdicts SET outcome = 'failed' WHERE name = '{BENCHMARK}'")
    change_warehouse(copied_settings, "DELETE FROM predictions")
    version = load_reference(copied_settings, "champion", ModelRef).model_version
    before = alias_bytes(copied_settings)
    with pytest.raises(ModelError, match=BENCHMARK):
        stages.promote(version, copied_settings)
    with pytest.raises(SettingsError, match="say why"):
        stages.promote(version, copied_settings, override_reason=" ")
    assert alias_bytes(copied_settings) == before

    champion = stages.promote(version, copied_settings, override_reason="the desk wants to see it")
    assert champion.admission == "override"
    last = rows(copied_settings, MODEL_REGISTRY, "promoted_at")[-1]
    assert (last["admission"], last["reason"]) == ("override", "the desk wants to see it")
    assert last["promoted_by"] == champion.promoted_by != "cbi run"
    outcome, _ = run_job(copied_settings, "daily")
    for row in outcome.forecast:
        assert row["status"] == "HOLD"
        assert "overridden" in row["status_reasons"]
        assert "the desk wants to see it" in row["status_reasons"]


def test_parity_is_never_overridden(copied_settings):
    change_warehouse(copied_settings, f"UPDATE gate_verdicts SET outcome = 'failed' WHERE name = '{METRIC_PARITY}'")
    version = load_reference(copied_settings, "champion", ModelRef).model_version
    before = alias_bytes(copied_settings), rows(copied_settings, MODEL_REGISTRY, "promoted_at")
    with pytest.raises(ModelError, match="parity gates cannot be overridden"):
        stages.promote(version, copied_settings, override_reason="the desk wants to see it")
    assert (alias_bytes(copied_settings), rows(copied_settings, MODEL_REGISTRY, "promoted_at")) == before


# --- parity is measured on what is stored ------------------------------------------------------------------------


def test_rows_that_were_altered_in_the_warehouse_fail_metric_parity_or_are_refused(copied_settings):
    change_warehouse(copied_settings, "DELETE FROM gate_verdicts")
    change_warehouse(copied_settings, "DELETE FROM out_of_fold_forecasts WHERE fold = 'fold_1' AND horizon_months = 6")
    change_warehouse(
        copied_settings,
        "INSERT INTO out_of_fold_forecasts SELECT scorecard_id, entry, 'extra', as_of_date, horizon_months,"
        " target_date, last_price, predicted_price * 1.5, q05, q10, q25, q75, q90, q95, created_at,"
        " run_id, code_commit"
        " FROM out_of_fold_forecasts WHERE horizon_months = 9 LIMIT 1",
    )
    before = alias_bytes(copied_settings)
    result = launch(copied_settings, "scorecard", "bakeoff_winner", "candidate", "champion")
    red = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed and check.blocking]
    assert METRIC_PARITY in red
    failed = [v.horizon_months for v in judged(copied_settings) if v.name == METRIC_PARITY and not v.passed]
    assert failed == [9], "the deleted rows are written again, the extra one is found"
    assert alias_bytes(copied_settings) == before
