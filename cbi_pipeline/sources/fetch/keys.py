"""Keys of providers: from the environment, else from the system's keychain; never from a file of the project."""

from __future__ import annotations

from typing import Final

from cbi_pipeline.errors import SourceError
from cbi_pipeline.settings import current_environment

KEYCHAIN_SERVICE: Final = "cbi"


def find_key(name: str) -> str | None:
    """The key of that name, from the environment first; None where there is none or no keychain to ask."""
    import keyring
    import keyring.errors

    try:
        found = current_environment().get(name) or keyring.get_password(KEYCHAIN_SERVICE, name)
    except keyring.errors.KeyringError:
        return None
    return found.strip() or None if found else None


def require_key(name: str) -> str:
    """As `find_key`.

    Raises:
        SourceError: there is no such key.
    """
    key = find_key(name)
    if key is None:
        raise SourceError(
            name,
            "This provider needs a key, and there is none.",
            f"set {name} in the environment, or store it in the keychain: `keyring set {KEYCHAIN_SERVICE} {name}`.",
        )
    return key
