"""No file of the repository holds a credential of anyone."""

from __future__ import annotations

import re
import subprocess

import pytest

CREDENTIALS = {
    "private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/]{16}",
    "Google access token": rb"ya29\.[A-Za-z0-9_-]{20,}",
    "Google refresh token": rb"1//0[A-Za-z0-9_-]{30,}",
    "Google API key": rb"AIza[A-Za-z0-9_-]{35}",
    "Google client secret": rb"GOCSPX-[A-Za-z0-9_-]{20,}",
    "id of a service account's key": rb'"private_key_id":\s*"[0-9a-f]{16,}"',
    "Databento key": rb"\bdb-[A-Za-z0-9]{29}\b",
    "GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})",
    "AWS key": rb"\bAKIA[A-Z0-9]{16}\b",
}
EXAMPLES = {
    "private key": "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG",
    "Google access token": "ya29" + "." + "a0AfH6SMBx" * 3,
    "Google refresh token": "1//" + "0" + "gAbCdEfGh" * 5,
    "Google API key": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "Google client secret": "GOCSPX" + "-" + "abcdefghij" * 3,
    "id of a service account's key": '"private_key_id": "' + "0123456789abcdef" * 2 + '"',
    "Databento key": "db" + "-" + "A1b2C3d4E5" * 2 + "A1b2C3d4E",
    "GitHub token": "ghp" + "_" + "a1B2c3D4e5F6" * 3,
    "AWS key": "AKIA" + "ABCDEFGHIJ234567",
}


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_a_credential_of_each_kind_would_be_found(kind):
    assert re.search(CREDENTIALS[kind], EXAMPLES[kind].encode())


def test_no_tracked_file_holds_a_credential(repository):
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True).stdout
    paths = [repository / name for name in listed.decode().split("\0") if name]
    assert len(paths) > 100
    found = [
        f"{path.relative_to(repository)}: {kind}"
        for path in paths
        if path.is_file()
        for kind, pattern in CREDENTIALS.items()
        if re.search(pattern, path.read_bytes())
    ]
    assert found == []
