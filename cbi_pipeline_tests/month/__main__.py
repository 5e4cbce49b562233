"""`make month`: the whole month, checked; its timeline and what it cost go to docs/simulated_month.md."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from cbi_pipeline_tests.month.month import moment, month
from cbi_pipeline_tests.month.outcome import check
from cbi_pipeline_tests.month.report import page
from cbi_pipeline_tests.month.story import WHOLE_MONTH
from cbi_pipeline_tests.projects import REPOSITORY

PAGE = REPOSITORY / "docs" / "simulated_month.md"


def main() -> None:
    """Live through it; the page is written only if all is as it must be."""
    story, began = WHOLE_MONTH, time.monotonic()
    with TemporaryDirectory() as folder, month(Path(folder), moment(*story.begin), **story.settings) as lived:
        if why := lived.machine.clock.why_not():
            sys.exit(why)
        story.happens(lived)
        lived.machine.shut_down()
        check(lived, story)
        PAGE.write_text(page(lived, time.monotonic() - began), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
