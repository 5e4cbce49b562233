"""What differs between two bundles: rows added, removed, and revised with their old and new values.

A revision changes what was known of a date that both bundles have: history as told before is told otherwise. It is
normal where a provider corrects itself, and for the back-adjusted close, which every later roll changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from cbi_pipeline.bundle.read import load_table, read_manifest
from cbi_pipeline.contracts.tables import FUTURES_DAILY, RAW_TABLES, TableContract

ADJUSTED: Final = (FUTURES_DAILY.name, "back_adjusted_close")
"""Table and column that a later roll changes throughout; by design, so it is counted on its own."""


@dataclass(frozen=True, slots=True)
class TableDifference:
    """What differs in one table.

    Args:
        table: its name.
        added, removed: rows whose key the other bundle does not have, in the columns of the contract.
        revised: one row for each value that differs under a key of both: the key, `column`, `old`, `new`.
        into_history: how many of the added rows are dated before the last date that their series had.
    """

    table: str
    added: pd.DataFrame
    removed: pd.DataFrame
    revised: pd.DataFrame
    into_history: int

    @property
    def revisions(self) -> pd.DataFrame:
        """Revisions of history: what differs but for the back-adjusted close."""
        return self.revised[~self._adjusted]

    @property
    def adjusted(self) -> int:
        """Values that differ because of a later roll."""
        return int(self._adjusted.sum())

    @property
    def _adjusted(self) -> pd.Series:
        return self.revised["column"].eq(ADJUSTED[1]) & (self.table == ADJUSTED[0])


def bundle_differences(old: Path, new: Path) -> tuple[TableDifference, ...]:
    """Compare two bundles, table by table; tables of the same sha256 are the same.

    Raises:
        BundleError: one of them cannot be read, or a file is not as its manifest says.
    """
    one, other = read_manifest(old), read_manifest(new)
    found = []
    for name, contract in RAW_TABLES.items():
        if name in one.tables and name in other.tables and one.tables[name].sha256 == other.tables[name].sha256:
            continue
        before, after = load_table(old, name, one), load_table(new, name, other)
        difference = table_difference(contract, before, after)
        if len(difference.added) or len(difference.removed) or len(difference.revised):
            found.append(difference)
    return tuple(found)


def table_difference(contract: TableContract, before: pd.DataFrame, after: pd.DataFrame) -> TableDifference:
    """Compare two versions of a table by its key; a gap equals a gap."""
    key = list(contract.key)
    one, other = before.set_index(key), after.set_index(key)
    added, removed = other.index.difference(one.index), one.index.difference(other.index)
    common = one.index.intersection(other.index)
    one_common, other_common = one.loc[common], other.loc[common]
    parts = [
        _revised(column.name, one_common[column.name], other_common[column.name], key)
        for column in contract.columns
        if column.name not in key
    ]
    revised = pd.concat([part for part in parts if len(part)] or parts[:1])
    new_rows = after.set_index(key).loc[added].reset_index()[list(after.columns)]
    return TableDifference(
        table=contract.name,
        added=new_rows,
        removed=before.set_index(key).loc[removed].reset_index()[list(before.columns)],
        revised=revised.sort_values([*key, "column"], ignore_index=True),
        into_history=_into_history(contract, before, new_rows),
    )


def _revised(column: str, old: pd.Series, new: pd.Series, key: Sequence[str]) -> pd.DataFrame:
    same = ((old.notna() & new.notna() & old.eq(new)) | (old.isna() & new.isna())).to_numpy(dtype=bool)
    rows = pd.DataFrame({"old": old[~same].astype("object"), "new": new[~same].astype("object")})
    return rows.assign(column=column).reset_index()[[*key, "column", "old", "new"]]


def _into_history(contract: TableContract, before: pd.DataFrame, added: pd.DataFrame) -> int:
    """Added rows whose series already went further: the first column of every key names the series."""
    series = contract.key[0]
    last = before.groupby(series)[contract.event_date].max()
    return int((added[contract.event_date] < added[series].map(last)).sum())
