"""Fetching feed after feed: progress, and what became of each; one that fails does not keep the others from coming."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cbi_pipeline import progress
from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources import OPTIONAL, provenance_of
from cbi_pipeline.sources.fetch import feeds
from cbi_pipeline.sources.fetch.feeds import Agree, Feed
from cbi_pipeline.sources.fetch.install import Fetched
from cbi_pipeline.sources.fetch.keys import find_key

STAGE: Final = "fetch "
"""Before the name of a feed: the stage of its progress."""


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What became of a feed: its files, up to the error that ended it, if any."""

    feed: Feed
    files: tuple[Fetched, ...]
    error: SourceError | None

    @property
    def note(self) -> str:
        """In one line: how many files are new or changed, the newest value, what failed."""
        counts = {outcome: sum(file.outcome == outcome for file in self.files) for outcome in ("new", "updated")}
        parts = [f"{count} {outcome}" for outcome, count in counts.items() if count] or ["nothing new"]
        if self.files:
            parts.append(f"to {max(file.last for file in self.files)}")
        return ", ".join(parts) + (f"; failed: {self.error.rule}" if self.error else "")


def keyless() -> tuple[Feed, ...]:
    """Every feed that can be fetched without a key."""
    return tuple(feed for feed in feeds.FEEDS if feed.fetch is not None and feed.key is None)


def keyed() -> tuple[Feed, ...]:
    """Every feed that needs a key."""
    return tuple(feed for feed in feeds.FEEDS if feed.fetch is not None and feed.key is not None)


def fetch_all(chosen: Iterable[Feed], data_dir: Path, now: datetime, agree: Agree) -> list[FeedResult]:
    """Fetch feed after feed, and tell the progress listener of each.

    Args:
        now: with a time zone; decides what is due.
        agree: asked before money is spent, with the price in US dollars.
    """
    return [_fetch(feed, data_dir, now, agree) for feed in chosen]


def _fetch(feed: Feed, data_dir: Path, now: datetime, agree: Agree) -> FeedResult:
    stage = STAGE + feed.name
    progress.report(stage, 0, 1)
    files: list[Fetched] = []
    error = None
    try:
        if feed.fetch is None:
            raise _by_hand(feed)
        for file in feed.fetch(data_dir, now, agree):
            files.append(file)
    except SourceError as failed:
        error = failed
    result = FeedResult(feed, tuple(files), error)
    progress.finish(stage, result.note)
    return result


def _by_hand(feed: Feed) -> SourceError:
    product = provenance_of(feed.source)
    return SourceError(
        feed.name,
        "Its files are not fetched.",
        f"take them from {product.url} and put them in place: `cbi sources import {feed.name} FILE`.",
    )


def absent_optional(data_dir: Path) -> tuple[str, ...]:
    """Names of `OPTIONAL` without a file under the data folder."""
    return tuple(name for name, series in OPTIONAL.items() if not series.is_there(data_dir))


def what_is_missing_without(names: Iterable[str]) -> list[str]:
    """For each name of `OPTIONAL` a sentence: which features it leaves missing, and where its files come from."""
    from cbi_pipeline.features.catalogue import CATALOGUE

    sentences = []
    for name in names:
        label = OPTIONAL[name].label
        lost = [feature.name for feature in CATALOGUE if any(source.label == label for source in feature.inputs)]
        product = provenance_of(feeds.find_feed(name).source)
        place = f"{product.url}, into {product.folder}/"
        sentences.append(f"Without {name} ({label}) these features are missing: {', '.join(lost)}. It is at {place}.")
    return sentences


def what_keys_would_add() -> list[str]:
    """For each keyed feed a sentence: its key, whether it is set, and what the service adds."""
    return [
        f"{feed.name} with {feed.key} ({'set' if find_key(str(feed.key)) else 'not set'}) adds {feed.adds}: "
        f"`cbi sources fetch {feed.name}`."
        for feed in keyed()
    ]
