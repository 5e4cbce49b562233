"""The commands that look after a CBI at work, as a person types them."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from cbi_pipeline import cli_operations
from cbi_pipeline.cli import app
from cbi_pipeline.errors import CbiError
from cbi_pipeline_tests.projects import change_warehouse, forecasts, new_project


@pytest.fixture
def cbi(monkeypatch):
    """Run a command line in this process on a project: exit code, and what was printed with its white space folded.

    A refusal is raised, as `cli.main` receives it.
    """

    def command(settings, *arguments):
        own = {"project_dir": "", "starter_dir": "", "profile": "", "device": "", "threads": ""}
        for name in own:
            monkeypatch.setenv(f"CBI_{name.upper()}", str(getattr(settings, name)))
        monkeypatch.setattr(cli_operations.console, "_width", 400)
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, CbiError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, re.sub(r"[\s│]+", " ", result.output)

    return command


def test_trace_prints_the_whole_way_from_row_to_source(cbi, finished_run):
    settings, run_id = finished_run.settings, finished_run.outcome.forecast[0]["run_id"]
    code, out = cbi(settings, "trace", "2024-12-31", "3")
    assert code == 0
    for part in (
        "Forecast of 2024-12-31 at 3 months",
        f"{run_id} (SUCCESS)",
        f"http://127.0.0.1:3000/runs/{run_id}",
        f"Model {finished_run.outcome.model_path.name}",
        "verifies; manifest sha256",
        "fold_1",
        "no_worse_than_champion",
        f"Bundle {finished_run.outcome.data.dataset_version}",
        "VIX_level* 15.9499998 index macro_series/VIXCLS",
        "macro_series/VIXCLS 2024-12-27 2024-12-30 21:15 value=15.95",
        "futures_curve/ZL 2023-11-30 older than 7 days: not used",
    ):
        assert part in out
    code, out = cbi(settings, "trace", "2024-12-31", "3", "--feature", "renewable_diesel_mandate")
    assert code == 0
    assert "rfs_bbd_volume 2024 3.04 2023-07-12 88 FR 44468 2023-07-12 12:45" in out
    with pytest.raises(CbiError, match="there is no feature of this name"):
        cbi(settings, "trace", "2024-12-31", "3", "--feature", "moon")


def test_reproduce_ends_with_1_where_a_bit_differs(cbi, copied_settings):
    code, out = cbi(copied_settings, "reproduce", "2024-12-31")
    assert (code, out.count("the same bits")) == (0, 4)
    change_warehouse(copied_settings, "UPDATE predictions SET q05 = q05 - 1 WHERE horizon_months = 6")
    code, out = cbi(copied_settings, "reproduce", "2024-12-31", "6")
    assert code == 1
    assert re.search(r"differs q05 [\d.]+ [\d.]+", out)


def test_backup_and_restore_say_what_they_did(cbi, copied_settings, tmp_path):
    file = tmp_path / "state.tar.gz"
    code, out = cbi(copied_settings, "backup", str(file))
    assert code == 0
    assert re.search(r"state.tar.gz: \d+ files, [\d,]+ bytes, [\d,]+ in the archive; verified.", out)
    assert "nothing was replaced" in cbi(copied_settings, "restore", str(file))[1]
    change_warehouse(copied_settings, "DELETE FROM predictions")
    with pytest.raises(CbiError, match="differ from the backup"):
        cbi(copied_settings, "restore", str(file))
    code, out = cbi(copied_settings, "restore", str(file), "--force")
    assert (code, bool(re.search("The state of .* UTC is in place", out))) == (0, True)
    assert len(forecasts(copied_settings)) == 4


def test_any_command_first_takes_back_a_killed_restore(cbi, copied_settings):
    champion = copied_settings.models_dir / "champion.json"
    aside = copied_settings.project_dir / ".models.replaced"
    copied_settings.models_dir.rename(aside)
    marker = copied_settings.project_dir / ".restoring.json"
    marker.write_text(json.dumps([[str(copied_settings.models_dir), True]]))
    code, out = cbi(copied_settings, "models", "list")
    assert code == 0
    assert "the state from before it is back" in out
    assert champion.exists()
    assert not marker.exists()


def listed(settings):
    return sorted(path.name for path in settings.bundles_dir.iterdir() if path.is_dir())


def test_prune_prints_what_would_go_and_its_bytes(cbi, copied_settings):
    versions = [f"2020010{number}T000000Z-00000000" for number in range(1, 8)]
    for version in versions:
        (copied_settings.bundles_dir / version).mkdir(parents=True)
        (copied_settings.bundles_dir / version / "file").write_bytes(b"x" * 1000)
    code, out = cbi(copied_settings, "prune", "--dry-run")
    assert code == 0
    assert "2 would go, 2,000 bytes." in out
    assert listed(copied_settings) == versions
    assert "2 removed, 2,000 bytes." in cbi(copied_settings, "prune")[1]
    assert listed(copied_settings) == versions[2:]
    assert "0 removed" in cbi(copied_settings, "prune")[1]


def test_a_damaged_database_of_dagster_is_said_and_restored_by_force(cbi, finished_run, tmp_path):
    settings = new_project(tmp_path / "project")
    shutil.copytree(finished_run.settings.project_dir, settings.project_dir, dirs_exist_ok=True)
    cbi(settings, "backup", str(tmp_path / "state.tar.gz"))
    runs = settings.dagster_dir / "history" / "runs.db"
    runs.write_bytes(b"no database" * 1000)
    for command in (("predict",), ("prune",), ("backup", str(tmp_path / "other.tar.gz"))):
        with pytest.raises(CbiError, match="a database of Dagster cannot be used") as refusal:
            cbi(settings, *command)
        assert "cbi restore FILE --force" in refusal.value.fix
    with pytest.raises(CbiError, match="cannot be used"):
        cbi(settings, "restore", str(tmp_path / "state.tar.gz"))
    assert cbi(settings, "restore", str(tmp_path / "state.tar.gz"), "--force")[0] == 0
    assert "SUCCESS" in cbi(settings, "trace", "2024-12-31", "3")[1]
