"""Zips and long CSVs of which a few rows are kept, byte for byte.

What belongs here: unpacking within a limit, and choosing lines by one column. What does not: which rows a provider's
reader needs.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Callable
from typing import Final

from cbi_pipeline.errors import SourceError

LARGEST_TEXT_BYTES: Final = 128 * 2**20


def only_text(archive: bytes, name: str) -> str:
    """The one text in a zip; every byte is a character, so that it can be written back as it was.

    Args:
        archive: the download.
        name: of the file that it is to become.

    Raises:
        SourceError: it is no zip of one text of at most `LARGEST_TEXT_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            (member,) = opened.infolist()
            with opened.open(member) as stream:
                text = stream.read(LARGEST_TEXT_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise not_served(name, f"The provider must serve a zip of one text, but: {error}.") from error
    if len(text) > LARGEST_TEXT_BYTES:
        raise not_served(name, f"The text must be no larger than {LARGEST_TEXT_BYTES:,} bytes.")
    return text.decode("latin-1")


def rows_where(text: str, name: str, column: str, wanted: Callable[[str], bool]) -> bytes:
    """The header and, unchanged, the lines whose cell of `column` is wanted.

    Args:
        text: as `only_text` gives it.
        name: of the file that it is to become.

    Raises:
        SourceError: the header has no such column.
    """
    header, *rows = text.splitlines(keepends=True) or [""]
    columns = [cell.strip() for cell in next(csv.reader([header]))]
    if column not in columns:
        raise not_served(name, f"The header must name {column}.")
    position = columns.index(column)
    kept = [
        line
        for line, cells in zip(rows, csv.reader(rows), strict=True)
        if len(cells) > position and wanted(cells[position].strip())
    ]
    return (header + "".join(kept)).encode("latin-1")


def not_served(name: str, rule: str) -> SourceError:
    """What to raise for a download that cannot become the file `name`."""
    return SourceError(f"download of {name}", rule, "fetch again later; the file that is there has not been touched.")
