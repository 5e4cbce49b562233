"""The forecast row that is served, and the scored out-of-fold row that it is judged by."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Status = Literal["PRODUCTION", "HOLD"]

OUT_OF_FOLD_COLUMNS: Final[tuple[str, ...]] = (
    "entry",
    "fold",
    "as_of_date",
    "horizon_months",
    "target_date",
    "last_price",
    "sigma_h",
    "predicted_price",
    "q05",
    "q10",
    "q25",
    "q50",
    "q75",
    "q90",
    "q95",
    "realised_price",
)
"""Columns of the out-of-fold frame: one row per entry x fold x as_of_date x horizon. Prices and
quantiles in cents/lb, `sigma_h` in log price, `realised_price` missing until the target date."""

QUANTILE_COLUMNS: Final[tuple[str, ...]] = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")


class ForecastRow(BaseModel):
    """One published forecast. Prices and quantiles in cents/lb of ZL, unadjusted front contract.

    Raises:
        pydantic.ValidationError: a value is missing, not finite, or the quantiles are not ordered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    as_of_date: date
    horizon_months: Literal[3, 6, 9, 12]
    target_date: date
    last_price: float = Field(gt=0, allow_inf_nan=False)
    anchor_price: float = Field(gt=0, allow_inf_nan=False)
    anchor_kind: str
    lambda_h: float = Field(ge=0, le=1)
    predicted_price: float = Field(gt=0, allow_inf_nan=False)
    q05: float = Field(gt=0, allow_inf_nan=False)
    q10: float = Field(gt=0, allow_inf_nan=False)
    q25: float = Field(gt=0, allow_inf_nan=False)
    q50: float = Field(gt=0, allow_inf_nan=False)
    q75: float = Field(gt=0, allow_inf_nan=False)
    q90: float = Field(gt=0, allow_inf_nan=False)
    q95: float = Field(gt=0, allow_inf_nan=False)
    status: Status
    status_reasons: str
    model_version: str
    dataset_version: str
    feature_hash: str
    scaler_sha256: str
    code_commit: str
    run_id: str
    created_at: datetime

    @model_validator(mode="after")
    def _consistent(self) -> ForecastRow:
        quantiles = [getattr(self, name) for name in QUANTILE_COLUMNS]
        if quantiles != sorted(quantiles):
            raise ValueError(f"quantiles of horizon {self.horizon_months} are not ordered: {quantiles}")
        if self.target_date <= self.as_of_date:
            raise ValueError(f"target date {self.target_date} is not after {self.as_of_date}")
        if self.status == "HOLD" and not self.status_reasons:
            raise ValueError("a HOLD row must say why")
        if self.created_at.tzinfo is None:
            raise ValueError("created_at must carry its time zone")
        return self
