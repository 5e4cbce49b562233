"""The `cbi service` commands: code server, webserver and daemon as services of this user. Prints; decides nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cbi_pipeline.settings import Settings, current_environment, load_settings

if TYPE_CHECKING:
    from cbi_pipeline.operation.service import Name, ServiceFile, System

service_app = typer.Typer(help="Service: Dagster's UI and daemon, started by the system.", no_args_is_help=True)
console = Console()

Port = Annotated[int, typer.Option(help="Port of the web server.")]
Which = Annotated[str, typer.Argument(help="code-server, webserver or daemon.")]


@service_app.command("install")
def install(
    port: Port = 3000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the files.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Write the files, start nothing.")] = False,
) -> None:
    """Write the service files of this system, and start the services; again, to take up changed settings or code."""
    from cbi_pipeline.operation import service

    settings, system, files = _files(port)
    for file in files if dry_run else ():
        console.print(f"# {file.path}", highlight=False, soft_wrap=True)
        console.print(file.content.decode(), highlight=False, markup=False, soft_wrap=True)
    service.code_server_socket(settings)  # refused here rather than in a log
    if not dry_run:
        service.install(settings, files, system=system, execute=service.execute, start=not no_start)
        for file in files:
            console.print(f"wrote {file.path}", highlight=False, soft_wrap=True)
        if not no_start:
            console.print(f"Started; the UI is on http://127.0.0.1:{port}", highlight=False)
        if system == "linux":
            console.print("`loginctl enable-linger` lets them run while nobody is logged in.", highlight=False)
    for name in service.withheld(settings, current_environment()):
        private = settings.dagster_dir / service.PRIVATE_FILE
        console.print(f"{name} is not written there: put it into {private} (mode 600).", style="yellow", soft_wrap=True)


@service_app.command("uninstall")
def uninstall() -> None:
    """Stop the services and remove their files; state and logs stay."""
    from cbi_pipeline.operation import service

    _, system, files = _files(3000)
    for path in service.uninstall(files, system=system, execute=service.execute):
        console.print(f"removed {path}", highlight=False, soft_wrap=True)


@service_app.command("status")
def status() -> None:
    """Show how every service stands. Exit code 1 if one of the three does not run."""
    from rich.table import Column, Table

    from cbi_pipeline.operation import service

    _, system, files = _files(3000)
    states = service.states(files, system=system, execute=service.execute)
    table = Table("service", "file", "runs", Column("the system says", overflow="fold"))
    for state in states:
        table.add_row(state.name, "there" if state.installed else "none", "yes" if state.running else "no", state.said)
    console.print(table)
    if not all(state.running for state in states if state.name.endswith(service.SERVICES)):
        raise typer.Exit(1)


@service_app.command("logs")
def logs(
    name: Which = "daemon",
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
) -> None:
    """Show the log of a service."""
    from cbi_pipeline.operation import service

    command = service.log_command(
        load_settings(), _known(name), system=service.this_system(), lines=lines, follow=follow
    )
    os.execvp(command[0], command)


@service_app.command("run", hidden=True)
def run(name: Which, port: Port = 3000) -> None:
    """Become the program of a service: what the system's file executes."""
    from cbi_pipeline.operation import service
    from cbi_pipeline.orchestration.instance import open_instance

    service_name = _known(name)
    os.environ.update(service.private_environment(load_settings()))
    settings = load_settings()
    service.prepare_code_server(settings)
    with service.one_starts(settings), open_instance(settings):
        pass
    if service_name == "code-server":
        service.leave_behind("fail-orphans")
    os.chdir(settings.dagster_dir)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Dagster takes SIGTERM as it takes SIGINT, which `command &` ignores
    command = service.program(settings, service_name, port)
    os.execv(command[0], command)


@service_app.command("fail-orphans", hidden=True)
def fail_orphans() -> None:
    """Fail the runs that ended with an earlier code server, once this one is there: without it no retry is made."""
    from cbi_pipeline.operation import service
    from cbi_pipeline.orchestration.instance import why_busy

    settings = load_settings()
    service.await_code_server(settings)
    why_busy(settings)


@service_app.command("rotate-logs", hidden=True)
def rotate_logs() -> None:
    """Put large logs of the services aside: once a day on macOS."""
    from cbi_pipeline.operation import service

    for path in service.rotate_logs(load_settings()):
        console.print(f"rotated {path}", highlight=False, soft_wrap=True)


def _known(name: str) -> Name:
    from cbi_pipeline.operation.service import SERVICES

    for known in SERVICES:
        if name == known:
            return known
    raise typer.BadParameter(f"{name} is none of {', '.join(SERVICES)}")


def _files(port: int) -> tuple[Settings, System, list[ServiceFile]]:
    from cbi_pipeline.operation import service

    settings, system = load_settings(), service.this_system()
    files = service.service_files(settings, current_environment(), system=system, home=Path.home(), port=port)
    return settings, system, files
