"""One typed `Settings`, read from `CBI_*` environment variables; nothing else reads the environment.

Paths are absolute and hang off `project_dir`, so that a run from any folder, the Dagster UI and a
service all find the same files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cbi_pipeline.contracts.verdict import GateThresholds
from cbi_pipeline.errors import SettingsError
from cbi_pipeline.profiles import ProfileName

ENV_PREFIX = "CBI_"
REPOSITORY_DIR = Path(__file__).resolve().parent.parent
"""The checkout: dagster.yaml, workspace.yaml, constraints.txt."""

KEYS_OF_ALERTS = (WEBHOOK_KEY, EMAIL_KEY) = ("CBI_ALERT_WEBHOOK_URL", "CBI_ALERT_EMAIL_PASSWORD")
"""Secrets, so no settings: they are read from the environment or the keychain at the moment of use, as keys of
providers are, and are in no field that Dagster stores or `cbi doctor` prints."""

_BUCKET_PATTERN = r"^(gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[\w.=-]+)*/?)?$"


class Settings(BaseSettings):
    """Every setting of CBI. The environment variable of a field is `CBI_` plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    project_dir: Path = Field(REPOSITORY_DIR, description="folder that holds data/, models/ and .dagster/")
    data_dir: Path = Field(Path("data/market"), description="provider files, one folder a provider")
    bundles_dir: Path = Field(Path("data/bundles"), description="bundles built or synced, one folder a dataset_version")
    starter_dir: Path = Field(Path("data/starter"), description="the starter bundle of the repository")
    artifacts_dir: Path = Field(Path("data/artifacts"), description="content-addressed features, scalers and cells")
    models_dir: Path = Field(Path("models"), description="one folder a model_version, and champion.json")
    dagster_dir: Path = Field(Path(".dagster"), description="Dagster's state: runs, events, logs")
    warehouse_path: Path = Field(Path("data/warehouse.duckdb"), description="file of the DuckDB warehouse")

    warehouse: Literal["duckdb", "bigquery"] = Field(
        "duckdb", description="where forecasts and metrics are published: a file of this machine, or BigQuery"
    )
    gcp_project: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9-]{2,28}[a-z0-9])?$",
        description="Google Cloud project that holds the warehouse and pays for its jobs",
    )
    bigquery_dataset: str = Field(
        "cbi",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,200}$",
        description="dataset of the tables; those of views and of loads are named after it",
    )
    bigquery_location: str = Field("us-central1", min_length=2, description="region of every dataset and job")
    maximum_bytes_billed: int = Field(10 * 2**30, ge=10 * 2**20, description="a query that would read more is refused")
    bigquery_storage_api: bool = Field(
        False, description="read results through the BigQuery Storage API: faster for millions of rows"
    )

    bundle_uri: str = Field("", pattern=_BUCKET_PATTERN, description="gs://bucket/prefix of bundles")
    export_uri: str = Field(
        "",
        pattern=_BUCKET_PATTERN,
        description="gs://bucket/prefix for BigQuery's exports under way, best a bucket that keeps nothing it deletes; "
        "that of bundles by default",
    )

    keep_models: int = Field(5, ge=1, description="`cbi prune`: newest models that stay, besides those with an alias")
    keep_bundles: int = Field(5, ge=1, description="`cbi prune`: newest bundles that stay, besides those of the models")
    keep_days_of_artifacts: int = Field(
        30, ge=1, description="`cbi prune`: days that computed files stay which no asset refers to"
    )
    keep_days_of_logs: int = Field(
        90, ge=1, description="`cbi prune`: days that runs and their logs stay in Dagster's history"
    )

    ui_url: str = Field(
        "http://127.0.0.1:3000",
        pattern=r"^https?://[^\s/]+$",
        description="address of the Dagster UI, for links to runs in what is printed",
    )

    device: Literal["auto", "mps", "cuda", "cpu"] = Field(
        "auto", description="training device; auto: mps, else cuda, else cpu"
    )
    threads: int = Field(2, ge=1, le=64, description="CPU threads for PyTorch")
    profile: ProfileName = Field("quick", description="folds, networks and training effort")
    seed: int = Field(20241231, ge=0, description="seed of weights, dropout and batch order")

    max_data_age_sessions: int = Field(
        5, ge=1, description="CBOT sessions without a new price before forecasts are HOLD"
    )
    daily_inference_cron: str = Field(
        "0 22 * * 1-5",
        pattern=r"^[0-5]?\d (1[4-9]|2[0-3]) \* \* (1-5|MON-FRI)$",
        description="when the schedule daily_inference runs, Chicago time: weekdays, after the day is complete; "
        "22:00 by default, when the cloud side has exported the day's bundle",
    )

    alert_email_to: str = Field(
        "", pattern=r"^([^@\s,]+@[^@\s,]+)?$", description="address that alerts are sent to; none by default"
    )
    alert_email_from: str = Field(
        "", pattern=r"^([^@\s,]+@[^@\s,]+)?$", description="sender of alerts; the receiver's address by default"
    )
    alert_email_host: str = Field("", description="SMTP server that takes alerts")
    alert_email_port: int = Field(587, ge=1, le=65535, description="port of the SMTP server")
    alert_email_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="encryption of the connection to the SMTP server; none only without a user"
    )
    alert_email_user: str = Field("", description="user at the SMTP server, where it wants one; the password is a key")
    alert_macos: bool = Field(False, description="show alerts as notifications of macOS")

    target_mape_percent: float = Field(5.0, gt=0, description="quality target: MAPE below this, per horizon")
    target_sharpe: float = Field(1.0, description="quality target: Sharpe ratio above this")
    target_directional_accuracy: float = Field(
        0.65, gt=0, lt=1, description="quality target: share of right signs above this"
    )
    target_calibration_error: float = Field(
        0.10, gt=0, lt=1, description="quality target: calibration error below this"
    )

    trading_ticks_per_side: float = Field(1.0, ge=0, description="P&L: slippage of one side of a trade, ticks")
    trading_commission_usd: float = Field(
        2.5, ge=0, description="P&L: commission of one side of a trade, USD a contract of 60,000 lb"
    )

    gate_min_n_eff: float = Field(
        4.5, ge=3, description="gates: fewer independent rows than this cannot be judged (one test year has 4)"
    )
    gate_benchmark_p: float = Field(
        0.05, gt=0, lt=1, description="gates: p-value of the best benchmark being better, at least this"
    )
    gate_benchmark_worse: float = Field(
        0.10, ge=0, lt=1, description="gates: RMSE above that of the benchmark best in hindsight by at most this share"
    )
    gate_leak_rmse_ratio: float = Field(0.85, gt=0, lt=1, description="gates: RMSE to last price below this is a leak")
    gate_leak_directional_accuracy: float = Field(
        0.75, gt=0.5, lt=1, description="gates: directional accuracy above this is a leak"
    )
    gate_leak_mape_ratio: float = Field(0.60, gt=0, lt=1, description="gates: MAPE to last price below this is a leak")
    gate_coverage_confidence: float = Field(
        0.95, gt=0, lt=1, description="gates: coverage at 80 % inside its sampling band of this probability"
    )
    gate_champion_p: float = Field(
        0.05, gt=0, lt=1, description="gates: p-value of being worse than the champion, at least this"
    )
    gate_champion_worse: float = Field(
        0.02, ge=0, lt=1, description="gates: RMSE above the champion's on common dates by at most this share"
    )
    gate_metric_parity: float = Field(
        0.005, gt=0, lt=1, description="gates: metrics by warehouse SQL differ by at most this share"
    )
    gate_sharpe_parity: float = Field(
        0.05, gt=0, lt=1, description="gates: the Sharpe ratio by warehouse SQL differs by at most this share"
    )
    gate_row_parity: float = Field(
        1e-4, gt=0, lt=1, description="gates: one row and a batch differ by at most this, in units of sigma"
    )

    @property
    def gates(self) -> GateThresholds:
        """Thresholds of the blocking gates."""
        return GateThresholds(**{name: getattr(self, f"gate_{name}") for name in GateThresholds.model_fields})

    @property
    def trading_costs(self) -> dict[str, float]:
        """Costs of one side of a trade, as `evaluation.profit_and_loss.TradingCosts` names them."""
        return {
            "ticks_per_side": self.trading_ticks_per_side,
            "commission_usd_per_side": self.trading_commission_usd,
        }

    @property
    def quality_targets(self) -> dict[str, float]:
        """The desk's targets, as `evaluation.status.QualityTargets` names them."""
        return {
            "mape_max": self.target_mape_percent,
            "sharpe_min": self.target_sharpe,
            "directional_min": self.target_directional_accuracy,
            "calibration_max": self.target_calibration_error,
        }

    @model_validator(mode="after")
    def _project_of_bigquery(self) -> Settings:
        if self.warehouse == "bigquery" and not self.gcp_project:
            raise ValueError("CBI_WAREHOUSE=bigquery needs CBI_GCP_PROJECT, the Google Cloud project of the warehouse")
        return self

    @model_validator(mode="after")
    def _server_of_alerts(self) -> Settings:
        if self.alert_email_to and not self.alert_email_host:
            raise ValueError("CBI_ALERT_EMAIL_TO needs CBI_ALERT_EMAIL_HOST, the SMTP server that takes the message")
        if self.alert_email_user and self.alert_email_security == "none":
            raise ValueError(
                "CBI_ALERT_EMAIL_USER needs CBI_ALERT_EMAIL_SECURITY=starttls or tls: no password unencrypted"
            )
        return self

    @model_validator(mode="after")
    def _absolute_paths(self) -> Settings:
        root = self.project_dir.expanduser().resolve()
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Path):
                object.__setattr__(self, name, root if name == "project_dir" else root / value.expanduser())
        return self


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names of `CBI_*` variables that no setting reads, sorted (a typing error is the usual reason)."""
    known = _known_variables()
    return sorted(name for name in environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)


def _known_variables() -> list[str]:
    return [*(ENV_PREFIX + name.upper() for name in Settings.model_fields), *KEYS_OF_ALERTS]


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; `overrides` win.

    Raises:
        SettingsError: a value cannot be used; the message names the variable and what it may be.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = ENV_PREFIX + str(first["loc"][0]).upper() if first["loc"] else ENV_PREFIX + "*"
        raise SettingsError(
            name, f"{first['msg']} (got {first['input']!r}).", f"set {name} to a permitted value, or unset it."
        ) from error


def nearest_known(name: str) -> str | None:
    """The known variable that an unknown one most resembles, for the message in `cbi doctor`."""
    import difflib

    matches = difflib.get_close_matches(name.upper(), _known_variables(), n=1)
    return matches[0] if matches else None


def current_environment() -> Mapping[str, str]:
    """The process environment, read here so that no other module touches it."""
    return os.environ
