"""One provider, one module: its own file format to rows of a raw table, each with `available_at`.

`build_raw_tables` puts them together. Readers are imported when they are used, so that importing this
package loads neither pandas nor a provider's client.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_pipeline.sources.provenance import SOURCES, SourceProvenance, provenance_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SOURCES", "SourceProvenance", "build_raw_tables", "provenance_of"]


def build_raw_tables(data_dir: Path, progress: Callable[[str], None] | None = None) -> dict[str, pd.DataFrame]:
    """Read every provider's files under `data_dir` into the raw tables of a bundle.

    Args:
        data_dir: holds one folder per provider, as the providers' own files.
        progress: told in a few words what is being read.

    Returns:
        A frame for each table of `RAW_TABLES`, in that order, with the columns and types of its contract.

    Raises:
        SourceError: a file is missing, has another format, or its rows do not fit the table's contract.
    """
    import pandas as pd
    import pyarrow as pa

    from cbi_pipeline.contracts.tables import RAW_TABLES
    from cbi_pipeline.errors import SourceError
    from cbi_pipeline.sources import bursa, cftc, epa, fred, futures, mpob, term_structure, wasde, weather, worldbank

    readers: dict[str, tuple[Callable[[Path], pd.DataFrame], ...]] = {
        "futures_daily": (futures.read_futures_daily,),
        "futures_curve": (term_structure.read_futures_curve,),
        "macro_series": (
            fred.read_macro_series,
            bursa.read_usdmyr,
            worldbank.read_macro_series,
            epa.read_macro_series,
            mpob.read_macro_series,
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
