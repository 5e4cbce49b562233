"""The anchor's out-of-sample record beside the design's figures. Run by hand: `python benchmarks/anchor_skill.py`.

Reads the starter bundle, or the bundle folder given as the first argument. Prints RMSE ratios to last
price with n and n_eff, and the coverage of the density's 80 % interval.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.anchor_skill import (
    DESIGN_COVERAGE_80,
    DESIGN_RMSE_RATIO,
    ENTRIES,
    anchor_record,
    anchor_skill,
)
from cbi_pipeline.evaluation.benchmarks import ANCHOR, LAST_PRICE, prepare_market
from cbi_pipeline.evaluation.metrics import effective_n

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
FIRST_YEAR, LAST_YEAR, LATE_YEAR = 2013, 2024, 2021


def main(bundle: Path) -> None:
    console = Console()
    record = anchor_record(prepare_market(load_tables(bundle)), FIRST_YEAR, LAST_YEAR)
    late = record[record["fold"].astype(int) >= LATE_YEAR]
    table = Table("entry", *(f"{h} m" for h in HORIZONS_MONTHS), "design", title=f"RMSE ratio to last price, {bundle}")
    for title, rows in ((f"{FIRST_YEAR}-{LAST_YEAR}", record), (f"{LATE_YEAR}-{LAST_YEAR}", late)):
        skill = anchor_skill(rows)
        for entry in ENTRIES:
            design = DESIGN_RMSE_RATIO.get(entry, {}) if rows is record else {}
            values = [f"{skill.loc[(entry, 'rmse_ratio'), h]:.3f}" for h in HORIZONS_MONTHS]
            table.add_row(f"{entry}, {title}", *values, " ".join(f"{design[h]:.2f}" for h in design))
    coverage = anchor_skill(record)
    for entry in (ANCHOR, LAST_PRICE):
        values = [f"{coverage.loc[(entry, 'coverage_80'), h]:.3f}" for h in HORIZONS_MONTHS]
        table.add_row(f"coverage 80 %, {entry}", *values, " ".join(f"{x:.2f}" for x in DESIGN_COVERAGE_80.values()))
    known = record[(record["entry"] == ANCHOR) & record["realised_price"].notna()].groupby("horizon_months").size()
    table.add_row("rows (n_eff)", *(f"{known[h]} ({effective_n(known[h], h):.0f})" for h in HORIZONS_MONTHS), "")
    errors = [np.sqrt(0.8 * 0.2 / effective_n(known[h], h)) for h in HORIZONS_MONTHS]
    table.add_row("standard error of a coverage of 0.8", *(f"{error:.3f}" for error in errors), "")
    console.print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STARTER)
