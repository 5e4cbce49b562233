"""What no service publishes as a file: small tables of facts, and the WASDE releases before those that OCE serves.

`cbi_pipeline/sources/facts/` holds the tables, US government facts with the document that each rests on; the releases
are rows of the starter bundle. A file in the data folder that has as many rows or more, as after a rule was added by
hand, is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.bundle.read import load_table
from cbi_pipeline.contracts.tables import FUNDAMENTALS
from cbi_pipeline.errors import BundleError, SourceError
from cbi_pipeline.settings import REPOSITORY_DIR
from cbi_pipeline.sources import cftc, epa, wasde
from cbi_pipeline.sources.fetch.install import Coverage, Fetched, install

FACTS: Final = Path(__file__).parent.parent / "facts"
STARTER: Final = REPOSITORY_DIR / "data" / "starter"
FIRST_OF_OCE: Final = pd.Timestamp("2010-04-01")


def put_rfs(data_dir: Path) -> Iterator[Fetched]:
    """Put the biomass-based-diesel obligations into `<data_dir>/epa/`.

    Raises:
        SourceError: the table that is there cannot be read.
    """
    yield _put(data_dir / "epa" / epa.FILE_NAME, _rfs_coverage)


def put_cot_exceptions(data_dir: Path) -> Iterator[Fetched]:
    """Put the recorded publication dates of late COT reports into `<data_dir>/cftc/`; raises as `put_rfs`."""
    yield _put(data_dir / "cftc" / cftc.EXCEPTIONS_FILE, _exceptions_coverage)


def put_wasde_before_2010(data_dir: Path) -> Iterator[Fetched]:
    """Put the WASDE releases before those that OCE serves into `<data_dir>/usda/`, from the starter bundle.

    Raises:
        SourceError: the starter bundle, or the file that is there, cannot be read.
    """
    try:
        rows = load_table(STARTER, FUNDAMENTALS.name)
    except BundleError as error:
        raise SourceError(error.subject, f"WASDE before 2010 is taken from here. {error.rule}", error.fix) from error
    rows = rows[(rows["source"] == wasde.SOURCE) & (rows["release_date"] < FIRST_OF_OCE)]
    path = data_dir / "usda" / wasde.FILE_NAME
    if path.is_file() and (there := _wasde_coverage(path)).rows >= len(rows):
        yield Fetched(path, "not due", there.last)
        return
    yield install(path, wasde.to_by_release(rows), _wasde_coverage)


def _put(path: Path, read: Callable[[Path], Coverage]) -> Fetched:
    packaged = FACTS / path.name
    if path.is_file() and read(path).rows >= read(packaged).rows:
        return Fetched(path, "not due", read(path).last)
    return install(path, packaged.read_bytes(), read)


def _rfs_coverage(path: Path) -> Coverage:
    rows = epa.read_policy_file(path)
    return Coverage(len(rows), rows["published_on"].max().date())


def _wasde_coverage(path: Path) -> Coverage:
    rows = wasde.read_by_release(path)
    return Coverage(len(rows), rows["release_date"].max().date())


def _exceptions_coverage(path: Path) -> Coverage:
    exceptions = cftc.read_release_exceptions(path)
    return Coverage(len(exceptions), max(exceptions.values()))
