"""The manifest refuses what does not belong together, before any file is opened."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cbi_pipeline.contracts.manifest import MANIFEST_FILE, Manifest, content_sha256, dataset_version, is_dataset_version


@pytest.fixture
def fields() -> dict[str, Any]:
    """A manifest of one table, in the types of JSON."""
    entry = {
        "path": "policy.parquet",
        "rows": 3,
        "bytes": 100,
        "sha256": "ab" * 32,
        "arrow_schema": "value: double not null",
        "min_event_date": "2010-03-26",
        "max_event_date": "2023-07-12",
        "max_available_at": "2023-07-12T12:45:00Z",
        "sources": [
            {
                "source": "EPA RFS",
                "provider": "EPA",
                "product": "final rules",
                "owner": "US Government",
                "licence": "public domain",
                "url": "https://www.epa.gov/",
            }
        ],
    }
    created = datetime(2024, 12, 31, 20, 5, 9, tzinfo=UTC)
    return {
        "dataset_version": dataset_version(created, content_sha256([("policy", "ab" * 32)])),
        "created_at": created.isoformat(),
        "window": {"first_trade_date": "2000-11-13", "last_trade_date": "2024-12-31"},
        "tables": {"policy": entry},
        "producer": {"git_commit": "0" * 40, "tool_version": "0.1.0"},
        "findings": [],
    }


def test_round_trip_keeps_every_byte(fields: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(fields)
    again = Manifest.model_validate_json(manifest.to_json())
    assert again == manifest
    assert again.to_json() == manifest.to_json()
    assert manifest.feature_hash is None


def test_a_manifest_from_before_findings_keeps_every_byte_and_its_version(starter_dir: Path) -> None:
    starter = json.loads((starter_dir / MANIFEST_FILE).read_text())
    del starter["findings"]
    stored = (json.dumps(starter | {"schema_version": 1}, indent=2, ensure_ascii=False) + "\n").encode()
    manifest = Manifest.model_validate_json(stored)
    assert manifest.schema_version == 1
    assert manifest.findings is None
    assert manifest.to_json() == stored
    assert manifest.dataset_version == "20261124T083637Z-558c0f29"


@pytest.mark.parametrize(("version", "findings"), [(1, []), (2, None), (3, [])])
def test_findings_belong_to_version_two(fields: dict[str, Any], version: int, findings: object) -> None:
    with pytest.raises(ValidationError, match=r"schema_version|findings"):
        Manifest.model_validate(fields | {"schema_version": version, "findings": findings})


def test_findings_do_not_change_the_version_of_the_content(fields: dict[str, Any]) -> None:
    finding = {"rule": "hole", "table": "policy", "subject": "x", "holds": "y", "rows": 1, "first_rows": ["z"]}
    noted = Manifest.model_validate(fields | {"findings": [finding]})
    assert noted.dataset_version == Manifest.model_validate(fields).dataset_version
    assert Manifest.model_validate_json(noted.to_json()) == noted


@pytest.mark.parametrize(
    "path",
    [
        "../policy.parquet",
        "/tmp/policy.parquet",
        "a/policy.parquet",
        "..parquet",
        ".parquet",
        "policy.parquet\n",
        "C:policy.parquet",
        "a\\b.parquet",
        "manifest.json",
    ],
)
def test_path_that_leaves_the_bundle_is_refused(fields: dict[str, Any], path: str) -> None:
    fields["tables"]["policy"]["path"] = path
    with pytest.raises(ValidationError, match="path"):
        Manifest.model_validate(fields)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("schema_version",), 3),
        (("dataset_version",), "20241231T200509Z-00000000"),
        (("created_at",), "2024-12-31T20:05:10+00:00"),
        (("created_at",), "2024-12-31T20:05:09"),
        (("tables",), {}),
        (("window", "last_trade_date"), "2000-11-12"),
        (("tables", "policy", "sha256"), "cd" * 32),
        (("tables", "policy", "sha256"), "AB" * 32),
        (("tables", "policy", "rows"), 0),
        (("tables", "policy", "sources"), []),
        (("tables", "policy", "max_event_date"), "2009-01-01"),
        (("tables", "policy", "max_available_at"), "2023-07-12T12:45:00"),
        (("note",), "unknown field"),
        (("tables", "policy", "note"), "unknown field"),
    ],
)
def test_each_broken_field_is_refused(fields: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    Manifest.model_validate(fields)
    holder = fields
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    with pytest.raises(ValidationError):
        Manifest.model_validate(fields)


def test_two_tables_cannot_share_a_file(fields: dict[str, Any]) -> None:
    fields["tables"]["fundamentals"] = fields["tables"]["policy"]
    content = content_sha256([("policy", "ab" * 32), ("fundamentals", "ab" * 32)])
    fields["dataset_version"] = f"20241231T200509Z-{content[:8]}"
    with pytest.raises(ValidationError, match="file of its own"):
        Manifest.model_validate(fields)


def test_manifest_is_frozen(fields: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(fields)
    with pytest.raises(ValidationError, match="frozen"):
        manifest.dataset_version = "20241231T200509Z-00000000"  # type: ignore[misc]


def test_version_is_utc_and_content_ignores_table_order() -> None:
    content = content_sha256([("a", "1" * 64), ("b", "2" * 64)])
    assert content == content_sha256([("b", "2" * 64), ("a", "1" * 64)])
    assert content != content_sha256([("a", "2" * 64), ("b", "1" * 64)])
    evening = datetime(2024, 12, 31, 20, tzinfo=timezone(timedelta(hours=-6)))
    assert dataset_version(evening, content) == f"20250101T020000Z-{content[:8]}"
    with pytest.raises(ValueError, match="time zone"):
        dataset_version(datetime(2024, 12, 31), content)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("20241231T200509Z-0b189e27", True), ("20241231T200509Z-0b189e27\n", False), (".unfinished-12-0b189e27", False)],
)
def test_names_of_bundle_folders(name: str, is_one: bool) -> None:
    assert is_dataset_version(name) is is_one
