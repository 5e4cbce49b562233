"""Which density serves: the written rule on known answers, what was known when, and what it does to quantiles."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.contracts.forecast import QUANTILE_COLUMNS
from cbi_pipeline.evaluation import densities as den
from cbi_pipeline.evaluation.anchor_skill import anchor_record
from cbi_pipeline.evaluation.benchmarks import ANCHOR, LAST_PRICE, Market
from cbi_pipeline.evaluation.calibration import calibrate, corrections_on
from cbi_pipeline.evaluation.density_scores import log_quantiles
from cbi_pipeline.evaluation.density_table import PIT_COLUMNS, density_table, uniformity_p

STANDARD = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
DAY = pd.Timestamp("2016-06-15")


@pytest.fixture(scope="module")
def record(market: Market) -> pd.DataFrame:
    rows = anchor_record(market, 2005, 2024)
    return rows[rows["entry"].isin([ANCHOR, LAST_PRICE])].reset_index(drop=True)


@pytest.fixture(scope="module")
def rows(record: pd.DataFrame) -> pd.DataFrame:
    return record[record["entry"] == ANCHOR].reset_index(drop=True)


@pytest.fixture(scope="module")
def candidates(rows: pd.DataFrame) -> dict[den.Density, pd.DataFrame]:
    """The network's density claims a third of the true spread: it is worse, and its calibration has work to do."""
    return den.candidate_rows(rows, np.tile(STANDARD / 3, (len(rows), 1)))


