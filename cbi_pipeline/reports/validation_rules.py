"""The page of validation, `docs/validation.md`: every sense rule with its reason, every warning with its explanation.

Nothing is edited in the page by hand: `python -m cbi_pipeline.reports.validation_rules` writes it from the table of
rules and the provider files.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.bundle.sense.rule import ABOVE_ZERO, Rule
from cbi_pipeline.bundle.sense.table import RULES
from cbi_pipeline.contracts.manifest import Finding
from cbi_pipeline.settings import REPOSITORY_DIR, load_settings

PAGE: Final = REPOSITORY_DIR / "docs" / "validation.md"
RULES_END: Final = "## Warnings of the official files"
"""What precedes it depends on the table of rules alone, what follows on the provider files too."""

EXPLANATIONS: Final[dict[tuple[str, str], str]] = {
    (
        "futures_daily",
        "jump",
    ): "Real days, but for soybeans: WTI after the attack on Abqaiq (2019-09-16), heating oil with "
    "it and on 2011-05-05, meal on the USDA reports of 2007-01-12 and 2021-09-30, soybean oil on the first session of "
    "2006. The soybean close of 2008-09-12 (1490, between 1216 and 1179) is of the last day of the September "
    "contract, which "
    "Yahoo's nearest-contract series follows to its end, or a bad print: nothing in the file says which, so the row is "
    "kept as served.",
    (
        "futures_daily",
        "roll_gap",
    ): "Old crop against new: from June to September the most active soybean and meal contract "
    "moves between harvests that differ by up to 24 %, to and fro while volumes are equal. Crude oil: 2020-04-20, "
    "from the "
    "May contract, which went negative, to June. Heating oil: the tight prompt of 2022-10.",
    (
        "futures_daily",
        "hole",
    ): "Yahoo's soybean-meal file has no row from 2003-11-22 to 2003-12-28. Nothing else fills it.",
    (
        "futures_daily",
        "databento_and_yahoo",
    ): "Yahoo follows the nearest contract to its last day, Databento the one with "
    "most volume: they part before a delivery, most in the tight old crops of 2021 to 2023.",
    ("futures_daily", "crude_and_spot"): "Contango: 2008-12 and 2020-03, when storage was full; on 2020-04-20 and 21 "
    "the spot price is that of the May contract (-36.98), the most active one is June.",
    ("futures_curve", "early_end"): "The collection of contract prices ended 2023-11-30: the curve counts as unknown "
    "afterwards, never as the last one known.",
    ("macro_series", "jump"): "The real was floated on 1999-01-13; the VIX rose from 11.15 to 18.31 on 2007-02-27.",
    ("macro_series", "stale"): "The ringgit was pegged at 3.80 to the dollar until 2005-07-21.",
    ("macro_series", "ringgit_and_yahoo"): "One day on which the two collections were quoted at different hours.",
    ("cot_weekly", "hole"): "USD palm oil is a new market, shown only in weeks in which 20 traders report; no feature "
    "reads it.",
    (
        "cot_weekly",
        "empty_group",
    ): "USD palm oil: no managed-money trader reported in these weeks; no feature reads it.",
    ("weather_daily", "hole"): "Stations that did not report for two months or more. Regional values are means of the "
    "anomalies of the stations that did.",
    ("weather_daily", "early_end"): "Stations whose series is closed or not collected further; "
    "`sources/weather.py` says of each until when it reports and who carries its region afterwards.",
    (
        "fundamentals",
        "hole",
    ): "No WASDE was published in October 2013 and January 2019 (shutdowns); the release of March "
    "1995 is not in the file.",
    ("fundamentals", "revision"): "The drought of 2012: stocks for 2012/13 were cut from 2,005 to 1,295 million lb.",
}
"""(table, rule) of each warning that the official files give: what it is and why it refuses nothing."""

_INTRODUCTION: Final = """\
# Validation of a bundle

Two layers. The **schema** layer (`bundle/rules.py`, limits in `contracts/tables.py`): columns, types, unique sorted
keys, finite numbers, ranges by unit, dates on CBOT sessions, nothing known before it happened. The **sense** layer
(`bundle/sense/`): the rules below, which look at rows beside each other and at one source beside another.

A rule measures a size and compares it with two limits. At the error limit the bundle is refused: a build writes
nothing, a copied or published one counts as absent. At the warning limit the bundle is accepted and the finding is
recorded in `manifest.json` (`findings`: rule, series, number of rows, the first 20 of them) and shown by the check
`rows_make_sense` of each raw asset. Nothing is repaired.

- Bundles are verified by the rules of today whenever they are used, and keep the warnings of the day they were built. A
  rule that would refuse a published bundle begins as a warning.
- Bundles from before there were findings have `schema_version` 1 and stay readable, byte for byte; version 2 has
  `findings`. They are no part of the content hash: the same rows have the same 8 digits, whatever was found in them.
- Rules that compare with a second source (Cboe, Yahoo, EIA spot) run when a bundle is built, from files that are
  compared and never stored; where such a file is absent the comparison is not made.

The page is made by `python -m cbi_pipeline.reports.validation_rules`; tests compare it with the rules and the files.
"""


def rules_part() -> str:
    """The page down to `RULES_END`: an introduction and one table of rules for each raw table."""
    parts = [_INTRODUCTION.strip(), "## Sense rules"]
    for table, rules in groupby(RULES, key=lambda rule: rule.table):
        head = "| rule | what must hold | warning from | error from | why |\n|---|---|---|---|---|"
        parts.append("\n".join([f"### {table}\n", head, *map(_rule_row, rules)]))
    return "\n\n".join(parts) + "\n"


def warnings_part(warnings: Iterable[Finding]) -> str:
    """The rest: what each rule warns of in the official files, with every row that a finding names.

    Raises:
        KeyError: a warning has no explanation.
    """
    found = sorted(warnings, key=lambda finding: (finding.table, finding.rule))
    parts = [RULES_END, "None of them is refused. The rows are those that a build from them records."]
    for (table, rule), findings in groupby(found, key=lambda finding: (finding.table, finding.rule)):
        lines = [f"### {table}: {rule}\n", EXPLANATIONS[table, rule], ""]
        parts.append("\n".join([*lines, *map(_finding_line, findings)]))
    return "\n\n".join(parts) + "\n"


def _rule_row(rule: Rule) -> str:
    limits = " | ".join(_limit(limit, rule.unit) for limit in (rule.warning, rule.error))
    return f"| `{rule.name}` | {rule.holds} | {limits} | {rule.reason} |"


def _limit(limit: float | None, unit: str) -> str:
    if limit is None:
        return ""
    return "any" if limit <= ABOVE_ZERO or not unit else f"{limit:g} {unit}"


def _finding_line(finding: Finding) -> str:
    more = f"; and {finding.rows - len(finding.first_rows)} more" if finding.rows > len(finding.first_rows) else ""
    return f"- {finding.subject} ({finding.rows}): {'; '.join(finding.first_rows)}{more}"


def _main() -> None:
    from cbi_pipeline.bundle.sense import judge
    from cbi_pipeline.sources import build_raw_tables
    from cbi_pipeline.sources.second_opinions import read_second_opinions

    data_dir = load_settings().data_dir
    judged = judge(build_raw_tables(data_dir), read_second_opinions(data_dir))
    replace_file(PAGE, f"{rules_part()}\n{warnings_part(judged.warnings)}".encode())


if __name__ == "__main__":
    _main()
