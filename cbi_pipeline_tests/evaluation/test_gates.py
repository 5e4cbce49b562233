"""Truth table of every gate at its boundary, and of the rule of admission. Small tables with a known answer."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import BLOCKING, CHAMPION, GATES, METRIC_PARITY, ROW_PARITY, Verdict
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import gates
from cbi_pipeline.evaluation.density_scores import coverage_band
from cbi_pipeline.evaluation.metrics import SCORE_COLUMNS, effective_n
from cbi_pipeline.evaluation.status import QualityTargets, evaluate_status
from cbi_pipeline.settings import Settings

BOUNDS = Settings().gates
TARGETS = QualityTargets()
ROWS = 1512
"""Six test years: six independent rows at 12 months, enough to be judged."""
GOOD = {
    "mape": 9.0,
    "sharpe": 1.2,
    "rmse_ratio": 0.97,
    "directional_accuracy": 0.6,
    "coverage_80": 0.8,
    "calibration_error": 0.05,
}


def scores(n: int = ROWS, last_mape: float = 10.0, **changed: float | None) -> pd.DataFrame:
    """The scorecard of a network and the last price; a metric that is None is left out."""
    own = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    last_price = {"mape": last_mape}
    records = [
        (entry, horizon, fold, metric, value if fold == "all" else 0.1, n, effective_n(n, horizon))
        for fold in ("fold_1", "all", "common")
        for horizon in HORIZONS_MONTHS
        for entry, metrics in {"tcn": own, "last_price": last_price}.items()
        for metric, value in metrics.items()
    ]
    return pd.DataFrame(records, columns=list(SCORE_COLUMNS))


def outcomes(verdicts: list[Verdict]) -> set[str]:
    assert [verdict.horizon_months for verdict in verdicts] == list(HORIZONS_MONTHS)
    return {verdict.outcome for verdict in verdicts}


# --- quality -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"mape": 4.9, "directional_accuracy": 0.66}, "passed"),
        ({"mape": 5.0, "directional_accuracy": 0.66}, "failed"),
        ({"mape": 4.9, "directional_accuracy": 0.65}, "failed"),
        ({"mape": 4.9, "directional_accuracy": 0.66, "sharpe": 1.0}, "failed"),
        ({"mape": 4.9, "directional_accuracy": 0.66, "sharpe": None}, "failed"),
        ({"mape": 4.9, "directional_accuracy": 0.66, "calibration_error": 0.10}, "failed"),
    ],
)
def test_quality_is_the_word_on_the_row(changed, outcome):
    verdicts = gates.evaluate_quality(scores(**changed), "tcn", TARGETS)
    assert outcomes(verdicts) == {outcome}
    status, reasons = evaluate_status({**GOOD, **changed}, TARGETS)
    assert (status == "PRODUCTION") == (outcome == "passed")
    assert verdicts[0].value == 4 - len(reasons)


def test_quality_says_how_far_off():
    reason = gates.evaluate_quality(scores(), "tcn", TARGETS)[0].reason
    assert "MAPE 9.0% is not below 5% (4.0 points off)" in reason
    assert "directional accuracy 0.600 is not above 0.65 (0.050 off)" in reason


# --- tripwire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "passed"),
        ({"rmse_ratio": 0.85}, "passed"),
        ({"rmse_ratio": math.nextafter(0.85, 0)}, "failed"),
        ({"directional_accuracy": 0.75}, "passed"),
        ({"directional_accuracy": math.nextafter(0.75, 1)}, "failed"),
        ({"mape": 6.0}, "passed"),
        ({"mape": 5.99}, "failed"),
        ({"rmse_ratio": None}, "failed"),
        ({"directional_accuracy": float("nan")}, "failed"),
        ({"mape": None}, "failed"),
        ({"last_mape": float("nan")}, "failed"),
        ({"n": 252, "directional_accuracy": 0.9}, "cannot judge"),
    ],
)
def test_tripwire(changed, outcome):
    assert outcomes(gates.evaluate_tripwire(scores(**changed), "tcn", BOUNDS)) == {outcome}


def test_the_last_price_must_have_been_scored_on_the_same_rows():
    table = scores()
    table.loc[table["entry"] == "last_price", "n"] -= 1
    assert outcomes(gates.evaluate_tripwire(table, "tcn", BOUNDS)) == {"failed"}


def test_an_entry_that_was_never_scored_fails_every_gate_on_the_scorecard():
    for verdicts in (
        gates.evaluate_tripwire(scores(), "nbeatsx", BOUNDS),
        gates.evaluate_coverage(scores(), "nbeatsx", BOUNDS),
        gates.evaluate_champion(scores(), "nbeatsx", None, "first", BOUNDS),
        gates.evaluate_quality(scores(), "nbeatsx", TARGETS),
        gates.evaluate_metric_parity(scores(), "nbeatsx", {}, BOUNDS),
    ):
        assert outcomes(verdicts) == {"failed"}
        assert all("not known" in verdict.reason for verdict in verdicts)


# --- coverage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["low", "high"])
def test_coverage_at_the_edge_of_its_band(side):
    n = 252 * 40  # narrow enough for both edges to lie inside 0 to 1
    for horizon in HORIZONS_MONTHS:
        edge = dict(zip(("low", "high"), coverage_band(80, n, horizon), strict=True))[side]
        beyond = math.nextafter(edge, {"low": 0, "high": 1}[side])
        for value, outcome in ((edge, "passed"), (beyond, "failed")):
            verdicts = gates.evaluate_coverage(scores(n=n, coverage_80=value), "tcn", BOUNDS)
            verdict = verdicts[HORIZONS_MONTHS.index(horizon)]
            assert (verdict.outcome, verdict.threshold) == (outcome, edge)


def test_coverage_of_few_rows_cannot_be_judged_and_a_missing_one_fails():
    assert outcomes(gates.evaluate_coverage(scores(n=252), "tcn", BOUNDS)) == {"cannot judge"}
    assert outcomes(gates.evaluate_coverage(scores(coverage_80=None), "tcn", BOUNDS)) == {"failed"}


def test_few_rows_is_a_count_per_horizon():
    verdicts = gates.evaluate_coverage(scores(n=1134), "tcn", BOUNDS)  # 4.5 years
    assert outcomes(verdicts) == {"passed"}
    verdicts = gates.evaluate_coverage(scores(n=1133), "tcn", BOUNDS)
    assert [verdict.outcome for verdict in verdicts] == ["passed", "passed", "passed", "cannot judge"]


# --- champion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("served", "changed", "outcome"),
    [
        (0.97, {}, "passed"),
        (0.97, {"rmse_ratio": 0.97 * 1.02}, "passed"),
        (0.97, {"rmse_ratio": math.nextafter(0.97 * 1.02, 2)}, "failed"),
        (None, {}, "failed"),
        (0.97, {"n": 252}, "cannot judge"),
        (0.97, {"rmse_ratio": None}, "failed"),
    ],
)
def test_no_worse_than_the_champion(served, changed, outcome):
    incumbent = dict.fromkeys(HORIZONS_MONTHS, served)
    assert outcomes(gates.evaluate_champion(scores(**changed), "tcn", incumbent, "", BOUNDS)) == {outcome}


def test_one_worse_horizon_is_enough():
    incumbent = {3: 0.97, 6: 0.97, 9: 0.95, 12: 0.97}
    verdicts = gates.evaluate_champion(scores(), "tcn", incumbent, "", BOUNDS)
    assert [verdict.passed for verdict in verdicts] == [True, True, False, True]


def test_without_a_comparable_champion_it_says_why_it_passes():
    verdicts = gates.evaluate_champion(scores(), "tcn", None, "it was scored on other folds", BOUNDS)
    assert outcomes(verdicts) == {"passed"}
    assert verdicts[0].reason == "passes only because there is no comparable champion: it was scored on other folds"
    assert verdicts[0].threshold is None


# --- best benchmark ----------------------------------------------------------------------------------------------


def out_of_fold(n: int = ROWS, **scale: float) -> pd.DataFrame:
    """Rows whose errors are one noise, in proportion to a scale per entry: the greater, the worse on every row."""
    rng = np.random.default_rng(1)
    dates = pd.bdate_range("2015-01-01", periods=n)
    frames = []
    for horizon in HORIZONS_MONTHS:
        error = 0.1 + 0.02 * rng.standard_normal(n)
        for entry, factor in scale.items():
            frames.append(
                pd.DataFrame(
                    {
                        "entry": entry,
                        "horizon_months": horizon,
                        "as_of_date": dates,
                        "predicted_price": 40 * np.exp(factor * error),
                        "realised_price": 40.0,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("scale", "outcome"),
    [
        ({"tcn": 1.0, "last_price": 1.1, "anchor": 1.0}, "passed"),
        ({"tcn": 1.2, "last_price": 1.3, "anchor": 1.0}, "failed"),
        ({"tcn": 1.0, "other_network": 0.1, "last_price": 1.1}, "passed"),
        ({"last_price": 1.1}, "failed"),
        ({"tcn": 1.0}, "failed"),
    ],
)
def test_no_worse_than_the_best_benchmark(scale, outcome):
    assert outcomes(gates.evaluate_benchmark(out_of_fold(**scale), "tcn", BOUNDS)) == {outcome}


def test_the_best_benchmark_is_named_and_few_rows_cannot_be_judged():
    rows = out_of_fold(tcn=1.2, last_price=1.3, anchor=1.0)
    assert "(anchor)" in gates.evaluate_benchmark(rows, "tcn", BOUNDS)[0].reason
    assert outcomes(gates.evaluate_benchmark(out_of_fold(252, tcn=1.2, anchor=1.0), "tcn", BOUNDS)) == {"cannot judge"}


def test_dates_that_another_network_lacks_are_judged():
    rows = pd.concat([out_of_fold(tcn=1.0, anchor=1.0), out_of_fold(252, other_network=1.0)])
    assert gates.evaluate_benchmark(rows, "tcn", BOUNDS)[3].n_eff == ROWS / 252


def test_the_p_value_decides_at_its_bound():
    rows = out_of_fold(tcn=1.0, anchor=1.0)  # equal losses: p is one half
    half = BOUNDS.model_copy(update={"benchmark_p": 0.5})
    more = BOUNDS.model_copy(update={"benchmark_p": math.nextafter(0.5, 1)})
    assert outcomes(gates.evaluate_benchmark(rows, "tcn", half)) == {"passed"}
    assert outcomes(gates.evaluate_benchmark(rows, "tcn", more)) == {"failed"}


# --- parity ------------------------------------------------------------------------------------------------------


def by_sql(**changed: float | None) -> dict[int, dict[str, float | None]]:
    return {h: {**{name: GOOD[name] for name in gates.PARITY_METRICS}, "n": ROWS, **changed} for h in HORIZONS_MONTHS}


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "passed"),
        ({"mape": 9.0 * 1.00499}, "passed"),
        ({"mape": 9.0 * 1.00501}, "failed"),
        ({"coverage_80": 0.8 * 0.99}, "failed"),
        ({"directional_accuracy": 0.61}, "failed"),
        ({"directional_accuracy": None}, "failed"),
        ({"n": ROWS - 1}, "failed"),
    ],
)
def test_metric_parity(changed, outcome):
    assert outcomes(gates.evaluate_metric_parity(scores(), "tcn", by_sql(**changed), BOUNDS)) == {outcome}


def test_metric_parity_needs_no_many_rows():
    verdicts = gates.evaluate_metric_parity(scores(n=252), "tcn", by_sql(n=252), BOUNDS)
    assert outcomes(verdicts) == {"passed"}


@pytest.mark.parametrize(
    ("difference", "outcome"),
    [(0.0, "passed"), (1e-4, "passed"), (1.0001e-4, "failed"), (float("nan"), "failed"), (None, "failed")],
)
def test_row_parity(difference, outcome):
    found = {} if difference is None else dict.fromkeys(HORIZONS_MONTHS, difference)
    verdicts = gates.evaluate_row_parity(found, BOUNDS)
    assert outcomes(verdicts) == {outcome}
    assert all(verdict.value is None or math.isfinite(verdict.value) for verdict in verdicts)


@pytest.mark.parametrize(
    ("differing", "outcome", "told"),
    [
        ({"2023-12-29": [], "2024-12-31": []}, "passed", "2023-12-29, 2024-12-31 replayed"),
        ({"2023-12-29": [], "2024-12-31": ["RSI_14"]}, "failed", "RSI_14"),
        ({}, "failed", "no day was replayed"),
    ],
)
def test_replay(differing, outcome, told):
    verdicts = gates.evaluate_replay(differing)
    assert outcomes(verdicts) == {outcome}
    assert told in verdicts[0].reason


# --- admission ---------------------------------------------------------------------------------------------------


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
    assert gates.admit(all_passed().values(), incumbent=incumbent) == "judged"
    assert gates.admit(all_passed().values(), incumbent=incumbent, override_reason="why not") == "judged"


@pytest.mark.parametrize(("name", "horizon"), list(product(BLOCKING, HORIZONS_MONTHS)))
@pytest.mark.parametrize("outcome", ["failed", "missing"])
def test_any_blocking_verdict_that_failed_or_is_missing_refuses_and_is_named(name, horizon, outcome):
    verdicts = all_passed() | {(name, horizon): verdict(name, horizon, "failed")}
    if outcome == "missing":
        del verdicts[name, horizon]
    with pytest.raises(ModelError, match=f"{name} at {horizon} months"):
        gates.admit(verdicts.values(), incumbent=None)
    if GATES[name] == "evidence":
        assert gates.admit(verdicts.values(), incumbent="judged", override_reason="a reason") == "override"
        return
    with pytest.raises(ModelError, match="cannot be overridden"):
        gates.admit(verdicts.values(), incumbent=None, override_reason="a reason")


@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
def test_quality_stops_nothing(horizon):
    verdicts = all_passed() | {("quality_targets", horizon): verdict("quality_targets", horizon, "failed")}
    assert gates.admit(verdicts.values(), incumbent="judged") == "judged"


@pytest.mark.parametrize("name", BLOCKING)
@pytest.mark.parametrize(
    ("incumbent", "serves"), [(None, True), ("unjudged", True), ("judged", False), ("override", False)]
)
def test_what_cannot_be_judged_replaces_no_judged_model(name, incumbent, serves):
    unclear = verdict(name, 12, "cannot judge")
    verdicts = all_passed() | {(name, 12): unclear}
    serves = serves and GATES[name] == "evidence"
    assert gates.stops(unclear, incumbent) is not serves
    if serves:
        assert gates.admit(verdicts.values(), incumbent=incumbent) == "unjudged"
        return
    with pytest.raises(ModelError, match=name):
        gates.admit(verdicts.values(), incumbent=incumbent)


def test_a_failure_beside_what_cannot_be_judged_still_refuses():
    verdicts = all_passed() | {
        (CHAMPION, 3): verdict(CHAMPION, 3, "failed"),
        (CHAMPION, 12): verdict(CHAMPION, 12, "cannot judge"),
    }
    with pytest.raises(ModelError, match=f"{CHAMPION} at 3 months"):
        gates.admit(verdicts.values(), incumbent=None)


def test_no_verdict_at_all_refuses():
    with pytest.raises(ModelError, match="never judged"):
        gates.admit([], incumbent=None)
    for name in (METRIC_PARITY, ROW_PARITY):
        with pytest.raises(ModelError, match=name):
            gates.admit([], incumbent=None, override_reason="a reason")
