"""Daily station weather: which stations are in use, where each stands, and when a day's record is public.

What belongs here: the written choice of stations, the collected station file, and putting it together with what
NOAA (ghcn.py) and NASA (power.py) serve. A station that one of these serves is taken from there whole, so that no
station mixes two files. Anomalies and regional means are features, not sources.

Rules of the choice: a series is in use if it is observed (or NASA POWER, the official satellite and
reanalysis product), keeps its gaps, and has ten years of its own to be a climatology, or is one of the few
still reporting today. Not in use:
- Daymet: gridded, published once a year, never known on time;
- Noia Junior series: gaps filled by their authors; Foz do Iguacu: no stated source;
- warehouse copies of INMET and GHCN (`WH ...`): one year or less, or a second copy of a station in use;
- A002 Goiania and A807 Curitiba: two years; POWER Parana (five points, 2011-20): ten years beside four
  BDMEP gauges;
- neighbours that repeat a station in use: POWER Campos Lindos, Formosa do Rio Preto and Urucui; Oliveros;
  most US cooperative gauges, of which the most complete of each state are kept;
- Castelar: in the Buenos Aires conurbation, away from the crop.
Station and POWER levels differ, so no level is spliced: every station is its own series.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import ghcn, power, provider_files, release_times

FILE_NAME: Final = "stations_daily.parquet"
_FILE_COLUMNS: Final = ("region", "station", "source", "date", "prcp_mm", "tmax_c", "tmin_c")
_REGION_NAMES: Final = {"us": "midwest", "brazil": "brazil", "argentina": "argentina"}
_RELEASE_CLOCK_UTC: Final = "18:00"

PUBLICATION_LAG_DAYS: Final = {
    "NOAA GHCN-Daily (airport)": 1,
    "NOAA GHCN-Daily (cooperative)": 2,
    "INMET automatic": 2,
    "INMET BDMEP": 2,
    "INTA": 2,
    "NASA POWER": 3,
}
"""Days from a local day to its record being public at 18:00 UTC, by product; the keys are `source` values.

Stations report the next day at best; cooperative observers, INMET and INTA can be a day late; POWER runs
about three days behind. The past is treated as if today's services had run then."""


@dataclass(frozen=True, slots=True)
class Station:
    """A station in use.

    Args:
        name: identifier and name as in the collected file.
        region: growing region it counts for.
        product: a key of `PUBLICATION_LAG_DAYS`.
        reason: why it is in use, and until when it reports.
    """

    name: str
    region: str
    product: str
    reason: str


def _stations(region: str, product: str, *named: tuple[str, str]) -> tuple[Station, ...]:
    return tuple(Station(name, region, product, reason) for name, reason in named)


STATIONS: Final = (
    *_stations(
        "brazil",
        "INMET automatic",
        ("A901 Cuiaba", "Mato Grosso, the largest soybean state; 2015 to 2024, still reporting"),
        ("A819 Castro", "Parana; 2006 to 2024-08, carries the state after BDMEP ends"),
    ),
    *_stations(
        "brazil",
        "INMET BDMEP",
        ("BDMEP Campomourao", "Parana, western soybean belt; 1985 to 2015"),
        ("BDMEP Ivai", "Parana, centre; 1985 to 2015"),
        ("BDMEP Londrina", "Parana, north; 1986 to 2015"),
        ("BDMEP Maringa", "Parana, north-west; 1986 to 2015"),
    ),
    *_stations(
        "brazil",
        "NASA POWER",
        ("POWER Balsas_MA", "Matopiba, north; 1991 to 2020"),
        ("POWER Luiz_Eduardo_Magalhaes_BA", "Matopiba, western Bahia, its largest soybean area; 1991 to 2020"),
        ("POWER Porto_Nacional_TO", "Matopiba, Tocantins; 1991 to 2020"),
    ),
    *_stations(
        "argentina",
        "INTA",
        ("NH0046 UNR - Zavalla (EMC)", "Santa Fe, core zone by Rosario; 1985 to 2023-03"),
        ("NH0910 Las Rosas (EMC)", "Santa Fe, core zone, west; 1985 to 2017-07"),
        ("NH0098 INTA - Rafaela (EMC)", "Santa Fe, centre; 1985 to 2023-04"),
        ("NH0437 INTA - Reconquista (EMC)", "Santa Fe, north; 1985 to 2023-04"),
        ("NH0114 INTA Parana", "Entre Rios; 1985 to 2022"),
        ("NH0446 INTA Anguil", "La Pampa, western edge of the belt; 1985 to 2021-07"),
    ),
    *_stations(
        "argentina",
        "NASA POWER",
        ("POWER Buenos Aires", "the only Argentine series that still reports; 1999 to 2024"),
    ),
    *_stations(
        "midwest",
        "NOAA GHCN-Daily (cooperative)",
        ("USC00133438 Greenfield IA", "Iowa, south-west; 1985 to 2023-09"),
        ("USC00131533", "Iowa, 99.4 % complete; 1985 to 2014"),
        ("USC00132789", "Iowa, 99.3 % complete; 1985 to 2014"),
        ("USC00114442", "Illinois, 99.9 % complete; 1985 to 2014"),
        ("USC00118740", "Illinois, 99.8 % complete; 1985 to 2014"),
        ("USC00129557", "Indiana, 99.3 % complete; 1985 to 2014"),
        ("USC00127482", "Indiana, 98.5 % complete; 1985 to 2014"),
    ),
    *_stations(
        "midwest",
        "NOAA GHCN-Daily (airport)",
        ("USW00014839 Milwaukee WI", "edge of the belt, but the one gauge without a gap from 1985 to today"),
    ),
    *_stations(
        "midwest",
        "NASA POWER",
        ("POWER Chicago", "Illinois, north-east; 1999 to 2024, still reporting"),
    ),
)
"""The stations in use that the collected file holds, as decided above."""

