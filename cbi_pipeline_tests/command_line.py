"""The `cbi` command as a test runs it: in this process, in an empty project, with its output folded."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

import pytest

from cbi_pipeline import cli, cli_bundle
from cbi_pipeline.settings import Settings


@dataclass(frozen=True)
class Answer:
    """What a command printed, with line breaks and table frames folded to single spaces, and its exit code."""

    code: int
    out: str
    err: str


def folded(text: str) -> str:
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def variables(settings: Settings) -> dict[str, str]:
    return {
        "CBI_PROJECT_DIR": str(settings.project_dir),
        "CBI_STARTER_DIR": str(settings.starter_dir),
        "CBI_PROFILE": "smoke",
        "CBI_DEVICE": "cpu",
        "CBI_THREADS": str(settings.threads),
    }


@pytest.fixture
def cbi(monkeypatch, capsys, new_settings):
    """Run a command line in this process, in an empty project."""

    def command(*arguments: str, settings: Settings = new_settings, width: int = 400) -> Answer:
        for name in [name for name in os.environ if name.startswith("CBI_")]:
            if name not in given:
                monkeypatch.delenv(name)
        for name, value in variables(settings).items():
            if name not in given:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["cbi", *arguments])
        for console in (cli.console, cli.error_console, cli_bundle.console):
            monkeypatch.setattr(console, "_width", width)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Answer(int(end.value.code or 0), folded(printed.out), folded(printed.err))

    given: set[str] = set()

    def with_variable(name: str, value: str) -> None:
        given.add(name)
        monkeypatch.setenv(name, value)

    command.set = with_variable
    return command
