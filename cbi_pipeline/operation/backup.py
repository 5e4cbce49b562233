"""One archive with the state of a project: written whole, read back before it counts, never in place of another.

A gzipped tar whose first member, `manifest.json`, lists size and sha256 of every other. Bundles are listed, and copied
only on request: they come again from the bucket or the providers.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, field_validator

from cbi_pipeline import __version__
from cbi_pipeline.atomic import fsync_directory, unfinished_directory
from cbi_pipeline.bundle.store import LocalBundleStore
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, DatasetVersion, Sha256
from cbi_pipeline.errors import CbiError
from cbi_pipeline.operation.state import DAGSTER_PARTS, WAREHOUSE, copy_state
from cbi_pipeline.processes import only_run
from cbi_pipeline.provenance import code_commit
from cbi_pipeline.registry.artifact_store import sha256_file
from cbi_pipeline.settings import Settings

BUNDLES: Final = "bundles"
_NAMES: Final = re.compile(
    rf"(models/|dagster/({'|'.join(DAGSTER_PARTS)})/).+|{re.escape(WAREHOUSE)}|bundles/\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}/[^/]+"
)
"""Names of files that an archive may hold."""
_CHUNK: Final = 1 << 20
_LARGEST_MANIFEST: Final = 64 << 20


class StoredFile(BaseModel):
    """Size and sha256 of one file of the archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: Sha256


class ListedBundle(BaseModel):
    """A bundle that lay on the machine; `included` says whether its files are in the archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_version: DatasetVersion
    manifest_sha256: Sha256
    bytes: int
    included: bool


class BackupManifest(BaseModel):
    """`manifest.json` of an archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    created_at: AwareDatetime
    tool_version: str
    code_commit: str
    project_dir: str
    warehouse: Literal["duckdb", "bigquery"]
    files: dict[str, StoredFile]
    bundles: tuple[ListedBundle, ...]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, StoredFile]) -> dict[str, StoredFile]:
        for name in files:
            parts = PurePosixPath(name).parts
            if not _NAMES.fullmatch(name) or "/".join(parts) != name or {"..", "."} & set(parts) or "\0" in name:
                raise ValueError(f"{name!r} is no file of the state")
        return files


def backup(settings: Settings, file: Path, *, with_bundles: bool, why_busy: Callable[[], str | None]) -> BackupManifest:
    """Write the state of a project to a new archive, and read it back.

    Args:
        file: the archive; its folder exists.
        with_bundles: copy the bundles too.
        why_busy: says what is at work in the project; asked before and after, since a run may begin meanwhile.

    Raises:
        CbiError: the file exists, something is at work, or the disk refuses; no archive is left then.
    """
    if file.exists():
        raise CbiError(str(file), "it exists, and a backup never replaces a file.", "name another file.")
    if not file.parent.is_dir():
        raise CbiError(str(file.parent), "there is no such folder.", "make it, or name a file elsewhere.")
    settings.dagster_dir.mkdir(parents=True, exist_ok=True)
    with _disk(file), only_run(settings.dagster_dir), unfinished_directory(file.parent) as folder:
        refuse_while_busy(why_busy)
        copies = copy_state(settings, _made(folder / "state"))
        refuse_while_busy(why_busy)
        bundles = _listed(settings, with_bundles)
        for bundle in bundles if with_bundles else ():
            own = settings.bundles_dir / bundle.dataset_version
            copies |= {f"{BUNDLES}/{own.name}/{path.name}": path for path in sorted(own.iterdir()) if path.is_file()}
        manifest = BackupManifest(
            created_at=datetime.now(UTC),
            tool_version=__version__,
            code_commit=code_commit(),
            project_dir=str(settings.project_dir),
            warehouse=settings.warehouse,
            files={name: StoredFile(bytes=p.stat().st_size, sha256=sha256_file(p)) for name, p in copies.items()},
            bundles=bundles,
        )
        _write(folder / "archive", manifest, copies)
        for _ in read_archive(folder / "archive"):
            pass
        os.rename(folder / "archive", file)
        fsync_directory(file.parent)
    return manifest