SERVED_STATIONS: Final = (
    *(station for station in STATIONS if station.product.startswith("NOAA GHCN-Daily")),
    *_stations(
        "midwest",
        "NOAA GHCN-Daily (airport)",
        ("USW00014933 Des Moines IA", "Iowa, centre of the belt"),
        ("USW00094870 Champaign IL", "Illinois, centre of the belt"),
        ("USW00093819 Indianapolis IN", "Indiana, centre"),
    ),
)
"""Stations that NOAA serves: those of the collected file, and the airport beside each agreed POWER point."""


def served_ids() -> dict[str, str]:
    """NOAA's identifier of each served station to its name in `weather_daily`."""
    return {station.name.split()[0]: station.name for station in SERVED_STATIONS}


def read_weather_daily(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/weather/` into rows of `weather_daily`, stations in use only.

    Where a row's minimum is above its maximum (some cooperative observers note them for different days),
    one of the two belongs to another day and nothing says which: both are null. A row without any element
    is no observation and is left out.

    Raises:
        SourceError: there is neither the collected file nor one that NOAA or NASA serves, a region has no station,
            or as the reader of each file.
    """
    frame = pd.concat(_parts(data_dir), ignore_index=True)
    missing = sorted(set(_REGION_NAMES.values()) - set(frame["region"]))
    if missing:
        raise SourceError(
            str(data_dir / "weather"),
            f"Every region must have a station, but {', '.join(missing)} has none.",
            "fetch them: `cbi sources fetch power ghcn`.",
        )
    contradiction = frame["tmin_c"] > frame["tmax_c"]
    rows = pd.DataFrame(
        {
            "region": frame["region"],
            "station": frame["station"],
            "date": frame["date"],
            "precip_mm": frame["precip_mm"],
            "tmax_c": frame["tmax_c"].mask(contradiction),
            "tmin_c": frame["tmin_c"].mask(contradiction),
            "available_at": release_moments(frame["date"], frame["product"]),
            "source": frame["product"],
        }
    )
    observed = rows[["precip_mm", "tmax_c", "tmin_c"]].notna().any(axis=1)
    return rows[observed].sort_values(["region", "station", "date"], ignore_index=True)


def release_moments(days: pd.Series, products: pd.Series) -> pd.DatetimeIndex:
    """When the record of each local day is public, UTC [n]."""
    lag = pd.to_timedelta(products.map(PUBLICATION_LAG_DAYS), unit="D")
    return release_times.at_local_time(days + lag, _RELEASE_CLOCK_UTC, "UTC")


def _parts(data_dir: Path) -> list[pd.DataFrame]:
    """Frames of region, station, product, date and elements; no station is in two of them."""
    gauges = ghcn.read_daily(data_dir, served_ids())
    if not gauges.empty:
        for column in ("region", "product"):
            gauges[column] = gauges["station"].map({s.name: getattr(s, column) for s in SERVED_STATIONS})
    served = [part for part in (gauges, power.read_daily(data_dir)) if not part.empty]
    path = data_dir / "weather" / FILE_NAME
    if served and not path.is_file():
        return served
    collected = read_collected(path)
    elsewhere = {name for part in served for name in part["station"].unique()}
    return [collected[~collected["station"].isin(list(elsewhere))], *served]


def read_collected(path: Path) -> pd.DataFrame:
    """The stations of `STATIONS` in the collected file.

    Raises:
        SourceError: missing or unreadable file, a column is gone, a station in use is not there or stands
            in another region, or a station has a day twice.
    """
    provider_files.existing_file(path)
    try:
        table = pq.read_table(
            path, columns=list(_FILE_COLUMNS), filters=[("station", "in", [s.name for s in STATIONS])]
        )
    except pa.ArrowInvalid as error:
        raise SourceError(
            str(path),
            f"The file is not a station table ({error}).",
            f"rebuild it with the columns {list(_FILE_COLUMNS)}.",
        ) from error
    if set(table.column_names) != set(_FILE_COLUMNS):
        raise SourceError(
            str(path), f"The file must have the columns {list(_FILE_COLUMNS)}.", "rebuild the station file."
        )
    frame = table.to_pandas()
    frame["region"] = frame["region"].map(_REGION_NAMES)
    _check_stations(frame, path)
    provider_files.refuse_duplicates(frame, ("station", "date"), path)
    frame["product"] = frame["station"].map({station.name: station.product for station in STATIONS})
    frame["date"] = frame["date"].astype("datetime64[ns]")
    return frame.drop(columns="source").rename(columns={"prcp_mm": "precip_mm"})


def _check_stations(frame: pd.DataFrame, path: Path) -> None:
    """Every station in use is there, in the region that `STATIONS` gives."""
    found = set(zip(frame["station"], frame["region"], strict=True))
    missing = sorted(s.name for s in STATIONS if (s.name, s.region) not in found)
    if missing or len(found) != len(STATIONS):
        raise SourceError(
            str(path),
            f"Every station in use must be there, in its own region; missing or elsewhere: {missing or sorted(found)}.",
            "rebuild the station file, or change STATIONS in cbi_pipeline/sources/weather.py and say why.",
        )
