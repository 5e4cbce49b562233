from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import duckdb
import pytest

from cbi_pipeline import __version__, cli
from cbi_pipeline.evaluation.scorecard import BENCHMARK_ENTRIES
from cbi_pipeline.modeling.config import ARCHITECTURES, TARGETS
from cbi_pipeline.reports.console import ARCHITECTURE_TITLES, ENTRY_TITLES
from cbi_pipeline.settings import Settings
from cbi_pipeline_tests.command_line import folded, variables
from cbi_pipeline_tests.projects import REPOSITORY, STARTER, new_project


def test_help_lists_every_command(cbi):
    answer = cbi("--help")
    assert answer.code == 0
    commands = re.findall(
        r" (run|predict|leaderboard|experiments|doctor|ui|bundle|features|warehouse) [A-Z]", answer.out
    )
    names = ("run", "predict", "leaderboard", "experiments", "doctor", "ui", "bundle", "features", "warehouse")
    assert commands == list(names)
    bundle = r" (build|verify|publish|sync|list|diff|prune|load|export) [A-Z]"
    assert re.findall(bundle, cbi("bundle", "--help").out) == [
        *("build", "verify", "publish", "sync", "list", "diff", "prune", "load", "export")
    ]
    assert re.findall(r" (dictionary|life) [A-Z]", cbi("features", "--help").out) == ["dictionary", "life"]


def test_the_version_is_printed_alone(cbi):
    assert cbi("--version").out.strip() == __version__


def test_an_unknown_command_is_a_usage_error(cbi):
    answer = cbi("forecast")
    assert answer.code == 2
    assert "No such command" in answer.err


def test_a_refusal_is_a_panel_and_exit_code_1(cbi):
    answer = cbi("leaderboard")
    assert answer.code == 1
    assert "scorecard.json" in answer.err
    assert "this asset has not been materialised yet. To fix: run `cbi run`" in answer.err
    assert "Traceback" not in answer.err + answer.out
    assert answer.out.strip() == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_a_panel_and_any_other_system_error_a_bug(cbi, monkeypatch, number):
    def refuse(settings):
        raise OSError(number, os.strerror(number), "/a/file")

    monkeypatch.setattr("cbi_pipeline.orchestration.run.prepare_dagster_home", refuse)
    answer = cbi("predict")
    assert answer.code == 1
    assert f"/a/file the disk refuses: {os.strerror(number)}." in answer.err
    assert "Traceback" not in answer.err + answer.out
    number = errno.EISDIR
    with pytest.raises(OSError, match="Is a directory"):
        cbi("predict")


def test_predict_before_any_run_says_what_to_do(cbi):
    answer = cbi("predict")
    assert answer.code == 1
    assert "champion.json" in answer.err
    assert "run `cbi run`" in answer.err
    assert "Traceback" not in answer.err + answer.out


def test_experiments_before_any_run_say_what_to_do(cbi):
    answer = cbi("experiments")
    assert answer.code == 1
    assert "The warehouse does not exist yet." in answer.err
    assert "cbi run" in answer.err
    assert "Traceback" not in answer.err + answer.out


@pytest.mark.parametrize(
    ("arguments", "profile"), [([], "smoke"), (["--profile", "full"], "full"), (["--profile", "quick"], "quick")]
)
def test_the_profile_of_a_run_overrides_the_variable(cbi, monkeypatch, arguments, profile):
    executed = []
    monkeypatch.setattr(cli, "_execute", lambda settings, job, **_: executed.append((settings.profile, job)))
    assert cbi("run", *arguments).code == 0
    assert executed == [(profile, "retrain")]


def test_an_unknown_profile_is_a_usage_error_that_names_the_known_ones(cbi, monkeypatch):
    monkeypatch.setattr(cli, "_execute", lambda *_, **__: pytest.fail("it ran"))
    answer = cbi("run", "--profile", "fast")
    assert answer.code == 2
    assert "'fast' is not one of 'quick', 'full', 'smoke'" in answer.err


def test_a_bad_setting_names_its_variable(cbi):
    cbi.set("CBI_SEED", "many")
    answer = cbi("doctor")
    assert answer.code == 1
    assert "SettingsError CBI_SEED" in answer.err
    assert "Traceback" not in answer.err


def test_an_unknown_variable_is_reported_with_what_was_meant(cbi):
    cbi.set("CBI_SEDE", "1")
    answer = cbi("bundle", "list")
    assert answer.code == 0
    assert "CBI_SEDE is set, but no such setting exists. Did you mean CBI_SEED?" in answer.err


