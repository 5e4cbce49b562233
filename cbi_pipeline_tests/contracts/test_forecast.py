"""The forecast row: what a published row must be, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from cbi_pipeline.contracts import QUANTILES
from cbi_pipeline.contracts.forecast import OUT_OF_FOLD_COLUMNS, QUANTILE_COLUMNS, ForecastRow

PRICES = ("last_price", "anchor_price", "predicted_price", *QUANTILE_COLUMNS)


def fields(**changes: Any) -> dict[str, Any]:
    valid = {
        "as_of_date": date(2023, 3, 1),
        "horizon_months": 6,
        "target_date": date(2023, 9, 1),
        "last_price": 60.0,
        "anchor_price": 59.0,
        "anchor_kind": "carry",
        "lambda_h": 0.25,
        "predicted_price": 58.5,
        "q05": 40.0,
        "q10": 44.0,
        "q25": 51.0,
        "q50": 58.5,
        "q75": 66.0,
        "q90": 74.0,
        "q95": 80.0,
        "status": "PRODUCTION",
        "status_reasons": "",
        "model_version": "model-a",
        "dataset_version": "data-1",
        "feature_hash": "f" * 64,
        "scaler_sha256": "a" * 64,
        "code_commit": "c" * 40,
        "run_id": "run-1",
        "created_at": datetime(2023, 3, 1, 20, 30, tzinfo=UTC),
    }
    return valid | changes


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ForecastRow(**fields(**changes))
    return str(caught.value)


def test_a_valid_row_keeps_its_values():
    assert ForecastRow(**fields()).model_dump() == fields()


def test_a_row_survives_json():
    row = ForecastRow(**fields(predicted_price=1 / 3 + 58))
    assert ForecastRow.model_validate_json(row.model_dump_json()) == row


@pytest.mark.parametrize("name", sorted(fields()))
def test_every_field_is_required(name):
    without = fields()
    del without[name]
    with pytest.raises(ValidationError, match=name):
        ForecastRow(**without)


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0, None])
def test_a_price_is_finite_and_positive(name, value):
    assert name in refusal(**{name: value})


@pytest.mark.parametrize("value", [0, 1, 5, 24, "3", None])
def test_only_the_four_horizons_exist(value):
    assert "horizon_months" in refusal(horizon_months=value)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_lambda_is_a_share(value):
    assert "lambda_h" in refusal(lambda_h=value)


def test_lambda_may_be_none_or_all_of_the_residual():
    assert [ForecastRow(**fields(lambda_h=value)).lambda_h for value in (0.0, 1.0)] == [0.0, 1.0]


@pytest.mark.parametrize(("lower", "upper"), list(pairwise(QUANTILE_COLUMNS)))
def test_quantiles_that_cross_are_refused(lower, upper):
    valid = fields()
    assert "quantiles of horizon 6 are not ordered" in refusal(**{lower: valid[upper], upper: valid[lower]})


def test_equal_quantiles_are_allowed():
    assert ForecastRow(**fields(q05=44.0)).q05 == 44.0


@pytest.mark.parametrize("target", [date(2023, 3, 1), date(2023, 2, 28)])
def test_the_target_lies_after_the_as_of_date(target):
    assert "is not after 2023-03-01" in refusal(target_date=target)


def test_hold_says_why():
    assert "must say why" in refusal(status="HOLD", status_reasons="")
    assert ForecastRow(**fields(status="HOLD", status_reasons="too few rows")).status == "HOLD"


def test_status_is_one_of_two():
    assert "status" in refusal(status="production")


def test_created_at_carries_its_zone():
    assert "time zone" in refusal(created_at=datetime(2023, 3, 1, 20, 30))
    east = datetime(2023, 3, 2, 4, 30, tzinfo=timezone(timedelta(hours=8)))
    assert ForecastRow(**fields(created_at=east)).created_at == datetime(2023, 3, 1, 20, 30, tzinfo=UTC)


def test_a_date_has_no_time_of_day():
    assert "as_of_date" in refusal(as_of_date=datetime(2023, 3, 1, 14))


def test_unknown_fields_are_refused():
    assert "note" in refusal(note="x")


def test_a_row_cannot_be_altered():
    row = ForecastRow(**fields())
    with pytest.raises(ValidationError, match="frozen"):
        row.predicted_price = 1.0


def test_quantile_columns_are_the_quantiles():
    assert tuple(f"q{round(100 * level):02d}" for level in QUANTILES) == QUANTILE_COLUMNS
    assert set(QUANTILE_COLUMNS) <= set(OUT_OF_FOLD_COLUMNS)
    assert len(set(OUT_OF_FOLD_COLUMNS)) == len(OUT_OF_FOLD_COLUMNS)
