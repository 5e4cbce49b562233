"""Dagster's code server, webserver and daemon as services of this user: LaunchAgents on macOS, systemd units on Linux.

Belongs here: which files they are, what stands in them, and the commands of the system that load and show them. What a
service executes is `cbi service run NAME`, which prepares the project and becomes the program itself. Webserver and
daemon share the code server, by a Unix socket; runs are processes of it (docs/decisions/0025).
"""

from __future__ import annotations

import fcntl
import json
import os
import plistlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.errors import CbiError, SettingsError
from cbi_pipeline.settings import ENV_PREFIX, Settings

Name = Literal["code-server", "webserver", "daemon"]
System = Literal["darwin", "linux"]
Execute = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

SERVICES: Final[tuple[Name, ...]] = ("code-server", "webserver", "daemon")
_DESCRIPTIONS: Final[dict[Name, str]] = {
    "code-server": "CBI: the code that webserver and daemon ask, and the runs",
    "webserver": "CBI: the Dagster UI",
    "daemon": "CBI: the Dagster daemon, which runs schedules, sensors and the queue",
}
_LABEL: Final = "org.cbi."
_ROTATION: Final = "logs"
_RESTART_SECONDS: Final = 30
_STOP_SECONDS: Final = 60
LARGEST_LOG_BYTES: Final = 5 << 20
KEPT_LOGS: Final = 5
_SECRET: Final = re.compile(r"secret|token|password|webhook|key|credential", re.IGNORECASE)
PRIVATE_FILE: Final = "service.env"
"""In Dagster's folder, readable by its owner alone: variables that must not stand in a service's file."""
_MODULE: Final = "cbi_pipeline.definitions"
_LOCATION: Final = "cbi"
"""As in workspace.yaml: schedules and sensors stay on or off by the name of their location."""
_LONGEST_SOCKET: Final = 103
"""Bytes of a Unix socket's path on macOS; Linux takes four more."""
_LOADS_SECONDS: Final = 300
_NOTICED_SECONDS: Final = 10
"""The daemon asks every second for a code server that is away, and then reads from it."""
_NOT_IN_SOCKETS: Final = re.compile("[,#?%]")
"""What gRPC reads as a part of an address, not of a file's name."""


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A file that the system reads, and what stands in it."""

    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How a service stands, in words of the system."""

    name: str
    installed: bool
    running: bool
    said: str


def this_system() -> System:
    """The system whose services these are. Raises SettingsError on another one."""
    if sys.platform == "darwin":
        return "darwin"
    if sys.platform.startswith("linux"):
        return "linux"
    raise SettingsError(sys.platform, "CBI has services for macOS and for Linux with systemd.", "start `cbi ui`.")


def service_files(
    settings: Settings, environ: Mapping[str, str], *, system: System, home: Path, port: int
) -> list[ServiceFile]:
    """Every file of the services of a system."""
    environment = service_environment(settings, environ)
    if system == "linux":
        folder = home / ".config" / "systemd" / "user"
        return [
            ServiceFile(folder / f"cbi-{name}.service", _unit(settings, name, environment, port).encode())
            for name in SERVICES
        ]
    folder = home / "Library" / "LaunchAgents"
    agents: dict[str, dict[str, Any]] = {name: _agent(settings, name, environment, port) for name in SERVICES}
    agents[_ROTATION] = _rotation_agent(settings, environment)
    return [
        ServiceFile(folder / f"{_LABEL}{name}.plist", plistlib.dumps(agent, sort_keys=False))
        for name, agent in agents.items()
    ]


def service_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a service: what decides the settings here. What is secret belongs into PRIVATE_FILE."""
    known = {ENV_PREFIX + name.upper() for name in type(settings).model_fields}
    own = {name: environ[name] for name in sorted(known & set(environ)) if not _SECRET.search(name)}
    binaries = str(Path(sys.executable).parent)
    return {
        **own,
        "CBI_PROJECT_DIR": str(settings.project_dir),
        "PATH": f"{binaries}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONUNBUFFERED": "1",
    }


def withheld(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Names of set variables that look secret, so that no file of a service holds them."""
    known = {ENV_PREFIX + name.upper() for name in type(settings).model_fields}
    return sorted(name for name in known & set(environ) if _SECRET.search(name))


def private_environment(settings: Settings) -> dict[str, str]:
    """Variables of PRIVATE_FILE, one `NAME=value` a line; none if there is no such file.

    Raises:
        SettingsError: others may read the file, or a line is no assignment.
    """
    file = settings.dagster_dir / PRIVATE_FILE
    if not file.exists():
        return {}
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise SettingsError(str(file), "others may read it, and it is for secrets.", f"chmod 600 {file}")
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not sign or not name.isidentifier():
            raise SettingsError(f"{file}, line {number}", "it is no NAME=value.", "write one assignment a line.")
        found[name] = value
    return found


