"""The scorecard of every entry, and the bake-off among the networks."""

import dagster as dg

from cbi_pipeline.contracts.references import FeaturesRef, FoldsRef, RawTableRef, ScorecardRef, WinnerRef
from cbi_pipeline.orchestration.cells import Cells
from cbi_pipeline.orchestration.metadata import OWNERS, table
from cbi_pipeline.orchestration.resources import ArtifactStoreResource, SettingsResource
from cbi_pipeline.reports.loss_curve import as_markdown


@dg.asset(group_name="evaluation", kinds={"pandas"}, owners=OWNERS)
def scorecard(
    curated_features: FeaturesRef,
    fitted_anchor: FoldsRef,
    trained_models: Cells,
    raw_futures_daily: RawTableRef,
    raw_futures_curve: RawTableRef,
    artifact_store: ArtifactStoreResource,
    run_settings: SettingsResource,
) -> dg.Output[ScorecardRef]:
    """Out-of-fold forecasts of the networks and the benchmarks on the same rows, and every metric of them."""
    from cbi_pipeline import stages

    prices = (raw_futures_daily, raw_futures_curve)
    reference = stages.build_scorecard(
        curated_features,
        fitted_anchor,
        trained_models,
        prices,
        artifact_store.open(),
        costs=run_settings.load().trading_costs,
    )
    return dg.Output(
        reference,
        data_version=dg.DataVersion(reference.key),
        metadata={
            "dagster/row_count": reference.rows,
            "scorecard_id": reference.scorecard_id,
            "reused": reference.reused,
            "leaderboard": table(stages.leaderboard(reference)),
            "lambda": table(stages.lambda_table(reference)),
            "density": table(stages.density_choices(reference)),
            **{
                title: dg.MetadataValue.md(as_markdown(png, title)) for title, png in stages.pictures(reference).items()
            },
        },
    )


@dg.asset(group_name="evaluation", kinds={"python"}, owners=OWNERS)
def bakeoff_winner(scorecard: ScorecardRef, trained_models: Cells) -> dg.Output[WinnerRef]:
    """The network that serves: lowest mean rank over the horizons, ties to the fewer parameters."""
    from cbi_pipeline import progress, stages

    reference = stages.choose_winner(scorecard, trained_models)
    progress.finish("bake-off", reference.reason)
    return dg.Output(reference, metadata={"architecture": reference.architecture, "reason": reference.reason})
