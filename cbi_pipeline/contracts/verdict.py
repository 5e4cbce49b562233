"""What a gate says of a model: one verdict per gate and horizon, and the thresholds that it was judged by.

No rule here: the gates are in `evaluation/gates.py`, the rule of admission is in `evaluation/admission.py`.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["quality", "parity", "evidence"]
Outcome = Literal["passed", "failed", "cannot judge"]
Admission = Literal["judged", "unjudged", "override"]
"""How a model came to serve: every blocking gate passed; some evidence gate had too little evidence and no judged model
was there to lose; a person overrode the evidence gates."""

QUALITY: Final = "quality_targets"
BENCHMARK: Final = "no_worse_than_best_benchmark"
TRIPWIRE: Final = "tripwire"
COVERAGE: Final = "coverage_in_band"
CHAMPION: Final = "no_worse_than_champion"
METRIC_PARITY: Final = "metrics_equal_warehouse_sql"
ROW_PARITY: Final = "one_row_equals_batch"
REPLAY: Final = "replayed_features_equal"

GATES: Final[dict[str, Kind]] = {
    METRIC_PARITY: "parity",
    ROW_PARITY: "parity",
    REPLAY: "parity",
    BENCHMARK: "evidence",
    TRIPWIRE: "evidence",
    COVERAGE: "evidence",
    CHAMPION: "evidence",
    QUALITY: "quality",
}
"""Every gate, and its kind. Parity and evidence block a promotion; quality decides PRODUCTION or HOLD."""
BLOCKING: Final = tuple(name for name, kind in GATES.items() if kind != "quality")


class GateThresholds(BaseModel):
    """What the blocking gates compare with; `Settings` says what each means. The quality targets are beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_n_eff: float
    benchmark_p: float
    benchmark_worse: float
    leak_rmse_ratio: float
    leak_directional_accuracy: float
    leak_mape_ratio: float
    coverage_confidence: float
    champion_p: float
    champion_worse: float
    metric_parity: float
    sharpe_parity: float
    row_parity: float


class Verdict(BaseModel):
    """One gate's answer at one horizon.

    Attributes:
        name: a gate of `GATES`.
        kind: its kind.
        horizon_months: the horizon.
        outcome: `cannot judge` is no pass: the evidence is too thin for either answer.
        value: the figure that was judged; None where it is missing.
        threshold: the bound that it was compared with; None where there was nothing to compare with.
        n_eff: rows behind it that do not overlap; None where it is not made of scored rows.
        reason: one sentence, with how far off it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    horizon_months: int
    outcome: Outcome
    value: float | None
    threshold: float | None
    n_eff: float | None
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the gate lets the model through."""
        return self.outcome == "passed"