def program(settings: Settings, name: Name, port: int) -> list[str]:
    """What a service becomes once the project is prepared.

    Raises:
        SettingsError: the code server cannot listen in Dagster's folder.
    """
    folder, listens = Path(sys.executable).parent, code_server_socket(settings)
    if name == "code-server":
        code = ["--module-name", _MODULE, "--location-name", _LOCATION, "--empty-working-directory"]
        return [str(folder / "dagster"), "api", "grpc", "--socket", str(listens), *code]
    workspace = ["--workspace", str(listens.with_name("workspace.yaml"))]
    if name == "webserver":
        return [str(folder / "dagster-webserver"), *workspace, "--host", "127.0.0.1", "--port", str(port)]
    return [str(folder / "dagster-daemon"), "run", *workspace]


def code_server_socket(settings: Settings) -> Path:
    """Where the code server listens.

    Raises:
        SettingsError: a socket cannot have this path.
    """
    path = settings.dagster_dir / "code-server" / "socket"
    if len(os.fsencode(path)) > _LONGEST_SOCKET or _NOT_IN_SOCKETS.search(str(path)):
        rule = f"the code server cannot listen there: at most {_LONGEST_SOCKET} bytes, none of them , # ? or %."
        raise SettingsError(str(path), rule, "set CBI_DAGSTER_DIR to another folder, or move the project.")
    return path


def prepare_code_server(settings: Settings) -> None:
    """Make the folder of the code server's socket, which nobody else may enter, with the workspace of its clients.

    Raises:
        SettingsError: a socket cannot have its path there.
    """
    path = code_server_socket(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)  # whoever reaches the socket executes code as this user
    server = {"socket": str(path), "location_name": _LOCATION}
    replace_file(path.with_name("workspace.yaml"), json.dumps({"load_from": [{"grpc_server": server}]}).encode())


