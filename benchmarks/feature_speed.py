"""What the features cost on this machine: full history, one new day, and how cost grows with rows.

Run by hand: `python benchmarks/feature_speed.py`. Each line runs in a process of its own, on the starter bundle, and
nothing is stored. Rows are multiplied only to measure time: every dated row but those of weather is repeated a
microsecond later, so that keys stay unique and dates stay inside the market calendar; weather is multiplied by itself,
as the same stations under other names. The values that come out mean nothing.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from cbi_pipeline import market_calendar
from cbi_pipeline.bundle.read import load_tables
from cbi_pipeline.contracts.tables import RAW_TABLES
from cbi_pipeline.features import FEATURE_NAMES, build_features

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"
UNDATED = ("weather_daily", "policy")
"""Multiplied by station, and not at all: its key is a year, and it has 16 rows."""
MEASUREMENTS = {
    "full history": (1, 1),
    "one new day": (1, 1),
    "history x 4": (4, 1),
    "history x 16": (16, 1),
    "stations x 4": (1, 4),
    "stations x 16": (1, 16),
}
"""Name to how often the dated rows and the stations are repeated."""
REPEATS = 3


def repeated(tables: dict[str, pd.DataFrame], times: int, stations: int) -> dict[str, pd.DataFrame]:
    """The tables with every dated row `times` over and every weather station `stations` over."""
    found = dict(tables)
    for name, table in tables.items():
        if name not in UNDATED and times > 1:
            event = RAW_TABLES[name].event_date
            shifts = [pd.Timedelta(microseconds=number) for number in range(times)]
            copies = [table.assign(**{c: table[c] + shift for c in (event, "available_at")}) for shift in shifts]
            found[name] = pd.concat(copies, ignore_index=True).sort_values(list(RAW_TABLES[name].key))
    weather = tables["weather_daily"]
    copies = [weather.assign(station=weather["station"] + f" {number}") for number in range(stations)]
    found["weather_daily"] = pd.concat(copies, ignore_index=True) if stations > 1 else weather
    return found


def measure(name: str) -> dict[str, float]:
    """Rows, best seconds of REPEATS, and peak resident MB before and after, of one measurement."""
    tables = load_tables(STARTER)
    if name == "one new day":
        closes = tables["futures_daily"].query("symbol == 'ZL'")["trade_date"]
        moment = market_calendar.as_of_time(closes.max())
        tables = {key: table[table["available_at"] <= moment] for key, table in tables.items()}
    tables = repeated(tables, *MEASUREMENTS[name])
    unit = 2**20 if sys.platform == "darwin" else 2**10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        frame = build_features(tables)
        if name == "one new day":
            frame.iloc[-1:].to_numpy()
        seconds.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    rows = sum(len(table) for table in tables.values())
    return {"sessions": len(frame), "rows": rows, "seconds": min(seconds), "before": before, "peak": peak}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    table = Table(
        "measurement", "sessions", "raw rows", "CPU s", "us a session", "peak MB", "of which tables and imports"
    )
    for name in MEASUREMENTS:
        output = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        table.add_row(
            name,
            f"{found['sessions']:,}",
            f"{found['rows']:,}",
            f"{found['seconds']:.2f}",
            f"{1e6 * found['seconds'] / found['sessions']:.0f}",
            f"{found['peak']:.0f}",
            f"{found['before']:.0f}",
        )
    Console(width=120).print(table)
    Console().print(f"{len(FEATURE_NAMES)} features; CPU seconds of one process, the best of {REPEATS}")


if __name__ == "__main__":
    main()
