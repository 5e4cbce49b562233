"""The views against pandas on the same rows, and against their contracts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlglot

from cbi_pipeline.contracts.warehouse import (
    ARROW_TYPES,
    DATA_QUALITY,
    GATE_VERDICTS,
    LIVE_SKILL,
    METRICS,
    MODEL_REGISTRY,
    REALIZED_PRICES,
    WAREHOUSE_TABLES,
    WarehouseTable,
)
from cbi_pipeline.contracts.warehouse_views import WAREHOUSE_VIEWS
from cbi_pipeline.evaluation.live_skill import window_figures
from cbi_pipeline.evaluation.metrics import METRICS as METRIC_NAMES
from cbi_pipeline.evaluation.scorecard import COMPARISON_FIGURES, DENSITY_FIGURES
from cbi_pipeline.warehouse import statements

NOON = datetime(2023, 3, 1, 12, tzinfo=UTC)
VALUES = {"STRING": "x", "INT64": 1, "FLOAT64": 1.0, "DATE": NOON.date(), "TIMESTAMP": NOON}


def row(table: WarehouseTable, **values: Any) -> dict[str, Any]:
    """A row of the table: the given values, and some value of its type in every other column."""
    return {column.name: VALUES[column.type] for column in table.columns} | values


def read(warehouse, view: str, order: str) -> pd.DataFrame:
    return warehouse.query(f"SELECT * FROM {view} ORDER BY {order}").to_pandas()


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Equal columns and values; a NULL equals any kind of missing value."""
    assert list(found) == list(expected)
    assert len(found) == len(expected) > 0
    for name in found:
        mine, other = found[name].tolist(), expected[name].tolist()
        for a, b in zip(mine, other, strict=True):
            close = pytest.approx(b, rel=1e-12) if isinstance(b, float) else b
            assert (pd.isna(a) and pd.isna(b)) or a == close, name


# --- contracts ---------------------------------------------------------------------------------------------------


def test_every_view_has_a_contract_and_a_query():
    assert list(statements.view_queries()) == sorted(WAREHOUSE_VIEWS)


def test_a_view_has_the_columns_and_types_of_its_contract(warehouse):
    for view in WAREHOUSE_VIEWS.values():
        schema = warehouse.query(f"SELECT * FROM {view.name}").schema
        assert [(f.name, f.type) for f in schema] == [(c.name, ARROW_TYPES[c.type]) for c in view.columns]
        assert all(column.description for column in view.columns)


@pytest.mark.parametrize("view", WAREHOUSE_VIEWS.values(), ids=lambda view: view.name)
def test_a_view_reads_what_its_contract_says(view):
    tree = sqlglot.parse_one(statements.view_queries()[view.name], read="bigquery")
    own = {cte.alias for cte in tree.find_all(sqlglot.exp.CTE)}
    assert {table.name for table in tree.find_all(sqlglot.exp.Table)} - own == set(view.reads)
    assert set(view.reads) <= set(WAREHOUSE_TABLES) | set(WAREHOUSE_VIEWS)


def test_the_leaderboard_asks_for_metrics_that_exist():
    tree = sqlglot.parse_one(statements.view_queries()["vw_model_leaderboard"], read="bigquery")
    asked = {equal.expression.name for equal in tree.find_all(sqlglot.exp.EQ) if equal.this.name == "metric"}
    assert asked <= {*METRIC_NAMES, *DENSITY_FIGURES, *COMPARISON_FIGURES, "sharpe", "deflated_sharpe"}


# --- rows --------------------------------------------------------------------------------------------------------


def test_production_forecast_is_what_stands_without_hold(warehouse, forecast_row):
    days = [date(2023, 3, 1), date(2023, 3, 2)]
    status = {3: "PRODUCTION", 6: "HOLD", 9: "PRODUCTION", 12: "HOLD"}
    rows = [
        forecast_row(as_of_date=day, horizon_months=h, status=status[h] if day == days[1] else "PRODUCTION")
        for day, h in product(days, status)
    ]
    warehouse.merge("predictions", rows)
    expected = [r for r in rows if r["as_of_date"] == days[1] and r["status"] == "PRODUCTION"]
    found = warehouse.query("SELECT * FROM vw_production_forecast ORDER BY horizon_months").to_pylist()
    assert found == expected
    assert len(found) == 2


