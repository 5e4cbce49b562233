"""Live figures and their bands, on the real record of the anchor: what is served while no network has a weight."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.live_skill import (
    FIGURES,
    JUDGED,
    QUANTILE_LEVELS,
    WINDOW_SESSIONS,
    alarm_rate,
    evaluate,
    refusals,
    window_figures,
)
from cbi_pipeline.evaluation.metrics import coverage, metrics_of
from cbi_pipeline_tests.grown_errors import with_errors

SERVED_FROM = pd.Timestamp("2023-06-01")


@pytest.fixture(scope="module")
def rows(anchor_record: pd.DataFrame) -> pd.DataFrame:
    return anchor_record


@pytest.fixture(scope="module")
def live(rows):
    return rows[rows["as_of_date"] >= SERVED_FROM]


def by_name(figures) -> dict:
    return {(one.horizon_months, one.metric): one for one in figures}


# --- figures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 777, -1])
def test_figures_of_a_window_equal_those_of_its_rows(rows, place):
    own = rows[rows["horizon_months"] == 6]
    found = window_figures(own, WINDOW_SESSIONS)
    assert len(found) == len(own) - WINDOW_SESSIONS + 1
    start = range(len(found))[place]
    window = own.iloc[start : start + WINDOW_SESSIONS]
    expected = {name: value for name, value in metrics_of(window).items() if name in FIGURES}
    realised = window["realised_price"].to_numpy()
    expected["bias"] = np.log(window["predicted_price"] / realised).mean()
    for nominal, low, high in ((50, "q25", "q75"), (80, "q10", "q90"), (90, "q05", "q95")):
        expected[f"coverage_{nominal}"] = coverage(window[low].to_numpy(), window[high].to_numpy(), realised)
    losses = [
        2 * (level if outcome >= quantile else level - 1) * (np.log(outcome) - np.log(quantile))
        for name, level in QUANTILE_LEVELS.items()
        for quantile, outcome in zip(window[name], realised, strict=True)
    ]
    expected["crps"] = np.mean(losses)
    assert set(expected) == set(FIGURES)
    assert found.iloc[start].to_dict() == pytest.approx(expected, rel=1e-9)


def test_what_is_not_defined_is_missing(rows):
    flat = rows[rows["horizon_months"] == 3].head(2).copy()
    flat["realised_price"] = flat["last_price"]
    found = window_figures(flat, 2).iloc[0]
    assert found[["rmse_ratio", "directional_accuracy"]].isna().all()
    assert found.drop(["rmse_ratio", "directional_accuracy"]).notna().all()


# --- bands -------------------------------------------------------------------------------------------------------


def test_the_band_of_a_judged_figure_is_the_largest_score_of_any_horizon(rows, live):
    """By hand: windows one by one, in logs, each in units of its own horizon."""
    logs = {}
    for months in HORIZONS_MONTHS:
        own = rows[rows["horizon_months"] == months]
        newest = live[live["horizon_months"] == months].tail(WINDOW_SESSIONS)
        before = own[own["target_date"] <= newest["as_of_date"].iloc[0]]
        ratio = (before["predicted_price"] / before["realised_price"] - 1).abs() * 100
        logs[months] = np.log(ratio.rolling(WINDOW_SESSIONS).mean().dropna())
    units = {months: one.quantile(0.9) - one.median() for months, one in logs.items()}
    limit = max((one.max() - one.median()) / units[months] for months, one in logs.items())
    found = by_name(evaluate(live, rows))
    for months, one in logs.items():
        figure = found[months, "mape"]
        assert figure.high == pytest.approx(np.exp(one.median() + limit * units[months]), rel=1e-9)
        assert figure.low is None
        assert (figure.windows, figure.n) == (len(one), WINDOW_SESSIONS)
        assert figure.periods == pytest.approx((len(one) + WINDOW_SESSIONS - 1) / (WINDOW_SESSIONS + 21 * months))
        assert figure.n_eff == pytest.approx(1 / months)


def test_no_row_counts_as_record_that_was_not_known_when_the_window_began(rows, live):
    """What came after the window's first close, live rows themselves included, moves no band."""
    figures = evaluate(live, rows)
    later = rows["target_date"] > live[live["horizon_months"] == 12].tail(WINDOW_SESSIONS)["as_of_date"].iloc[0]
    changed = rows.assign(realised_price=rows["realised_price"].where(~later, rows["realised_price"] * 3))
    twelve = [one for one in figures if one.horizon_months == 12]
    again = [one for one in evaluate(live[live["horizon_months"] == 12], changed) if one.horizon_months == 12]
    alone = [one for one in evaluate(live[live["horizon_months"] == 12], rows) if one.horizon_months == 12]
    assert again == alone
    assert [one.value for one in alone] == [one.value for one in twelve]


