from __future__ import annotations

import json
import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster_gcp import BigQueryResource, GCSResource

from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.contracts.verdict import GATES, QUALITY
from cbi_pipeline.contracts.warehouse import WAREHOUSE_TABLES
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.features.catalogue import FEATURE_NAMES
from cbi_pipeline.profiles import get_profile
from cbi_pipeline_tests.projects import settings_of

RAW = {f"raw_{table}" for table in sorted(RAW_TABLES)}
FEATURE_VALIDATION = {
    "values_are_possible",
    "sources_are_fresh",
    "recent_rows_resemble_history",
    "signs_are_right",
    "columns_move",
}
LIVE = ("live_errors_within_bands", "inputs_within_bands")
NEVER_BLOCKING = (QUALITY, "rows_make_sense", "data_are_recent", "no_session_is_left_out", *LIVE)
MARKET = {"raw_futures_daily", "raw_futures_curve", "raw_macro_series", "raw_fundamentals"}
LINEAGE: dict[str, tuple[str, set[str], set[str]]] = {
    **{name: ("raw", {"parquet"}, set()) for name in sorted(RAW)},
    "curated_features": ("features", {"pandas", "parquet"}, RAW),
    "fitted_anchor": ("features", {"scikitlearn"}, {"curated_features"} | MARKET),
    "fitted_scaler": ("features", {"scikitlearn"}, {"curated_features", "fitted_anchor"}),
    "trained_models": ("training", {"pytorch"}, {"curated_features", "fitted_anchor", "fitted_scaler"}),
    "feature_selection": (
        "evaluation",
        {"scikitlearn"},
        {"curated_features", "fitted_anchor", "fitted_scaler", "trained_models"},
    ),
    "scorecard": (
        "evaluation",
        {"pandas"},
        {"curated_features", "fitted_anchor", "trained_models", "raw_futures_daily", "raw_futures_curve"},
    ),
    "bakeoff_winner": ("evaluation", {"python"}, {"scorecard", "trained_models"}),
    "candidate": (
        "serving",
        {"pytorch"},
        {"bakeoff_winner", "scorecard", "curated_features", "fitted_anchor", "fitted_scaler", "feature_selection"},
    ),
    "champion": ("serving", {"pytorch"}, {"candidate", "bakeoff_winner", "scorecard"}),
    "daily_predictions": ("serving", {"pandas"}, {"champion", "curated_features", "warehouse/live_skill"} | RAW),
    "warehouse/predictions": ("warehouse", {"duckdb"}, {"daily_predictions"}),
    "warehouse/metrics": ("warehouse", {"duckdb"}, {"scorecard"}),
    "warehouse/scorecards": ("warehouse", {"duckdb"}, {"scorecard", "bakeoff_winner"}),
    "warehouse/experiments": ("warehouse", {"duckdb"}, {"scorecard", "trained_models"}),
    "warehouse/gate_verdicts": ("warehouse", {"duckdb"}, {"scorecard"}),
    "warehouse/out_of_fold_forecasts": ("warehouse", {"duckdb"}, {"scorecard"}),
    "warehouse/model_registry": ("warehouse", {"duckdb"}, {"champion"}),
    "warehouse/realized_prices": ("warehouse", {"duckdb"}, {"raw_futures_daily", "raw_futures_curve"}),
    "warehouse/data_quality": ("warehouse", {"duckdb"}, {"curated_features"} | RAW),
    "warehouse/feature_importance": ("warehouse", {"duckdb"}, {"feature_selection"}),
    "warehouse/live_skill": (
        "warehouse",
        {"duckdb"},
        {
            "curated_features",
            "warehouse/realized_prices",
            "warehouse/out_of_fold_forecasts",
            "warehouse/model_registry",
        },
    ),
    "warehouse/vw_latest_forecast": (
        "warehouse",
        {"duckdb"},
        {"warehouse/predictions", "warehouse/model_registry"},
    ),
    **{
        f"warehouse/{name}": ("warehouse", {"duckdb"}, {f"warehouse/{table}" for table in view.reads})
        for name, view in WAREHOUSE_VIEWS.items()
        if name != "vw_latest_forecast"
    },
}
"""Asset: group, kinds, what it depends on (the data path of design.md, section 2). A change here is a decision."""

