"""Pillar by pillar against last price. Run by hand: `python benchmarks/ablation.py`; takes a minute of processor time.

Reads the starter bundle, or the bundle folder given as the first argument. Prints the table in Markdown and writes it
into docs/ablation.md between its markers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd

from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts import HORIZONS_MONTHS
from cbi_pipeline.evaluation.ablation import Variant, ablation_record, ablation_table, variants
from cbi_pipeline.evaluation.benchmarks import prepare_market
from cbi_pipeline.features.build import build_features
from cbi_pipeline.features.catalogue import CATALOGUE, feature_hash
from cbi_pipeline.modeling.config import MEAN_PATH_INPUTS

REPOSITORY = Path(__file__).resolve().parent.parent
STARTER = REPOSITORY / "data" / "starter"
PAGE = REPOSITORY / "docs" / "ablation.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
YEARS = range(2014, 2024)


def markdown(table: pd.DataFrame, counts: dict[str, int]) -> str:
    lines = []
    for model, own in table.groupby("model", sort=False):
        lines += [f"### {model}", "", "| variant | features | " + " | ".join(f"{h} m" for h in HORIZONS_MONTHS) + " |"]
        lines.append("|---|---|" + "---|" * len(HORIZONS_MONTHS))
        for variant, cells in own.groupby("variant", sort=False):
            values = cells.set_index("horizon_months")
            figures = [
                f"{values.loc[h, 'rmse_ratio']:.3f} ± {values.loc[h, 'standard_error']:.3f}" for h in HORIZONS_MONTHS
            ]
            lines.append(f"| {variant.replace('_', ' ')} | {counts[variant]} | " + " | ".join(figures) + " |")
        lines.append("")
    rows = table.groupby("horizon_months")["n"].max()
    lines.append("Rows: " + ", ".join(f"{rows[h]:,} at {h} months" for h in HORIZONS_MONTHS) + ".")
    return "\n".join(lines) + "\n"


def main(bundle: Path) -> None:
    started = time.process_time()
    tables = load_tables(bundle)
    wanted = [*variants(CATALOGUE), Variant("the network's dozen", MEAN_PATH_INPUTS)]
    record = ablation_record(
        build_features(tables),
        prepare_market(tables),
        wanted,
        YEARS,
        on_variant=lambda model, variant: print(f"{model}, {variant}", file=sys.stderr),
    )
    text = markdown(ablation_table(record), {variant.name: len(variant.features) for variant in wanted})
    spent = time.process_time() - started
    text += f"\n{len(CATALOGUE)} features, hash {feature_hash()[:12]}; {spent:.0f} s of processor time.\n"
    print(text)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + text + END + rest.partition(END)[2])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STARTER)
