"""The freshness policies, stored and evaluated by Dagster's own daemon code on an instance with real events."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._daemon.freshness import FreshnessDaemon

from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.market_calendar import sessions
from cbi_pipeline.orchestration.freshness import EVERY_SESSION
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES
from cbi_pipeline_tests.projects import REPOSITORY

WATCHED = {*RAW_ASSET_NAMES.values(), "curated_features", "daily_predictions", "warehouse/predictions"}
CHICAGO = ZoneInfo("America/Chicago")


@pytest.fixture
def graph(new_settings):
    return build_definitions(new_settings).resolve_asset_graph()


@pytest.fixture
def instance(new_settings):
    """An instance of a project, with the repository's dagster.yaml."""
    with open_instance(new_settings) as instance:
        yield instance


def materialise(instance, moment: datetime) -> None:
    with freeze_time(moment):
        for name in sorted(WATCHED):
            instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey.from_user_string(name)))


def look(instance, graph, moment: datetime) -> dict[str, FreshnessState]:
    """One iteration of the daemon at a moment; the states that it stored."""
    context = LoadingContextForTest(instance)
    context.asset_graph, workspace = graph, SimpleNamespace(create_request_context=lambda: context)
    with freeze_time(moment):
        asyncio.run(FreshnessDaemon()._evaluate_assets(workspace))
    found = instance.get_freshness_state_records(list(graph.get_all_asset_keys()))
    return {key.to_user_string(): record.freshness_state for key, record in found.items() if record}


def test_exactly_what_every_run_of_daily_makes_has_the_policy(graph):
    policies = {key.to_user_string(): graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    assert {name for name, policy in policies.items() if policy is not None} == WATCHED
    assert all(policies[name] == EVERY_SESSION for name in WATCHED)


def test_the_daemon_that_evaluates_them_is_on(instance):
    assert yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())["freshness"] == {"enabled": True}
    assert FreshnessDaemon.daemon_type() in instance.get_required_daemon_types()


def test_a_state_is_stored_and_changes_with_time(instance, graph):
    start = datetime(2024, 12, 3, 4, 30, tzinfo=UTC)
    nothing_yet = look(instance, graph, start)
    assert {nothing_yet[name] for name in WATCHED} == {FreshnessState.UNKNOWN}
    assert nothing_yet["champion"] is FreshnessState.NOT_APPLICABLE
    materialise(instance, start)
    seen = [look(instance, graph, start + timedelta(hours=hours)) for hours in (77, 79, 101, 103)]
    assert [{states[name] for name in WATCHED} for states in seen] == [
        {FreshnessState.PASS},
        {FreshnessState.WARN},
        {FreshnessState.WARN},
        {FreshnessState.FAIL},
    ]


def test_no_weekend_and_no_holiday_turns_an_asset_red():
    """From a run at 22:00 Chicago to the next session's, however long that takes: less than the policy bears."""
    days = [day.date() for day in sessions(date(2007, 1, 3), date(2035, 12, 31))]
    runs = [datetime.combine(day, datetime.min.time(), CHICAGO).replace(hour=22).astimezone(UTC) for day in days]
    gaps = [(later - earlier, day) for earlier, later, day in zip(runs, runs[1:], days, strict=False)]
    longest, before = max(gaps)
    assert longest < EVERY_SESSION.fail_window.to_timedelta() - timedelta(hours=4), before
    weekends = [gap for gap, day in gaps if day.weekday() == 4 and gap < timedelta(days=3, hours=12)]
    assert len(weekends) > 1000
    assert max(weekends) < EVERY_SESSION.warn_window.to_timedelta()