HEAVY = (
    "arch",
    "databento_dbn",
    "duckdb",
    "google.cloud",
    "matplotlib",
    "pandas",
    "pandas_market_calendars",
    "pandera",
    "safetensors",
    "scipy",
    "shap",
    "sklearn",
    "sqlglot",
    "talib",
    "torch",
)


@pytest.fixture(scope="module")
def definitions(tmp_path_factory) -> dg.Definitions:
    return build_definitions(settings_of(tmp_path_factory.mktemp("project")))


@pytest.fixture(scope="module")
def graph(definitions):
    return definitions.resolve_asset_graph()


def test_the_assets_are_exactly_these(graph):
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == set(LINEAGE)


@pytest.mark.parametrize("name", LINEAGE)
def test_group_kinds_and_dependencies(graph, name):
    node = graph.get(dg.AssetKey.from_user_string(name))
    group, kinds, parents = LINEAGE[name]
    assert node.group_name == group
    assert set(node.kinds) == kinds
    assert {key.to_user_string() for key in node.parent_keys} == parents


@pytest.mark.parametrize("name", LINEAGE)
def test_every_asset_says_what_it_is_and_whose(graph, name):
    node = graph.get(dg.AssetKey.from_user_string(name))
    assert len(node.description) > 20
    assert node.owners == ["team:forecasting"]


def column_names(graph, name):
    schema = graph.get(dg.AssetKey.from_user_string(name)).metadata["dagster/column_schema"]
    columns = (schema.schema if hasattr(schema, "schema") else schema).columns
    assert all(column.description and column.type for column in columns)
    return [column.name for column in columns]


def test_tables_show_their_columns(graph):
    for table, contract in RAW_TABLES.items():
        assert column_names(graph, f"raw_{table}") == [column.name for column in contract.columns]
    for table, stored in {**WAREHOUSE_TABLES, **WAREHOUSE_VIEWS}.items():
        assert column_names(graph, f"warehouse/{table}") == [column.name for column in stored.columns]
    assert column_names(graph, "curated_features") == list(FEATURE_NAMES)


@pytest.mark.parametrize("profile", ["quick", "full", "smoke"])
def test_trained_models_are_partitioned_by_architecture_and_fold(tmp_path, profile):
    graph = build_definitions(settings_of(tmp_path, profile=profile)).resolve_asset_graph()
    partitions = graph.get(dg.AssetKey("trained_models")).partitions_def
    dimensions = {d.name: d.partitions_def.get_partition_keys() for d in partitions.partitions_defs}
    expected = get_profile(profile)
    assert dimensions == {"architecture": list(expected.architectures), "fold": list(expected.fold_names)}
    assert len(expected.fold_names) == {"quick": 5, "full": 12, "smoke": 1}[profile]
    others = [key for key in graph.get_all_asset_keys() if key != dg.AssetKey("trained_models")]
    assert not any(graph.get(key).is_partitioned for key in others)


def test_all_cells_of_a_run_train_in_one_process(graph):
    policy = graph.get(dg.AssetKey("trained_models")).backfill_policy
    assert policy == dg.BackfillPolicy.single_run()


def test_no_dimension_tag_overrules_the_range_of_a_run_started_on_the_jobs_page(definitions):
    """The daemon drops only `dagster/partition` from the tags of the first cell, then adds the range."""
    job = definitions.resolve_job_def("retrain")
    assert job.partitioned_config is not None
    tags = job.partitioned_config.get_tags_for_partition_key("tcn|fold_1", job_name="retrain")
    assert tags["dagster/partition"] == "tcn|fold_1"
    assert not [name for name in tags if name.startswith("dagster/partition/")]


def job_assets(definitions, name):
    return {key.to_user_string() for key in definitions.resolve_job_def(name).asset_layer.executable_asset_keys}


def test_retrain_is_everything(definitions):
    assert job_assets(definitions, "retrain") == set(LINEAGE)