def knowing(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """Quantiles moved towards the outcome by a share: a density that cannot help scoring better."""
    quantiles = log_quantiles(rows)
    known = np.log(rows["realised_price"].to_numpy(float))[:, None]
    return den.with_quantiles(rows, np.where(np.isnan(known), quantiles, (1 - share) * quantiles + share * known))


def with_rivals(rows: pd.DataFrame, **shares: float) -> dict[den.Density, pd.DataFrame]:
    return {name: knowing(rows, shares.get(name, 0.0)) for name in den.DENSITIES}


# --- candidates ----------------------------------------------------------------------------------------------------


def test_the_normals_own_offsets_give_the_normal_back(rows: pd.DataFrame) -> None:
    same = den.candidate_rows(rows.head(40), np.tile(STANDARD, (40, 1)))["network"]
    np.testing.assert_allclose(log_quantiles(same), log_quantiles(rows.head(40)), atol=1e-12)


def test_candidates_share_the_median_and_all_else(candidates: dict[den.Density, pd.DataFrame]) -> None:
    normal = candidates["normal"]
    rest = [column for column in normal if column not in QUANTILE_COLUMNS]
    for own in candidates.values():
        pd.testing.assert_frame_equal(own[rest], normal[rest])
        np.testing.assert_allclose(own["q50"], normal["q50"])
        assert (np.diff(log_quantiles(own), axis=1) >= 0).all()
    widths = {name: np.ptp(log_quantiles(own)[:, [0, -1]], axis=1).mean() for name, own in candidates.items()}
    assert widths["network"] == pytest.approx(widths["normal"] / 3)
    assert widths["network_calibrated"] > 1.5 * widths["network"], "each is corrected by its own record"
    pd.testing.assert_frame_equal(candidates["calibrated"], calibrate(normal).rows)
    pd.testing.assert_frame_equal(candidates["network_calibrated"], calibrate(candidates["network"]).rows)


# --- the rule ------------------------------------------------------------------------------------------------------


def test_the_normal_serves_until_it_is_beaten_beyond_chance(rows: pd.DataFrame) -> None:
    for horizon in HORIZONS_MONTHS:
        equal = den.choose_density(with_rivals(rows), horizon, pd.Timestamp("2025-01-01"))
        assert (equal.density, equal.corrections) == ("normal", None)
        found = den.choose_density(with_rivals(rows, network=0.3), horizon, pd.Timestamp("2025-01-01"))
        assert found.density == "network"
        assert "of the normal's, p = 0.00" in found.reason


def test_of_several_that_pass_the_lowest_crps_serves(rows: pd.DataFrame) -> None:
    rivals = with_rivals(rows, network=0.2, calibrated=0.4, network_calibrated=0.3)
    assert den.choose_density(rivals, 6, pd.Timestamp("2025-01-01")).density == "calibrated"


def test_a_worse_density_and_one_no_better_beyond_chance_do_not_serve(
    candidates: dict[den.Density, pd.DataFrame], rows: pd.DataFrame
) -> None:
    assert den.choose_density(candidates, 3, pd.Timestamp("2025-01-01")).density == "normal"
    slightly = rows.assign(q95=rows["q95"] * 1.001)
    choice = den.choose_density(with_rivals(rows) | {"network": slightly}, 3, pd.Timestamp("2025-01-01"))
    assert choice.density == "normal"
    assert "nothing beats the normal beyond chance: nearest is network" in choice.reason


def test_the_level_is_shared_among_the_rivals(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """A p-value between a third of the level and the level does not do."""
    p = iter([0.03, 0.5, 0.5, 0.016, 0.5, 0.5])
    test = type("Test", (), {})

    def scripted(*_: object) -> object:
        found = test()
        found.p_less = next(p)
        return found

    monkeypatch.setattr(den, "diebold_mariano", scripted)
    assert den.choose_density(with_rivals(rows), 3, pd.Timestamp("2025-01-01")).density == "normal"
    assert den.choose_density(with_rivals(rows), 3, pd.Timestamp("2025-01-01")).density == "network"


def test_too_short_a_record_decides_nothing(rows: pd.DataFrame) -> None:
    known = rows[rows["horizon_months"] == 12].sort_values("target_date")
    third = known["target_date"].iloc[3 * 252 - 1]
    rivals = with_rivals(rows, network=0.5)
    assert den.choose_density(rivals, 12, third).reason == (
        f"{(known['target_date'] < third).sum()} rows of known outcome, fewer than 3 independent periods"
    )
    assert "fewer" not in den.choose_density(rivals, 12, third + pd.Timedelta(days=1)).reason


def test_outcomes_after_the_day_of_the_choice_change_nothing(rows: pd.DataFrame) -> None:
    later = rows["target_date"] >= DAY
    changed = rows.assign(realised_price=rows["realised_price"].mask(later, rows["realised_price"] * 3))
    for share in (0.05, 0.3):
        clean, moved = (with_rivals(own, network=share) for own in (rows, changed))
        for horizon in HORIZONS_MONTHS:
            assert den.choose_density(clean, horizon, DAY) == den.choose_density(moved, horizon, DAY)
    assert den.serving_densities(den.candidate_rows(rows, np.tile(STANDARD, (len(rows), 1))), DAY) == (
        den.serving_densities(den.candidate_rows(changed, np.tile(STANDARD, (len(rows), 1))), DAY)
    )


def test_rows_carry_what_had_been_chosen_at_the_start_of_their_fold(rows: pd.DataFrame) -> None:
    rivals = with_rivals(rows, network=0.3)
    starts = {str(fold): own["as_of_date"].min() for fold, own in rows.groupby("fold")}
    served, chosen = den.rows_by_rule(rivals, starts)
    assert {choice.density for choice in chosen.values()} == {"normal", "network"}
    for (fold, horizon), choice in chosen.items():
        own = ((rows["fold"] == fold) & (rows["horizon_months"] == horizon)).to_numpy()
        pd.testing.assert_frame_equal(served[own], rivals[choice.density][own])


# --- serving -------------------------------------------------------------------------------------------------------


def test_what_serves_is_what_the_record_would_carry_that_day(candidates: dict[den.Density, pd.DataFrame]) -> None:
    """A correction kept for a day and applied to that day's row gives the calibrated row of that day."""
    normal = candidates["normal"]
    today = normal[(normal["as_of_date"] == DAY) & (normal["horizon_months"] == 3)]
    found = corrections_on(candidates["network"][candidates["network"]["horizon_months"] == 3], DAY)
    assert list(found["interval"]) == [50, 80, 90]
    assert found["applied"].all()
    served = den.ServedDensity(density="network_calibrated", corrections=tuple(found["correction"]), reason="")
    own = den.served_quantiles(served, log_quantiles(today), STANDARD[None] / 3)
    np.testing.assert_allclose(own, log_quantiles(candidates["network_calibrated"].loc[today.index]), atol=1e-12)
    plain = den.served_quantiles(
        served.model_copy(update={"density": "calibrated"}), log_quantiles(today), STANDARD[None] / 3
    )
    assert np.ptp(plain) > np.ptp(own)


def test_a_calibrated_density_serves_with_its_corrections(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    picked = den.ServedDensity(density="network_calibrated", corrections=None, reason="by force")
    monkeypatch.setattr(den, "choose_density", lambda *_: picked)
    offsets = np.tile(STANDARD / 3, (len(rows), 1))
    served = den.serving_densities(den.candidate_rows(rows, offsets), DAY)
    assert list(served) == list(HORIZONS_MONTHS)
    for horizon, own in served.items():
        network = den.candidate_rows(rows[rows["horizon_months"] == horizon], offsets[: len(rows) // 4])["network"]
        assert own.corrections == tuple(corrections_on(network, DAY)["correction"])
        assert own.corrections[1] > 0.3, "a third of the spread misses most outcomes"
        assert den.ServedDensity.model_validate(own.model_dump(mode="json")) == own


def test_the_normal_is_left_alone() -> None:
    normal = 0.2 * STANDARD[None] + 4
    served = den.ServedDensity(density="normal", corrections=None, reason="")
    assert den.served_quantiles(served, normal, 9 * STANDARD[None]) is normal


# --- the table -----------------------------------------------------------------------------------------------------


def test_the_pit_of_a_normal_is_uniform_and_others_are_not() -> None:
    rng = np.random.default_rng(3)
    quantiles = np.tile(STANDARD, (2000, 1))
    p = [uniformity_p(rng.normal(size=2000), quantiles, 1) for _ in range(200)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.08
    for shift, scale in ((0.5, 1.0), (0.0, 1.5), (0.0, 0.6)):
        assert uniformity_p(shift + scale * rng.normal(size=2000), quantiles, 1) < 1e-3
    assert np.isnan(uniformity_p(rng.normal(size=50), quantiles[:50], 20)), "fewer than three horizons of rows"


def test_the_table_measures_each_density_against_the_normal_and_the_last_price(
    candidates: dict[den.Density, pd.DataFrame], record: pd.DataFrame
) -> None:
    last_price = record[record["entry"] == LAST_PRICE]
    table = density_table(candidates, last_price).set_index(["density", "horizon_months"])
    assert len(table) == 4 * 4
    for horizon in HORIZONS_MONTHS:
        normal, network = table.loc[("normal", horizon)], table.loc[("network", horizon)]
        assert normal["crps_to_normal"] == 1.0
        assert normal["relative_width_80"] == pytest.approx(1.0)
        assert network["relative_width_80"] == pytest.approx(1 / 3)
        assert network["crps_to_normal"] == pytest.approx(network["crps"] / normal["crps"])
        assert network["crps_to_normal_low"] < network["crps_to_normal"] < network["crps_to_normal_high"]
        assert network["p_less"] > 0.9
        assert network["calibration_error"] > normal["calibration_error"]
        assert network[list(PIT_COLUMNS)].sum() == pytest.approx(1.0)
        assert network["pit_p"] < 0.1
        rows = candidates["network"].query("horizon_months == @horizon").dropna(subset="realised_price")
        assert network["n"] == len(rows)
        assert network[PIT_COLUMNS[0]] == pytest.approx((rows["realised_price"] <= rows["q05"]).mean())
