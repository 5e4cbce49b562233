"""Checks of the scorecard: one per gate. They judge its winner, and store every verdict in the warehouse.

Parity and evidence fail with ERROR severity, which blocks everything downstream in the same run. What cannot be judged
warns where the rule of `evaluation.admission` lets such a model serve, on HOLD, and is an error where it does not.
Quality targets that are not met warn: their rows say HOLD.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from cbi_pipeline.contracts.references import FeaturesRef, FoldsRef, RawTableRef, ScorecardRef
from cbi_pipeline.contracts.verdict import (
    BENCHMARK,
    CHAMPION,
    COVERAGE,
    GATES,
    METRIC_PARITY,
    QUALITY,
    REPLAY,
    ROW_PARITY,
    TRIPWIRE,
    Verdict,
)
from cbi_pipeline.orchestration.cells import Cells
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES, table
from cbi_pipeline.orchestration.resources import ArtifactStoreResource, SettingsResource, WarehouseResource

if TYPE_CHECKING:
    from cbi_pipeline.contracts.verdict import Admission

ASSET = dg.AssetKey("scorecard")
READS = ("trained_models", "curated_features", "fitted_anchor", "fitted_scaler")
DESCRIPTIONS: dict[str, str] = {
    METRIC_PARITY: "MAPE, direction and coverage by the warehouse's SQL equal the local ones.",
    ROW_PARITY: "The serving path makes the scored out-of-fold forecasts again, one day at a time.",
    REPLAY: "Features of past days, made from what was known then alone, are those that were trained on.",
    BENCHMARK: "The best benchmark is not better than the winner beyond sampling error.",
    TRIPWIRE: "No figure is too good to be true.",
    COVERAGE: "Coverage of the 80 % interval is inside its sampling band.",
    CHAMPION: "No horizon is worse than the model that serves by more than the tolerance.",
    QUALITY: "The desk's targets: they decide PRODUCTION or HOLD and stop nothing.",
}


@dg.multi_asset_check(
    name="gates",
    specs=[
        dg.AssetCheckSpec(
            name,
            asset=ASSET,
            description=DESCRIPTIONS[name],
            blocking=GATES[name] != "quality",
            additional_deps=[*READS, *RAW_ASSET_NAMES.values()],
        )
        for name in GATES
    ],
    ins={
        **{name: dg.AssetIn(name) for name in ("scorecard", *READS)},
        **{name: dg.AssetIn(asset_name) for name, asset_name in RAW_ASSET_NAMES.items()},
    },
)
def gates(
    context: dg.AssetCheckExecutionContext,
    scorecard: ScorecardRef,
    trained_models: Cells,
    curated_features: FeaturesRef,
    fitted_anchor: FoldsRef,
    fitted_scaler: FoldsRef,
    futures_daily: RawTableRef,
    futures_curve: RawTableRef,
    macro_series: RawTableRef,
    cot_weekly: RawTableRef,
    weather_daily: RawTableRef,
    policy: RawTableRef,
    fundamentals: RawTableRef,
    artifact_store: ArtifactStoreResource,
    warehouse: WarehouseResource,
    run_settings: SettingsResource,
) -> Iterator[dg.AssetCheckResult]:
    """Every gate over the winner: one step, since all of them read the same files and store one judgement."""
    from cbi_pipeline import stages

    judgement = stages.judge(
        scorecard,
        trained_models,
        curated_features,
        fitted_anchor,
        fitted_scaler,
        (futures_daily, futures_curve, macro_series, cot_weekly, weather_daily, policy, fundamentals),
        settings=run_settings.load(),
        store=artifact_store.open(),
        warehouse=warehouse.open(),
        run_id=context.run.run_id,
    )
    for name in GATES:
        own = [verdict for verdict in judgement.verdicts if verdict.name == name]
        yield gate_result(name, own, judgement.incumbent.admission)


def gate_result(name: str, verdicts: list[Verdict], incumbent: "Admission | None") -> dg.AssetCheckResult:
    """The verdicts of one gate as the UI shows them; one that was not made at all fails."""
    from cbi_pipeline.evaluation.admission import stops

    against = [verdict for verdict in verdicts if not verdict.passed]
    error = not verdicts or any(stops(verdict, incumbent) for verdict in against)
    return dg.AssetCheckResult(
        passed=bool(verdicts) and not against,
        check_name=name,
        asset_key=ASSET,
        severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{v.horizon_months} months {v.outcome}: {v.reason}" for v in against) or None,
        metadata={
            "kind": GATES[name],
            "verdicts": table(verdict.model_dump(exclude={"name", "kind"}) for verdict in verdicts),
        },
    )
