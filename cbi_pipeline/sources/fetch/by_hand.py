"""Files that a person brings: read by the parse half before they take the place of a file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import bursa, mpob, weather
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install

Read = Callable[[Path], pd.DataFrame]
_STATIONS: Final = (f"weather/{weather.FILE_NAME}", weather.read_collected, "date")
_FILES: Final[dict[str, tuple[str, Read, str]]] = {
    "fcpo": (bursa.FCPO_FILE, bursa.read_fcpo_file, "trade_date"),
    "usdmyr": (bursa.USDMYR_FILE, bursa.read_collected_rates, "date"),
    "mpob": (f"{mpob.FOLDER}/{mpob.FILE_NAME}", mpob.read_collected, "date"),
    "inmet": _STATIONS,
    "inta": _STATIONS,
}
"""Of a source: its file under the data folder, the reader of that file, and the column of its dates."""


def put(name: str, file: Path, data_dir: Path) -> Fetched:
    """Put a file of a source into its folder, under the name by which the reader finds it.

    Args:
        name: of the source. MPOB's may be a workbook (xlsx) as MPOB serves it, which says itself of which year it is.
        file: wherever it was saved; it stays there.

    Raises:
        SourceError: the source's files are fetched, `file` is missing or has another format, or it has fewer rows or an
            earlier end than the file that is there, which then stays as it is.
    """
    if name not in _FILES:
        rule = "Its files are not put in place by hand."
        raise SourceError(name, rule, f"name one of {', '.join(_FILES)}; the others come with `cbi sources fetch`.")
    place, read, column = _FILES[name]
    path = data_dir / place
    try:
        if name == "mpob" and file.suffix.lower() == ".xlsx":
            path, read = mpob.workbook_path(data_dir, mpob.year_of(file)), mpob.read_workbook
        return install(path, file.read_bytes(), partial(_coverage, read, column))
    except FileNotFoundError as error:
        raise SourceError(str(file), "There is no such file.", "name the file as it was saved.") from error
    except SourceError as error:
        fix = f"compare it with what the provider serves; {path} is as it was."
        raise SourceError(str(file), error.rule, fix) from error


def _coverage(read: Read, column: str, path: Path) -> Coverage:
    rows = read(path)
    return Coverage(len(rows), rows[column].max().date())
