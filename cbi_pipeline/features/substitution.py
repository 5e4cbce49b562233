"""Substitutes, energy, currency, rates and mandate: prices that soybean oil competes with or follows."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.features.declarations import CL, DEXBZUS, DGS2, DGS10, FCPO, HO, RFS, USDMYR, VIXCLS, ZM, ZS
from cbi_pipeline.features.point_in_time import PointInTime

POUNDS_PER_TONNE: Final = 2204.62
ULSD_GALLONS_PER_TONNE: Final = 312.9
"""7.45 barrels of 42 gallons, as in ICE's Heating Oil Arb futures (1 tonne = 312.9 gallons)."""
SOYBEAN_OIL_POUNDS_PER_GALLON: Final = 7.7
GALLONS_PER_BARREL: Final = 42.0
MEAL_TONS_PER_BUSHEL: Final = 0.022
OIL_HUNDRED_POUNDS_PER_BUSHEL: Final = 0.11
BRL_CHANGE_OBSERVATIONS: Final = 21
VIX_WINDOW: Final = 252


def palm_cents_per_pound(fcpo_myr_per_tonne: pd.Series, myr_per_usd: pd.Series) -> pd.Series:
    """MYR/tonne to US cents/lb: / USDMYR gives USD/tonne; / 2204.62 lb x 100 cents gives cents/lb."""
    return fcpo_myr_per_tonne / myr_per_usd / (POUNDS_PER_TONNE / 100.0)


def crush_margin(meal: pd.Series, oil: pd.Series, soybeans: pd.Series) -> pd.Series:
    """Gross crush margin in USD/bu from USD/short ton, cents/lb and cents/bu."""
    return meal * MEAL_TONS_PER_BUSHEL + oil * OIL_HUNDRED_POUNDS_PER_BUSHEL - soybeans / 100.0


def palm_features(known: PointInTime) -> dict[str, pd.Series]:
    """Palm oil and its spreads to heating oil and to soybean oil, [T], US cents/lb."""
    palm = palm_cents_per_pound(known.latest(FCPO, ["close"])["close"], known.latest(USDMYR, ["value"])["value"])
    heating_oil = known.latest(HO, ["close"])["close"] * 100.0 * ULSD_GALLONS_PER_TONNE / POUNDS_PER_TONNE
    return {"palm_price": palm, "palm_spread": palm - heating_oil, "palm_soybean_oil_spread": palm - known.zl["close"]}


def soybean_complex_features(known: PointInTime) -> dict[str, pd.Series]:
    """Crush margin and oil value less meal value of a bushel, [T], USD/bu."""
    meal, soybeans = known.latest(ZM, ["close"])["close"], known.latest(ZS, ["close"])["close"]
    oil = known.zl["close"]
    return {
        "soybean_crush_spread": crush_margin(meal, oil, soybeans),
        "soybean_meal_spread": oil * OIL_HUNDRED_POUNDS_PER_BUSHEL - meal * MEAL_TONS_PER_BUSHEL,
    }


def energy_features(known: PointInTime) -> dict[str, pd.Series]:
    """WTI in USD/bbl, and soybean oil less WTI in USD/gal, [T]."""
    crude = known.latest(CL, ["close"])["close"]
    oil_per_gallon = known.zl["close"] * SOYBEAN_OIL_POUNDS_PER_GALLON / 100.0
    return {"WTI_price": crude, "WTI_spread": oil_per_gallon - crude / GALLONS_PER_BARREL}


def dollar_real_features(known: PointInTime) -> dict[str, pd.Series]:
    """BRL per USD as last published, and its log change over 21 observations, [T].

    The change is taken between observations, not between sessions: H.10 brings five daily values at
    once each week, so a daily change as known would be zero on four days out of five.
    """
    rows = known.rows(DEXBZUS)
    rows = rows.assign(change=np.log(rows["value"]).diff(BRL_CHANGE_OBSERVATIONS))
    joined = known.latest(DEXBZUS, ["value", "change"], rows)
    return {"USD_BRL": joined["value"], "USD_BRL_returns": joined["change"]}


def vix_features(known: PointInTime) -> dict[str, pd.Series]:
    """VIX as last published and its z-score in the trailing 252 observations, [T]."""
    rows = known.rows(VIXCLS)
    window = rows["value"].rolling(VIX_WINDOW)
    rows = rows.assign(zscore=(rows["value"] - window.mean()) / window.std())
    joined = known.latest(VIXCLS, ["value", "zscore"], rows)
    return {"VIX_level": joined["value"], "VIX_zscore": joined["zscore"]}


def yield_curve_features(known: PointInTime) -> dict[str, pd.Series]:
    """Ten-year less two-year Treasury yield of the newest date that has both, [T], percentage points."""
    both = known.rows(DGS10).merge(known.rows(DGS2), on="date", suffixes=("_10", "_2"))
    moments = both[["available_at_10", "available_at_2"]].max(axis=1)
    rows = both.assign(slope=both["value_10"] - both["value_2"], available_at=moments)
    return {"yield_curve_slope": known.latest(DGS10, ["slope"], rows)["slope"]}


def mandate_rows(known: PointInTime) -> pd.DataFrame:
    """Rules of biomass-based diesel as they come into force: dated by the end of their year, known from its start.

    A rule that is published later is known from its publication.
    """
    policy = known.tables[RFS.table]
    rows = policy[policy[RFS.column] == RFS.key]
    year = rows["effective_year"].astype(str)
    starts = pd.to_datetime(year + "-01-01").astype("datetime64[ns]").dt.tz_localize("UTC")
    return rows.assign(
        available_at=rows["available_at"].where(rows["available_at"] > starts, starts),
        published_on=pd.to_datetime(year + "-12-31").astype("datetime64[ns]"),
    )


def mandate_features(known: PointInTime) -> dict[str, pd.Series]:
    """Biomass-based-diesel obligation in force on each session, [T], billion gallons.

    A year's volume counts from 1 January of that year or from its publication, whichever is later.
    EPA has been up to two years late: until a year's rule is out, the last published year stands, for
    at most the maximum age after that year's end.
    """
    return {"renewable_diesel_mandate": known.latest(RFS, ["value"], mandate_rows(known))["value"]}
