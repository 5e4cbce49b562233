"""`futures_curve`: the collected contract prices; for the sessions after them Databento's, else Yahoo's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cbi_pipeline.sources import databento_curve, term_structure, yahoo_contracts


def read_futures_curve(data_dir: Path) -> pd.DataFrame:
    """The two nearest quoted contracts of every session; all rows of a session are of one provider.

    Raises:
        SourceError: the collected file is missing, or a file breaks its format.
    """
    collected = term_structure.read_futures_curve(data_dir)
    last = collected["trade_date"].max()
    parts = [collected]
    if databento_curve.has_files(data_dir):
        bought = databento_curve.read_futures_curve(data_dir)
        parts.append(bought[bought["trade_date"] > last])
    told = {day for part in parts for day in part["trade_date"]}
    later = yahoo_contracts.curve_after(data_dir, last)
    parts.append(later[~later["trade_date"].isin(list(told))])
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