def refuse_while_busy(why_busy: Callable[[], str | None]) -> None:
    """Raises CbiError while something is at work."""
    if busy := why_busy():
        rule = f"{busy}, and its half-written state is not copied or replaced."
        raise CbiError("this project", rule, "wait until it ends; a service is stopped with `cbi service uninstall`.")


def read_manifest(file: Path) -> BackupManifest:
    """The manifest of an archive; its files are not looked at. Raises as `read_archive`."""
    with _opened(file) as tar:
        return _first_member(file, tar)


def read_archive(
    file: Path, write: Callable[[str], IO[bytes] | None] | None = None
) -> Iterator[tuple[str, StoredFile]]:
    """Every file of an archive in turn, once its bytes are those that the manifest lists.

    Args:
        file: the archive.
        write: opens the place for a file of this name, None for nowhere; nowhere by default.

    Raises:
        CbiError: the archive is cut, altered, or holds anything but the plain files that its manifest lists.
    """
    with _opened(file) as tar:
        manifest = _first_member(file, tar)
        left = dict(manifest.files)
        while member := tar.next():
            expected = left.pop(member.name, None)
            if expected is None or not member.isreg() or member.size != expected.bytes:
                raise _damaged(file, f"{member.name!r} is not the plain file that the manifest lists")
            source = tar.extractfile(member)
            if source is None:
                raise _damaged(file, f"{member.name} has no content")
            digest, target = hashlib.sha256(), write(member.name) if write else None
            try:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    if target:
                        target.write(chunk)
                if target:
                    target.flush()
                    os.fsync(target.fileno())
            finally:
                if target:
                    target.close()
            if digest.hexdigest() != expected.sha256:
                raise _damaged(file, f"the sha256 of {member.name} is not the one in the manifest")
            yield member.name, expected
        if left:
            raise _damaged(file, f"{sorted(left)[0]} is missing")


def _write(archive: Path, manifest: BackupManifest, copies: Mapping[str, Path]) -> None:
    with archive.open("xb") as raw:
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as tar:
            content = manifest.model_dump_json(indent=1).encode()
            head = tarfile.TarInfo(MANIFEST_FILE)
            head.size, head.mtime = len(content), int(manifest.created_at.timestamp())
            tar.addfile(head, io.BytesIO(content))
            for name, path in copies.items():
                with path.open("rb") as source:
                    member = tarfile.TarInfo(name)
                    member.size, member.mtime = manifest.files[name].bytes, int(path.stat().st_mtime)
                    tar.addfile(member, source)
        raw.flush()
        os.fsync(raw.fileno())


def _listed(settings: Settings, included: bool) -> tuple[ListedBundle, ...]:
    """The bundles of this machine that verify."""
    return tuple(
        ListedBundle(
            dataset_version=status.manifest.dataset_version,
            manifest_sha256=sha256_file(status.path / MANIFEST_FILE),
            bytes=sum(table.bytes for table in status.manifest.tables.values()),
            included=included,
        )
        for status in LocalBundleStore(settings.bundles_dir).list()
        if status.manifest is not None
    )


def _first_member(file: Path, tar: tarfile.TarFile) -> BackupManifest:
    member = tar.next()
    if member is None or member.name != MANIFEST_FILE or not member.isreg() or member.size > _LARGEST_MANIFEST:
        raise _damaged(file, f"it does not begin with {MANIFEST_FILE}, so it is no backup of CBI")
    content = tar.extractfile(member)
    try:
        return BackupManifest.model_validate_json(content.read() if content else b"")
    except ValidationError as error:
        raise _damaged(file, f"the manifest is not valid ({error.errors()[0]['msg']})") from error


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:gz") as tar:
            yield tar
    except FileNotFoundError:
        raise CbiError(str(file), "there is no such file.", "name an archive that `cbi backup` wrote.") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _damaged(file, f"it is cut or damaged ({error})") from error


@contextmanager
def _disk(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        rule = f"the disk refuses ({error.strerror}); no archive was written."
        raise CbiError(str(error.filename or file), rule, "free some space, or name a file on another disk.") from error


def _damaged(file: Path, rule: str) -> CbiError:
    return CbiError(str(file), f"{rule}. Nothing was replaced.", "use another backup.")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
