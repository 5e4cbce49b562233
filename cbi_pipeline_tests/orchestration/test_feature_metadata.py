from __future__ import annotations

import dagster as dg
import pytest

from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES, feature_lineage, feature_schema
from cbi_pipeline_tests.projects import settings_of

CURATED = dg.AssetKey("curated_features")


def dependencies(lineage, name):
    return {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage.deps_by_column[name]}


def test_lineage_of_three_features():
    lineage = feature_lineage()
    assert dependencies(lineage, "soybean_crush_spread") == {("raw_futures_daily", "close")}
    assert dependencies(lineage, "palm_price") == {("raw_futures_daily", "close"), ("raw_macro_series", "value")}
    assert dependencies(lineage, "midwest_GDD_base10C") == {
        ("raw_weather_daily", "tmax_c"),
        ("raw_weather_daily", "tmin_c"),
    }


def test_every_feature_comes_from_columns_of_the_raw_assets_it_depends_on(tmp_path):
    graph = build_definitions(settings_of(tmp_path)).resolve_asset_graph()
    parents = graph.get(CURATED).parent_keys
    lineage = graph.get(CURATED).metadata["dagster/column_lineage"]
    assert list(lineage.deps_by_column) == list(FEATURE_NAMES)
    tables = {asset: RAW_TABLES[table] for table, asset in RAW_ASSET_NAMES.items()}
    for name, deps in lineage.deps_by_column.items():
        assert deps, name
        for dep in deps:
            assert dep.asset_key in parents
            assert dep.column_name in {c.name for c in tables[dep.asset_key.to_user_string()].columns}


def test_a_materialisation_carries_the_lineage(finished_run):
    """Dagster+ and the GraphQL API take column lineage from the newest materialisation."""
    with open_instance(finished_run.settings) as instance:
        event = instance.get_latest_materialization_event(CURATED)
    found = event.asset_materialization.metadata["dagster/column_lineage"].value
    assert found == feature_lineage()


@pytest.mark.parametrize("feature", CATALOGUE, ids=FEATURE_NAMES)
def test_a_column_shows_formula_unit_range_and_sources(feature):
    column = next(column for column in feature_schema().columns if column.name == feature.name)
    assert feature.formula in column.description
    assert feature.unit in column.description
    assert column.type == "float32"
    assert column.tags["pillar"] == feature.pillar
    sources = {name: text for name, text in column.tags.items() if name != "pillar"}
    assert set(sources) == {RAW_ASSET_NAMES[source.table] for source in feature.inputs}
    for source in feature.inputs:
        columns, _, series = sources[RAW_ASSET_NAMES[source.table]].partition(" of ")
        assert source.key in series.split(", ")
        assert columns


def test_constraints_of_columns():
    columns = {column.name: column for column in feature_schema().columns}
    assert columns["RSI_14"].constraints.other == [">= 0", "<= 100"]
    assert columns["regime_bullish"].constraints.other == [">= 0", "<= 1"]
    assert columns["palm_spread"].constraints.other == []
    assert columns["close"].constraints.nullable is False
    assert columns["palm_price"].constraints.nullable is True
