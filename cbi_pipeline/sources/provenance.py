"""Who made each observation, under which terms, and where it is published.

One entry per product. Every row of a raw table names its product in `source`; that text starts with
the `source` of exactly one entry here (what follows is the product's detail, such as a symbol).
Standard library only, so that the bundle's manifest and the starter's README can read it at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cbi_pipeline.errors import SourceError

_EVALUATION_ONLY: Final = (
    "Proprietary. Daily observations are kept here as facts, with owner named, to evaluate this software only; "
    "for any other use license the data from the provider."
)
_PUBLIC_DOMAIN: Final = "US government work, public domain (17 U.S.C. 105)."


@dataclass(frozen=True, slots=True)
class SourceProvenance:
    """Origin and terms of one product.

    Args:
        source: how the `source` column of its rows starts.
        provider: who serves the files.
        product: what it is.
        owner: who owns the observations.
        licence: the terms, as a sentence.
        url: where it is published.
        folder: the provider's folder under the data directory.
        tables: raw tables that hold its rows.
    """

    source: str
    provider: str
    product: str
    owner: str
    licence: str
    url: str
    folder: str
    tables: tuple[str, ...]


SOURCES: Final[tuple[SourceProvenance, ...]] = (
    SourceProvenance(
        source="databento GLBX.MDP3",
        provider="Databento",
        product="GLBX.MDP3 hourly bars of the highest-volume contract (ohlcv-1h, .v.0), as trade-date rows",
        owner="CME Group",
        licence=_EVALUATION_ONLY,
        url="https://databento.com/datasets/GLBX.MDP3",
        folder="databento",
        tables=("futures_daily", "futures_curve"),
    ),
    SourceProvenance(
        source="yahoo",
        provider="Yahoo Finance",
        product="daily bars of the nearest contract (ZL=F, ZS=F, ZM=F, CL=F), before Databento begins",
        owner="CME Group, as displayed by Yahoo Finance",
        licence=_EVALUATION_ONLY,
        url="https://finance.yahoo.com/quote/ZL%3DF/history/",
        folder="yahoo",
        tables=("futures_daily", "futures_curve"),
    ),
    SourceProvenance(
        source="bursa malaysia",
        provider="Bursa Malaysia Derivatives",
        product="FCPO crude palm oil futures, third (benchmark) month",
        owner="Bursa Malaysia",
        licence=_EVALUATION_ONLY,
        url="https://www.bursamalaysia.com/trade/our_products_services/derivatives/commodity_derivatives/crude_palm_oil_futures",
        folder="palm",
        tables=("futures_daily",),
    ),
    SourceProvenance(
        source="term structure",
        provider="R. Carver, pysystemtrade (open-source collection)",
        product="CBOT soybean oil settlements with contract months",
        owner="CME Group (CBOT)",
        licence=_EVALUATION_ONLY,
        url="https://github.com/robcarver17/pysystemtrade",
        folder="term_structure",
        tables=("futures_curve",),
    ),
    SourceProvenance(
        source="usdmyr",
        provider="a collected file of spot quotes that names no publisher",
        product="spot Malaysian ringgit per US dollar, daily (official equivalent: Federal Reserve H.10, DEXMAUS)",
        owner="the quoting venue; an exchange rate is a market fact",
        licence=_EVALUATION_ONLY,
        url="https://fred.stlouisfed.org/series/DEXMAUS",
        folder="palm",
        tables=("macro_series",),
    ),
    SourceProvenance(
        source="FRED",
        provider="Federal Reserve Bank of St. Louis (FRED)",
        product="DGS10, DGS2 (H.15), DEXBZUS, DTWEXBGS (H.10), VIXCLS (Cboe)",
        owner="Board of Governors of the Federal Reserve System; VIXCLS: Cboe Exchange, Inc. (copyrighted series)",
        licence="H.15 and H.10: public domain. VIXCLS: copyright Cboe, kept as facts to evaluate this software "
        "only. FRED terms of use apply.",
        url="https://fred.stlouisfed.org/",
        folder="fred",
        tables=("macro_series",),
    ),
    SourceProvenance(
        source="World Bank Pink Sheet",
        provider="World Bank",
        product="Commodity Markets (Pink Sheet), monthly palm oil and soybean oil prices",
        owner="World Bank",
        licence="Creative Commons Attribution 4.0 (CC BY 4.0).",
        url="https://www.worldbank.org/en/research/commodity-markets",
        folder="worldbank",
        tables=("macro_series",),
    ),
    SourceProvenance(
        source="CFTC disaggregated COT",
        provider="Commodity Futures Trading Commission",
        product="Disaggregated Commitments of Traders, futures only; soybean oil 2006-09 as redistributed by Quandl",
        owner="US Government (CFTC)",
        licence=_PUBLIC_DOMAIN,
        url="https://www.cftc.gov/MarketReports/CommitmentsofTraders/HistoricalCompressed/index.htm",
        folder="cftc",
        tables=("cot_weekly",),
    ),
    SourceProvenance(
        source="NOAA GHCN-Daily",
        provider="NOAA National Centers for Environmental Information",
        product="Global Historical Climatology Network daily; cooperative gauges as packaged in Corteva wx_data",
        owner="US Government (NOAA)",
        licence=_PUBLIC_DOMAIN,
        url="https://www.ncei.noaa.gov/products/land-based-station/global-historical-climatology-network-daily",
        folder="weather",
        tables=("weather_daily",),
    ),
    SourceProvenance(
        source="INMET",
        provider="Instituto Nacional de Meteorologia (Brazil)",
        product="automatic stations (hourly, as local days) and BDMEP conventional stations (daily)",
        owner="INMET",
        licence="Public data of the Brazilian government; source to be named.",
        url="https://bdmep.inmet.gov.br/",
        folder="weather",
        tables=("weather_daily",),
    ),
    SourceProvenance(
        source="INTA",
        provider="Instituto Nacional de Tecnologia Agropecuaria (Argentina)",
        product="SIGA conventional agrometeorological stations, daily",
        owner="INTA",
        licence="Public data of the Argentine government; source to be named.",
        url="https://siga.inta.gob.ar/",
        folder="weather",
        tables=("weather_daily",),
    ),
    SourceProvenance(
        source="NASA POWER",
        provider="NASA Langley Research Center, POWER project",
        product="daily agroclimatology at a point (satellite and MERRA-2)",
        owner="US Government (NASA)",
        licence="NASA open data, free of restrictions; the POWER project is to be acknowledged.",
        url="https://power.larc.nasa.gov/",
        folder="weather",
        tables=("weather_daily",),
    ),
    SourceProvenance(
        source="EPA RFS",
        provider="Environmental Protection Agency, through the Federal Register",
        product="Renewable Fuel Standard, final biomass-based diesel obligations",
        owner="US Government (EPA)",
        licence=_PUBLIC_DOMAIN,
        url="https://www.epa.gov/renewable-fuel-standard-program/renewable-fuel-annual-standards",
        folder="epa",
        tables=("policy",),
    ),
    SourceProvenance(
        source="EPA EMTS",
        provider="Environmental Protection Agency, Moderated Transaction System",
        product="RIN generation by month: D4 (biomass-based diesel), all producers and importers",
        owner="US Government (EPA)",
        licence=_PUBLIC_DOMAIN,
        url="https://www.epa.gov/fuels-registration-reporting-and-compliance-help/rins-generated-transactions",
        folder="epa",
        tables=("macro_series",),
    ),
    SourceProvenance(
        source="MPOB",
        provider="Malaysian Palm Oil Board",
        product="palm-oil closing stocks of Malaysia by month, as collected from its monthly statistics",
        owner="Malaysian Palm Oil Board",
        licence=_EVALUATION_ONLY,
        url="https://bepi.mpob.gov.my/",
        folder="mpob",
        tables=("macro_series",),
    ),
    SourceProvenance(
        source="USDA WASDE",
        provider="US Department of Agriculture, Office of the Chief Economist",
        product="World Agricultural Supply and Demand Estimates, US soybean oil, every release",
        owner="US Government (USDA)",
        licence=_PUBLIC_DOMAIN,
        url="https://www.usda.gov/oce/commodity/wasde",
        folder="usda",
        tables=("fundamentals",),
    ),
)
"""Every product in the raw tables."""


def provenance_of(source: str) -> SourceProvenance:
    """The entry that a row's `source` text belongs to.

    Raises:
        SourceError: no entry, or more than one, begins that text.
    """
    matches = [entry for entry in SOURCES if source.lower().startswith(entry.source.lower())]
    if len(matches) != 1:
        raise SourceError(
            f"source {source!r}",
            f"It must start with the name of exactly one known source, but {len(matches)} match.",
            "add its owner and terms to SOURCES in cbi_pipeline/sources/provenance.py.",
        )
    return matches[0]
