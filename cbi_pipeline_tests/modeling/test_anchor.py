"""The anchor: known answers, publication times, maximum ages, purge, and no look-ahead on the starter bundle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.errors import ModelError
from cbi_pipeline.market_calendar import as_of_time, sessions, target_dates
from cbi_pipeline.modeling import anchor as a
from cbi_pipeline.modeling.volatility import front_price, volatility_state, within_contract_returns

DAY = pd.Timestamp("2015-03-02")
STATE = pd.DataFrame({"v_fast": [0.06], "v_slow": [0.06], "v_long": [0.04]}, index=[DAY])
FIT = a.AnchorFit(
    known_before=DAY.date(),
    beta={h: {"stocks_to_use_deviation": 0.5, "palm_soybean_oil_ratio_deviation": 2.0} for h in HORIZONS_MONTHS},
    rows=dict.fromkeys(HORIZONS_MONTHS, 500),
)


def inputs(carry: float, stocks: float, palm: float) -> pd.DataFrame:
    return pd.DataFrame([[carry, stocks, palm]], columns=list(a.INPUT_COLUMNS), index=[DAY])


Real = tuple[pd.Series, pd.DataFrame, pd.DataFrame]


def real_parts(tables: dict[str, pd.DataFrame]) -> Real:
    return front_price(tables), a.anchor_inputs(tables), volatility_state(within_contract_returns(tables))


def test_carry_is_the_annualised_log_slope_of_the_two_nearest() -> None:
    legs = pd.DataFrame(
        {
            "symbol": "ZL",
            "trade_date": [DAY, DAY, DAY + pd.Timedelta(days=1)],
            "contract_month": ["2014-12", "2015-03", "2015-03"],
            "price": [30.0, 30.6, 31.0],
            "available_at": [as_of_time(DAY)] * 3,
        }
    )
    carry = a.curve_carry({"futures_curve": legs})
    assert carry["carry"].to_dict() == {DAY: pytest.approx(np.log(1.02) / 0.25)}


def test_curve_is_half_the_carry_and_capped() -> None:
    small = a.curve_log_return(inputs(0.001, 0, 0), STATE, capped=True)
    assert small[12].iloc[0] == pytest.approx(0.0005, rel=1e-3)
    large = a.curve_log_return(inputs(-50.0, 0, 0), STATE, capped=True)
    for h in HORIZONS_MONTHS:
        assert large[h].iloc[0] == pytest.approx(-0.25 * 0.2 * np.sqrt(h / 12))
    middle = a.curve_log_return(inputs(0.1, 0, 0), STATE, capped=True)
    assert middle[12].iloc[0] == pytest.approx(0.05 * np.tanh(1.0))
    whole = a.curve_log_return(inputs(0.1, 0, 0), STATE, capped=False)
    assert whole.iloc[0].tolist() == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_anchor_formula_written_out() -> None:
    got = a.anchor_log_return(FIT, inputs(0.1, 0.2, -0.1), STATE)
    for h in HORIZONS_MONTHS:
        sigma, c = np.sqrt(h / 12 * 0.05), 0.25 * np.sqrt(h / 12 * 0.04)
        curve = c * np.tanh(0.5 * 0.1 * h / 12 / c)
        assert got[h].iloc[0] == pytest.approx(0.5 * (curve + sigma * (0.5 * 0.2 - 2.0 * 0.1)))
    assert a.anchor_log_return(FIT, inputs(0.1, 0.2, -0.1), STATE, weight=1.0)[3].iloc[0] == pytest.approx(
        2 * got[3].iloc[0]
    )


def test_what_is_not_known_adds_nothing_and_the_kind_says_so() -> None:
    nan = np.nan
    parts = [a.anchor_log_return(FIT, inputs(*p), STATE) for p in ((0.1, nan, nan), (nan, 0.2, nan), (nan, nan, -0.1))]
    both = a.anchor_log_return(FIT, inputs(0.1, 0.2, -0.1), STATE)
    pd.testing.assert_frame_equal(parts[0] + parts[1] + parts[2], both)
    assert (a.anchor_log_return(FIT, inputs(nan, nan, nan), STATE) == 0.0).all(axis=None)
    assert a.anchor_kind(inputs(0.1, 0.2, -0.1).iloc[0]) == "curve+stocks_to_use+palm_ratio"
    assert a.anchor_kind(inputs(nan, 0.2, nan).iloc[0]) == "stocks_to_use"
    assert a.anchor_kind(inputs(nan, nan, nan).iloc[0]) == "last_price"


def test_an_unknown_sigma_leaves_the_anchor_missing() -> None:
    late = inputs(0.1, 0.2, -0.1).set_axis([DAY + pd.Timedelta(days=60)])
    assert a.anchor_log_return(FIT, late, STATE).isna().all(axis=None)


def test_available_case_ridge_solves_the_pairwise_normal_equations() -> None:
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(300, 2)) * [0.2, 0.1], columns=list(a.FUNDAMENTALS))
    y = x.to_numpy() @ [1.0, -2.0] + rng.normal(size=300)
    complete = a._available_case_ridge(x, y, 130.0)
    scale = x.std(ddof=0).to_numpy()
    plain = Ridge(alpha=130.0, fit_intercept=False).fit(x / scale, y).coef_ / scale
    assert list(complete.values()) == pytest.approx(list(plain), rel=1e-8)
    x.iloc[:120, 0] = np.nan
    z = (x / x.std(ddof=0)).to_numpy()
    n = np.array([[np.isfinite(z[:, i] * z[:, j]).sum() for j in range(2)] for i in range(2)])
    moments = np.array([[np.nansum(z[:, i] * z[:, j]) / n[i, j] for j in range(2)] for i in range(2)])
    expected = np.linalg.solve(
        moments + 130.0 / 300 * np.eye(2), [np.nansum(z[:, i] * y) / n[i, i] for i in range(2)]
    ) / x.std(ddof=0)
    filled = Ridge(alpha=130.0, fit_intercept=False).fit(np.nan_to_num(z), y).coef_ / x.std(ddof=0).to_numpy()
    assert list(expected) != pytest.approx(list(filled), rel=1e-3), "an unknown term does not count as zero"
    assert list(a._available_case_ridge(x, y, 130.0).values()) == pytest.approx(list(expected), rel=1e-8)


def test_weekly_rows_are_the_last_session_of_each_week() -> None:
    rows = a.weekly_rows(sessions("2015-03-26", "2015-04-14"))  # 3 April 2015 was Good Friday
    assert [str(d.date()) for d in rows] == ["2015-03-27", "2015-04-02", "2015-04-10", "2015-04-14"]


def test_a_release_is_seen_from_its_own_session_on(starter_tables: dict[str, pd.DataFrame]) -> None:
    got = a.anchor_inputs(starter_tables)
    change = got["stocks_to_use_deviation"].loc["2020-07-01":"2020-08-31"].diff()
    moved = change[change != 0].dropna()
    assert [str(d.date()) for d in moved.index] == ["2020-07-10", "2020-08-12"], (
        "WASDE, 12:00 New York, before the close"
    )
    palm = got["palm_soybean_oil_ratio_deviation"].loc["2020-06-20":"2020-08-31"].diff()
    first_days = palm[palm != 0].dropna().index
    assert [d.month for d in first_days] == [7, 8]
    assert all(2 <= d.day <= 8 for d in first_days), "a month is published in the first days of the next"


def test_stocks_to_use_by_hand(starter_tables: dict[str, pd.DataFrame]) -> None:
    f = starter_tables["fundamentals"]
    on = pd.Timestamp("2019-09-12")
    logs = []
    for release, rows in f[f["release_date"] <= on].groupby("release_date"):
        if release <= on - pd.Timedelta("1826D"):
            continue
        last = rows[rows["marketing_year"] == rows["marketing_year"].max()].set_index("series_id")["value"]
        logs.append(np.log(last["wasde_us_soybean_oil_ending_stocks"] / last["wasde_us_soybean_oil_use_total"]))
    assert 58 <= len(logs) <= 60, "monthly releases of five years, one of them cancelled in 2019-01"
    assert a.stocks_to_use_deviation(starter_tables).loc[on, "value"] == pytest.approx(logs[-1] - np.mean(logs))


def test_palm_ratio_by_hand(starter_tables: dict[str, pd.DataFrame]) -> None:
    macro = starter_tables["macro_series"]
    months = pd.date_range("2016-10-01", "2019-09-01", freq="MS")
    palm, soy = (
        macro[macro["series_id"] == s].set_index("date")["value"].loc[months].to_numpy()
        for s in ("WB_PALM_OIL", "WB_SOYBEAN_OIL")
    )
    ratio = np.log(palm / soy)
    got = a.palm_ratio_deviation(starter_tables).loc["2019-09-01", "value"]
    assert len(ratio) == 36
    assert got == pytest.approx(ratio[-1] - ratio.mean())


def test_inputs_go_missing_after_their_maximum_age(starter_tables: dict[str, pd.DataFrame]) -> None:
    carry = a.anchor_inputs(starter_tables)["carry"].loc["2023-11-30":]
    assert carry.iloc[:6].notna().all(), "the day itself and five sessions"
    assert carry.iloc[6:].isna().all(), "the curve's feed ends on 2023-11-30: stale, not carried"
    cut = dict(starter_tables)
    cut["fundamentals"] = cut["fundamentals"][cut["fundamentals"]["release_date"] <= "2020-05-12"]
    cut["macro_series"] = cut["macro_series"][cut["macro_series"]["date"] <= "2020-03-01"]
    got = a.anchor_inputs(cut)
    assert got["stocks_to_use_deviation"].loc["2020-05-12":].last_valid_index() == pd.Timestamp("2020-07-13")
    assert got["palm_soybean_oil_ratio_deviation"].loc["2020-03-01":].last_valid_index() == pd.Timestamp("2020-05-15")


def test_cancelled_releases_do_not_interrupt_the_input(starter_tables: dict[str, pd.DataFrame]) -> None:
    got = a.anchor_inputs(starter_tables)["stocks_to_use_deviation"]
    assert got.loc["2013-09-12":"2013-11-08"].notna().all()
    assert got.loc["2018-12-11":"2019-02-08"].notna().all()


@pytest.mark.parametrize("known_before", ["2013-01-02", "2018-06-01", "2023-12-29"])
def test_fit_uses_no_label_known_on_or_after_the_date(
    starter_tables: dict[str, pd.DataFrame], known_before: str
) -> None:
    front, x, state = real_parts(starter_tables)
    cut = pd.Timestamp(known_before)
    fit = a.fit_anchor(front, x, state, cut)
    after = front.where(front.index < cut, front * np.linspace(1.5, 3.0, len(front)))
    assert a.fit_anchor(after, x, state, cut) == fit
    before = front.where(front.index < cut - pd.Timedelta(days=21), front * 1.5)
    moved = a.fit_anchor(before, x, state, cut)
    for h in HORIZONS_MONTHS:
        assert moved.beta[h] != fit.beta[h], "the last labels before the date are used at every horizon"
        rows = a.weekly_rows(pd.DatetimeIndex(front.index))
        assert fit.rows[h] <= int((target_dates(rows)[h] < cut).sum())


def test_too_few_rows_are_refused(starter_tables: dict[str, pd.DataFrame]) -> None:
    front, x, state = real_parts(starter_tables)
    with pytest.raises(ModelError, match="104 weekly rows"):
        a.fit_anchor(front, x, state, pd.Timestamp("1999-01-04"))


def test_fit_survives_json(starter_tables: dict[str, pd.DataFrame]) -> None:
    fit = a.fit_anchor(*real_parts(starter_tables), pd.Timestamp("2020-01-02"))
    assert a.AnchorFit.model_validate_json(fit.model_dump_json()) == fit


@pytest.mark.parametrize("day", ["2006-03-15", "2013-01-11", "2021-08-12"])
def test_values_known_later_change_nothing_today(starter_tables: dict[str, pd.DataFrame], day: str) -> None:
    today, moment = pd.Timestamp(day), as_of_time(day)
    factor = np.random.default_rng(1)
    later = {}
    for name, numeric in (
        ("futures_daily", "close"),
        ("futures_curve", "price"),
        ("macro_series", "value"),
        ("fundamentals", "value"),
    ):
        table = starter_tables[name].copy()
        unknown = table["available_at"] > moment
        assert unknown.any()
        table.loc[unknown, numeric] *= factor.uniform(0.5, 2.0, int(unknown.sum()))
        later[name] = table
    outcome = []
    for tables in (starter_tables, later):
        front, x, state = real_parts(tables)
        fit = a.fit_anchor(front, x, state, today)
        outcome.append((fit, x.loc[:today], a.anchor_log_return(fit, x, state).loc[:today]))
    assert outcome[0][0] == outcome[1][0]
    pd.testing.assert_frame_equal(outcome[0][1], outcome[1][1], check_exact=True)
    pd.testing.assert_frame_equal(outcome[0][2], outcome[1][2], check_exact=True)


def test_fit_equals_the_normal_equations_written_out(starter_tables: dict[str, pd.DataFrame]) -> None:
    front, x, state = real_parts(starter_tables)
    cut, h, penalty = pd.Timestamp("2013-01-02"), 6, 260.0
    clipped, rows = 0, []
    for t in a.weekly_rows(pd.DatetimeIndex(front.index)):
        target = target_dates(pd.DatetimeIndex([t]), [h]).iloc[0, 0]
        fundamentals = x.loc[t, list(a.FUNDAMENTALS)].to_numpy(float)
        if target >= cut or target not in front.index or np.isnan(fundamentals).all():
            continue
        v = state.loc[:t].iloc[-1]
        sigma, c = np.sqrt(h / 12 * (v["v_slow"] + v["v_long"]) / 2), 0.25 * np.sqrt(h / 12 * v["v_long"])
        carry = x.loc[t, "carry"]
        curve = c * np.tanh(0.5 * carry * h / 12 / c) if np.isfinite(carry) else 0.0
        y = (np.log(front[target] / front[t]) - curve) / sigma
        if np.isfinite(y):
            clipped += abs(y) > 2
            rows.append((*fundamentals, min(max(y, -2.0), 2.0)))
    table = np.array(rows)
    z = table[:, :2] / np.nanstd(table[:, :2], axis=0)

    moments = np.array([[np.nanmean(z[:, i] * z[:, j]) for j in range(2)] for i in range(2)])
    right = np.array([np.nanmean(z[:, i] * table[:, 2]) for i in range(2)])
    expected = np.linalg.solve(moments + penalty / len(table) * np.eye(2), right) / np.nanstd(table[:, :2], axis=0)
    fit = a.fit_anchor(front, x, state, cut)
    assert clipped > 10, "the clip matters on this history"
    assert fit.rows[h] == len(table)
    assert list(fit.beta[h].values()) == pytest.approx(list(expected), rel=1e-9)
