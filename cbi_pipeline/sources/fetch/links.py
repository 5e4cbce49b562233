"""Links of a provider's page, where the address of the newest file changes and the page that names it does not."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from cbi_pipeline.errors import SourceError


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def links_to(page: bytes, page_url: str, file_name: re.Pattern[str]) -> dict[str, re.Match[str]]:
    """Address to match of its file name, for every link of a page whose file name matches whole, in the page's order.

    Raises:
        SourceError: there is none.
    """
    parser = _Links()
    parser.feed(page.decode("utf-8", errors="replace"))
    addresses = [urljoin(page_url, link) for link in parser.found]
    matches = {address: file_name.fullmatch(urlsplit(address).path.rsplit("/", 1)[-1]) for address in addresses}
    found = {address: match for address, match in matches.items() if match}
    if not found:
        raise SourceError(
            page_url,
            f"The page must link to a file named like {file_name.pattern}.",
            "look at the page in a browser: if the file has moved, correct its name or page in cbi_pipeline/sources/.",
        )
    return found
