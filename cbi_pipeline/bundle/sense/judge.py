"""Putting raw tables to the sense rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cbi_pipeline.bundle.sense.prices import SECOND_OPINIONS
from cbi_pipeline.bundle.sense.rule import Rule
from cbi_pipeline.bundle.sense.series import Measured, Tables
from cbi_pipeline.bundle.sense.table import RULES
from cbi_pipeline.contracts.manifest import MAX_ROWS_NAMED, Finding
from cbi_pipeline.errors import BundleError


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules found: an error refuses the bundle, a warning is recorded in it."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def judge(tables: Tables, opinions: pd.DataFrame | None = None) -> Judgement:
    """Put tables that passed the schema layer to every rule about them.

    Args:
        tables: raw tables by name, as `TableContract.to_pandas` makes them; rules about absent ones do not apply.
        opinions: what other sources say (`sources.second_opinions`); the rules that compare need them.

    Returns:
        Findings in the order of the rules, one for each rule and series.
    """
    known = dict(tables)
    if opinions is not None:
        known[SECOND_OPINIONS] = opinions
    errors: list[Finding] = []
    warnings: list[Finding] = []
    for rule in RULES:
        if rule.table in known:
            _apply(rule, rule.check(known), errors, warnings)
    return Judgement(tuple(errors), tuple(warnings))


def refuse(errors: tuple[Finding, ...], where: str, fix: str) -> None:
    """Raise if there is an error.

    Raises:
        BundleError: naming table, series, rule and first row of the first error, and how many more there are.
    """
    if not errors:
        return
    first = errors[0]
    others = f" {len(errors) - 1} more findings refuse it: " if len(errors) > 1 else ""
    more = ", ".join(dict.fromkeys(f"{finding.rule} ({finding.subject})" for finding in errors[1:]))
    rule = f"{first.rule}: {first.holds}; {first.rows} rows break this, first {first.first_rows[0]}.{others}{more}"
    raise BundleError(f"{where}, {first.table}, {first.subject}", rule, fix)


def _apply(rule: Rule, found: Measured, errors: list[Finding], warnings: list[Finding]) -> None:
    size = found.rows["size"].to_numpy(dtype="float64")
    is_error = size >= (np.inf if rule.error is None else rule.error)
    is_warning = size >= (np.inf if rule.warning is None else rule.warning)
    errors.extend(_findings(rule, found, is_error))
    warnings.extend(_findings(rule, found, is_warning & ~is_error))


def _findings(rule: Rule, found: Measured, at_fault: np.ndarray) -> list[Finding]:
    if not at_fault.any():
        return []
    by_subject = found.of(at_fault).rows.sort_values(["subject", "day"]).groupby("subject", sort=True)
    return [
        Finding(
            rule=rule.name,
            table=rule.table,
            subject=str(subject),
            holds=rule.holds,
            rows=len(group),
            first_rows=tuple(
                f"{day:%Y-%m-%d}: {found.words.format(*parts)}" + (f" ({size:.3g} {rule.unit})" if rule.unit else "")
                for _, day, size, *parts in group.head(MAX_ROWS_NAMED).itertuples(index=False, name=None)
            ),
        )
        for subject, group in by_subject
    ]
