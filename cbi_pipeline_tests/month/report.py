"""The page about the simulated month: `page.md`, filled with what happened."""

from __future__ import annotations

import os
import platform
import resource
from collections import Counter
from pathlib import Path

from cbi_pipeline.provenance import code_commit
from cbi_pipeline_tests.month.month import CHICAGO, Month
from cbi_pipeline_tests.month.outcome import alerts, failed_runs, forecasts, plain


def cpu_seconds(month: Month) -> float:
    """CPU seconds of this process and of all that it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) + month.machine.cpu_seconds


def page(month: Month, wall_seconds: float) -> str:
    """The page, in Markdown."""
    runs = Counter((record.dagster_run.job_name, record.dagster_run.status.value) for record in month.machine.runs())
    counted = forecasts(month)
    timeline = (f"| {one.at.astimezone(CHICAGO):%a %d %H:%M} | {plain(month, one.what)} |" for one in month.happened())
    return (
        (Path(__file__).parent / "page.md")
        .read_text(encoding="utf-8")
        .format(
            machine=f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            commit=code_commit(),
            minutes=round(wall_seconds / 60),
            cpu=round(cpu_seconds(month)),
            rows=sum(counted.values()),
            sessions=len({day for day, _ in counted}),
            runs=", ".join(f"{number} of `{job}` {status}" for (job, status), number in sorted(runs.items())),
            failed=", ".join(f"`{job}` for {what}" for job, what in failed_runs(month)),
            alerts="\n\n".join(f"```\n{text}\n```" for text in alerts(month)),
            timeline="\n".join(timeline),
        )
    )
