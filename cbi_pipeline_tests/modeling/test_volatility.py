"""Front price, within-contract returns and volatilities: known answers, and the starter bundle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cbi_pipeline import market_calendar
from cbi_pipeline.contracts import HORIZONS_MONTHS, QUANTILES
from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling import volatility as v

DAYS = pd.DatetimeIndex(["2015-03-02", "2015-03-03", "2015-03-04", "2015-03-05"])


def curve(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["trade_date", "contract_month", "price"])
    return frame.assign(symbol="ZL", trade_date=pd.to_datetime(frame["trade_date"]))


def daily(
    close: list[float], contract: list[str | None], is_roll: list[bool | None], ratio: list[float]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": "ZL",
            "trade_date": DAYS[: len(close)],
            "close": close,
            "contract": contract,
            "is_roll": is_roll,
            "roll_ratio": ratio,
        }
    )


def test_curve_return_follows_one_contract_over_the_expiry_of_the_nearest() -> None:
    legs = curve(
        [
            ("2015-02-25", "2015-03", 30.0), ("2015-02-25", "2015-05", 33.0),
            ("2015-02-26", "2015-03", 30.6), ("2015-02-26", "2015-05", 33.6),
            ("2015-02-27", "2015-05", 34.0), ("2015-02-27", "2015-07", 35.0),
        ]
    )  # fmt: skip
    tables = {"futures_curve": legs, "futures_daily": daily([35.0], ["Z"], [False], [np.nan])}
    returns = v.within_contract_returns(tables)
    assert returns.loc["2015-02-26"] == pytest.approx(np.log(30.6 / 30.0))
    assert returns.loc["2015-02-27"] == pytest.approx(np.log(34.0 / 33.6))


def test_a_contract_that_was_not_quoted_on_the_previous_date_gives_no_return() -> None:
    legs = curve([("2015-02-25", "2015-05", 33.0), ("2015-02-26", "2015-03", 30.6), ("2015-02-27", "2015-05", 34.0)])
    tables = {"futures_curve": legs, "futures_daily": daily([35.0], ["Z"], [False], [np.nan])}
    assert v.within_contract_returns(tables).empty


def test_a_return_over_more_sessions_than_allowed_is_left_out() -> None:
    legs = curve([("2015-02-02", "2015-05", 33.0), ("2015-02-11", "2015-05", 34.0), ("2015-02-18", "2015-05", 35.0)])
    tables = {"futures_curve": legs, "futures_daily": daily([35.0], ["Z"], [False], [np.nan])}
    returns = v.within_contract_returns(tables)  # 7 sessions, then 4 (Presidents' Day)
    assert list(returns.index) == [pd.Timestamp("2015-02-18")]


def test_daily_return_takes_out_the_roll() -> None:
    frame = daily(
        [30.0, 33.6, 33.0, 32.0], ["K", "N", "N", None], [False, True, False, None], [np.nan, 1.1, np.nan, np.nan]
    )
    tables = {"futures_curve": curve([]), "futures_daily": frame}
    returns = v.within_contract_returns(tables)
    assert returns.to_dict() == pytest.approx({DAYS[1]: np.log(33.6 / (30.0 * 1.1)), DAYS[2]: np.log(33.0 / 33.6)})


def test_front_price_takes_the_curve_only_before_daily_rows_begin() -> None:
    legs = curve([("2015-02-27", "2015-03", 30.0), ("2015-02-27", "2015-05", 31.0), ("2015-03-02", "2015-03", 99.0)])
    tables = {"futures_curve": legs, "futures_daily": daily([35.0, 36.0], ["Z", "Z"], [False, False], [np.nan, np.nan])}
    front = v.front_price(tables)
    assert front.to_dict() == {pd.Timestamp("2015-02-27"): 30.0, DAYS[0]: 35.0, DAYS[1]: 36.0}


def test_no_zl_row_is_refused() -> None:
    frame = daily([35.0], ["Z"], [False], [np.nan]).assign(symbol="ZS")
    with pytest.raises(ModelError, match="no row of ZL"):
        v.front_price({"futures_curve": curve([]), "futures_daily": frame})


def test_variances_equal_the_weighted_sums_written_out() -> None:
    days = pd.bdate_range("2015-01-02", periods=80)
    r = pd.Series(np.sin(np.arange(80)) / 50, index=days)
    state = v.volatility_state(r)
    assert state.iloc[: v.MIN_RETURNS - 1].isna().all(axis=None)
    for column, decay in (("v_fast", 0.97), ("v_slow", 0.99), ("v_long", 1.0)):
        for t in (59, 79):
            weights = decay ** np.arange(t, -1, -1)
            expected = 252 * (weights * r.to_numpy()[: t + 1] ** 2).sum() / weights.sum()
            assert state[column].iloc[t] == pytest.approx(expected, rel=1e-12)


def test_horizon_sigmas_known_answer() -> None:
    state = pd.DataFrame({"v_fast": [0.10], "v_slow": [0.02], "v_long": [0.06]})
    assert v.sigma_h(state)[12].iloc[0] == pytest.approx(0.2)
    assert v.sigma_h(state)[3].iloc[0] == pytest.approx(0.1)
    assert v.density_sigma(state)[12].iloc[0] == pytest.approx(np.sqrt(0.08))
    assert v.long_run_sigma(state)[6].iloc[0] == pytest.approx(np.sqrt(0.03))


def test_state_is_carried_five_sessions_and_then_missing() -> None:
    sessions = market_calendar.sessions("2015-03-02", "2015-03-31")
    state = pd.DataFrame({"v_fast": [0.1, 0.2], "v_slow": [0.1, 0.2], "v_long": [0.1, 0.2]}, index=sessions[[1, 2]])
    aligned = v.state_at(state, sessions[:10])["v_fast"]
    assert aligned.isna().tolist() == [True] + [False] * 7 + [True] * 2
    assert aligned.iloc[1:8].tolist() == [0.1] + [0.2] * 6


def test_quantiles_are_those_of_a_normal() -> None:
    quantiles = v.normal_quantiles(np.array([[3.5, 3.6]]), np.array([[0.1, 0.3]]))
    assert quantiles.shape == (1, 2, len(QUANTILES))
    np.testing.assert_allclose(quantiles[0, 1], norm(3.6, 0.3).ppf(QUANTILES))
    assert quantiles[0, 0, QUANTILES.index(0.5)] == 3.5
    assert (np.diff(quantiles, axis=-1) > 0).all()


def test_real_state_never_uses_a_later_price(starter_tables: dict[str, pd.DataFrame]) -> None:
    whole = v.volatility_state(v.within_contract_returns(starter_tables))
    for day in ("1999-06-15", "2010-06-04", "2022-07-05"):
        cut = {k: t[t["trade_date"] <= day] if "trade_date" in t else t for k, t in starter_tables.items()}
        if cut["futures_daily"].query("symbol == 'ZL'").empty:
            cut["futures_daily"] = starter_tables["futures_daily"]
        state = v.volatility_state(v.within_contract_returns(cut)).loc[:day]
        pd.testing.assert_frame_equal(state, whole.loc[:day], check_exact=True)


def test_real_volatility_is_that_of_soybean_oil(starter_tables: dict[str, pd.DataFrame]) -> None:
    returns = v.within_contract_returns(starter_tables)
    assert returns.index.is_unique
    assert returns.abs().max() < 0.12
    sigma = v.sigma_h(v.volatility_state(returns))[12].dropna()
    assert sigma.between(0.15, 0.40).all()
    assert list(v.sigma_h(v.volatility_state(returns)).columns) == list(HORIZONS_MONTHS)
    front = v.front_price(starter_tables)
    rolls = starter_tables["futures_daily"].query("symbol == 'ZL' and is_roll == True")
    naive = np.log(front).diff().reindex(rolls["trade_date"])
    matched = returns.reindex(rolls["trade_date"])
    assert (naive - matched).abs().median() > 0.002, "at a roll the contract's own return is not the front price's"
