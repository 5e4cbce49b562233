"""What every user of the catalogue says of one feature: `python -m cbi_pipeline_tests.features.one_more_feature`.

Arguments: the feature's name and a bundle folder. Prints JSON. Asks the `cbi_pipeline` that comes first on the path.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import cbi_pipeline
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.features import availability_report, build_features, validation
from cbi_pipeline.features.catalogue import FEATURE_NAMES, feature_hash
from cbi_pipeline.features.driver_set import fit_driver_set
from cbi_pipeline.features.lock import check_lock, lock_features
from cbi_pipeline.features.report import monthly_presence
from cbi_pipeline.features.schema import feature_schema
from cbi_pipeline.orchestration import metadata
from cbi_pipeline.reports.feature_dictionary import dictionary_page


def said_of(name: str, bundle: Path) -> dict[str, Any]:
    """Build, check and describe the features of a bundle, and pick out one."""
    tables = load_tables(bundle)
    frame = build_features(tables)
    feature_schema().validate(frame, lazy=True)
    check_lock(lock_features([name]), frame)
    last = frame.index[-1].date()
    checks = [
        *validation.check_ranges(frame),
        *validation.check_drift(frame),
        *validation.check_signs(frame, tables),
        *validation.check_constant(frame),
        *validation.check_staleness(frame, tables, last),
    ]
    wrong = frame.copy()
    wrong.iloc[-300, frame.columns.get_loc(name)] = np.float32(1e6)
    column = next(column for column in metadata.feature_schema().columns if column.name == name)
    page = dictionary_page(availability_report(frame), frame.index)
    return {
        "package": str(Path(cbi_pipeline.__file__).parent),
        "names": list(FEATURE_NAMES),
        "columns": list(frame.columns),
        "hash": feature_hash(),
        "values": {f"{day:%Y-%m-%d}": float(value) for day, value in frame[name].dropna().items()},
        "errors": [finding.subject for finding in checks if finding.severity == "error"],
        "impossible": [f.threshold for f in validation.check_ranges(wrong) if f.subject == name],
        "scaled": name in fit_driver_set(frame, date(2015, 1, 2), date(2018, 1, 2)).scaled,
        "months": int((monthly_presence(frame)[name] == 1).sum()),
        "lineage": [
            [dep.asset_key.to_user_string(), dep.column_name] for dep in metadata.feature_lineage().deps_by_column[name]
        ],
        "nullable": column.constraints.nullable,
        "description": column.description,
        "tags": dict(column.tags),
        "dictionary": page.split(f"\n### {name}\n")[1].split("\n#")[0],
    }


if __name__ == "__main__":
    print(json.dumps(said_of(sys.argv[1], Path(sys.argv[2]))))
