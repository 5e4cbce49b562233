"""EPA Renewable Fuel Standard: biomass-based diesel obligations as final rules set them.

A table of facts with their Federal Register citations. An obligation counts from 08:45 New York on the
day its rule is printed (the Federal Register's hour); the announcement, days to weeks earlier, is not
used because its hour and wording are not recorded. The evidence for 2021 and 2022 is weaker than for
the other years (a secondary source for the value, or a date not seen in print): their `source` says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import provider_files, release_times

SOURCE: Final = "EPA RFS"
SOURCE_WEAK_EVIDENCE: Final = "EPA RFS (secondary evidence)"
FILE_NAME: Final = "rfs_bbd_volumes.csv"
SERIES_ID: Final = "rfs_bbd_volume"
_COLUMNS: Final = (
    *(
        "compliance_year",
        "bbd_value",
        "unit",
        "status",
        "announced_or_signed",
        "fr_publication_date",
        "fr_citation",
        "fr_doc",
    ),
    *("date_evidence", "value_evidence"),
)
_WEAK_WORDS: Final = "secondary source|general knowledge"


def read_policy(data_dir: Path) -> pd.DataFrame:
    """Read `<data_dir>/epa/` into rows of `policy`, billion gallons per compliance year.

    Raises:
        SourceError: missing file, other header, another unit than billion gallons, a rule that is not
            final, a value that is not a number, or a year twice.
    """
    path = data_dir / "epa" / FILE_NAME
    frame = provider_files.read_text_csv(path, exact=_COLUMNS)
    for column, expected in (("unit", "billion gallons"), ("status", "final")):
        other = sorted(set(frame[column]) - {expected})
        if other:
            raise SourceError(
                str(path),
                f"The {column} must be {expected!r}, but some rows have {other}.",
                "convert or drop those rows.",
            )
    provider_files.refuse_duplicates(frame, ("compliance_year",), path)
    published_on = provider_files.dates(frame["fr_publication_date"], path)
    weak = (frame["date_evidence"] + frame["value_evidence"]).str.contains(_WEAK_WORDS)
    return pd.DataFrame(
        {
            "series": SERIES_ID,
            "effective_year": provider_files.numbers(frame["compliance_year"], path, absent=()).astype("int32"),
            "value": provider_files.numbers(frame["bbd_value"], path, absent=()),
            "published_on": published_on,
            "citation": frame["fr_citation"],
            "available_at": release_times.at_local_time(published_on, "08:45"),
            "source": np.where(weak, SOURCE_WEAK_EVIDENCE, SOURCE),
        }
    )
