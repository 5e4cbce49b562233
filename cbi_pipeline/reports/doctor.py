"""`cbi doctor`: what is in order on this machine, and the fix for what is not. Changes nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.table import Column, Table

from cbi_pipeline.errors import CbiError, WarehouseError
from cbi_pipeline.settings import ENV_PREFIX, REPOSITORY_DIR, Settings, nearest_known, unknown_variables

MIN_PYTHON: Final = (3, 11)
MIN_FREE_GIB: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report; `fix` says what to do when it is not ok."""

    subject: str
    ok: bool
    found: str
    fix: str = ""


def examine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Every check, in the order in which a user would fix them."""
    return [
        _python(),
        _packages(settings),
        _variables(environ),
        _refusals("device", lambda: _device(settings)),
        _refusals("data", lambda: _data(settings)),
        _refusals("warehouse", lambda: _warehouse(settings)),
        _disk(settings),
    ]


def doctor_tables(settings: Settings, findings: list[Finding]) -> tuple[Table, Table]:
    """The findings, and every setting with its value and the variable that sets it."""
    report = Table("check", "state", Column("found", overflow="fold"), Column("fix", overflow="fold"))
    for finding in findings:
        report.add_row(finding.subject, "[green]ok[/]" if finding.ok else "[red]fix[/]", finding.found, finding.fix)
    names = (Column(name, overflow="fold") for name in ("setting", "value"))
    table = Table(*names, "meaning", title="Settings", title_justify="left")
    for name, field in type(settings).model_fields.items():
        table.add_row(ENV_PREFIX + name.upper(), str(getattr(settings, name)), field.description or "")
    return report, table


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    fix = (
        ""
        if sys.version_info >= MIN_PYTHON
        else "install Python 3.11 or newer, then `make clean run PYTHON=python3.11`"
    )
    return Finding("Python", sys.version_info >= MIN_PYTHON, found, fix)


def _packages(settings: Settings) -> Finding:
    """Installed versions against constraints.txt; optional packages that are absent are no fault."""
    tested = REPOSITORY_DIR / "constraints.txt"
    if not tested.is_file():
        return Finding("packages", False, f"{tested} is missing", "restore it: git checkout constraints.txt")
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    wanted = {
        canonicalize_name(requirement.name): requirement
        for line in tested.read_text().splitlines()
        if line and not line.startswith("#") and (requirement := Requirement(line))
    }
    missing = [
        requirement.name
        for text in metadata.requires("cbi-pipeline") or []
        if "extra ==" not in text and canonicalize_name((requirement := Requirement(text)).name) not in installed
    ]
    other = [
        f"{name} {installed[name]} (tested: {requirement.specifier})"
        for name, requirement in wanted.items()
        if name in installed and not requirement.specifier.contains(installed[name].split("+")[0], prereleases=True)
    ]
    fix = "" if not (missing or other) else "make clean install"
    found = "; ".join([*(f"{name} is missing" for name in missing), *other]) or f"{len(wanted)} versions as tested"
    return Finding("packages", not (missing or other), found, fix)


def _variables(environ: Mapping[str, str]) -> Finding:
    unknown = unknown_variables(environ)
    fixes = [
        f"{name}: did you mean {nearest_known(name)}?" if nearest_known(name) else f"unset {name}" for name in unknown
    ]
    return Finding(
        "variables",
        not unknown,
        f"unknown: {', '.join(unknown)}" if unknown else "no unknown CBI_ variable",
        "; ".join(fixes),
    )


def _refusals(subject: str, check: Callable[[], Finding]) -> Finding:
    """A check's own refusal is a finding: its rule is what was found, its fix is the fix."""
    try:
        return check()
    except CbiError as error:
        return Finding(subject, False, f"{error.subject}: {error.rule}", error.fix)


def _device(settings: Settings) -> Finding:
    import torch

    from cbi_pipeline.modeling.device import choose_device

    device = choose_device(settings.device)
    return Finding("device", True, f"{device.type} (torch {torch.__version__}, {settings.threads} threads)")


def _data(settings: Settings) -> Finding:
    """The bundle that a run would use; provider files are named, not built."""
    from cbi_pipeline.bundle.locate import find_bundle, provider_files
    from cbi_pipeline.bundle.store import LocalBundleStore

    if LocalBundleStore(settings.bundles_dir).latest().bundle is None and (files := provider_files(settings.data_dir)):
        return Finding(
            "data", True, f"{len(files)} provider files in {settings.data_dir}; `cbi run` builds a bundle of them"
        )
    return Finding("data", True, find_bundle(settings).why)


def _warehouse(settings: Settings) -> Finding:
    from cbi_pipeline.warehouse import named_warehouse

    warehouse = named_warehouse(settings)
    if settings.warehouse == "duckdb" and not settings.warehouse_path.exists():
        return Finding("warehouse", True, f"{settings.warehouse_path} is made by the first run")
    try:
        return Finding("warehouse", True, f"{warehouse.location}, {warehouse.row_count('predictions')} forecast rows")
    except WarehouseError as error:
        return Finding("warehouse", False, f"{error.subject}: {error.rule} {error.fix}")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.project_dir).free / 2**30
    fix = (
        ""
        if free >= MIN_FREE_GIB
        else f"free {MIN_FREE_GIB - free:.1f} GiB, for example by removing old folders of data/artifacts"
    )
    return Finding("disk", free >= MIN_FREE_GIB, f"{free:.1f} GiB free in {settings.project_dir}", fix)
