from __future__ import annotations

import pytest

from cbi_pipeline.bundle.sense import judge
from cbi_pipeline.bundle.sense.table import RULES
from cbi_pipeline.reports.validation_rules import EXPLANATIONS, PAGE, RULES_END, rules_part, warnings_part
from cbi_pipeline.sources import build_raw_tables
from cbi_pipeline.sources.second_opinions import read_second_opinions

AGAIN = "run `python -m cbi_pipeline.reports.validation_rules`"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_stored_rules_are_those_of_the_table(page: str) -> None:
    assert page.split(RULES_END)[0] == f"{rules_part()}\n", AGAIN
    rows = [line for line in rules_part().splitlines() if line.startswith("| `")]
    assert len(rows) == len(RULES)
    assert all(row.count("|") == 6 for row in rows)


def test_every_warning_of_the_starter_is_on_the_page(page: str, starter_tables) -> None:
    for finding in judge(starter_tables).warnings:
        assert f"- {finding.subject} ({finding.rows}): {finding.first_rows[0]}" in page, AGAIN


def test_official_files_are_not_refused_and_their_warnings_are_explained(page: str, provider_dir) -> None:
    judged = judge(build_raw_tables(provider_dir), read_second_opinions(provider_dir))
    assert judged.errors == ()
    assert {(finding.table, finding.rule) for finding in judged.warnings} == set(EXPLANATIONS)
    assert page == f"{rules_part()}\n{warnings_part(judged.warnings)}", AGAIN
