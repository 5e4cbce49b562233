"""Source ages and feature ranks as they are published."""

from __future__ import annotations

import pytest

from cbi_pipeline import stages
from cbi_pipeline.contracts.references import FeaturesRef, RawTableRef, SelectionRef
from cbi_pipeline.features.catalogue import FEATURE_NAMES
from cbi_pipeline.features.validation.staleness import SOURCES, check_staleness
from cbi_pipeline.market_calendar import as_of_time
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES
from cbi_pipeline.orchestration.run import load_reference
from cbi_pipeline.stages.features import load_features
from cbi_pipeline.stages.raw import load_raw_tables
from cbi_pipeline.warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path) -> DuckDBWarehouse:
    made = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    made.migrate()
    return made


@pytest.fixture
def features(finished_run) -> FeaturesRef:
    return load_reference(finished_run.settings, "curated_features", FeaturesRef)


@pytest.fixture
def raw(finished_run) -> list[RawTableRef]:
    return [load_reference(finished_run.settings, name, RawTableRef) for name in RAW_ASSET_NAMES.values()]


def test_every_source_is_published_once_with_the_finding_of_its_check(features, raw, warehouse):
    first = stages.publish_data_quality(features, raw, warehouse, run_id="one")
    second = stages.publish_data_quality(features, raw, warehouse, run_id="two")
    rows = warehouse.query("SELECT * FROM vw_data_freshness").to_pylist()
    assert (first.inserted, second.inserted, second.unchanged) == (len(rows), 0, len(rows))
    assert sorted(row["source"] for row in rows) == sorted(s.label for s in SOURCES if not s.history_only)

    frame, tables = load_features(features), load_raw_tables(raw)
    found = {f.subject: f for f in check_staleness(frame, tables, raw[0].last_trade_date)}
    assert found, "no source of the starter bundle is stale: this test compares nothing"
    by_label = {source.label: source for source in SOURCES if not source.history_only}
    for row in rows:
        source = by_label[row["source"]]
        table = tables[source.table].set_index(source.column).loc[source.key]
        newest = table.loc[table["available_at"] <= as_of_time(frame.index[-1]), source.event_date].max()
        assert row["newest_date"] == newest.date()
        assert row["as_of_date"] == features.last_date
        assert row["age_days"] == (frame.index[-1] - newest).days
        finding = found.get(row["source"])
        assert (row["outcome"], row["reason"]) == ((finding.severity, finding.reason) if finding else ("fresh", ""))


def test_a_source_without_a_known_value_is_null(features, raw, warehouse, monkeypatch):
    tables = load_raw_tables(raw)
    macro = tables["macro_series"]
    without = {**tables, "macro_series": macro[macro["series_id"] != "VIXCLS"]}
    monkeypatch.setattr("cbi_pipeline.stages.quality.load_raw_tables", lambda _: without)
    stages.publish_data_quality(features, raw, warehouse, run_id="one")
    rows = {row["source"]: row for row in warehouse.query("SELECT * FROM vw_data_freshness").to_pylist()}
    found = rows["macro_series/VIXCLS"]
    assert (found["newest_date"], found["age_days"], found["outcome"]) == (None, None, "warning")
    assert rows["macro_series/DGS10"]["outcome"] == "fresh"


def test_every_feature_is_published_once_with_its_rank_and_decision(finished_run, warehouse):
    selection = load_reference(finished_run.settings, "feature_selection", SelectionRef)
    first = stages.publish_feature_importance(selection, warehouse, run_id="one")
    second = stages.publish_feature_importance(selection, warehouse, run_id="two")
    rows = {row["feature"]: row for row in warehouse.query("SELECT * FROM feature_importance").to_pylist()}
    assert (first.inserted, second.inserted, second.unchanged) == (len(rows), 0, len(rows))
    assert set(rows) == set(FEATURE_NAMES)
    assert {name for name, row in rows.items() if row["chosen"]} == set(selection.chosen)
    record = stages.selection_record(selection)
    for decision in record["decisions"]:
        row = rows[decision["feature"]]
        assert {name: row[name] for name in decision} == decision
        assert row["folds"] == record["summary"]["folds"]
