"""The sensor on real bundles: one run a bundle, in order, once; a bad bundle is said once and passed over."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from cbi_pipeline.bundle.build import build_bundle
from cbi_pipeline.bundle.gcs import GcsBundleStore
from cbi_pipeline.bundle.read import read_manifest
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE
from cbi_pipeline.definitions import build_definitions
from cbi_pipeline.errors import BundleError, StoreError
from cbi_pipeline.orchestration.assets.training import all_cells_tags
from cbi_pipeline.orchestration.resources import BundleStoreResource, SettingsResource, build_resources
from cbi_pipeline.orchestration.sensors import new_manifest
from cbi_pipeline.profiles import get_profile
from cbi_pipeline.settings import Settings
from cbi_pipeline_tests.projects import STARTER, flip_byte, new_project


@pytest.fixture(scope="module")
def bundles(_starter_tables, tmp_path_factory) -> tuple[Path, Path]:
    """Two bundles of real rows, older and newer."""
    folder = tmp_path_factory.mktemp("bundles")
    tables = {**_starter_tables, "policy": _starter_tables["policy"].iloc[:-1]}
    older = build_bundle(tables, folder, created_at=datetime(2020, 1, 2, tzinfo=UTC), compression_level=1).path
    newer = folder / read_manifest(STARTER).dataset_version
    shutil.copytree(STARTER, newer)
    return older, newer


@pytest.fixture
def project(bundles, tmp_path) -> Settings:
    settings = new_project(tmp_path / "project")
    shutil.copytree(bundles[0].parent, settings.bundles_dir)
    return settings


def tick(settings: Settings, cursor: str | None = None) -> dg.SensorResult:
    resources = {name: build_resources(settings)[name] for name in ("bundle_store", "run_settings")}
    with dg.build_sensor_context(cursor=cursor, resources=resources) as context:
        return new_manifest(context)


def seal(bundle: Path) -> str:
    return (bundle / SUCCESS_FILE).read_text().strip()


def test_each_new_bundle_gets_one_run_of_all_cells_in_order(project, bundles):
    result = tick(project)
    assert [request.run_key for request in result.run_requests] == [seal(bundle) for bundle in bundles]
    assert [request.tags["cbi/dataset_version"] for request in result.run_requests] == [b.name for b in bundles]
    assert all_cells_tags(get_profile("smoke")).items() <= result.run_requests[0].tags.items()
    assert result.cursor == bundles[1].name
    again = tick(project, result.cursor)
    assert (again.run_requests, again.cursor) == ([], bundles[1].name)
    assert "no new sound bundle" in again.skip_reason.skip_message
    assert [r.run_key for r in tick(project, bundles[0].name).run_requests] == [seal(bundles[1])]


def test_an_unsealed_bundle_is_not_seen_until_it_is_sealed(project, bundles):
    newer = project.bundles_dir / bundles[1].name
    (newer / SUCCESS_FILE).rename(newer / "kept")
    result = tick(project)
    assert [request.run_key for request in result.run_requests] == [seal(bundles[0])]
    (newer / "kept").rename(newer / SUCCESS_FILE)
    assert [request.run_key for request in tick(project, result.cursor).run_requests] == [seal(newer)]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_bad_bundle_is_said_once_and_passed_over(project, bundles, broken):
    flip_byte(project.bundles_dir / bundles[broken].name / MANIFEST_FILE)
    result = tick(project)
    assert [request.run_key for request in result.run_requests] == [seal(bundles[1 - broken])]
    assert result.cursor == bundles[1].name
    assert bundles[broken].name not in tick(project, result.cursor).skip_reason.skip_message


def test_only_bad_bundles_are_the_reason_why_a_tick_does_nothing(project, bundles):
    flip_byte(project.bundles_dir / bundles[1].name / MANIFEST_FILE)
    result = tick(project, bundles[0].name)
    assert result.run_requests == []
    assert f"{bundles[1].name}/{MANIFEST_FILE}" in result.skip_reason.skip_message
    assert result.cursor == bundles[1].name


def test_bundles_of_a_bucket_are_seen_and_a_run_works_on_its_own(bundle_uri, bundles, tmp_path):
    settings = new_project(tmp_path / "mac", bundle_uri=bundle_uri)
    for bundle in bundles:
        GcsBundleStore(bundle_uri).publish(bundle)
    requests = tick(settings).run_requests
    assert [request.run_key for request in requests] == [seal(bundle) for bundle in bundles]
    with dg.instance_for_test() as instance:
        result = (
            build_definitions(settings)
            .resolve_job_def("retrain")
            .execute_in_process(instance=instance, tags=requests[0].tags, asset_selection=[dg.AssetKey("raw_policy")])
        )
        found = instance.get_latest_materialization_event(dg.AssetKey("raw_policy"))
    assert result.success
    metadata = found.asset_materialization.metadata
    assert metadata["dataset_version"].value == bundles[0].name
    assert bundle_uri in metadata["why"].value
    assert [path.name for path in settings.bundles_dir.iterdir() if path.is_dir()] == [bundles[0].name]


def test_a_run_for_a_bundle_of_this_machine_works_on_that_one_or_fails(project, bundles):
    store = BundleStoreResource(run_settings=SettingsResource(values_json=project.model_dump_json()))
    assert store.find().path.name == bundles[1].name
    assert store.find(bundles[0].name).path.name == bundles[0].name
    flip_byte(project.bundles_dir / bundles[0].name / "policy.parquet")
    with pytest.raises(BundleError, match="policy"):
        store.find(bundles[0].name)


def test_a_store_that_cannot_be_read_fails_the_tick(bundle_uri, tmp_path):
    with pytest.raises(StoreError):
        tick(new_project(tmp_path / "mac", bundle_uri="gs://no-such-bucket/cbi"), "20200102T000000Z-00000000")


def test_the_sensor_is_off_until_someone_turns_it_on(project):
    sensor = build_definitions(project).get_sensor_def("new_manifest")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
