"""Runs whose process is gone are failed, those of living ones left alone; the instance is as dagster.yaml sets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import CbiError
from cbi_pipeline.orchestration.instance import daemon_beats, prepare_dagster_home, run_state, why_busy
from cbi_pipeline.orchestration.orphans import fail_orphans
from cbi_pipeline.orchestration.run import execute_job
from cbi_pipeline_tests.projects import REPOSITORY


@pytest.fixture
def instance(new_settings, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    prepare_dagster_home(new_settings)
    with dg.DagsterInstance.get() as opened:
        yield opened


@pytest.fixture
def run_at_work(new_settings):
    """A real run in a process of its own, found at work in the middle of a step; killed at the end."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")}
    own |= {"CBI_PROJECT_DIR": str(new_settings.project_dir), "CBI_STARTER_DIR": str(new_settings.starter_dir)}
    own |= {"CBI_DEVICE": "cpu", "CBI_THREADS": "1"}
    command = [sys.executable, "-m", "cbi_pipeline.cli", "run", "--profile", "smoke"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY, env=own)
    features = new_settings.dagster_dir / "references" / "raw_policy.json"
    deadline = time.monotonic() + 120
    while not features.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_run_is_left_alone_while_its_process_lives_and_failed_after_a_kill(new_settings, run_at_work):
    prepare_dagster_home(new_settings)
    with dg.DagsterInstance.get() as instance:
        assert fail_orphans(instance) == []
        (run,) = instance.get_runs()
        assert why_busy(new_settings) == f"run {run.run_id[:8]} is at work"
        with pytest.raises(CbiError, match="another run is at work"):
            execute_job(new_settings, "daily")

        run_at_work.send_signal(signal.SIGKILL)
        run_at_work.wait()
        assert run_state(new_settings, run.run_id) == "STARTED", "nobody has told Dagster"
        assert fail_orphans(instance) == [run.run_id]
        assert run_state(new_settings, run.run_id) == "FAILURE"
        failure = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)[0]
        assert f"Process {run_at_work.pid} of this run has ended" in failure.message
        assert (fail_orphans(instance), why_busy(new_settings)) == ([], None)


def test_a_run_that_dagster_started_elsewhere_keeps_another_from_beginning(new_settings, instance):
    run = instance.create_run_for_job(build_definitions(new_settings).resolve_job_def("daily"))
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "daily")
    instance.report_dagster_event(started, run_id=run.run_id)
    assert run_state(new_settings, run.run_id) == "STARTED"
    with pytest.raises(CbiError, match=f"run {run.run_id[:8]} is at work"):
        execute_job(new_settings, "daily")


def test_the_instance_runs_one_at_a_time_and_retries_crashes_only(instance):
    concurrency = instance.get_concurrency_config()
    assert concurrency.run_queue_config.max_concurrent_runs == 1
    assert concurrency.pool_config.default_pool_limit == 1
    assert concurrency.pool_config.pool_granularity.value == "run"
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_start_timeout_seconds == 300
    assert instance.run_monitoring_max_runtime_seconds == 21600
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_what_trains_is_in_the_pool_of_the_device(new_settings):
    definitions = build_definitions(new_settings)
    pooled = {
        asset.node_def.name
        for asset in definitions.assets
        if isinstance(asset, dg.AssetsDefinition) and "device" in asset.node_def.pools
    }
    needing = {
        asset.node_def.name
        for asset in definitions.assets
        if isinstance(asset, dg.AssetsDefinition) and "device" in asset.required_resource_keys
    }
    assert pooled == needing == {"trained_models", "feature_selection", "candidate"}
    for name in ("retrain", "daily", "refit"):
        assert definitions.resolve_job_def(name).tags["dagster/retry_strategy"] == "ALL_STEPS"


def test_without_a_daemon_there_is_no_beat(new_settings, instance):
    assert not daemon_beats(new_settings)
