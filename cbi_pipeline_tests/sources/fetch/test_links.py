"""Links of a page."""

from __future__ import annotations

import re

import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.fetch.links import links_to
from cbi_pipeline_tests.sources.fetch.server import HTML_PAGE
from cbi_pipeline_tests.sources.fetch.shapes import page_with


def test_relative_and_absolute_links_are_found_in_order() -> None:
    page = page_with("/files/a_2.csv?v=3", "b.csv", "https://elsewhere.test/x/a_1.csv", "old/xa_1.csv")
    found = links_to(page, "https://epa.test/help/page", re.compile(r"a_(\d)\.csv"))
    assert list(found) == ["https://epa.test/files/a_2.csv?v=3", "https://elsewhere.test/x/a_1.csv"]
    assert [match[1] for match in found.values()] == ["2", "1"]


@pytest.mark.parametrize("page", [HTML_PAGE, b"", b"\xff\xfe<a href=x>", b'{"links": ["a_1.csv"]}'])
def test_a_page_without_the_link_is_refused(page: bytes) -> None:
    with pytest.raises(SourceError, match="must link to a file named like"):
        links_to(page, "https://epa.test/help/page", re.compile(r"a_(\d)\.csv"))
