"""Conformal calibration: the finite-sample rule, order, delay and evidence, on the anchor's real record."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.evaluation import calibration as cal
from cbi_pipeline.evaluation.anchor_skill import anchor_record
from cbi_pipeline.evaluation.benchmarks import ANCHOR, LAST_PRICE, Market
from cbi_pipeline.evaluation.density_scores import NOMINAL, coverage_band, density_scores_of, log_quantiles
from cbi_pipeline.evaluation.metrics import INTERVALS, effective_n

QUANTILES = list(QUANTILE_COLUMNS)
SESSION = pd.Timestamp("2016-06-15")


@pytest.fixture(scope="module")
def record(market: Market) -> pd.DataFrame:
    """The anchor's and the last price's rows since the anchor can be fitted."""
    rows = anchor_record(market, 2002, 2024)
    return rows[rows["entry"].isin([ANCHOR, LAST_PRICE])].reset_index(drop=True)


@pytest.fixture(scope="module")
def anchor(record: pd.DataFrame) -> pd.DataFrame:
    return record[record["entry"] == ANCHOR].reset_index(drop=True)


@pytest.fixture(scope="module")
def always(anchor: pd.DataFrame) -> cal.Calibration:
    return cal.calibrate(anchor, always=True)


def narrowed(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """The same medians with a share of the spread: a density that claims too much."""
    quantiles = log_quantiles(rows)
    median = quantiles[:, [3]]
    return rows.assign(**dict(zip(QUANTILES, np.exp(median + share * (quantiles - median)).T, strict=True)))


# --- the rule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [9, 10, 30])
@pytest.mark.parametrize("nominal", INTERVALS)
def test_the_next_independent_outcome_is_covered_as_the_theorem_says(n: int, nominal: int) -> None:
    """Romano, Patterson and Candes (2019), theorem 1: at least nominal, at most 1 / (n + 1) more."""
    draws = np.random.default_rng(n).normal(size=(20_000, n + 1))
    scores = np.sort(draws[:, :n], axis=1)
    grown = [cal.correction(own, nominal, overlap=1) for own in scores.tolist()]
    covered = np.mean(draws[:, n] <= grown)
    assert nominal / 100 - 0.01 < covered < nominal / 100 + 1 / (n + 1) + 0.01


def test_rows_that_are_copies_count_once() -> None:
    scores = np.sort(np.random.default_rng(0).normal(size=12)).tolist()
    copies = np.repeat(scores, 63).tolist()
    for nominal in INTERVALS:
        assert cal.correction(copies, nominal, overlap=63) == cal.correction(scores, nominal, overlap=1)
    assert cal.correction(list(range(1, 568)), 90, overlap=63) == 567, "nine periods just allow the 90 % interval"


def test_scores_and_corrections_by_hand() -> None:
    normal = np.array([[-1.644854, -1.281552, -0.674490, 0, 0.674490, 1.281552, 1.644854]]) * 0.2
    assert cal.spread(normal) == pytest.approx([0.2], abs=1e-6)
    scores = cal.conformity_scores(normal, np.array([0.5]))
    assert scores[0] == pytest.approx([2.5 - 0.674490, 2.5 - 1.281552, 2.5 - 1.644854], abs=1e-5)
    assert np.isnan(cal.conformity_scores(normal, np.array([np.nan]))).all()
    grown = cal.corrected_quantiles(normal, scores)
    assert grown[0] == pytest.approx([-0.5, -0.5, -0.5, 0, 0.5, 0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize("corrections", [(-2.0, 0.0, 0.0), (3.0, 0.1, 0.2), (0.0, -3.0, -3.0), (0.5, 0.2, -0.4)])
def test_quantiles_stay_in_order_and_the_median_where_it_is(
    anchor: pd.DataFrame, corrections: tuple[float, ...]
) -> None:
    quantiles = log_quantiles(anchor)
    result = cal.corrected_quantiles(quantiles, np.tile(corrections, (len(quantiles), 1)))
    assert (np.diff(result, axis=1) >= 0).all()
    assert np.array_equal(result[:, 3], quantiles[:, 3])


def test_corrections_scale_with_the_spread_of_the_row() -> None:
    unit = np.array([[-1.7, -1.2, -0.6, 0.1, 0.8, 1.4, 2.0]])
    correction = np.array([[0.1, -0.2, 0.3]])
    np.testing.assert_allclose(
        cal.corrected_quantiles(3 * unit, correction), 3 * cal.corrected_quantiles(unit, correction)
    )


# --- through time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", HORIZONS_MONTHS)
@pytest.mark.parametrize("day", [pd.Timestamp(day) for day in ("2014-01-06", "2020-03-16", "2024-12-31")])
def test_a_correction_is_that_of_all_rows_matured_before_its_date(
    anchor: pd.DataFrame, always: cal.Calibration, horizon: int, day: pd.Timestamp
) -> None:
    rows = anchor[anchor["horizon_months"] == horizon]
    known = rows[(rows["target_date"] < day) & rows["realised_price"].notna()]
    made = always.corrections[always.corrections["as_of_date"] == day]
    made = made[made["horizon_months"] == horizon].set_index("interval")
    n_eff = effective_n(len(known), horizon)
    assert (made["rows"] == len(known)).all()
    assert made["n_eff"].tolist() == pytest.approx([n_eff] * 3)
    unit = np.log(known["q95"] / known["q05"]) / (2 * 1.6448536269514722)
    for nominal, (low, high) in INTERVALS.items():
        outside = np.log(np.maximum(known[low] / known["realised_price"], known["realised_price"] / known[high])) / unit
        expected = np.sort(outside)[math.ceil(Fraction(nominal, 100) * (len(known) + 21 * horizon)) - 1]
        assert made.loc[nominal, "correction"] == pytest.approx(expected, abs=1e-9)
    before = rows[rows["as_of_date"] == day].iloc[0]
    after = always.rows.loc[before.name]
    own_unit = np.log(before["q95"] / before["q05"]) / (2 * 1.6448536269514722)
    assert np.log(after["q90"] / before["q90"]) / own_unit == pytest.approx(made.loc[80, "correction"])


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("change", ["other outcomes", "no outcomes", "no later rows"])
def test_outcomes_from_a_date_on_never_change_its_interval(anchor: pd.DataFrame, change: str, everything: bool) -> None:
    rows = anchor[anchor["horizon_months"].isin([6, 9])].copy()
    later, clean = rows["target_date"] >= SESSION, cal.calibrate(rows, always=everything)
    dirty = rows.copy()
    if change == "no later rows":
        dirty = dirty[dirty["as_of_date"] <= SESSION]
    else:
        dirty.loc[later, "realised_price"] *= np.nan if change == "no outcomes" else 3.0
    moved = cal.calibrate(dirty, always=everything)
    until = rows["as_of_date"] <= SESSION
    assert moved.rows[until[dirty.index]][QUANTILES].equals(clean.rows[until][QUANTILES])
    early = clean.corrections["as_of_date"] <= SESSION
    kept = moved.corrections[moved.corrections["as_of_date"] <= SESSION]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), clean.corrections[early].reset_index(drop=True))
    assert clean.corrections.loc[early, "applied"].any()
    if change == "other outcomes":
        assert not moved.rows[~until][QUANTILES].equals(clean.rows[~until][QUANTILES])
        yesterday = rows["target_date"] == SESSION - pd.Timedelta(days=1)
        assert yesterday.any()
        rows.loc[yesterday, "realised_price"] *= 3.0
        today = cal.calibrate(rows, always=True).corrections.query("as_of_date == @SESSION")["correction"]
        assert not today.equals(clean.corrections.query("as_of_date == @SESSION")["correction"])


def test_too_little_history_leaves_the_quantiles_and_says_so(anchor: pd.DataFrame, always: cal.Calibration) -> None:
    short = always.corrections["n_eff"] < cal.MIN_N_EFF
    assert always.corrections.loc[short, "correction"].isna().all()
    assert not always.corrections.loc[short, "applied"].any()
    assert always.corrections.loc[short, "reason"].str.endswith(cal.TOO_FEW).all()
    assert always.corrections.loc[~short, "applied"].all()
    assert (always.corrections.loc[~short, "reason"] == "").all()
    kept = cal.calibrate(anchor).corrections.loc[lambda x: ~x["applied"], "reason"]
    assert (kept[~short] == cal.NOT_EARNED).all()
    early = anchor["as_of_date"] < "2004-01-01"
    assert always.rows[early].equals(anchor[early])
    first = always.corrections[~short].groupby("horizon_months")["as_of_date"].min()
    assert [day.year for day in first] == [2004, 2007, 2009, 2012], "nine periods and one more until they are known"


def test_only_quantiles_change_and_rows_keep_their_order(anchor: pd.DataFrame, always: cal.Calibration) -> None:
    shuffled = anchor.sample(frac=1, random_state=1)
    result = cal.calibrate(shuffled, always=True)
    pd.testing.assert_frame_equal(result.rows.sort_index(), always.rows)
    rest = [column for column in anchor if column not in QUANTILES]
    assert always.rows[rest].equals(anchor[rest])
    assert (always.rows[QUANTILES].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    with pytest.raises(ModelError, match="one row for an as-of date"):
        cal.calibrate(pd.concat([anchor, anchor]))


# --- what it does to the real record -------------------------------------------------------------------------------


def scores(rows: pd.DataFrame, reference: pd.DataFrame, first_year: int) -> dict[int, dict[str, float]]:
    own, last = (x[(x["as_of_date"].dt.year >= first_year) & x["realised_price"].notna()] for x in (rows, reference))
    by_horizon = {h: (own[own["horizon_months"] == h], last[last["horizon_months"] == h]) for h in HORIZONS_MONTHS}
    return {h: density_scores_of(*pair) | {"n": len(pair[0])} for h, pair in by_horizon.items()}


def test_anchor_2013_2024_before_and_after(record: pd.DataFrame, anchor: pd.DataFrame, always: cal.Calibration) -> None:
    """The normal density is calibrated: corrections widen it and cost CRPS, so that few are earned."""
    last = record[record["entry"] == LAST_PRICE]
    before, after = scores(anchor, last, 2013), scores(always.rows, last, 2013)
    earned = scores(cal.calibrate(anchor).rows, last, 2013)
    for h in HORIZONS_MONTHS:
        for nominal in NOMINAL:
            low, high = coverage_band(nominal, int(before[h]["n"]), h)
            for result in (before, after, earned):
                assert low <= result[h][f"coverage_{nominal}"] <= high
        assert after[h]["crps_ratio"] > before[h]["crps_ratio"]
        assert earned[h]["crps_ratio"] < after[h]["crps_ratio"]
    figures = {
        "coverage_50": ([0.495, 0.574, 0.599, 0.513], [0.504, 0.590, 0.603, 0.629]),
        "coverage_80": ([0.808, 0.835, 0.872, 0.846], [0.822, 0.894, 0.920, 0.908]),
        "coverage_90": ([0.892, 0.905, 0.918, 0.906], [0.933, 0.950, 0.948, 0.938]),
        "relative_width_80": ([1.0, 1.0, 1.0, 1.0], [1.046, 1.244, 1.402, 1.382]),
        "crps_ratio": ([0.975, 0.966, 0.971, 0.978], [0.985, 1.011, 1.048, 1.045]),
    }
    for metric, (measured_before, measured_after) in figures.items():
        assert [before[h][metric] for h in HORIZONS_MONTHS] == pytest.approx(measured_before, abs=0.005)
        assert [after[h][metric] for h in HORIZONS_MONTHS] == pytest.approx(measured_after, abs=0.005)
    assert [earned[h]["relative_width_80"] for h in HORIZONS_MONTHS] == pytest.approx([1, 1.040, 1.018, 1], abs=0.005)


def test_a_density_that_claims_too_much_earns_its_correction(record: pd.DataFrame, anchor: pd.DataFrame) -> None:
    last, proud = record[record["entry"] == LAST_PRICE], narrowed(anchor, 0.4)
    before, after = scores(proud, last, 2013), scores(cal.calibrate(proud).rows, last, 2013)
    for h in HORIZONS_MONTHS:
        low, high = coverage_band(80, int(before[h]["n"]), h)
        assert before[h]["coverage_80"] < low <= after[h]["coverage_80"] <= high
        assert after[h]["crps_ratio"] < before[h]["crps_ratio"]