def test_an_interrupt_says_that_work_is_kept(cbi, monkeypatch):
    def interrupted(*_: object, **__: object):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_execute", interrupted)
    answer = cbi("run")
    assert answer.code == 130
    assert "the same command goes on from there" in answer.err


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_a_run_is_no_traceback(new_settings):
    """As a user does it: the signal arrives while a stage works."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")}
    started = subprocess.Popen(
        [sys.executable, "-m", "cbi_pipeline.cli", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**environment, **variables(new_settings), "PYTHONUNBUFFERED": "1"},
    )
    assert started.stdout is not None
    for line in started.stdout:
        if "raw tables: done" in line:
            break
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert "the same command goes on from there" in folded(err)
    assert "Traceback" not in err
    assert not new_settings.warehouse_path.exists() or select(new_settings, "SELECT * FROM predictions") == []


def test_a_bug_keeps_its_traceback(new_settings, monkeypatch):
    def bug(*_: object, **__: object):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_execute", bug)
    monkeypatch.setattr(sys, "argv", ["cbi", "run"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_damaged_starter_is_no_reason_to_go_on(cbi, new_settings, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(STARTER, damaged)
    (damaged / "_SUCCESS").unlink()
    answer = cbi("run", settings=new_settings.model_copy(update={"starter_dir": damaged}))
    assert answer.code == 1
    assert "_SUCCESS" in answer.err
    assert not new_settings.warehouse_path.exists()
    assert not new_settings.models_dir.exists()


def test_doctor_prints_every_setting_and_no_secret(cbi, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "very-secret-value")
    answer = cbi("doctor")
    for name in Settings.model_fields:
        assert f" CBI_{name.upper()} " in answer.out
    assert "very-secret-value" not in answer.out + answer.err
    for subject in ("Python", "packages", "variables", "device", "data", "warehouse", "disk"):
        assert re.search(rf" {subject} (ok|fix) ", answer.out), subject


@pytest.mark.parametrize("command", [["doctor"], ["bundle", "list"]])
def test_a_narrow_terminal_hides_nothing(cbi, command):
    answer = cbi(*command, width=80)
    assert "starter" in answer.out
    assert "…" not in answer.out


def test_doctor_exits_with_1_when_something_needs_a_fix(cbi, new_settings):
    cbi.set("CBI_SEDE", "1")
    answer = cbi("doctor")
    assert answer.code == 1
    assert re.search(r" variables fix unknown: CBI_SEDE CBI_SEDE: did you mean CBI_SEED\? ", answer.out)


# --- the command as a user runs it ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    settings: Settings
    out: str
    err: str


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> Printed:
    """`cbi run` in a process of its own, in an empty project."""
    settings = new_project(tmp_path_factory.mktemp("cli") / "project")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")}
    done = subprocess.run(
        [sys.executable, "-m", "cbi_pipeline.cli", "run"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**environment, **variables(settings), "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return Printed(settings, done.stdout, done.stderr)


def select(settings: Settings, sql: str) -> list[tuple]:
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        return connection.sql(sql).fetchall()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│").split("│")]


@pytest.mark.slow
def test_the_printed_forecast_is_what_the_view_holds(printed):
    stored = select(
        printed.settings,
        "SELECT horizon_months, target_date, last_price, predicted_price, q10, q90, status, as_of_date"
        " FROM vw_latest_forecast ORDER BY horizon_months",
    )
    lines = [cells(line) for line in printed.out.splitlines() if re.match(r"│ +\d+ months", line)]
    assert lines == [
        [
            f"{horizon} months",
            str(target),
            f"{price:.2f}",
            f"{price / last - 1:+.1%}",
            f"{low:.2f} to {high:.2f}",
            status,
        ]
        for horizon, target, last, price, low, high, status, _ in stored
    ]
    assert len(lines) == 4
    assert f"last trade date {stored[0][7]}, last price {stored[0][2]:.2f} cents/lb" in printed.out


@pytest.mark.slow
def test_the_printed_leaderboard_is_what_the_metrics_table_holds(printed):
    stored = dict(
        select(
            printed.settings,
            "SELECT (entry, horizon_months, metric), value FROM metrics"
            " WHERE fold = 'common' AND metric IN ('mape', 'rmse_ratio')",
        )
    )
    titles = {title: entry for entry, title in ENTRY_TITLES.items()}
    lines = {row[0]: row[1:] for row in (cells(line) for line in printed.out.splitlines()) if row[0] in titles}
    assert set(lines) == set(titles)
    shown_entries = [titles[title] for title in lines]
    assert set(shown_entries[:3]) == set(ARCHITECTURES)
    assert set(shown_entries[-9:]) == set(BENCHMARK_ENTRIES)
    for title, shown in lines.items():
        entry = titles[title]
        expected = [f"{stored[entry, h, 'mape']:.1f} {stored[entry, h, 'rmse_ratio']:.3f}" for h in (3, 6, 9, 12)]
        assert [cell.rstrip("*°") for cell in shown] == expected


@pytest.mark.slow
def test_the_run_says_what_data_it_uses_why_it_holds_and_where_things_are(printed):
    text, settings = printed.out, printed.settings
    assert "Data: Using the starter bundle of the repository, whose prices end on 2024-12-31" in text
    assert "`cbi bundle build`" in text
    assert "all horizons: the data end on 2024-12-31, where the starter bundle ends" in text
    assert "Forecast rows: 4 new, 0 already published" in text
    for path in (settings.warehouse_path, settings.models_dir, settings.starter_dir):
        assert str(path) in text
    assert "make ui" in text
    assert re.search(r"Computed: .*anchor.*, scaler.*, training.*, feature selection.*, scorecard", text)
    assert "Traceback" not in printed.err


@pytest.mark.slow
def test_leaderboard_prints_the_last_scorecard(printed, cbi):
    answer = cbi("leaderboard", settings=printed.settings)
    assert answer.code == 0
    mape = select(
        printed.settings,
        "SELECT value FROM metrics"
        " WHERE entry = 'anchor' AND horizon_months = 3 AND metric = 'mape' AND fold = 'common'",
    )
    assert re.search(rf" anchor {mape[0][0]:.1f} ", answer.out)
    assert "out of fold, 20" in answer.out


@pytest.mark.slow
def test_experiments_lists_what_the_table_holds(printed, cbi):
    answer = cbi("experiments", settings=printed.settings)
    assert answer.code == 0
    stored = select(
        printed.settings,
        "SELECT experiment_id, architecture, target, validation_loss, rmse_ratio_3m FROM experiments",
    )
    assert len(stored) == len(ARCHITECTURES) * len(TARGETS)
    for identity, architecture, target, loss, ratio in stored:
        title = re.escape(ARCHITECTURE_TITLES[architecture])
        assert re.search(rf" {identity} {title} {loss:.3f} {ratio:.3f} [0-9.: -]+ {target}, smoke 1 x 1 ", answer.out)


@pytest.mark.slow
def test_predict_prints_the_published_forecast(printed, cbi):
    answer = cbi("predict", settings=printed.settings)
    assert answer.code == 0
    assert "Forecast rows: 0 new, 4 already published" in answer.out
    assert re.search(r"Re-used, because nothing they depend on has changed: curated features, .*forecast", answer.out)
    price = select(printed.settings, "SELECT predicted_price FROM vw_latest_forecast WHERE horizon_months = 12")
    assert re.search(rf" 12 months \S+ {price[0][0]:.2f} ", answer.out)


# --- the warehouse ------------------------------------------------------------------------------------------------


def test_the_warehouse_is_migrated_shown_and_compared(cbi, new_settings):
    assert "does not exist yet" in cbi("warehouse", "status").err
    assert "applied 1: first tables" in cbi("warehouse", "migrate").out
    assert "Nothing to apply." in cbi("warehouse", "migrate").out
    shown = cbi("warehouse", "status")
    assert shown.code == 0
    assert re.search(r"predictions\W+0", shown.out)
    assert "tables and views are as their contracts say" in cbi("warehouse", "diff").out
    with duckdb.connect(new_settings.warehouse_path) as connection:
        connection.execute("ALTER TABLE metrics ADD COLUMN comment VARCHAR")
    different = cbi("warehouse", "diff")
    assert (different.code, "table metrics has" in different.out) == (1, True)
    assert "comment" in cbi("warehouse", "migrate").err


def test_a_pending_migration_is_told(cbi, new_settings):
    cbi("warehouse", "migrate")
    with duckdb.connect(new_settings.warehouse_path) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE version = 2")
    pending = cbi("warehouse", "status")
    assert (pending.code, "pending" in pending.out) == (1, True)
    assert "applied 2: scorecards" in cbi("warehouse", "migrate").out


def test_bigquery_without_a_project_is_refused(cbi):
    cbi.set("CBI_WAREHOUSE", "bigquery")
    assert "needs CBI_GCP_PROJECT" in cbi("predict").err