@contextmanager
def one_starts(settings: Settings) -> Iterator[None]:
    """Wait until no other service starts: two at once in a new project would both make Dagster's databases."""
    with code_server_socket(settings).with_name("start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def leave_behind(name: str) -> None:
    """Start `cbi service NAME` as a process that nobody waits for."""
    subprocess.run(["/bin/sh", "-c", '"$@" &', "sh", *_command(name)], check=True)


def await_code_server(settings: Settings) -> None:
    """Wait until the code server takes connections, and for as long as the daemon needs to know of it.

    Raises:
        CbiError: it does not within five minutes.
    """
    path, latest = code_server_socket(settings), time.monotonic() + _LOADS_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
                break
            except OSError:
                if time.monotonic() > latest:
                    rule = "the code server did not begin to listen."
                    raise CbiError(str(path), rule, "see `cbi service logs code-server`.") from None
        time.sleep(1)
    time.sleep(_NOTICED_SECONDS)


def log_file(settings: Settings, name: str) -> Path:
    """Where a service writes on macOS."""
    return settings.dagster_dir / "logs" / f"{name}.log"


def rotate_logs(settings: Settings) -> list[Path]:
    """Put logs that have grown large aside, newest `.1`; those that were.

    A log is copied and cut to nothing, since its writer keeps it open and appends to it.
    """
    rotated = []
    for name in SERVICES:
        log = log_file(settings, name)
        if not log.exists() or log.stat().st_size <= LARGEST_LOG_BYTES:
            continue
        for number in range(KEPT_LOGS - 1, 0, -1):
            earlier = log.with_name(f"{log.name}.{number}")
            if earlier.exists():
                os.replace(earlier, log.with_name(f"{log.name}.{number + 1}"))
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
        rotated.append(log)
    return rotated


def install(settings: Settings, files: Sequence[ServiceFile], *, system: System, execute: Execute, start: bool) -> None:
    """Write the files, and start the services anew.

    Raises:
        CbiError: the system refuses; the files stay for a look at them.
    """
    log_file(settings, "daemon").parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(file.content)
    if not start:
        return
    if system == "linux":
        units = [file.path.name for file in files]
        _require(execute, ["systemctl", "--user", "daemon-reload"])
        _require(execute, ["systemctl", "--user", "enable", *units])
        _require(execute, ["systemctl", "--user", "restart", *units])
        return
    for file in files:
        _boot_out(execute, f"{_domain()}/{file.path.stem}")
        _require(execute, ["launchctl", "bootstrap", _domain(), str(file.path)])


def uninstall(files: Sequence[ServiceFile], *, system: System, execute: Execute) -> list[Path]:
    """Stop the services and remove their files; those that were there."""
    present = [file.path for file in files if file.path.exists()]
    for path in present:
        if system == "linux":
            execute(["systemctl", "--user", "disable", "--now", path.name])
        else:
            execute(["launchctl", "bootout", f"{_domain()}/{path.stem}"])
        path.unlink()
    if present and system == "linux":
        execute(["systemctl", "--user", "daemon-reload"])
    return present


def states(files: Sequence[ServiceFile], *, system: System, execute: Execute) -> list[ServiceState]:
    """How every service stands."""
    found = []
    for file in files:
        if system == "linux":
            wanted = "--property=ActiveState,SubState,MainPID,ExecMainStatus,NRestarts"
            answer = execute(["systemctl", "--user", "show", wanted, file.path.name])
            said = " ".join(answer.stdout.split())
            running = "ActiveState=active" in said
        else:
            answer = execute(["launchctl", "print", f"{_domain()}/{file.path.stem}"])
            kept = re.findall(r"^\s*((?:state|pid|last exit code|runs) = .*)$", answer.stdout, re.MULTILINE)
            said = ", ".join(kept)
            running = "state = running" in said
        said = said or " ".join(answer.stderr.split())
        found.append(ServiceState(file.path.stem, file.path.exists(), running, said))
    return found


def log_command(settings: Settings, name: Name, *, system: System, lines: int, follow: bool) -> list[str]:
    """The command that shows the log of a service."""
    if system == "linux":
        command = ["journalctl", "--user", "--no-pager", "--unit", f"cbi-{name}.service", "--lines", str(lines)]
        return [*command, *(["--follow"] if follow else [])]
    return ["tail", "-n", str(lines), *(["-F"] if follow else []), str(log_file(settings, name))]


def execute(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Execute a command of the system; its answer, whatever its exit code.

    Raises:
        CbiError: there is no such command.
    """
    try:
        return subprocess.run(list(command), capture_output=True, text=True)
    except FileNotFoundError as error:
        fix = "use --no-start to write the files alone, and start `cbi ui` by hand."
        raise CbiError(command[0], "this machine has no such command.", fix) from error


def _require(execute: Execute, command: Sequence[str]) -> None:
    answer = execute(command)
    if answer.returncode:
        said = " ".join((answer.stderr or answer.stdout).split())
        raise CbiError(" ".join(command), f"the system refuses ({said}).", "see docs/runbook.md, the service.")


def _boot_out(execute: Execute, service: str) -> None:
    """Let launchd stop a service, if it is loaded: a code server waits for its run, and cannot be loaded meanwhile."""
    execute(["launchctl", "bootout", service])
    latest = time.monotonic() + _STOP_SECONDS + _RESTART_SECONDS
    while execute(["launchctl", "print", service]).returncode == 0 and time.monotonic() < latest:
        time.sleep(0.2)


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _command(name: str, *rest: str) -> list[str]:
    return [str(Path(sys.executable).with_name("cbi")), "service", name, *rest]


def _agent(settings: Settings, name: Name, environment: Mapping[str, str], port: int) -> dict[str, Any]:
    log = str(log_file(settings, name))
    return {
        "Label": f"{_LABEL}{name}",
        "ProgramArguments": _command("run", name, "--port", str(port)),
        "WorkingDirectory": str(settings.dagster_dir),
        "EnvironmentVariables": dict(environment),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": _RESTART_SECONDS,
        "ExitTimeOut": _STOP_SECONDS,
        "ProcessType": "Interactive",  # runs are its children; as `Background` they would train on the slow cores
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }


def _rotation_agent(settings: Settings, environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Label": f"{_LABEL}{_ROTATION}",
        "ProgramArguments": _command("rotate-logs"),
        "WorkingDirectory": str(settings.dagster_dir),
        "EnvironmentVariables": dict(environment),
        "StartCalendarInterval": {"Hour": 3, "Minute": 10},
        "ProcessType": "Background",
    }


def _unit(settings: Settings, name: Name, environment: Mapping[str, str], port: int) -> str:
    """A systemd user unit; its output goes to the journal, which limits its own size."""
    variables = "\n".join(f"Environment={_quoted(f'{key}={value}')}" for key, value in environment.items())
    command = " ".join(_quoted(part).replace("$", "$$") for part in _command("run", name, "--port", str(port)))
    return f"""[Unit]
Description={_DESCRIPTIONS[name]}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
WorkingDirectory={str(settings.dagster_dir).replace("%", "%%")}
{variables}
Restart=always
RestartSec={_RESTART_SECONDS}
TimeoutStopSec={_STOP_SECONDS}
KillMode=mixed

[Install]
WantedBy=default.target
"""


def _quoted(text: str) -> str:
    """One word of a unit file, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