def test_performance_equals_pandas_as_prices_mature(warehouse, forecast_row):
    """One outcome that a newer bundle corrects, one flat, one in no interval, one forecast that is not mature."""
    days = [date(2023, 3, 1) + timedelta(days=n) for n in range(5)]
    targets = [date(2024, 6, 3) + timedelta(days=n) for n in range(5)]
    last = [45.25, 41.0, 45.5, 45.25, 45.25]
    rows = [
        forecast_row(as_of_date=day, target_date=target, last_price=price)
        for day, target, price in zip(days, targets, last, strict=True)
    ]
    warehouse.merge("predictions", rows)
    prices = [(targets[0], "data-1", 39.0), (targets[1], "data-1", 41.0), (targets[2], "data-1", 46.0)]
    prices += [(targets[0], "data-2", 52.0), (targets[4], "data-2", 30.0), (date(2024, 7, 1), "data-2", 1.0)]
    stored = [row(REALIZED_PRICES, trade_date=d, dataset_version=v, close=c) for d, v, c in prices]
    warehouse.merge("realized_prices", stored)

    frame = pd.DataFrame(rows)
    newest = pd.DataFrame(stored).sort_values("dataset_version").groupby("trade_date").tail(1)
    newest = newest[["trade_date", "dataset_version", "close"]].set_axis(["target_date", "in", "close"], axis=1)
    frame = frame.merge(newest, on="target_date", how="left")
    names = [column.name for column in WAREHOUSE_VIEWS["vw_forecast_performance"].columns]
    close, predicted, start = frame["close"], frame["predicted_price"], frame["last_price"]
    direction = (np.sign(predicted - start) == np.sign(close - start)).astype(float)
    unjudged = close.isna() | (predicted == start) | (close == start)
    expected = frame[names[:14]].assign(
        realised_price=close,
        realised_in=frame["in"],
        absolute_error_pct=100 * (predicted - close).abs() / close,
        last_price_error_pct=100 * (start - close).abs() / close,
        log_error=np.log(predicted / close),
        direction_right=direction.where(~unjudged),
        **{
            f"inside_{level}": close.between(frame[low], frame[high]).astype(float).where(close.notna())
            for level, low, high in ((50, "q25", "q75"), (80, "q10", "q90"), (90, "q05", "q95"))
        },
    )
    assert expected["realised_in"].fillna("").tolist() == ["data-2", "data-1", "data-1", "", "data-2"]
    assert expected["direction_right"].dropna().tolist() == [1.0, 0.0]
    inside = {level: expected[f"inside_{level}"].dropna().tolist() for level in (50, 80, 90)}
    assert inside == {50: [0, 0, 1, 0], 80: [0, 1, 1, 0], 90: [1, 1, 1, 0]}
    assert_same(read(warehouse, "vw_forecast_performance", "as_of_date"), expected)


