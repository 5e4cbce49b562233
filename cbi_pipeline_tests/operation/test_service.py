"""The services' files, and the commands of the system; written into a home of their own, nothing is started."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cbi_pipeline import processes
from cbi_pipeline.cli import app
from cbi_pipeline.errors import CbiError, SettingsError
from cbi_pipeline.operation import service
from cbi_pipeline_tests.projects import new_project

ENVIRONMENT = {"CBI_PROFILE": "full", "HOME": "/home/a", "FRED_API_KEY": "abc", "CBI_TYPO": "1", "CBI_DEVICE": "mps"}


class Recorded:
    """The commands that would be executed, and what the system answers to each."""

    def __init__(self, out="", code=0):
        self.commands, self.out, self.code = [], out, code

    def __call__(self, command):
        self.commands.append(" ".join(command))
        code = self.code or (113 if command[:2] == ["launchctl", "print"] and not self.out else 0)
        return subprocess.CompletedProcess(command, code, self.out, "refused" if code else "")


@pytest.fixture
def settings(tmp_path):
    return new_project(tmp_path / 'a project, 100% "quoted" $HOME')


def files_of(settings, system, home, environ=ENVIRONMENT):
    return service.service_files(settings, environ, system=system, home=home, port=3001)


def test_agents_are_what_launchd_reads(settings, tmp_path):
    files = files_of(settings, "darwin", tmp_path)
    agents = {file.path.name: plistlib.loads(file.content) for file in files}
    assert set(agents) == {f"org.cbi.{name}.plist" for name in ("code-server", "webserver", "daemon", "logs")}
    assert {file.path.parent for file in files} == {tmp_path / "Library" / "LaunchAgents"}
    for name, agent in agents.items():
        assert f"{agent['Label']}.plist" == name, "launchctl finds a service by the name of its file"
        assert agent["WorkingDirectory"] == str(settings.dagster_dir)
        assert Path(agent["ProgramArguments"][0]).is_absolute()
        assert agent["EnvironmentVariables"] == {
            "CBI_PROFILE": "full",
            "CBI_DEVICE": "mps",
            "CBI_PROJECT_DIR": str(settings.project_dir),
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONUNBUFFERED": "1",
        }
    for name in ("code-server", "webserver", "daemon"):
        agent = agents[f"org.cbi.{name}.plist"]
        assert agent["ProgramArguments"][1:] == ["service", "run", name, "--port", "3001"]
        assert (agent["RunAtLoad"], agent["KeepAlive"], agent["ThrottleInterval"]) == (True, True, 30)
        log = str(settings.dagster_dir / "logs" / f"{name}.log")
        assert agent["StandardOutPath"] == agent["StandardErrorPath"] == log
    logs = agents["org.cbi.logs.plist"]
    assert logs["StartCalendarInterval"] == {"Hour": 3, "Minute": 10}
    assert "KeepAlive" not in logs


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_accepts_the_units_as_they_are_meant(settings, tmp_path):
    """Its own parser reads them: a name with spaces, quotes, `%` and `$` comes out as it went in."""
    settings.dagster_dir.mkdir()
    files = files_of(settings, "linux", tmp_path)
    assert [file.path.relative_to(tmp_path).as_posix() for file in files] == [
        f".config/systemd/user/cbi-{name}.service" for name in service.SERVICES
    ]
    service.install(settings, files, system="linux", execute=Recorded(), start=False)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    verify = ["systemd-analyze", "--user", "verify", "--recursive-errors=no"]
    for file in files:
        answer = subprocess.run([*verify, str(file.path)], capture_output=True, text=True, env=environment)
        said = answer.stderr + answer.stdout
        assert str(file.path) not in said, said
        assert file.path.name not in said, said
    for name, file in zip(service.SERVICES, files, strict=True):
        text = file.content.decode()
        assert "Restart=always\nRestartSec=30\n" in text
        command = service._command("run", name, "--port", "3001")
        assert "ExecStart=" + " ".join(f'"{part}"' for part in command) in text
        assert "100%% " in text, "systemd reads %% as a per cent sign"
    broken = tmp_path / "broken.service"
    broken.write_bytes(files[1].content.replace(b"Type=exec", b"Type=nonsense"))
    assert (
        "broken.service"
        in subprocess.run([*verify, str(broken)], capture_output=True, text=True, env=environment).stderr
    )


def test_no_secret_stands_in_a_file(settings, tmp_path, monkeypatch):
    """No setting is secret today; one whose name looks so stays out, and is named."""
    monkeypatch.setitem(type(settings).model_fields, "alert_webhook", None)
    environ = {**ENVIRONMENT, "CBI_ALERT_WEBHOOK": "https://hooks.example/T0/B0/xyz"}
    for system in ("darwin", "linux"):
        content = b"".join(file.content for file in files_of(settings, system, tmp_path, environ))
        assert b"xyz" not in content
        assert b"abc" not in content
    assert service.withheld(settings, environ) == ["CBI_ALERT_WEBHOOK"]


def test_private_variables_are_read_from_a_file_that_nobody_else_reads(settings):
    assert service.private_environment(settings) == {}
    settings.dagster_dir.mkdir()
    file = settings.dagster_dir / "service.env"
    file.write_text("# where alerts go\nCBI_ALERT_WEBHOOK=https://hooks.example/a=b\n\n")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read it"):
        service.private_environment(settings)
    file.chmod(0o600)
    assert service.private_environment(settings) == {"CBI_ALERT_WEBHOOK": "https://hooks.example/a=b"}
    file.write_text("no assignment\n")
    with pytest.raises(SettingsError, match="line 1"):
        service.private_environment(settings)


def test_installing_again_replaces_and_uninstalling_leaves_nothing(settings, tmp_path):
    for system, started, stopped in (
        (
            "linux",
            "systemctl --user restart cbi-code-server.service cbi-webserver.service cbi-daemon.service",
            "systemctl --user disable --now",
        ),
        (
            "darwin",
            f"launchctl bootstrap gui/{os.getuid()} {tmp_path}",
            f"launchctl bootout gui/{os.getuid()}/org.cbi.",
        ),
    ):
        files, executed = files_of(settings, system, tmp_path), Recorded()
        service.install(settings, files, system=system, execute=executed, start=True)
        service.install(settings, files, system=system, execute=executed, start=True)
        assert [command for command in executed.commands if command.startswith(started)]
        assert all(file.path.read_bytes() == file.content for file in files)
        executed = Recorded()
        assert service.uninstall(files, system=system, execute=executed) == [file.path for file in files]
        assert len([command for command in executed.commands if command.startswith(stopped)]) == len(files)
        assert not [path for path in tmp_path.rglob("*cbi*") if path.is_file()]
        assert service.uninstall(files, system=system, execute=executed) == []


def test_an_agent_is_loaded_again_when_the_one_before_has_stopped(settings, tmp_path):
    said = []

    def stops_slowly(command):
        said.append(command[1])
        return subprocess.CompletedProcess(command, 113 if said[-3:] == ["print"] * 3 else 0, "", "")

    files = files_of(settings, "darwin", tmp_path)
    service.install(settings, files, system="darwin", execute=stops_slowly, start=True)
    assert said == ["bootout", "print", "print", "print", "bootstrap"] * len(files)


def test_a_system_that_refuses_is_quoted(settings, tmp_path):
    with pytest.raises(CbiError, match=r"daemon-reload: the system refuses \(refused\)"):
        service.install(
            settings, files_of(settings, "linux", tmp_path), system="linux", execute=Recorded(code=1), start=True
        )
    with pytest.raises(CbiError, match="no such command"):
        service.execute(["launchctl-of-another-machine"])


def test_the_state_is_read_from_what_the_system_says(settings, tmp_path):
    launchd = "org.cbi.daemon = {\n\tactive count = 1\n\tstate = running\n\n\tpid = 412\n\truns = 1\n"
    launchd += "\tlast exit code = 0\n}\n"
    state = service.states(files_of(settings, "darwin", tmp_path), system="darwin", execute=Recorded(launchd))[2]
    assert (state.name, state.running, state.said) == (
        "org.cbi.daemon",
        True,
        "state = running, pid = 412, runs = 1, last exit code = 0",
    )
    systemd = "ActiveState=activating\nSubState=auto-restart\nMainPID=0\nExecMainStatus=1\nNRestarts=7\n"
    state = service.states(files_of(settings, "linux", tmp_path), system="linux", execute=Recorded(systemd))[0]
    assert (state.installed, state.running) == (False, False)
    assert "SubState=auto-restart" in state.said


def test_a_large_log_is_put_aside_while_its_writer_goes_on(settings):
    log = service.log_file(settings, "daemon")
    log.parent.mkdir(parents=True)
    with log.open("ab", buffering=0) as writer:
        assert service.rotate_logs(settings) == []
        for number in range(service.KEPT_LOGS + 2):
            writer.write(str(number).encode() * (service.LARGEST_LOG_BYTES + 1))
            assert service.rotate_logs(settings) == [log]
            assert log.stat().st_size == 0
        writer.write(b"and on")
    assert log.read_bytes() == b"and on"
    kept = sorted(path.name for path in log.parent.iterdir())
    assert kept == ["daemon.log", *(f"daemon.log.{number}" for number in range(1, service.KEPT_LOGS + 1))]
    assert log.with_name("daemon.log.1").read_bytes()[:1] == b"6"
    assert log.with_name("daemon.log.5").read_bytes()[:1] == b"2"


def test_a_mac_is_kept_awake_for_as_long_as_the_process_lives(monkeypatch):
    started = []
    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(Popen=started.append))
    monkeypatch.setattr(sys, "platform", "linux")
    processes.keep_awake.cache_clear()
    processes.keep_awake()
    assert started == []
    monkeypatch.setattr(sys, "platform", "darwin")
    processes.keep_awake.cache_clear()
    processes.keep_awake()
    processes.keep_awake()
    assert started == [["/usr/bin/caffeinate", "-i", "-w", str(os.getpid())]]


def test_the_commands_write_only_into_the_home(settings, tmp_path, monkeypatch, request):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CBI_PROJECT_DIR", str(settings.project_dir))
    assert "%" in str(settings.dagster_dir)
    refused = CliRunner().invoke(app, ["service", "install", "--no-start"])
    assert isinstance(refused.exception, SettingsError), "no socket can be there"
    assert not list(home.iterdir())
    short = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(short))
    monkeypatch.setenv("CBI_DAGSTER_DIR", str(short / "state"))
    monkeypatch.setattr(service, "execute", Recorded("ActiveState=inactive"))
    for system in ("darwin", "linux"):
        monkeypatch.setattr(service, "this_system", lambda system=system: system)
        shown = CliRunner().invoke(app, ["service", "install", "--dry-run"]).output
        assert not list(home.iterdir())
        assert "PYTHONUNBUFFERED" in shown
        assert CliRunner().invoke(app, ["service", "install", "--no-start"]).exit_code == 0
        written = [path for path in home.rglob("*") if path.is_file()]
        assert len(written) == (4 if system == "darwin" else 3)
        assert all(re.sub(r"\s", "", path.read_text()) in re.sub(r"\s", "", shown) for path in written)
        assert CliRunner().invoke(app, ["service", "status"]).exit_code == 1
        assert CliRunner().invoke(app, ["service", "uninstall"]).output.count("removed") == len(written)
        for folder in home.iterdir():
            shutil.rmtree(folder)
    assert not [command for command in service.execute.commands if "restart" in command or "bootstrap" in command]