def test_daily_forecasts_and_trains_nothing(definitions):
    fitted = {"fitted_anchor", "fitted_scaler", "trained_models", "scorecard", "bakeoff_winner", "champion"}
    fitted |= {"feature_selection", "candidate"}
    judged = {"metrics", "scorecards", "experiments", "gate_verdicts", "out_of_fold_forecasts", "model_registry"}
    judged |= {"feature_importance", "vw_model_leaderboard", "vw_gate_status"}
    assert job_assets(definitions, "daily") == set(LINEAGE) - fitted - {f"warehouse/{table}" for table in judged}


@pytest.mark.parametrize("job", ["retrain", "daily"])
def test_jobs_run_in_this_process(definitions, job):
    assert definitions.resolve_job_def(job).executor_def.name == "in_process"


def test_checks_block_what_comes_after(graph):
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    assert checks == {
        *((name, check) for name in RAW for check in ("rows_make_sense", "data_are_recent")),
        ("raw_futures_daily", "data_reach_the_session"),
        ("curated_features", "features_are_locked"),
        *(("curated_features", name) for name in FEATURE_VALIDATION),
        ("trained_models", "every_cell_trained"),
        ("scorecard", "every_entry_is_scored_at_every_horizon"),
        *(("scorecard", gate) for gate in GATES),
        ("daily_predictions", "inputs_are_fresh"),
        ("daily_predictions", "no_session_is_left_out"),
        ("warehouse/predictions", "stored_rows_equal_the_forecast"),
        *(("warehouse/live_skill", name) for name in LIVE),
    }
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.blocking is (key.name not in NEVER_BLOCKING), key
        assert len(spec.description) > 20


def test_resources_can_be_replaced_one_by_one(tmp_path):
    elsewhere = object()
    replaced = build_definitions(settings_of(tmp_path), {"warehouse": elsewhere}).resources
    assert replaced["warehouse"] is elsewhere
    assert replaced["device"].device == "cpu"


def test_settings_choose_where_tables_and_bundles_are(tmp_path):
    """No code is edited: the same assets, other resources behind them, and the kind that the UI shows."""
    google = {"warehouse": "bigquery", "gcp_project": "cbi-test", "bundle_uri": "gs://bucket/cbi"}
    definitions = build_definitions(settings_of(tmp_path, **google))
    graph = definitions.resolve_asset_graph()
    stored = {key for key in graph.get_all_asset_keys() if key.path[0] == "warehouse"}
    assert {frozenset(graph.get(key).kinds) for key in stored} == {frozenset({"bigquery"})}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {*LINEAGE, "return_manifest"}
    assert "return_manifest" in job_assets(definitions, "daily")
    resources = definitions.resources
    assert isinstance(resources["warehouse"].bigquery, BigQueryResource)
    assert isinstance(resources["bundle_store"].gcs, GCSResource)
    assert (resources["bigquery"].project, resources["bigquery"].location) == ("cbi-test", "us-central1")
    assert not {"bigquery", "gcs"} & set(build_definitions(settings_of(tmp_path)).resources)


def test_tables_say_how_they_are_laid_out(graph):
    metadata = graph.get(dg.AssetKey(["warehouse", "predictions"])).metadata
    assert metadata["partitioned_by"] == "day of as_of_date"
    assert metadata["clustered_by"] == "horizon_months, model_version"


def test_the_code_location_is_light(tmp_path):
    """Two seconds of processor time at most, whatever else the machine does, and none of the heavy libraries."""
    code = (
        "import json, resource, sys, cbi_pipeline.definitions;"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(json.dumps([used.ru_utime + used.ru_stime, sorted(sys.modules)]))"
    )
    environment = {**os.environ, "CBI_PROJECT_DIR": str(tmp_path)}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    seconds, modules = json.loads(printed.stdout)
    assert [name for name in HEAVY if name in modules] == []
    assert "dagster" in modules
    assert seconds < 2.0
    assert list(tmp_path.iterdir()) == [], "importing the definitions wrote something"


def test_the_definitions_validate(repository, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "CBI_PROJECT_DIR": str(tmp_path), "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "cbi_pipeline.definitions"]
    checked = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=repository)
    assert checked.returncode == 0, checked.stderr
    assert "All code locations passed validation" in checked.stderr + checked.stdout