def test_live_skill_equals_pandas_on_real_forecasts(warehouse, forecast_row, anchor_record):
    """Two versions, one of them judged twice, last with one figure beyond; a horizon of which nothing has matured."""
    days = anchor_record[anchor_record["as_of_date"].between("2024-01-02", "2024-02-15")]
    days = days[days["horizon_months"].isin([3, 9])]
    made = [name for name in forecast_row() if name in days]
    records = days.assign(as_of_date=days["as_of_date"].dt.date, target_date=days["target_date"].dt.date)[made]
    versions = {"model-a": records.head(40), "model-b": records}
    for version, own in versions.items():
        rows = [forecast_row(**one, model_version=version) for one in own.to_dict("records")]
        warehouse.merge("predictions", rows)
    waiting = {"as_of_date": date(2024, 12, 31), "target_date": date(2025, 12, 31), "horizon_months": 12}
    warehouse.merge("predictions", [forecast_row(**waiting, model_version="model-b")])
    closes = dict(zip(records["target_date"], days["realised_price"], strict=True))
    warehouse.merge("realized_prices", [row(REALIZED_PRICES, trade_date=day, close=c) for day, c in closes.items()])
    warehouse.merge("model_registry", [row(MODEL_REGISTRY, model_version="model-b")])

    def judgement(number: int, months: int, metric: str, outcome: str) -> dict[str, Any]:
        moment = NOON + timedelta(hours=number)
        figures = {"value": float(number), "high": 10.0 + months, "outcome": outcome, "reason": f"{metric} {outcome}"}
        identity = {"evaluation_id": f"e{number}", "model_version": "model-b", "created_at": moment}
        return row(LIVE_SKILL, **identity, horizon_months=months, metric=metric, **figures)

    outcomes = {(3, "rmse_ratio"): "within", (3, "mape"): "beyond"}
    outcomes |= {(12, "rmse_ratio"): "not yet known", (12, "mape"): "not yet known"}
    stored = [judgement(1, months, metric, "cannot judge") for months, metric in outcomes]
    stored += [judgement(2, months, metric, outcome) for (months, metric), outcome in outcomes.items()]
    shown = judgement(2, 3, "bias", "beyond") | {"judged": 0, "reason": "of no account"}
    warehouse.merge("live_skill", [*stored, shown])

    found = read(warehouse, "vw_live_skill", "model_version, horizon_months").set_index(
        ["model_version", "horizon_months"]
    )
    assert list(found.index) == [("model-a", 3), ("model-a", 9), ("model-b", 3), ("model-b", 9), ("model-b", 12)]
    for version, own in versions.items():
        for months, rows_of in days.loc[own.index].groupby("horizon_months"):
            one = found.loc[(version, months)]
            expected = window_figures(rows_of, len(rows_of)).iloc[0]
            assert one[expected.index].astype(float).to_dict() == pytest.approx(expected.to_dict(), rel=1e-9)
            assert (one["n"], one["n_eff"]) == (len(rows_of), pytest.approx(len(rows_of) / (21 * months)))
            span = rows_of["as_of_date"].min().date(), rows_of["as_of_date"].max().date()
            assert (one["first_as_of_date"], one["last_as_of_date"]) == span
    assert found["serves"].tolist() == [0, 0, 1, 1, 1]
    nothing = found.loc[("model-b", 12)]
    assert nothing["n"] == 0
    assert nothing[["mape", "rmse_ratio", "crps", "first_as_of_date"]].isna().all()
    assert (nothing["outcome"], nothing["judged_as_of"]) == ("not yet known", NOON.date())
    worst = found.loc[("model-b", 3)]
    assert (worst["outcome"], worst["reason"]) == ("beyond", "mape beyond")
    assert worst[["judged_rmse_ratio", "highest_rmse_ratio", "judged_mape"]].tolist() == [2.0, 13.0, 2.0]
    assert found.loc["model-a", "outcome"].isna().all()


def test_leaderboard_equals_pandas(warehouse):
    rng = np.random.default_rng(7)
    figures = [c.name for c in WAREHOUSE_VIEWS["vw_model_leaderboard"].columns[9:]]
    rows = [
        row(
            METRICS,
            scorecard_id=scorecard,
            entry=entry,
            horizon_months=horizon,
            fold=fold,
            metric=metric,
            value=None if (entry, metric) == ("ridge", "rmse_ratio") else float(rng.normal()),
            n=100 + horizon if metric == "rmse_ratio" else 7,
            n_eff=10.5,
            created_at=NOON + timedelta(days=scorecard == "b"),
        )
        for scorecard, entry, horizon, fold, metric in product(
            ("a", "b"), ("ridge", "tcn", "anchor"), (3, 12), ("all", "common", "test_2024"), (*figures, "mae")
        )
    ]
    warehouse.merge("metrics", rows)
    champions = [("a", "tcn", 0), ("b", "anchor", 1), ("a", "anchor", 2)]
    warehouse.merge(
        "model_registry",
        [
            row(MODEL_REGISTRY, scorecard_id=s, entry=e, model_version=f"m{n}", promoted_at=NOON + timedelta(n))
            for s, e, n in champions
        ],
    )

    common = pd.DataFrame(rows).query("fold == 'common'")
    keys = ["scorecard_id", "horizon_months", "entry"]
    wide = common.pivot(index=keys, columns="metric", values="value")[figures].reset_index()
    wide["place"] = wide.groupby(keys[:2])["rmse_ratio"].rank(method="min", na_option="bottom").astype(int)
    wide["evaluated_at"] = wide["scorecard_id"].map({"a": NOON, "b": NOON + timedelta(days=1)})
    wide["is_latest"] = (wide["scorecard_id"] == "b").astype(int)
    wide["serves"] = ((wide["scorecard_id"] == "a") & (wide["entry"] == "anchor")).astype(int)
    wide = wide.assign(n=100 + wide["horizon_months"], n_eff=10.5)
    expected = wide[[c.name for c in WAREHOUSE_VIEWS["vw_model_leaderboard"].columns]]
    expected = expected.sort_values([*keys[:2], "place"])
    assert expected["serves"].sum() == 2
    assert expected["entry"].tolist()[2::3] == ["ridge"] * 4
    assert_same(read(warehouse, "vw_model_leaderboard", "scorecard_id, horizon_months, place"), expected)


