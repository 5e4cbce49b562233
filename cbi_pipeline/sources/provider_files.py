"""Reading of providers' text files with the checks that every reader shares.

What belongs here: opening a CSV with a known header, a workbook or a JSON answer, turning text into numbers and
dates, and refusing duplicates, each with a `SourceError` that names the file, the rule and the fix. What does
not: anything that knows one provider's meaning.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import pandas as pd

from cbi_pipeline.errors import SourceError

LARGEST_WORKBOOK_BYTES: Final = 128 * 2**20
"""Unpacked; the largest real one has about 2 MB."""
_DOWNLOAD_AGAIN = "download the file again from the provider, and if its format has changed adapt the reader."


def existing_file(path: Path) -> Path:
    """Return `path` if it is a file.

    Raises:
        SourceError: there is no such file.
    """
    if not path.is_file():
        raise SourceError(
            str(path),
            "The provider's file is missing.",
            "put the file there, or set CBI_DATA_DIR to the folder that has it.",
        )
    return path


def read_text_csv(path: Path, *, exact: Sequence[str] | None = None, required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV with every cell as stripped text; an empty cell is an empty string.

    Args:
        path: the file, plain or gzip.
        exact: the whole header, in order; None to check `required` only.
        required: columns that the header must hold exactly once each.

    Raises:
        SourceError: the file is missing or empty, or its header is another one.
    """
    existing_file(path)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise SourceError(str(path), f"The file is not a readable CSV ({error}).", _DOWNLOAD_AGAIN) from error
    frame.columns = frame.columns.str.strip()
    header = list(frame.columns)
    if exact is not None and header != list(exact):
        raise SourceError(str(path), f"The header must be {list(exact)}, but it is {header}.", _DOWNLOAD_AGAIN)
    missing = [name for name in required if header.count(name) != 1]
    if missing:
        raise SourceError(str(path), f"The header must name {missing} exactly once; it is {header}.", _DOWNLOAD_AGAIN)
    return frame.apply(lambda column: column.str.strip())


def workbook_cells(path: Path, sheet: str | None = None) -> list[list[str]]:
    """The cells of one sheet of an xlsx workbook, row by row, as stripped text; an empty cell is an empty string.

    Args:
        path: the file.
        sheet: name of the sheet; the first one by default.

    Raises:
        SourceError: missing or damaged file, no such sheet, or more than `LARGEST_WORKBOOK_BYTES` unpacked.
    """
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    existing_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_WORKBOOK_BYTES:
                raise other_shape(path, f"Unpacked it must have no more than {LARGEST_WORKBOOK_BYTES:,} bytes.")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            values = (book[sheet] if sheet else book.worksheets[0]).values
            return [["" if cell is None else str(cell).strip() for cell in row] for row in values]
        finally:
            book.close()
    except (zipfile.BadZipFile, InvalidFileException, LookupError, ValueError, EOFError, TypeError) as error:
        named = f"the sheet {sheet}" if sheet else "a sheet"
        raise other_shape(path, f"It must be a workbook with {named} ({error}).") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; NaN and Infinity, which are no JSON, are refused.

    Raises:
        SourceError: the file is missing or no JSON.
    """
    try:
        return json.loads(existing_file(path).read_bytes(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise SourceError(str(path), f"The file is not readable JSON ({error}).", _DOWNLOAD_AGAIN) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def other_shape(path: Path, rule: str) -> SourceError:
    """What to raise for a file that reads but is not what the provider served when the reader was written."""
    return SourceError(str(path), rule, _DOWNLOAD_AGAIN)


def numbers(text: pd.Series, path: Path, *, absent: Collection[str] = ("",)) -> pd.Series:
    """Turn text into float64; a marker in `absent` means that there is no observation and becomes NaN.

    Raises:
        SourceError: a cell is neither a finite number nor one of the markers.
    """
    gap = text.isin(list(absent))
    parsed = pd.to_numeric(text.mask(gap), errors="coerce").astype("float64")
    bad = (parsed.isna() & ~gap) | parsed.isin([float("inf"), float("-inf")])
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise SourceError(
            f"{path}, data row {text.index[row] + 1}, column {text.name}",
            f"The value {text.iloc[row]!r} must be a number or a marker for no observation {sorted(absent)}.",
            _DOWNLOAD_AGAIN,
        )
    return parsed


def dates(text: pd.Series, path: Path, *, date_format: str = "%Y-%m-%d") -> pd.Series:
    """Turn text into datetime64[ns] at midnight.

    Raises:
        SourceError: a cell does not have the format.
    """
    parsed = pd.to_datetime(text, format=date_format, errors="coerce")
    if parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        raise SourceError(
            f"{path}, data row {text.index[row] + 1}, column {text.name}",
            f"The date {text.iloc[row]!r} does not have the format {date_format}.",
            _DOWNLOAD_AGAIN,
        )
    return parsed.astype("datetime64[ns]")


def refuse_duplicates(frame: pd.DataFrame, key: Sequence[str], path: Path) -> None:
    """Check that no two rows of `frame` share `key`.

    Raises:
        SourceError: they do; the message gives the first such key.
    """
    repeated = frame.duplicated(list(key))
    if repeated.any():
        first = frame.loc[repeated, list(key)].iloc[0]
        shown = ", ".join(f"{name}={value}" for name, value in first.items())
        raise SourceError(
            str(path),
            f"{int(repeated.sum())} rows repeat the key of another row; the first is {shown}.",
            "remove the duplicates, or download the file again.",
        )
