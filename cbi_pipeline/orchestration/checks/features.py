"""Checks of curated_features: locked names and order, and the findings of `features.validation`.

Each check shows its findings as a table in the UI. Errors fail it with ERROR severity and block everything downstream
in the same run; warnings alone fail it with WARN severity, which shows yellow and stops nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from cbi_pipeline.contracts.references import FeaturesRef, RawTableRef
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES, table

if TYPE_CHECKING:
    import pandas as pd

    from cbi_pipeline.features.validation import Finding

ASSET = dg.AssetKey("curated_features")

DESCRIPTIONS: dict[str, str] = {
    "values_are_possible": "Every value is inside its definition and what the world allows; the newest row is no far "
    "record (warning).",
    "sources_are_fresh": "ZL reaches the last session; every other source is within its maximum age and no feature is "
    "missing on the last row (warnings).",
    "recent_rows_resemble_history": "The newest month is not further from the three years before it than the furthest "
    "feature is in 95 % of earlier months (warnings).",
    "signs_are_right": "Over the last year the parts of the margins and spreads have their signs, and so have pairs "
    "that go together.",
    "columns_move": "No column that must move stood still for a year.",
}
READS: dict[str, tuple[str, ...]] = {
    "sources_are_fresh": tuple(RAW_ASSET_NAMES),
    "signs_are_right": ("futures_daily", "macro_series"),
}
"""Raw tables that a check reads besides the features."""


@dg.asset_check(asset=ASSET, blocking=True)
def features_are_locked(curated_features: FeaturesRef) -> dg.AssetCheckResult:
    """Names, order, dtype and hash of the stored frame are those of the catalogue."""
    from cbi_pipeline.errors import FeatureError
    from cbi_pipeline.features.build import check_frame
    from cbi_pipeline.stages.features import load_features

    try:
        check_frame(load_features(curated_features))
    except FeatureError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(passed=True, metadata={"feature_hash": curated_features.feature_hash})


@dg.multi_asset_check(
    name="feature_validation",
    specs=[
        dg.AssetCheckSpec(
            name,
            asset=ASSET,
            description=description,
            blocking=True,
            additional_deps=[RAW_ASSET_NAMES[read] for read in READS.get(name, ())],
        )
        for name, description in DESCRIPTIONS.items()
    ],
    ins={
        "curated_features": dg.AssetIn(ASSET),
        **{name: dg.AssetIn(asset_name) for name, asset_name in RAW_ASSET_NAMES.items()},
    },
)
def feature_validation(
    curated_features: FeaturesRef,
    futures_daily: RawTableRef,
    futures_curve: RawTableRef,
    macro_series: RawTableRef,
    cot_weekly: RawTableRef,
    weather_daily: RawTableRef,
    policy: RawTableRef,
    fundamentals: RawTableRef,
) -> Iterator[dg.AssetCheckResult]:
    """Range, staleness, drift, signs and constant columns: one step, since all of them read the same files."""
    from cbi_pipeline.stages.features import load_features
    from cbi_pipeline.stages.raw import load_raw_tables

    raw = (futures_daily, futures_curve, macro_series, cot_weekly, weather_daily, policy, fundamentals)
    checks = _checks(load_features(curated_features), load_raw_tables(raw), futures_daily)
    for name in DESCRIPTIONS:
        findings, measured = checks[name]()
        yield check_result(name, findings, measured)


_NEAREST = 5
_Outcome = tuple["list[Finding]", dict[str, Any]]


def _checks(
    frame: "pd.DataFrame", tables: "Mapping[str, pd.DataFrame]", prices: RawTableRef
) -> dict[str, Callable[[], _Outcome]]:
    from cbi_pipeline.features import validation
    from cbi_pipeline.features.validation.drift import findings_of, measure_drift

    def drifted() -> _Outcome:
        drift = measure_drift(frame)
        nearest = drift.scores.dropna().nlargest(_NEAREST)
        return findings_of(drift), {
            "earlier months": drift.blocks,
            "summary": f"statistic {drift.statistic:.3g}, threshold {drift.threshold:.3g}, p = {drift.p_value:.3g}",
            "furthest features": table({"feature": name, "score": float(score)} for name, score in nearest.items()),
        }

    return {
        "values_are_possible": lambda: (validation.check_ranges(frame), {}),
        "sources_are_fresh": lambda: (validation.check_staleness(frame, tables, prices.last_trade_date), {}),
        "recent_rows_resemble_history": drifted,
        "signs_are_right": lambda: (validation.check_signs(frame, tables), {}),
        "columns_move": lambda: (validation.check_constant(frame), {}),
    }


def check_result(name: str, findings: "list[Finding]", measured: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Findings as the UI shows them: what was found in one line, all of them in a table."""
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    metadata: dict[str, Any] = {"errors": errors, "warnings": warnings, **measured}
    if findings:
        metadata["findings"] = table(asdict(finding) for finding in findings)
    named = ", ".join(dict.fromkeys(finding.subject for finding in findings))
    return dg.AssetCheckResult(
        passed=not findings,
        check_name=name,
        asset_key=ASSET,
        severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
        description=f"{errors} errors, {warnings} warnings: {named}" if findings else None,
        metadata=metadata,
    )