def test_gate_status_equals_pandas(warehouse):
    """Scorecard a was judged twice, first by j9; b once and before a's second judgement."""
    judged = {"j9": ("a", 0), "j2": ("b", 1), "j1": ("a", 2)}
    rows = [
        row(
            GATE_VERDICTS,
            judgement_id=judgement,
            scorecard_id=scorecard,
            name=name,
            kind=kind,
            horizon_months=horizon,
            outcome="failed" if judgement == "j9" else "passed",
            value=None if kind == "parity" else 0.5,
            against=None,
            created_at=NOON + timedelta(days=day, seconds=horizon),
        )
        for (judgement, (scorecard, day)), (name, kind), horizon in product(
            judged.items(), (("tripwire", "evidence"), ("quality_targets", "quality"), ("replay", "parity")), (3, 12)
        )
    ]
    warehouse.merge("gate_verdicts", rows)
    champions = [row(MODEL_REGISTRY, scorecard_id=s, promoted_at=NOON + timedelta(n)) for n, s in enumerate("ab")]
    warehouse.merge("model_registry", champions)

    frame = pd.DataFrame(rows)
    frame = frame[frame["judgement_id"].isin(["j1", "j2"])]
    frame = frame.assign(
        judged_at=frame.groupby("judgement_id")["created_at"].transform("max"),
        blocking=(frame["kind"] != "quality").astype(int),
        is_latest=(frame["scorecard_id"] == "a").astype(int),
        serves=(frame["scorecard_id"] == "b").astype(int),
    )
    expected = frame[[c.name for c in WAREHOUSE_VIEWS["vw_gate_status"].columns]]
    expected = expected.sort_values(["scorecard_id", "name", "horizon_months"])
    assert set(expected["outcome"]) == {"passed"}
    assert_same(read(warehouse, "vw_gate_status", "scorecard_id, name, horizon_months"), expected)


def test_freshness_is_that_of_the_newest_bundle(warehouse):
    last = date(2024, 12, 31)
    written = [("data-1", "k1", 5), ("data-2", "k1", 0), ("data-2", "k0", 1)]
    rows = [
        row(
            DATA_QUALITY,
            dataset_version=dataset,
            features_key=key,
            source=source,
            as_of_date=last,
            newest_date=newest,
            reason=f"{dataset} {key}",
            created_at=NOON + timedelta(days=day),
        )
        for (dataset, key, day), (source, newest) in product(
            written, (("macro/a", date(2024, 11, 30)), ("macro/b", None))
        )
    ]
    warehouse.merge("data_quality", rows)
    kept = pd.DataFrame(rows).query("dataset_version == 'data-2' and features_key == 'k0'")
    before = datetime.now(UTC).date()
    found = read(warehouse, "vw_data_freshness", "source")
    today = {(day - last).days for day in (before, datetime.now(UTC).date())}
    assert set(found["days_since_as_of"]) <= today
    kept = kept.assign(age_days=[31, None], days_since_as_of=found["days_since_as_of"].tolist())
    expected = kept[[c.name for c in WAREHOUSE_VIEWS["vw_data_freshness"].columns]]
    assert_same(found, expected)
