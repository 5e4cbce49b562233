"""PRODUCTION or HOLD: fails closed, strict bounds, every reason with how far off."""

from __future__ import annotations

import pytest

from cbi_pipeline.evaluation.status import QualityTargets, evaluate_status

GOOD = {"mape": 4.0, "sharpe": 1.2, "directional_accuracy": 0.7, "calibration_error": 0.05}
TARGETS = QualityTargets()


def test_all_targets_met_is_production() -> None:
    assert evaluate_status(GOOD, TARGETS) == ("PRODUCTION", [])


@pytest.mark.parametrize("metric", list(GOOD))
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "absent"])
def test_a_missing_metric_is_a_refusal(metric: str, value: object) -> None:
    metrics = {**GOOD, metric: value} if value != "absent" else {k: v for k, v in GOOD.items() if k != metric}
    status, reasons = evaluate_status(metrics, TARGETS)  # type: ignore[arg-type]
    assert status == "HOLD"
    assert len(reasons) == 1
    assert "is not known" in reasons[0]


@pytest.mark.parametrize(
    ("metric", "bound"), [("mape", 5.0), ("sharpe", 1.0), ("directional_accuracy", 0.65), ("calibration_error", 0.1)]
)
def test_bounds_are_strict(metric: str, bound: float) -> None:
    assert evaluate_status({**GOOD, metric: bound}, TARGETS)[0] == "HOLD"


def test_reasons_say_how_far_off() -> None:
    bad = {"mape": 13.27, "sharpe": None, "directional_accuracy": 0.5, "calibration_error": 0.136}
    assert evaluate_status(bad, TARGETS)[1] == [
        "MAPE 13.3% is not below 5% (8.3 points off)",
        "Sharpe ratio is not known (target above 1)",
        "directional accuracy 0.500 is not above 0.65 (0.150 off)",
        "calibration error 0.136 is not below 0.1 (0.036 off)",
    ]


def test_stale_data_hold_even_a_good_model() -> None:
    status, reasons = evaluate_status(GOOD, TARGETS, stale="data ends 2024-12-31")
    assert (status, reasons) == ("HOLD", ["data ends 2024-12-31"])


def test_targets_are_settings() -> None:
    loose = QualityTargets(mape_max=20.0, sharpe_min=-1.0, directional_min=0.4, calibration_max=0.5)
    assert (
        evaluate_status({"mape": 15, "sharpe": 0, "directional_accuracy": 0.5, "calibration_error": 0.2}, loose)[0]
        == "PRODUCTION"
    )
