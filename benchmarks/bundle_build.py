"""What a bundle of all provider files costs, and whether two builds of the same files are the same to the byte.

`CBI_DATA_DIR=<provider files> python benchmarks/bundle_build.py`; ends with exit code 1 if a limit is not kept.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from run_cost import timed

from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.settings import load_settings

MOST_SECONDS = 60.0
MOST_GIB = 2e9 / 2**30


def tables_of(bundle: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(bundle.glob("*.parquet"))}


def main() -> None:
    data_dir = load_settings().data_dir
    build = [sys.executable, "-m", "cbi_pipeline.cli", "bundle", "build", "--data-dir", str(data_dir)]
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB, {os.cpu_count()} cores")
    built = []
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        for number in (1, 2):
            project = Path(folder) / str(number)
            project.mkdir()
            wall, cpu, peak = timed(build, {**os.environ, "CBI_PROJECT_DIR": str(project)})
            kept &= wall < MOST_SECONDS and peak < MOST_GIB
            found = LocalBundleStore(project / "data" / "bundles").latest().bundle
            if found is None:
                raise SystemExit("no sound bundle was built")
            manifest = verify_bundle(found.path)
            rows = sum(entry.rows for entry in manifest.tables.values())
            print(f"build {number}: {wall:.1f} s, {cpu:.1f} s of processor, peak {peak:.2f} GiB, {rows:,} rows")
            print(f"  {len(manifest.findings or ())} warnings, content {manifest.content_sha256}")
            built.append((manifest.content_sha256, tables_of(found.path)))
    print("tables byte for byte the same:", built[0] == built[1])
    raise SystemExit(0 if kept and built[0] == built[1] else 1)


if __name__ == "__main__":
    main()
