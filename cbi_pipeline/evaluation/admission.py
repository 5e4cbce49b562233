"""Who may serve by the verdicts of the gates: the written rule of admission.

Every parity verdict must have passed, whoever asks. Every evidence verdict must have passed too, with two exceptions.
One that cannot be judged, for too few independent rows, lets a model serve only where no judged model would be lost:
nothing serves yet, or what serves was not judged either. And a person may override evidence with a reason. In both
cases every forecast row of the model is on HOLD and says why.
"""

from __future__ import annotations

from collections.abc import Iterable

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import BLOCKING, GATES, Admission, Verdict
from cbi_pipeline.errors import ModelError


def admit(
    verdicts: Iterable[Verdict], *, version: str, incumbent: Admission | None, override_reason: str | None = None
) -> Admission:
    """How a model may serve, by the rule at the head of this module.

    Args:
        verdicts: those that are stored on it.
        version: the model, for the message.
        incumbent: how the model that serves came to serve; None if none serves.
        override_reason: why a person overrides the evidence gates, if one does.

    Raises:
        ModelError: it may not serve; names every gate that stands against it.
    """
    found = {(verdict.name, verdict.horizon_months): verdict for verdict in verdicts}
    against: dict[str, list[str]] = {"parity": [], "evidence": []}
    unjudged = []
    for name in BLOCKING:
        for horizon in HORIZONS_MONTHS:
            verdict = found.get((name, horizon))
            if verdict is None:
                against[GATES[name]].append(f"{name} at {horizon} months was never judged")
            elif verdict.outcome == "cannot judge" and verdict.kind == "evidence":
                unjudged.append(f"{name} at {horizon} months: {verdict.reason}")
            elif not verdict.passed:
                against[GATES[name]].append(f"{name} at {horizon} months: {verdict.reason}")
    if against["parity"]:
        raise _refusal(
            version, against["parity"], "parity gates cannot be overridden: find out why the figures differ."
        )
    if override_reason is not None and (against["evidence"] or unjudged):
        return "override"
    if against["evidence"]:
        raise _refusal(
            version,
            against["evidence"],
            "run `cbi run`, which judges it anew; or let it serve on HOLD: "
            f"`cbi models promote {version} --override-reason 'why'`.",
        )
    if not unjudged:
        return "judged"
    if not may_serve_unjudged(incumbent):
        raise _refusal(
            version,
            unjudged,
            "a judged model is not replaced by one that the gates cannot judge: run a profile with more folds, or "
            f"let it serve on HOLD: `cbi models promote {version} --override-reason 'why'`.",
        )
    return "unjudged"


def stops(verdict: Verdict, incumbent: Admission | None) -> bool:
    """Whether a verdict stands against a promotion, by the rule of `admit`."""
    if verdict.passed or verdict.kind == "quality":
        return False
    return not (verdict.outcome == "cannot judge" and verdict.kind == "evidence" and may_serve_unjudged(incumbent))


def may_serve_unjudged(incumbent: Admission | None) -> bool:
    """Whether no judged model would be lost to one that the evidence gates cannot judge."""
    return incumbent in (None, "unjudged")


def _refusal(version: str, against: list[str], fix: str) -> ModelError:
    return ModelError(f"promotion of {version}", f"refused by {'; '.join(against)}.", fix)
