"""Truth table of the rule of admission."""

from __future__ import annotations

from itertools import product

import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import BLOCKING, CHAMPION, GATES, METRIC_PARITY, ROW_PARITY, Verdict
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import admission

VERSION = "tcn-20241231-00000000"


def admit(verdicts, **values):
    return admission.admit(verdicts, version=VERSION, **values)


def all_passed() -> dict[tuple[str, int], Verdict]:
    return {(name, h): verdict(name, h) for name in GATES for h in HORIZONS_MONTHS}


def verdict(name: str, horizon: int, outcome: str = "passed") -> Verdict:
    return Verdict(
        name=name,
        kind=GATES[name],
        horizon_months=horizon,
        outcome=outcome,
        value=None,
        threshold=None,
        n_eff=None,
        reason="why",
    )


@pytest.mark.parametrize("incumbent", [None, "unjudged", "judged", "override"])
def test_all_passed_is_judged_whatever_serves_and_overridden_or_not(incumbent):
    assert admit(all_passed().values(), incumbent=incumbent) == "judged"
    assert admit(all_passed().values(), incumbent=incumbent, override_reason="why not") == "judged"


@pytest.mark.parametrize(("name", "horizon"), list(product(BLOCKING, HORIZONS_MONTHS)))
@pytest.mark.parametrize("outcome", ["failed", "missing"])
def test_any_blocking_verdict_that_failed_or_is_missing_refuses_and_is_named(name, horizon, outcome):
    verdicts = all_passed() | {(name, horizon): verdict(name, horizon, "failed")}
    if outcome == "missing":
        del verdicts[name, horizon]
    with pytest.raises(ModelError, match=f"{name} at {horizon} months"):
        admit(verdicts.values(), incumbent=None)
    if GATES[name] == "evidence":
        assert admit(verdicts.values(), incumbent="judged", override_reason="a reason") == "override"
        return
    with pytest.raises(ModelError, match="cannot be overridden"):
        admit(verdicts.values(), incumbent=None, override_reason="a reason")


@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
def test_quality_stops_nothing(horizon):
    verdicts = all_passed() | {("quality_targets", horizon): verdict("quality_targets", horizon, "failed")}
    assert admit(verdicts.values(), incumbent="judged") == "judged"


@pytest.mark.parametrize("name", BLOCKING)
@pytest.mark.parametrize(
    ("incumbent", "serves"), [(None, True), ("unjudged", True), ("judged", False), ("override", False)]
)
def test_what_cannot_be_judged_replaces_no_judged_model(name, incumbent, serves):
    unclear = verdict(name, 12, "cannot judge")
    verdicts = all_passed() | {(name, 12): unclear}
    serves = serves and GATES[name] == "evidence"
    assert admission.stops(unclear, incumbent) is not serves
    if serves:
        assert admit(verdicts.values(), incumbent=incumbent) == "unjudged"
        return
    with pytest.raises(ModelError, match=name):
        admit(verdicts.values(), incumbent=incumbent)


def test_a_failure_beside_what_cannot_be_judged_still_refuses():
    verdicts = all_passed() | {
        (CHAMPION, 3): verdict(CHAMPION, 3, "failed"),
        (CHAMPION, 12): verdict(CHAMPION, 12, "cannot judge"),
    }
    with pytest.raises(ModelError, match=f"{CHAMPION} at 3 months"):
        admit(verdicts.values(), incumbent=None)


def test_a_refusal_names_the_command_that_overrides_it():
    verdicts = all_passed() | {(CHAMPION, 3): verdict(CHAMPION, 3, "failed")}
    with pytest.raises(ModelError) as refusal:
        admit(verdicts.values(), incumbent=None)
    assert f"cbi models promote {VERSION} --override-reason" in refusal.value.fix


def test_no_verdict_at_all_refuses():
    with pytest.raises(ModelError, match="never judged"):
        admit([], incumbent=None)
    for name in (METRIC_PARITY, ROW_PARITY):
        with pytest.raises(ModelError, match=name):
            admit([], incumbent=None, override_reason="a reason")
