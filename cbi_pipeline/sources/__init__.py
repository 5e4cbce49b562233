"""One provider, one module: its own file format to rows of a raw table, each with `available_at`.

`build_raw_tables` puts them together. Readers are imported when they are used, so that importing this
package loads neither pandas nor a provider's client.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.provenance import SOURCES, SourceProvenance, provenance_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OPTIONAL", "SOURCES", "OptionalSeries", "SourceProvenance", "build_raw_tables", "provenance_of"]


@dataclass(frozen=True, slots=True)
class OptionalSeries:
    """A series that a bundle can do without, if whoever builds it says so: its features are then missing, not filled.

    Args:
        label: table and key of the series, as features name their inputs.
        files: patterns of names under the data folder; any file that matches has the series.
    """

    label: str
    files: tuple[str, ...]

    def is_there(self, data_dir: Path) -> bool:
        """Whether a file of the series lies under the folder."""
        return any(path.is_file() for pattern in self.files for path in data_dir.glob(pattern))


OPTIONAL: Final = {
    "fcpo": OptionalSeries("futures_daily/FCPO", ("palm/fcpo_3rd_month_daily.csv",)),
    "emts": OptionalSeries("macro_series/EPA_D4_RINS", ("epa/rindata.csv", "epa/d4_rin_generation_monthly.csv")),
    "mpob": OptionalSeries(
        "macro_series/MPOB_PALM_STOCKS", ("mpob/closing_stock_*.xlsx", "mpob/stock_export_production_monthly.csv")
    ),
}
"""By the name of the source. What is not here a bundle needs: prices, curve, rates, COT, WASDE, mandate and weather."""


def build_raw_tables(
    data_dir: Path, progress: Callable[[str], None] | None = None, without: Collection[str] = ()
) -> dict[str, pd.DataFrame]:
    """Read every provider's files under `data_dir` into the raw tables of a bundle.

    Args:
        data_dir: holds one folder per provider, as the providers' own files.
        progress: told in a few words what is being read.
        without: names of `OPTIONAL` that are left out, so that they have no row.

    Returns:
        A frame for each table of `RAW_TABLES`, in that order, with the columns and types of its contract.

    Raises:
        SourceError: a file is missing, has another format, or its rows do not fit the table's contract; a bundle
            cannot do without a source that is named in `without`.
    """
    import pandas as pd
    import pyarrow as pa

    from cbi_pipeline.contracts.tables import RAW_TABLES
    from cbi_pipeline.sources import bursa, cftc, curve, epa, fred, futures, mpob, wasde, weather, worldbank

    unknown = sorted(set(without) - set(OPTIONAL))
    if unknown:
        rule = "A bundle cannot do without it."
        raise SourceError(", ".join(unknown), rule, f"leave out only what is among {', '.join(OPTIONAL)}.")
    optional = {"emts": epa.read_macro_series, "mpob": mpob.read_macro_series}
    readers: dict[str, tuple[Callable[[Path], pd.DataFrame], ...]] = {
        "futures_daily": (partial(futures.read_futures_daily, with_fcpo="fcpo" not in without),),
        "futures_curve": (curve.read_futures_curve,),
        "macro_series": (
            fred.read_macro_series,
            bursa.read_usdmyr,
            worldbank.read_macro_series,
            *(read for name, read in optional.items() if name not in without),
        ),
        "cot_weekly": (cftc.read_cot_weekly,),
        "weather_daily": (weather.read_weather_daily,),
        "policy": (epa.read_policy,),
        "fundamentals": (wasde.read_fundamentals,),
    }
    tables: dict[str, pd.DataFrame] = {}
    for name, contract in RAW_TABLES.items():
        if progress is not None:
            progress(f"reading {name}")
        frame = pd.concat([read(data_dir) for read in readers[name]], ignore_index=True)
        try:
            tables[name] = contract.to_pandas(contract.to_arrow(frame))
        except (pa.ArrowInvalid, pa.ArrowTypeError, KeyError) as error:
            raise SourceError(
                f"table {name}",
                f"The rows that were read do not fit its contract ({error}).",
                "correct the reader of that table in cbi_pipeline/sources/.",
            ) from error
    return tables