def test_only_the_newest_window_counts(live, rows):
    older = ~live.index.isin(live.groupby("horizon_months").tail(WINDOW_SESSIONS).index)
    changed = live.assign(predicted_price=live["predicted_price"].where(~older, 1.0))
    assert evaluate(changed, rows) == evaluate(live, rows)
    assert older.sum() > 400


# --- outcomes ----------------------------------------------------------------------------------------------------


def test_real_errors_of_2024_are_within_and_twice_as_large_are_not(live, rows):
    figures = evaluate(live, rows)
    assert refusals(figures) == {months: [] for months in HORIZONS_MONTHS}
    assert {one.outcome for one in figures if one.judged} == {"within"}
    assert 0 < alarm_rate(figures) < 0.25
    grown = evaluate(with_errors(live, 2.0), rows)
    reasons = refusals(grown)
    assert reasons[3]
    assert sum(bool(found) for found in reasons.values()) >= 2
    figure = by_name(grown)[3, "rmse_ratio"]
    assert figure.outcome == "beyond"
    assert reasons[3][0] == (
        "live errors at 3 months are beyond the back-test band (RMSE ratio to last price "
        f"{figure.value:.3f}, at most {figure.high:.3f} by {figure.windows:,} windows of 21 forecasts)"
    )


def test_through_the_years_alarms_are_rare_and_doubled_errors_are_seen(rows):
    """Every second month of two and a half years, judged as it would have been then."""
    alarms, seen, months = 0, 0, pd.date_range("2022-07-01", "2024-12-31", freq="2MS")
    for day in months:
        matured = rows[rows["target_date"] <= day]
        alarms += any(refusals(evaluate(matured, matured)).values())
        seen += any(refusals(evaluate(with_errors(matured, 2.0), matured)).values())
    assert alarms <= 0.1 * len(months)
    assert seen >= 0.85 * len(months)


@pytest.mark.parametrize("matured", [0, 1, WINDOW_SESSIONS - 1])
def test_too_few_matured_forecasts_are_not_yet_known_and_refuse_nothing(rows, live, matured):
    few = with_errors(live, 5.0).groupby("horizon_months").head(matured)
    figures = evaluate(few, rows)
    assert {one.outcome for one in figures} == {"not yet known"}
    assert {one.reason for one in figures} == {f"{matured} forecasts have matured, 21 are needed"}
    assert {(one.low, one.high) for one in figures} == {(None, None)}
    assert all((one.value is None) == (matured == 0) for one in figures if one.metric in JUDGED)
    assert not any(refusals(figures).values())
    assert alarm_rate(figures) is None


def test_a_record_too_short_to_judge_by_refuses(rows, live):
    """Errors that have matured and cannot be compared are no reason to trust them."""
    short = rows[rows["as_of_date"] >= "2021-01-01"]
    figures = evaluate(live, short)
    reasons = refusals(figures)
    assert reasons[12]
    assert "cannot be judged: the back-test before" in reasons[12][0]
    assert "3 are needed" in reasons[12][0]
    nothing = evaluate(live, rows.head(0))
    assert {one.outcome for one in nothing} == {"cannot judge"}
    assert all(refusals(nothing).values())
