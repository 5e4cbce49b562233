"""Truth table of every gate at its boundary. Small tables with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.verdict import Verdict
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
    "coverage_50": 0.5,
    "coverage_80": 0.8,
    "coverage_90": 0.9,
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
    assert outcomes(gates.evaluate_tripwire(scores(**changed), "tcn", (), BOUNDS)) == {outcome}


def test_the_last_price_must_have_been_scored_on_the_same_rows():
    table = scores()
    table.loc[table["entry"] == "last_price", "n"] -= 1
    assert outcomes(gates.evaluate_tripwire(table, "tcn", (), BOUNDS)) == {"failed"}


def test_a_leak_that_shows_in_the_unshrunk_network_alone_trips():
    table = scores()
    leaky = scores(rmse_ratio=0.5).assign(entry=lambda rows: rows["entry"].replace("tcn", "tcn_lambda_1"))
    both = pd.concat([table, leaky[leaky["entry"] == "tcn_lambda_1"]])
    assert outcomes(gates.evaluate_tripwire(both, "tcn", (), BOUNDS)) == {"passed"}
    verdicts = gates.evaluate_tripwire(both, "tcn", ("tcn_lambda_1",), BOUNDS)
    assert outcomes(verdicts) == {"failed"}
    assert "tcn_lambda_1: RMSE to last price 0.500" in verdicts[0].reason
    assert outcomes(gates.evaluate_tripwire(table, "tcn", ("tcn_lambda_1",), BOUNDS)) == {"failed"}, "never scored"


def test_a_network_that_says_the_last_price_has_no_direction_and_is_no_finding():
    table = scores()
    flat = scores(rmse_ratio=1.0, mape=10.0, directional_accuracy=None)
    flat = flat[flat["entry"] == "tcn"].assign(entry="tcn_raw")
    assert outcomes(gates.evaluate_tripwire(pd.concat([table, flat]), "tcn", ("tcn_raw",), BOUNDS)) == {"passed"}
    assert outcomes(gates.evaluate_tripwire(scores(directional_accuracy=None), "tcn", (), BOUNDS)) == {"failed"}


def test_an_entry_that_was_never_scored_fails_every_gate_on_the_scorecard():
    for verdicts in (
        gates.evaluate_tripwire(scores(), "nbeatsx", (), BOUNDS),
        gates.evaluate_coverage(scores(), "nbeatsx", BOUNDS),
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
        ({"tcn": 1.2, "last_price": 1.3, "ridge": 1.0}, "failed"),
        ({"tcn": 1.0, "other_network": 0.1, "last_price": 1.1}, "passed"),
        ({"last_price": 1.1}, "failed"),
        ({"tcn": 1.0}, "failed"),
    ],
)
def test_no_worse_than_the_best_benchmark(scale, outcome):
    assert outcomes(gates.evaluate_benchmark(out_of_fold(**scale), "tcn", BOUNDS)) == {outcome}


def test_the_best_benchmark_is_named_and_few_rows_cannot_be_judged():
    rows = out_of_fold(tcn=1.2, last_price=1.3, anchor=1.0)
    assert "the best of 2 benchmarks, anchor" in gates.evaluate_benchmark(rows, "tcn", BOUNDS)[0].reason
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


@pytest.mark.parametrize(("beyond", "outcome"), [(0.0, "passed"), (1e-9, "failed")])
def test_worse_by_more_than_the_tolerance_fails_though_chance_explains_it(beyond, outcome):
    rows = alternating(1.04 + beyond, "anchor")
    bounds = BOUNDS.model_copy(update={"benchmark_worse": 0.04 + 1e-12})
    verdicts = gates.evaluate_benchmark(rows, "tcn", bounds)
    assert outcomes(verdicts) == {outcome}
    assert all(verdict.value == pytest.approx(1.04 + beyond) for verdict in verdicts)


def test_the_best_of_many_benchmarks_has_to_be_better_by_more():
    rows = out_of_fold(tcn=1.0, anchor=1.0)
    half = BOUNDS.model_copy(update={"benchmark_p": 0.75})
    assert outcomes(gates.evaluate_benchmark(rows, "tcn", half)) == {"failed"}, "p is one half"
    more = pd.concat([rows, out_of_fold(last_price=1.1)])
    assert outcomes(gates.evaluate_benchmark(more, "tcn", half)) == {"passed"}, "p is one half, of two benchmarks"


# --- champion ----------------------------------------------------------------------------------------------------


def alternating(ratio: float, rival: str) -> pd.DataFrame:
    """Rows on which the network is much better in one half of the time and much worse in the other: RMSE of `ratio`."""
    rows = out_of_fold(**{"tcn": 1.0, rival: 1.0})
    first = rows["as_of_date"] < rows["as_of_date"].median()
    size = np.where(rows["entry"] == "tcn", np.where(first, 0.5, np.sqrt(2 * ratio**2 - 0.25)), 1.0)
    return rows.assign(predicted_price=40 * np.exp(0.1 * size))


def forecasts_of(rows: pd.DataFrame, entry: str) -> pd.DataFrame:
    own = rows[rows["entry"] == entry]
    return own.assign(as_of_date=own["as_of_date"].dt.date)[["as_of_date", "horizon_months", "predicted_price"]]


@pytest.mark.parametrize(("network", "outcome"), [(1.0, "passed"), (0.9, "passed"), (1.01, "failed"), (1.03, "failed")])
def test_no_worse_than_the_champion(network, outcome):
    """Errors in proportion on every row: the slightest difference is beyond chance."""
    rows = out_of_fold(tcn=network, served=1.0)
    verdicts = gates.evaluate_champion(rows, "tcn", "v1", forecasts_of(rows, "served"), BOUNDS)
    assert outcomes(verdicts) == {outcome}
    assert all("v1" in verdict.reason for verdict in verdicts)


@pytest.mark.parametrize(("ratio", "outcome"), [(1.02, "passed"), (1.02 + 1e-9, "failed")])
def test_two_percent_worse_is_the_bound_where_chance_explains_the_difference(ratio, outcome):
    rows = alternating(ratio, "served")
    bounds = BOUNDS.model_copy(update={"champion_worse": 0.02 + 1e-12})
    assert outcomes(gates.evaluate_champion(rows, "tcn", "v1", forecasts_of(rows, "served"), bounds)) == {outcome}


def test_losses_are_paired_on_common_dates_against_the_outcomes_of_the_new_rows():
    rows = out_of_fold(tcn=1.0, served=1.0)
    served = forecasts_of(rows, "served")
    half = served[served["as_of_date"] >= rows["as_of_date"].unique()[ROWS // 2].date()]
    verdicts = gates.evaluate_champion(rows, "tcn", "v1", half, BOUNDS)
    assert [v.n_eff for v in verdicts] == [effective_n(ROWS // 2, h) for h in HORIZONS_MONTHS]
    assert [v.outcome for v in verdicts] == ["passed", "passed", "cannot judge", "cannot judge"]


def test_one_worse_horizon_is_enough():
    rows = out_of_fold(tcn=1.0, served=1.0)
    better = forecasts_of(rows, "served")
    better.loc[better["horizon_months"] == 9, "predicted_price"] = 40.1
    verdicts = gates.evaluate_champion(rows, "tcn", "v1", better, BOUNDS)
    assert [verdict.passed for verdict in verdicts] == [True, True, False, True]


def test_nothing_serves_passes_and_what_cannot_be_compared_is_no_pass():
    rows = out_of_fold(tcn=1.0, served=1.0)
    assert outcomes(gates.evaluate_champion(rows, "tcn", None, None, BOUNDS)) == {"passed"}
    assert outcomes(gates.evaluate_champion(rows, "tcn", "v1", None, BOUNDS)) == {"cannot judge"}
    other = forecasts_of(rows, "served").assign(as_of_date=pd.Timestamp("1999-01-04").date())
    assert outcomes(gates.evaluate_champion(rows, "tcn", "v1", other[:4], BOUNDS)) == {"cannot judge"}
    other = forecasts_of(rows, "served")
    few = other[other["as_of_date"] < other["as_of_date"].min() + pd.Timedelta(days=100)]
    assert outcomes(gates.evaluate_champion(rows, "tcn", "v1", few, BOUNDS)) == {"cannot judge"}


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
        ({"rmse_ratio": 0.98}, "failed"),
        ({"sharpe": 1.2 * 1.0499}, "passed"),
        ({"sharpe": 1.2 * 1.0501}, "failed"),
        ({"sharpe": None}, "failed"),
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
    verdicts = gates.evaluate_row_parity(found, "12 days", BOUNDS)
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
