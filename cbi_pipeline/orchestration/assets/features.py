"""Curated features, and what is fitted on them inside the training part of each fold."""

import dagster as dg

from cbi_pipeline.contracts.references import FeaturesRef, FoldsRef, RawTableRef
from cbi_pipeline.orchestration.freshness import EVERY_SESSION
from cbi_pipeline.orchestration.metadata import OWNERS, RAW_ASSET_NAMES, feature_lineage, feature_schema, table
from cbi_pipeline.orchestration.resources import ArtifactStoreResource, SettingsResource
from cbi_pipeline.profiles import get_profile

_ALL_RAW = {name: dg.AssetIn(RAW_ASSET_NAMES[name]) for name in RAW_ASSET_NAMES}


@dg.asset(
    group_name="features",
    kinds={"pandas", "parquet"},
    owners=OWNERS,
    ins=_ALL_RAW,
    freshness_policy=EVERY_SESSION,
    metadata={"dagster/column_schema": feature_schema(), "dagster/column_lineage": feature_lineage()},
)
def curated_features(
    context: dg.AssetExecutionContext,
    artifact_store: ArtifactStoreResource,
    futures_daily: RawTableRef,
    futures_curve: RawTableRef,
    macro_series: RawTableRef,
    cot_weekly: RawTableRef,
    weather_daily: RawTableRef,
    policy: RawTableRef,
    fundamentals: RawTableRef,
) -> dg.Output[FeaturesRef]:
    """The locked features of every ZL trade date, each value joined on the moment it could first be known."""
    from cbi_pipeline import stages

    raw = (futures_daily, futures_curve, macro_series, cot_weekly, weather_daily, policy, fundamentals)
    reference, availability = stages.build_curated_features(raw, artifact_store.open())
    return dg.Output(
        reference,
        data_version=dg.DataVersion(reference.key),
        metadata={
            "dagster/row_count": reference.rows,
            "feature_hash": reference.feature_hash,
            "span": f"{reference.first_date} to {reference.last_date}",
            "reused": reference.reused,
            "availability": table(availability),
            "dagster/column_lineage": feature_lineage(),  # Dagster+ reads it from materialisations
        },
    )


@dg.asset(group_name="features", kinds={"scikitlearn"}, owners=OWNERS)
def fitted_anchor(
    curated_features: FeaturesRef,
    raw_futures_daily: RawTableRef,
    raw_futures_curve: RawTableRef,
    raw_macro_series: RawTableRef,
    raw_fundamentals: RawTableRef,
    artifact_store: ArtifactStoreResource,
    run_settings: SettingsResource,
) -> dg.Output[FoldsRef]:
    """The anchor's ridge per fold, fitted on labels known before the fold's first test session.

    The market state it needs (front price, carry, fundamentals, volatilities) is stored beside it.
    """
    from cbi_pipeline import stages

    raw = (raw_futures_daily, raw_futures_curve, raw_macro_series, raw_fundamentals)
    reference, coefficients = stages.fit_anchors(
        curated_features, raw, get_profile(run_settings.load().profile), artifact_store.open()
    )
    return dg.Output(
        reference,
        data_version=dg.DataVersion(reference.key),
        metadata={"reused": reference.reused, "coefficients": table(coefficients)},
    )


@dg.asset(group_name="features", kinds={"scikitlearn"}, owners=OWNERS)
def fitted_scaler(
    curated_features: FeaturesRef, fitted_anchor: FoldsRef, artifact_store: ArtifactStoreResource
) -> dg.Output[FoldsRef]:
    """A robust scaler per fold, fitted on the training part only, saved with joblib beside its sha256."""
    from cbi_pipeline import stages

    reference = stages.fit_scalers(curated_features, fitted_anchor, artifact_store.open())
    return dg.Output(
        reference,
        data_version=dg.DataVersion(reference.key),
        metadata={
            "reused": reference.reused,
            "sha256": table({"fold": fold, "sha256": sha256} for fold, sha256 in reference.sha256_by_fold.items()),
        },
    )
