from __future__ import annotations

import io
import shutil
from importlib import metadata

import pytest
from rich.console import Console

from cbi_pipeline.reports import doctor
from cbi_pipeline.settings import Settings
from cbi_pipeline_tests.projects import flip_byte, settings_of


@pytest.fixture
def tested(new_settings, monkeypatch) -> Settings:
    """A project beside a constraints.txt that names what is installed."""
    monkeypatch.setattr(doctor, "REPOSITORY_DIR", new_settings.project_dir)
    lines = [f"{name}=={metadata.version(name)}" for name in ("dagster", "pandas", "duckdb", "torch")]
    text = "# tested versions\n\n" + "\n".join(line.split("+")[0] for line in lines) + "\n"
    (new_settings.project_dir / "constraints.txt").write_text(text)
    return new_settings


def examined(settings, environ=None):
    return {finding.subject: finding for finding in doctor.examine(settings, environ or {})}


def test_a_sound_machine_needs_no_fix(tested):
    findings = examined(tested, {"CBI_SEED": "1", "HOME": "/"})
    assert list(findings) == ["Python", "packages", "variables", "device", "data", "warehouse", "disk"]
    assert [finding.subject for finding in findings.values() if not finding.ok] == []
    assert not any(finding.fix for finding in findings.values())
    assert findings["packages"].found == "4 versions as tested"
    assert findings["device"].found.startswith("cpu (torch 2.")
    assert "starter bundle" in findings["data"].found
    assert "made by the first run" in findings["warehouse"].found


def test_examining_changes_nothing(tested):
    before = sorted(tested.project_dir.rglob("*"))
    doctor.examine(tested, {})
    assert sorted(tested.project_dir.rglob("*")) == before


def test_the_warehouse_is_counted(finished_run):
    finding = examined(finished_run.settings)["warehouse"]
    assert finding.ok
    assert finding.found.endswith("warehouse.duckdb, 4 forecast rows")


def test_another_version_than_tested_is_named(tested):
    constraints = tested.project_dir / "constraints.txt"
    constraints.write_text(constraints.read_text() + "rich==0.1\n")
    finding = examined(tested)["packages"]
    assert not finding.ok
    assert f"rich {metadata.version('rich')} (tested: ==0.1)" in finding.found
    assert finding.fix == "make clean install"


def test_a_tested_package_that_is_optional_may_be_absent(tested):
    constraints = tested.project_dir / "constraints.txt"
    constraints.write_text(constraints.read_text() + "no-such-package-here==1.0\n")
    assert examined(tested)["packages"].ok


def test_a_required_package_that_is_absent_is_named(tested, monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["no-such-package-here>=1", "other; extra == 'gcp'"])
    finding = examined(tested)["packages"]
    assert not finding.ok
    assert finding.found == "no-such-package-here is missing"


def test_constraints_that_are_gone_are_a_finding(tested):
    (tested.project_dir / "constraints.txt").unlink()
    finding = examined(tested)["packages"]
    assert not finding.ok
    assert "constraints.txt is missing" in finding.found
    assert "git checkout" in finding.fix


def test_an_old_python_is_a_finding(tested, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_PYTHON", (99, 0))
    finding = examined(tested)["Python"]
    assert not finding.ok
    assert "install Python" in finding.fix


def test_unknown_variables_are_named_with_what_was_meant(tested):
    finding = examined(tested, {"CBI_SEDE": "1", "CBI_OBJECT_STORE_REGION": "x"})["variables"]
    assert not finding.ok
    assert finding.found == "unknown: CBI_OBJECT_STORE_REGION, CBI_SEDE"
    assert "CBI_SEDE: did you mean CBI_SEED?" in finding.fix
    assert "unset CBI_OBJECT_STORE_REGION" in finding.fix


def test_a_device_that_is_not_there_is_a_finding_and_the_rest_goes_on(tested):
    findings = examined(settings_of(tested.project_dir, device="mps"))
    assert not findings["device"].ok
    assert "no such device" in findings["device"].found
    assert "CBI_DEVICE=auto" in findings["device"].fix
    assert findings["data"].ok


def test_a_damaged_starter_is_a_finding(tested, starter_dir, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(starter_dir, damaged)
    flip_byte(damaged / "policy.parquet")
    finding = examined(settings_of(tested.project_dir, starter_dir=damaged))["data"]
    assert not finding.ok
    assert "policy.parquet" in finding.found
    assert finding.fix


def test_provider_files_are_named_and_not_built(tested):
    file = tested.data_dir / "fred" / "DGS10.csv"
    file.parent.mkdir(parents=True)
    file.write_text("observation_date,DGS10\n")
    finding = examined(tested)["data"]
    assert finding.ok
    assert finding.found.startswith("1 provider files in")
    assert not tested.bundles_dir.exists()


def test_a_full_disk_is_a_finding(tested, monkeypatch):
    usage = shutil.disk_usage(tested.project_dir)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=2**30))
    finding = examined(tested)["disk"]
    assert not finding.ok
    assert finding.found.startswith("1.0 GiB free")
    assert "free 1.0 GiB" in finding.fix


def test_every_setting_is_printed_with_its_variable(tested):
    console = Console(file=io.StringIO(), width=800)
    for table in doctor.doctor_tables(tested, doctor.examine(tested, {"CBI_SEDE": "1"})):
        console.print(table)
    text = console.file.getvalue()
    for name in Settings.model_fields:
        line = next(line for line in text.splitlines() if line.startswith(f"│ CBI_{name.upper()} "))
        assert str(getattr(tested, name)) in line
    assert "did you mean CBI_SEED?" in text
