"""The one family of errors that CBI raises on purpose.

Every message names the file or row, the rule broken and what to do next, so that the person who
reads it in a terminal or in a Dagster run log needs no second place to look.
"""

from __future__ import annotations

from collections.abc import Mapping


class CbiError(Exception):
    """Base of all errors that CBI raises on purpose.

    Args:
        subject: the file, table, row, setting or date at fault.
        rule: the rule that was broken, as a full sentence.
        fix: what the reader can do next.
    """

    def __init__(self, subject: str, rule: str, fix: str) -> None:
        self.subject, self.rule, self.fix = subject, rule, fix
        super().__init__(f"{subject}: {rule} To fix: {fix}")


class SourceError(CbiError):
    """A provider's file is missing, has another format, or holds impossible values."""


class BundleError(CbiError):
    """A bundle is incomplete, altered or breaks its contract; it is treated as absent."""


class StoreError(CbiError):
    """A store of bundles refuses or cannot be reached; it says nothing about the bundles in it."""


class FeatureError(CbiError):
    """A feature frame does not have the locked names, order, dtype or hash."""


class ModelError(CbiError):
    """A model artifact is missing, altered or does not fit the features it is given."""


class StaleInputsError(CbiError):
    """Sources that a forecast needs are older than their maximum age: none was made.

    Args:
        stale: by label of each such source, what its newest known value describes.
    """

    def __init__(self, subject: str, rule: str, fix: str, stale: Mapping[str, str]) -> None:
        super().__init__(subject, rule, fix)
        self.stale = stale


class WarehouseError(CbiError):
    """A warehouse write or read breaks the contract of its table."""


class SettingsError(CbiError):
    """A setting is unknown or has a value that cannot be used."""


class AlertError(CbiError):
    """An alert could not be sent, or the file of alerts cannot be read; it fails no run."""
