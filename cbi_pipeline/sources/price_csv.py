"""A provider's daily CSV of prices as a typed frame: header, numbers and dates are checked, nothing is mended."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files


def read_price_csv(path: Path, *, date_column: str, numbers: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a daily CSV whose header is `date_column`, `numbers`, `text`, in that order.

    Args:
        path: the file, plain or gzip.
        date_column: column of ISO dates, which must be unique.
        numbers: columns of numbers, read as float64; an empty cell is a gap and stays NaN.
        text: columns kept as text.

    Returns:
        The file's rows sorted by date, `date_column` as datetime64[ns].

    Raises:
        SourceError: the file is missing, damaged or empty, or breaks a rule above.
    """
    try:
        raw = provider_files.read_text_csv(path, exact=(date_column, *numbers, *text))
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(
            str(path), f"The file must be a complete CSV, but: {error}.", "download it again from the provider."
        ) from error
    if raw.empty:
        raise SourceError(str(path), "The file must hold at least one row.", "download it again from the provider.")
    columns = {date_column: provider_files.dates(raw[date_column], path)}
    columns |= {name: provider_files.numbers(raw[name], path) for name in numbers}
    frame = pd.DataFrame(columns | {name: raw[name] for name in text})
    provider_files.refuse_duplicates(frame, (date_column,), path)
    return frame.sort_values(date_column, ignore_index=True)
