"""Schemas of the warehouse tables: columns in BigQuery types, keys, partitioning, immutability.

One `WarehouseTable` per table is the single declaration from which the DDL, the staged load, the
MERGE and the check of an existing table are made, whichever database holds it. No SQL here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from cbi_pipeline.contracts import HORIZONS_MONTHS

BigQueryType = Literal["STRING", "INT64", "FLOAT64", "BOOL", "DATE", "TIMESTAMP"]
Mode = Literal["REQUIRED", "NULLABLE"]

ARROW_TYPES: Final[dict[BigQueryType, pa.DataType]] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
"""Arrow type in which a value of each BigQuery type is loaded and read back."""


@dataclass(frozen=True, slots=True)
class WarehouseColumn:
    """One column of a warehouse table.

    Args:
        name: column name.
        type: BigQuery type.
        description: meaning and unit.
        mode: REQUIRED, or NULLABLE where a gap (NULL, never NaN) is allowed.
    """

    name: str
    type: BigQueryType
    description: str
    mode: Mode = "REQUIRED"


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A warehouse table whose rows, once written, never change.

    Args:
        name: table name, without dataset or schema.
        description: what one row is.
        columns: all columns in stored order.
        key: columns that identify a row; all REQUIRED.
        partition_by: DATE or TIMESTAMP column by which BigQuery partitions.
        partition_unit: length of a partition. One job may write 4,000 partitions at most, so that a table which takes
            decades of history in one write is partitioned by MONTH.
        partition_filter_required: whether a query of it must name a range of `partition_by`; for the tables that grow
            by a whole back-test at a time.
        cluster_by: columns by which BigQuery clusters, at most four.
        write_stamp: columns that only describe the run that first wrote a row: when, from which commit, how long it
            took. A re-run offers other values for them; the stored ones stay. Every other column of a stored row
            must be offered again exactly as it stands.

    Raises:
        ValueError: a role names a column that does not exist or cannot play it.
    """

    name: str
    description: str
    columns: tuple[WarehouseColumn, ...]
    key: tuple[str, ...]
    partition_by: str
    cluster_by: tuple[str, ...]
    partition_unit: Literal["DAY", "MONTH"] = "MONTH"
    partition_filter_required: bool = False
    write_stamp: tuple[str, ...] = ("created_at", "run_id", "code_commit")

    def __post_init__(self) -> None:
        by_name = {column.name: column for column in self.columns}
        if len(by_name) != len(self.columns):
            raise ValueError(f"{self.name}: a column name is used twice")
        roles = (*self.key, self.partition_by, *self.cluster_by, *self.write_stamp)
        if missing := [name for name in roles if name not in by_name]:
            raise ValueError(f"{self.name}: no such columns: {missing}")
        if loose := [name for name in self.key if by_name[name].mode != "REQUIRED"]:
            raise ValueError(f"{self.name}: key columns must be REQUIRED: {loose}")
        if by_name[self.partition_by].type not in ("DATE", "TIMESTAMP"):
            raise ValueError(f"{self.name}: {self.partition_by} is neither DATE nor TIMESTAMP")
        if set(self.key) & set(self.write_stamp):
            raise ValueError(f"{self.name}: a key column cannot be a write stamp")

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns in stored order."""
        return tuple(column.name for column in self.columns)

    @property
    def published_columns(self) -> tuple[str, ...]:
        """Columns besides the key that can never differ between a stored row and a re-run."""
        return tuple(name for name in self.column_names if name not in (*self.key, *self.write_stamp))

    @property
    def arrow_schema(self) -> pa.Schema:
        """Schema of a staged load: order, types and nullability are part of the contract."""
        return pa.schema([pa.field(c.name, ARROW_TYPES[c.type], nullable=c.mode == "NULLABLE") for c in self.columns])


_CODE_COMMIT: Final = WarehouseColumn("code_commit", "STRING", "git commit of the code that made the row")
_RUN_ID: Final = WarehouseColumn("run_id", "STRING", "Dagster run that first wrote the row")
_CREATED_AT: Final = WarehouseColumn("created_at", "TIMESTAMP", "moment the row was first written, UTC")

PREDICTIONS: Final = WarehouseTable(
    name="predictions",
    description="One published forecast of ZL per as-of date, horizon and model version. Prices in cents/lb.",
    columns=(
        WarehouseColumn("as_of_date", "DATE", "CBOT trade date whose close the forecast starts from"),
        WarehouseColumn("horizon_months", "INT64", "horizon in calendar months: 3, 6, 9 or 12"),
        WarehouseColumn("target_date", "DATE", "first CBOT session on or after as_of_date plus the horizon"),
        WarehouseColumn("last_price", "FLOAT64", "ZL close of as_of_date, unadjusted, cents/lb"),
        WarehouseColumn("anchor_price", "FLOAT64", "price the anchor expects at target_date, cents/lb"),
        WarehouseColumn("anchor_kind", "STRING", "which inputs the anchor could use on as_of_date"),
        WarehouseColumn("lambda_h", "FLOAT64", "weight of the network's residual on the anchor, 0 to 1"),
        WarehouseColumn("predicted_price", "FLOAT64", "forecast price at target_date, cents/lb"),
        WarehouseColumn("q05", "FLOAT64", "5 % quantile of the price at target_date, cents/lb"),
        WarehouseColumn("q10", "FLOAT64", "10 % quantile, lower end of the 80 % interval, cents/lb"),
        WarehouseColumn("q25", "FLOAT64", "25 % quantile, cents/lb"),
        WarehouseColumn("q50", "FLOAT64", "median, cents/lb"),
        WarehouseColumn("q75", "FLOAT64", "75 % quantile, cents/lb"),
        WarehouseColumn("q90", "FLOAT64", "90 % quantile, upper end of the 80 % interval, cents/lb"),
        WarehouseColumn("q95", "FLOAT64", "95 % quantile, cents/lb"),
        WarehouseColumn("status", "STRING", "PRODUCTION or HOLD"),
        WarehouseColumn("status_reasons", "STRING", "why the row is on HOLD; empty for PRODUCTION"),
        WarehouseColumn("model_version", "STRING", "version of the model artifact that made the forecast"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle the forecast was made from"),
        WarehouseColumn("feature_hash", "STRING", "hash of the feature catalogue"),
        WarehouseColumn("scaler_sha256", "STRING", "sha256 of the fitted scaler file"),
        _CODE_COMMIT,
        _RUN_ID,
        _CREATED_AT,
    ),
    key=("as_of_date", "horizon_months", "model_version"),
    partition_by="as_of_date",
    cluster_by=("horizon_months", "model_version"),
    partition_unit="DAY",
)

METRICS: Final = WarehouseTable(
    name="metrics",
    description="One out-of-fold metric of one leaderboard entry per scorecard, horizon and fold.",
    columns=(
        WarehouseColumn("scorecard_id", "STRING", "the evaluation the metric belongs to"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle that was evaluated"),
        WarehouseColumn("feature_hash", "STRING", "hash of the feature catalogue"),
        WarehouseColumn("entry", "STRING", "what was scored: the network, the anchor or a benchmark"),
        WarehouseColumn("horizon_months", "INT64", "horizon in calendar months: 3, 6, 9 or 12"),
        WarehouseColumn("fold", "STRING", "walk-forward fold, or 'all' for the folds together"),
        WarehouseColumn("metric", "STRING", "name of the metric"),
        WarehouseColumn("value", "FLOAT64", "value in the metric's own unit; NULL where it is not defined", "NULLABLE"),
        WarehouseColumn("n", "INT64", "scored rows"),
        WarehouseColumn("n_eff", "FLOAT64", "effective number of independent rows among them"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("scorecard_id", "entry", "horizon_months", "fold", "metric"),
    partition_by="created_at",
    cluster_by=("horizon_months", "metric"),
)

SCORECARDS: Final = WarehouseTable(
    name="scorecards",
    description="One evaluation: what was evaluated, on which days, and what won it. Its figures are in metrics.",
    columns=(
        WarehouseColumn("scorecard_id", "STRING", "hash of the cells, features, anchors and scalers, and of the code"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle it was first made from"),
        WarehouseColumn("feature_hash", "STRING", "hash of the feature catalogue"),
        WarehouseColumn("profile", "STRING", "profile of the run that first wrote the row"),
        WarehouseColumn("winner", "STRING", "entry of the leaderboard that won the bake-off"),
        WarehouseColumn("winner_reason", "STRING", "by how much, in words"),
        WarehouseColumn("entries", "INT64", "entries of the leaderboard"),
        WarehouseColumn("folds", "INT64", "walk-forward folds"),
        WarehouseColumn("first_as_of_date", "DATE", "first trade date that a forecast was scored from"),
        WarehouseColumn("last_as_of_date", "DATE", "last trade date that a forecast was scored from"),
        WarehouseColumn("out_of_fold_rows", "INT64", "out-of-fold forecasts behind it, all entries together"),
        WarehouseColumn("features_key", "STRING", "hash of the tables and the code that made the features"),
        WarehouseColumn("anchors_key", "STRING", "hash of all that made the anchors of the folds"),
        WarehouseColumn("scalers_key", "STRING", "hash of all that made the scalers of the folds"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("scorecard_id",),
    partition_by="created_at",
    cluster_by=("scorecard_id",),
    write_stamp=("profile", "dataset_version", "created_at", "run_id", "code_commit"),
)

EXPERIMENTS: Final = WarehouseTable(
    name="experiments",
    description="One network that was trained for one target, as one scorecard judged it.",
    columns=(
        WarehouseColumn("experiment_id", "STRING", "hash of all that decides it: settings, data, folds, code"),
        WarehouseColumn("scorecard_id", "STRING", "the evaluation that judged it"),
        WarehouseColumn("architecture", "STRING", "lstm_mha, tcn or nbeatsx"),
        WarehouseColumn("target", "STRING", "anchored: what the anchor leaves over; raw: the log return itself"),
        WarehouseColumn("entry", "STRING", "entry of the leaderboard whose errors are given: the network in full"),
        WarehouseColumn("profile", "STRING", "profile of the run that first wrote the row"),
        WarehouseColumn("config", "STRING", "the whole training configuration, as JSON"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle it was first trained on"),
        WarehouseColumn("feature_hash", "STRING", "hash of the feature catalogue"),
        WarehouseColumn("folds", "INT64", "walk-forward folds"),
        WarehouseColumn("members", "INT64", "networks of a fold, whose forecasts are averaged"),
        WarehouseColumn("parameters", "INT64", "trainable parameters of one member"),
        WarehouseColumn("device", "STRING", "device type of the training"),
        WarehouseColumn("torch_version", "STRING", "version of PyTorch that trained it"),
        WarehouseColumn("validation_loss", "FLOAT64", "loss of the best epochs, mean over folds and members"),
        *(
            WarehouseColumn(
                f"rmse_ratio_{horizon}m",
                "FLOAT64",
                f"RMSE of log returns at {horizon} months, ratio to last price, on the dates that all entries have",
                "NULLABLE",
            )
            for horizon in HORIZONS_MONTHS
        ),
        WarehouseColumn("training_seconds", "FLOAT64", "seconds that its training took, all folds together"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("experiment_id", "scorecard_id"),
    partition_by="created_at",
    cluster_by=("architecture", "target"),
    write_stamp=("profile", "dataset_version", "training_seconds", "created_at", "run_id", "code_commit"),
)

OUT_OF_FOLD: Final = WarehouseTable(
    name="out_of_fold_forecasts",
    description="One out-of-fold forecast of the winning network, from which SQL computes the metrics again.",
    columns=(
        WarehouseColumn("scorecard_id", "STRING", "the evaluation that it belongs to"),
        WarehouseColumn("entry", "STRING", "entry of the leaderboard that would serve"),
        WarehouseColumn("fold", "STRING", "walk-forward fold"),
        WarehouseColumn("as_of_date", "DATE", "CBOT trade date whose close the forecast starts from"),
        WarehouseColumn("horizon_months", "INT64", "horizon in calendar months: 3, 6, 9 or 12"),
        WarehouseColumn("target_date", "DATE", "first CBOT session on or after as_of_date plus the horizon"),
        WarehouseColumn("last_price", "FLOAT64", "ZL close of as_of_date, unadjusted, cents/lb"),
        WarehouseColumn("predicted_price", "FLOAT64", "forecast price at target_date, cents/lb"),
        WarehouseColumn("q05", "FLOAT64", "5 % quantile, lower end of the 90 % interval, cents/lb"),
        WarehouseColumn("q10", "FLOAT64", "10 % quantile, lower end of the 80 % interval, cents/lb"),
        WarehouseColumn("q25", "FLOAT64", "25 % quantile, lower end of the 50 % interval, cents/lb"),
        WarehouseColumn("q75", "FLOAT64", "75 % quantile, upper end of the 50 % interval, cents/lb"),
        WarehouseColumn("q90", "FLOAT64", "90 % quantile, upper end of the 80 % interval, cents/lb"),
        WarehouseColumn("q95", "FLOAT64", "95 % quantile, upper end of the 90 % interval, cents/lb"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("scorecard_id", "entry", "fold", "as_of_date", "horizon_months"),
    partition_by="as_of_date",
    cluster_by=("scorecard_id", "entry", "horizon_months"),
    partition_filter_required=True,
)

REALIZED_PRICES: Final = WarehouseTable(
    name="realized_prices",
    description="What ZL closed at on every session of a bundle, from which SQL takes outcomes and P&L.",
    columns=(
        WarehouseColumn("trade_date", "DATE", "CBOT session"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle that holds the price"),
        WarehouseColumn("close", "FLOAT64", "ZL front close, unadjusted, cents/lb"),
        WarehouseColumn(
            "contract_return", "FLOAT64", "log return to this session within one contract; NULL if unknown", "NULLABLE"
        ),
        WarehouseColumn("is_roll", "INT64", "1 on the first session of a new front contract, else 0"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("trade_date", "dataset_version"),
    partition_by="trade_date",
    cluster_by=("dataset_version",),
)

GATE_VERDICTS: Final = WarehouseTable(
    name="gate_verdicts",
    description="What one gate says of the winner of a scorecard at one horizon.",
    columns=(
        WarehouseColumn("judgement_id", "STRING", "hash of what was judged by which bounds against which champion"),
        WarehouseColumn("scorecard_id", "STRING", "the evaluation that was judged"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle that was evaluated"),
        WarehouseColumn("entry", "STRING", "entry of the leaderboard that would serve"),
        WarehouseColumn("against", "STRING", "champion that it was compared with", "NULLABLE"),
        WarehouseColumn("name", "STRING", "the gate"),
        WarehouseColumn("kind", "STRING", "quality, parity or evidence"),
        WarehouseColumn("horizon_months", "INT64", "horizon in calendar months: 3, 6, 9 or 12"),
        WarehouseColumn("outcome", "STRING", "passed, failed or cannot judge"),
        WarehouseColumn("value", "FLOAT64", "figure that was judged; NULL where it is missing", "NULLABLE"),
        WarehouseColumn("threshold", "FLOAT64", "bound it was compared with; NULL where there is none", "NULLABLE"),
        WarehouseColumn("n_eff", "FLOAT64", "effective number of independent rows behind it", "NULLABLE"),
        WarehouseColumn("reason", "STRING", "one sentence, with how far off it is"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("judgement_id", "name", "horizon_months"),
    partition_by="created_at",
    cluster_by=("scorecard_id", "kind", "name"),
)

MODEL_REGISTRY: Final = WarehouseTable(
    name="model_registry",
    description="One change of the champion alias: what serves from then on, by whom and why.",
    columns=(
        WarehouseColumn("promoted_at", "TIMESTAMP", "moment from which the model serves, UTC"),
        WarehouseColumn("model_version", "STRING", "the model that serves"),
        WarehouseColumn("manifest_sha256", "STRING", "sha256 of the manifest that was signed off"),
        WarehouseColumn("scorecard_id", "STRING", "the evaluation that the model comes from"),
        WarehouseColumn("entry", "STRING", "entry of its leaderboard that the model is a refit of"),
        WarehouseColumn("action", "STRING", "promote or rollback"),
        WarehouseColumn("admission", "STRING", "judged, unjudged or override"),
        WarehouseColumn("promoted_by", "STRING", "who"),
        WarehouseColumn("reason", "STRING", "why"),
        WarehouseColumn("replaced", "STRING", "version of the champion before; NULL for the first", "NULLABLE"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("promoted_at", "model_version"),
    partition_by="promoted_at",
    cluster_by=("model_version",),
)

DATA_QUALITY: Final = WarehouseTable(
    name="data_quality",
    description="How old one source of the features was at the last session of a bundle.",
    columns=(
        WarehouseColumn("dataset_version", "STRING", "version of the bundle"),
        WarehouseColumn("features_key", "STRING", "hash of the tables and the code that made the features"),
        WarehouseColumn("source", "STRING", "raw table and series, `table/key`"),
        WarehouseColumn("raw_table", "STRING", "raw table of the bundle"),
        WarehouseColumn("as_of_date", "DATE", "last session of the features"),
        WarehouseColumn(
            "newest_date", "DATE", "newest date described by a value known at its close; NULL if none", "NULLABLE"
        ),
        WarehouseColumn("maximum_age_days", "INT64", "calendar days that its publication cadence explains"),
        WarehouseColumn("outcome", "STRING", "fresh, warning (older than explained) or error (no forecast is made)"),
        WarehouseColumn("reason", "STRING", "what the check found, and which features lack a value; empty if fresh"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("dataset_version", "features_key", "source"),
    partition_by="created_at",
    cluster_by=("dataset_version", "raw_table"),
)

FEATURE_IMPORTANCE: Final = WarehouseTable(
    name="feature_importance",
    description="How one feature ranked in the training parts of the folds, and whether models may read it.",
    columns=(
        WarehouseColumn("selection_id", "STRING", "hash of all that decides the selection: features, folds, code"),
        WarehouseColumn("selected_hash", "STRING", "hash of the locked list of chosen features"),
        WarehouseColumn("feature", "STRING", "name in the feature catalogue"),
        WarehouseColumn("pillar", "STRING", "pillar of the catalogue"),
        WarehouseColumn(
            "mean_rank", "FLOAT64", "mean over folds; 1 is best; NULL where it was never usable", "NULLABLE"
        ),
        WarehouseColumn("folds_in_top", "INT64", "folds in which it ranked among those to keep"),
        WarehouseColumn("folds", "INT64", "folds"),
        WarehouseColumn("decision", "STRING", "why it was kept or left out"),
        WarehouseColumn("chosen", "INT64", "1 if models may read it, else 0"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("selection_id", "feature"),
    partition_by="created_at",
    cluster_by=("selection_id",),
)

LIVE_SKILL: Final = WarehouseTable(
    name="live_skill",
    description="One figure of the newest forecasts of a horizon that have matured, beside its band of the back-test.",
    columns=(
        WarehouseColumn("evaluation_id", "STRING", "hash of what was evaluated: forecasts, prices, record, code"),
        WarehouseColumn("as_of_date", "DATE", "last session whose close was known"),
        WarehouseColumn("model_version", "STRING", "the model that served"),
        WarehouseColumn("scorecard_id", "STRING", "the evaluation whose out-of-fold forecasts are the record"),
        WarehouseColumn("dataset_version", "STRING", "version of the bundle that the outcomes are from"),
        WarehouseColumn("horizon_months", "INT64", "horizon in calendar months: 3, 6, 9 or 12"),
        WarehouseColumn("metric", "STRING", "name of the figure"),
        WarehouseColumn("value", "FLOAT64", "value in the figure's own unit; NULL where it is not defined", "NULLABLE"),
        WarehouseColumn("low", "FLOAT64", "lower end of its band; NULL where there is none", "NULLABLE"),
        WarehouseColumn("high", "FLOAT64", "upper end of its band; NULL where there is none", "NULLABLE"),
        WarehouseColumn("n", "INT64", "forecasts that it is made of: the newest that have matured"),
        WarehouseColumn("n_own", "INT64", "those of them that the model itself made, not a model before it"),
        WarehouseColumn("n_eff", "FLOAT64", "effective number of independent forecasts among them"),
        WarehouseColumn("first_day", "DATE", "as-of date of the first of them; NULL without any", "NULLABLE"),
        WarehouseColumn("last_day", "DATE", "as-of date of the last of them; NULL without any", "NULLABLE"),
        WarehouseColumn("windows", "INT64", "windows of the record that it is compared with"),
        WarehouseColumn("periods", "FLOAT64", "how many such windows that do not overlap the record holds"),
        WarehouseColumn("judged", "INT64", "1 if its outcome decides over the status, 0 if it is only shown"),
        WarehouseColumn("outcome", "STRING", "within, beyond, not yet known (too few matured) or cannot judge"),
        WarehouseColumn("reason", "STRING", "why it is not within; empty if it is"),
        _CREATED_AT,
        _RUN_ID,
        _CODE_COMMIT,
    ),
    key=("evaluation_id", "horizon_months", "metric"),
    partition_by="as_of_date",
    cluster_by=("model_version", "horizon_months", "metric"),
)

WAREHOUSE_TABLES: Final[dict[str, WarehouseTable]] = {
    table.name: table
    for table in (
        PREDICTIONS,
        METRICS,
        SCORECARDS,
        EXPERIMENTS,
        OUT_OF_FOLD,
        REALIZED_PRICES,
        GATE_VERDICTS,
        MODEL_REGISTRY,
        DATA_QUALITY,
        FEATURE_IMPORTANCE,
        LIVE_SKILL,
    )
}
"""Every table of the warehouse that a run writes, by name."""

SCHEMA_MIGRATIONS: Final = WarehouseTable(
    name="schema_migrations",
    description="One migration of the warehouse's tables that was applied; written by `cbi warehouse migrate`.",
    columns=(
        WarehouseColumn("version", "INT64", "number of the migration: they are applied in this order"),
        WarehouseColumn("name", "STRING", "what it does, as its file is named"),
        WarehouseColumn("sha256", "STRING", "hash of the file that was applied"),
        WarehouseColumn("created_at", "TIMESTAMP", "moment it was applied, UTC"),
        _CODE_COMMIT,
    ),
    key=("version",),
    partition_by="created_at",
    cluster_by=("version",),
    write_stamp=("created_at", "code_commit"),
)
