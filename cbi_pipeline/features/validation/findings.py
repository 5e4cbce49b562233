"""What a validation check reports. Nothing but the standard library is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (error) or worth a look (warning).

    Args:
        check: name of the check.
        severity: an error makes the features unusable; a warning is shown and stops nothing.
        subject: the feature, or the source as `table/key`.
        value: what was found, in the unit that `reason` names.
        threshold: the limit it broke, in the same unit.
        reason: one sentence that says what is wrong.
    """

    check: str
    severity: Severity
    subject: str
    value: float | str
    threshold: float | str
    reason: str


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether any finding is an error."""
    return any(finding.severity == "error" for finding in findings)
