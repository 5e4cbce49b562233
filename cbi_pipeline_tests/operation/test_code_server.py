"""Code server, webserver and daemon, started by the commands that stand in the services' files, on this machine."""

from __future__ import annotations

import json
import os
import plistlib
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import EngineEventData

from cbi_pipeline.errors import CbiError, SettingsError
from cbi_pipeline.operation import service
from cbi_pipeline.orchestration.instance import open_instance
from cbi_pipeline_tests.command_line import variables
from cbi_pipeline_tests.projects import REPOSITORY, new_project

LOCATION = "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }"
LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""


class Services:
    """The processes of a project's services, by name."""

    def __init__(self, folder: Path) -> None:
        self.settings = new_project(folder)
        self.settings.dagster_dir.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        files = service.service_files(
            self.settings, variables(self.settings), system="darwin", home=folder, port=self.port
        )
        self.agents = {file.path.stem.rpartition(".")[2]: plistlib.loads(file.content) for file in files}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        agent = self.agents[name]
        with (self.settings.project_dir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                agent["ProgramArguments"],
                cwd=agent["WorkingDirectory"],
                env={**agent["EnvironmentVariables"], "PYTHONPATH": str(REPOSITORY), "HOME": os.environ["HOME"]},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, query: str, **values: object) -> dict:
        """What the webserver answers; nothing while it does not."""
        body = json.dumps({"query": query, "variables": values}).encode()
        url, header = f"http://127.0.0.1:{self.port}/graphql", {"Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, header), timeout=10) as response:
                return json.load(response)["data"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return {}

    def location(self) -> str | None:
        """What the webserver has of the code location `cbi`."""
        workspace = self.ask(LOCATION).get("workspaceOrError", {"locationEntries": []})
        entries = {entry["name"]: entry["locationOrLoadError"] for entry in workspace["locationEntries"]}
        return entries["cbi"]["__typename"] if entries else None

    def launch(self, asset: str) -> str:
        """Materialise an asset without its checks, as the UI does; the id of the run."""
        selector = {
            "repositoryLocationName": "cbi",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
            "assetCheckSelection": [],
        }
        launched = self.ask(LAUNCH, parameters={"selector": selector, "runConfigData": {}})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def wait_for(self, happened: Callable[[], object], what: str) -> None:
        end = time.monotonic() + 180
        while not happened():
            said = {log.stem: log.read_text()[-1500:] for log in self.settings.project_dir.glob("*.log")}
            assert time.monotonic() < end, f"{what}: waited in vain; {said}"
            assert all(process.poll() is None for process in self.processes.values()), said
            time.sleep(1)


@pytest.fixture
def services(short_path: Path) -> Iterator[Services]:
    made = Services(short_path / "cbi")
    try:
        yield made
    finally:
        for name in list(made.processes):
            made.kill(name)


@pytest.mark.slow
def test_webserver_and_daemon_find_the_code_server_whenever_it_comes(services):
    services.start("webserver")
    services.start("daemon")
    services.wait_for(lambda: services.location() == "PythonError", "the webserver without a code server")
    services.start("code-server")
    services.wait_for(lambda: services.location() == "RepositoryLocation", "the webserver to know the code")
    home = services.settings.dagster_dir
    with open_instance(services.settings) as instance:
        services.wait_for(lambda: ticks(instance, "alerts"), "the daemon to let a sensor look")

        assert stat.S_IMODE((home / "code-server").stat().st_mode) == 0o700
        if sys.platform == "linux":
            assert listening(services.processes["code-server"].pid) == {f"{home}/code-server/socket"}

        run_id = services.launch("raw_policy")
        orphan = ended_without_a_word(instance)
        services.kill("code-server")  # the daemon looks into the queue every five seconds
        services.wait_for(lambda: services.location() == "PythonError", "the webserver to notice")
        services.start("code-server")
        services.wait_for(lambda: services.location() == "RepositoryLocation", "the webserver to know the code again")
        services.wait_for(lambda: instance.get_run_by_id(run_id).is_finished, "the daemon to start the run")
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
        assert instance.get_run_by_id(orphan).status is dg.DagsterRunStatus.FAILURE
    for name in ("webserver", "daemon"):
        started = subprocess.run(["pgrep", "-P", str(services.processes[name].pid)], capture_output=True, text=True)
        assert started.stdout == "", f"{name} has a code server of its own"
    server = services.processes.pop("code-server")
    server.send_signal(signal.SIGTERM)
    server.wait(30)
    assert not (home / "code-server" / "socket").exists()


def test_the_location_is_that_of_the_workspace_for_use_by_hand(tmp_path):
    settings = new_project(tmp_path, dagster_dir=Path(tempfile.gettempdir()) / "cbi")
    (by_hand,) = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]
    command = service.program(settings, "code-server", 3000)
    assert command[command.index("--module-name") + 1] == by_hand["python_module"]["module_name"]
    assert command[command.index("--location-name") + 1] == by_hand["python_module"]["location_name"]


@pytest.mark.parametrize("name", ["a" * 100, "a, b", "50%41", "a#1", "why?"])
def test_a_folder_in_which_no_socket_can_be_is_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="set CBI_DAGSTER_DIR"):
        service.prepare_code_server(new_project(tmp_path / name))
    assert not (tmp_path / name / ".dagster").exists()


def test_runs_of_an_earlier_code_server_are_failed_when_the_new_one_listens(short_path, monkeypatch):
    monkeypatch.setattr(service, "_NOTICED_SECONDS", 0)
    settings = new_project(short_path)
    service.prepare_code_server(settings)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(service.code_server_socket(settings)))  # nobody takes connections
        monkeypatch.setattr(service, "_LOADS_SECONDS", 0)
        with pytest.raises(CbiError, match="did not begin to listen"):
            service.await_code_server(settings)
        monkeypatch.setattr(service, "_LOADS_SECONDS", 30)
        began = []
        later = threading.Timer(0.5, lambda: (began.append(time.monotonic()), stale.listen()))
        later.start()
        service.await_code_server(settings)
        assert began
        later.join()


@dg.job
def unfinished():
    pass


def ended_without_a_word(instance: dg.DagsterInstance) -> str:
    """A run at work in a process that is no more; its id."""
    process = subprocess.Popen(["true"])
    process.wait()
    run = instance.create_run_for_job(unfinished)
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "unfinished"), run_id=run.run_id)
    instance.report_engine_event("began", run, EngineEventData({"pid": dg.MetadataValue.text(str(process.pid))}))
    return run.run_id


def ticks(instance: dg.DagsterInstance, sensor: str) -> list[object]:
    states = instance.all_instigator_state()
    return [
        tick
        for state in states
        if state.instigator_name == sensor
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
    ]


def listening(pid: int) -> set[str]:
    """Addresses at which a process takes connections."""
    held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    found = {row[7] for row in unix if f"socket:[{row[6]}]" in held and int(row[3], 16) & 0x10000 and len(row) > 7}
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        found |= {row[1] for row in rows if f"socket:[{row[9]}]" in held and row[3] == "0A"}
    return found
