"""Columns of the warehouse views, which is what dashboards may rely on. Their queries are in `warehouse/sql`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cbi_pipeline.contracts.warehouse import (
    DATA_QUALITY,
    GATE_VERDICTS,
    LIVE_SKILL,
    METRICS,
    MODEL_REGISTRY,
    PREDICTIONS,
    REALIZED_PRICES,
    Mode,
    WarehouseColumn,
    WarehouseTable,
)


@dataclass(frozen=True, slots=True)
class WarehouseView:
    """One view.

    Args:
        name: view name; its query is `warehouse/sql/<name>.sql`.
        description: what one row is.
        columns: all columns in the order of the query.
        reads: tables and views in its query.
    """

    name: str
    description: str
    columns: tuple[WarehouseColumn, ...]
    reads: tuple[str, ...]


def _of(table: WarehouseTable, *names: str) -> tuple[WarehouseColumn, ...]:
    """Columns that a view hands on as they are."""
    by_name = {column.name: column for column in table.columns}
    return tuple(by_name[name] for name in names)


def _figures(descriptions: Mapping[str, str]) -> tuple[WarehouseColumn, ...]:
    return tuple(WarehouseColumn(name, "FLOAT64", text, "NULLABLE") for name, text in descriptions.items())


def _flags(descriptions: Mapping[str, str], mode: Mode = "REQUIRED") -> tuple[WarehouseColumn, ...]:
    return tuple(WarehouseColumn(name, "INT64", text, mode) for name, text in descriptions.items())


LATEST_FORECAST: Final = WarehouseView(
    name="vw_latest_forecast",
    description="The forecast that stands, one row per horizon: of the newest as-of date, by the model that serves.",
    columns=PREDICTIONS.columns,
    reads=(PREDICTIONS.name, MODEL_REGISTRY.name),
)

PRODUCTION_FORECAST: Final = WarehouseView(
    name="vw_production_forecast",
    description="Of the forecast that stands, the horizons that meet every quality target; none while all are on HOLD.",
    columns=PREDICTIONS.columns,
    reads=(LATEST_FORECAST.name,),
)

FORECAST_PERFORMANCE: Final = WarehouseView(
    name="vw_forecast_performance",
    description="Every published forecast and, once its target date is in a bundle, what ZL closed at and how far off.",
    columns=(
        *_of(PREDICTIONS, "as_of_date", "horizon_months", "target_date", "model_version", "status"),
        *_of(PREDICTIONS, "last_price", "predicted_price", "q05", "q10", "q25", "q50", "q75", "q90", "q95"),
        *_figures({"realised_price": "ZL front close of target_date, unadjusted, cents/lb; NULL until it is known"}),
        WarehouseColumn("realised_in", "STRING", "bundle that the close is from: the newest that holds it", "NULLABLE"),
        *_figures(
            {
                "absolute_error_pct": "100 |predicted - realised| / realised, whose mean is MAPE",
                "last_price_error_pct": "the same of the last price as forecast",
                "log_error": "ln(predicted / realised)",
            }
        ),
        *_flags(
            {
                "direction_right": "1 if rise or fall from last_price was foreseen, else 0; NULL if either is flat",
                "inside_50": "1 if realised within q25 to q75, else 0",
                "inside_80": "1 if realised within q10 to q90, else 0",
                "inside_90": "1 if realised within q05 to q95, else 0",
            },
            "NULLABLE",
        ),
    ),
    reads=(PREDICTIONS.name, REALIZED_PRICES.name),
)

MODEL_LEADERBOARD: Final = WarehouseView(
    name="vw_model_leaderboard",
    description="Every entry of every scorecard at each horizon, on the dates that all entries have.",
    columns=(
        *_of(METRICS, "scorecard_id", "horizon_months"),
        WarehouseColumn("place", "INT64", "place by rmse_ratio within scorecard and horizon, 1 is best"),
        *_of(METRICS, "entry"),
        WarehouseColumn("evaluated_at", "TIMESTAMP", "moment the scorecard was first published, UTC"),
        *_flags(
            {
                "is_latest": "1 in the scorecard stored last, else 0",
                "serves": "1 if the champion is a refit of this entry of this scorecard, else 0",
            }
        ),
        WarehouseColumn("n", "INT64", "scored rows"),
        WarehouseColumn("n_eff", "FLOAT64", "effective number of independent rows among them"),
        *_figures(
            {
                "rmse_ratio": "RMSE of log returns as a ratio to the last price's",
                "rmse_ratio_low": "lower end of its 90 % block-bootstrap interval",
                "rmse_ratio_high": "upper end of its 90 % block-bootstrap interval",
                "ratio_to_best_benchmark": "RMSE as a ratio to that of the benchmark that turned out best",
                "dm_p_less": "p-value that it is no better than the last price (Diebold-Mariano, one-sided)",
                "mcs_p": "p-value that it is as good as any; above 0.25 it is in the 75 % model confidence set",
                "mape": "mean absolute percentage error of the price, %",
                "directional_accuracy": "share of moves whose direction was foreseen, 0 to 1",
                "directional_base_rate": "the same of always foreseeing the more frequent direction",
                "crps_ratio": "CRPS as a ratio to the last price's density",
                "coverage_50": "share of outcomes within the 50 % interval",
                "coverage_80": "share of outcomes within the 80 % interval",
                "coverage_90": "share of outcomes within the 90 % interval",
                "coverage_95": "share of outcomes within the 95 % interval",
                "calibration_error": "mean distance of the quantiles' hit rates from their levels",
                "sharpe": "annualised Sharpe ratio of the staggered tranches after costs",
                "deflated_sharpe": "probability that it is above zero, deflated by the number of entries tried",
            }
        ),
    ),
    reads=(METRICS.name, MODEL_REGISTRY.name),
)

GATE_STATUS: Final = WarehouseView(
    name="vw_gate_status",
    description="What every gate says of the winner of every scorecard at each horizon, as judged last.",
    columns=(
        *_of(GATE_VERDICTS, "scorecard_id", "name", "horizon_months", "kind"),
        *_flags({"blocking": "1 if nothing is promoted unless it passes, 0 for the quality targets"}),
        *_of(GATE_VERDICTS, "outcome", "value", "threshold", "n_eff", "reason", "entry", "against", "judgement_id"),
        WarehouseColumn("judged_at", "TIMESTAMP", "moment the judgement was first stored, UTC"),
        *_flags(
            {
                "is_latest": "1 in the scorecard judged last, else 0",
                "serves": "1 if the champion comes from this scorecard, else 0",
            }
        ),
    ),
    reads=(GATE_VERDICTS.name, MODEL_REGISTRY.name),
)

DATA_FRESHNESS: Final = WarehouseView(
    name="vw_data_freshness",
    description="How old every source of the newest bundle was at its last session.",
    columns=(
        *_of(DATA_QUALITY, "source", "raw_table", "newest_date", "as_of_date"),
        WarehouseColumn("age_days", "INT64", "calendar days from newest_date to as_of_date", "NULLABLE"),
        *_of(DATA_QUALITY, "maximum_age_days", "outcome", "reason", "dataset_version"),
        WarehouseColumn("days_since_as_of", "INT64", "calendar days from as_of_date to today, UTC"),
    ),
    reads=(DATA_QUALITY.name,),
)

LIVE_SKILL_VIEW: Final = WarehouseView(
    name="vw_live_skill",
    description="How the forecasts of every model version fared at each horizon, as far as they have matured, and how "
    "the newest of them were judged last while it served.",
    columns=(
        *_of(PREDICTIONS, "model_version", "horizon_months"),
        *_flags({"serves": "1 if the model serves now, else 0", "n": "forecasts whose outcome is in a bundle"}),
        WarehouseColumn("n_eff", "FLOAT64", "effective number of independent forecasts among them"),
        WarehouseColumn("first_as_of_date", "DATE", "as-of date of the first of them", "NULLABLE"),
        WarehouseColumn("last_as_of_date", "DATE", "as-of date of the last of them", "NULLABLE"),
        *_figures(
            {
                "mape": "mean absolute percentage error of the price, %",
                "rmse": "root mean squared error of the log price",
                "rmse_ratio": "the same as a ratio to last price's",
                "bias": "mean of ln(predicted / realised)",
                "directional_accuracy": "share of moves whose direction was foreseen, 0 to 1",
                "coverage_50": "share of outcomes within the 50 % interval",
                "coverage_80": "share of outcomes within the 80 % interval",
                "coverage_90": "share of outcomes within the 90 % interval",
                "crps": "twice the mean pinball loss of the quantiles (without the median), log price",
            }
        ),
        WarehouseColumn("judged_as_of", "DATE", "last session of the newest judgement; NULL without one", "NULLABLE"),
        WarehouseColumn("outcome", "STRING", "its outcome: that of the figure that fared worst", "NULLABLE"),
        WarehouseColumn("reason", "STRING", "why it is not within; empty if it is", "NULLABLE"),
        *_figures(
            {
                "judged_rmse_ratio": "RMSE ratio to last price of the forecasts judged",
                "highest_rmse_ratio": "upper end of its band",
                "judged_mape": "MAPE of the forecasts judged, %",
                "highest_mape": "upper end of its band, %",
            }
        ),
    ),
    reads=(PREDICTIONS.name, MODEL_REGISTRY.name, FORECAST_PERFORMANCE.name, LIVE_SKILL.name),
)

WAREHOUSE_VIEWS: Final[dict[str, WarehouseView]] = {
    view.name: view
    for view in (
        LATEST_FORECAST,
        PRODUCTION_FORECAST,
        FORECAST_PERFORMANCE,
        MODEL_LEADERBOARD,
        GATE_STATUS,
        DATA_FRESHNESS,
        LIVE_SKILL_VIEW,
    )
}
"""Every view of the warehouse, by name."""
