"""Bundles in a bucket of Google Cloud Storage: listed, read and published; copying to this machine is `sync.py`.

A bundle there is what it is in a folder: `<prefix>/<dataset_version>/` with tables, `manifest.json` and `_SUCCESS`.
Every write is conditional on what was seen before it, so that nothing that is published is overwritten.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.bundle.verify import verify_bundle
from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, is_dataset_version
from cbi_pipeline.errors import BundleError, StoreError

if TYPE_CHECKING:
    from google.cloud import storage
    from google.cloud.storage import Blob, Bucket

RETRY_SECONDS: Final = 60.0
_REMOVALS: Final = 3
"""How often a folder is emptied that another process writes to."""
_FIXES: Final = {
    401: "sign in again: `gcloud auth application-default login`, or renew the service account's key.",
    403: "give the account roles/storage.objectViewer on the bucket to read it, roles/storage.objectUser to publish or "
    "remove; nothing is removed before the bucket's retention is over.",
    404: "check CBI_BUNDLE_URI; `gcloud storage buckets describe` shows whether the bucket exists.",
    429: "wait a minute and run the same command again: what was transferred is kept.",
}
_FIX: Final = "run the same command again when the service answers: what was transferred is kept."


class GcsBundleStore:
    """Bundles under `gs://bucket/prefix`, with the credentials of the environment.

    Every method raises `StoreError` if the service refuses or cannot be reached, `BundleError` if a bundle is at fault.

    Args:
        uri: `gs://bucket` or `gs://bucket/prefix`.
        retry_seconds: how long a call is tried again after an error that may pass (429, 5xx, a lost connection).
        client: an open client; made from the environment when first needed by default.
    """

    def __init__(self, uri: str, retry_seconds: float = RETRY_SECONDS, *, client: storage.Client | None = None) -> None:
        self.location = uri.rstrip("/")
        self._bucket_name, _, prefix = self.location.removeprefix("gs://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._retry_seconds, self._client = retry_seconds, client

    def sealed(self, after: str = "") -> tuple[str, ...]:
        """Versions of the finished bundles that are newer than `after`, oldest first."""
        with self._explained():
            blobs = self._bucket.list_blobs(
                prefix=self._prefix,
                start_offset=f"{self._prefix}{after}",
                retry=self._retry,
                fields="items(name),nextPageToken",
            )
            names = [blob.name.removeprefix(self._prefix).split("/") for blob in blobs]
        versions = {name[0] for name in names if name[1:] == [SUCCESS_FILE] and is_dataset_version(name[0])}
        return tuple(sorted(version for version in versions if version > after))

    def contents(self) -> dict[str, dict[str, int]]:
        """The bundles, finished or not: of each version its files by name, with their sizes in bytes."""
        found: dict[str, dict[str, int]] = {}
        with self._explained():
            blobs = self._bucket.list_blobs(
                prefix=self._prefix, retry=self._retry, fields="items(name,size),nextPageToken"
            )
            for blob in blobs:
                version, _, name = blob.name.removeprefix(self._prefix).partition("/")
                if is_dataset_version(version):
                    found.setdefault(version, {})[name] = blob.size
        return found

    def read(self, version: str, name: str) -> bytes:
        """The bytes of one file of a bundle, as stored: not yet compared with anything.

        Raises:
            BundleError: the bundle has no such file.
        """
        with self._explained():
            from google.api_core.exceptions import NotFound

            try:
                return self._blob(version, name).download_as_bytes(retry=self._retry)
            except NotFound as error:
                rule = (
                    "the file is missing: a bundle holds its manifest, its seal and every file that the manifest lists."
                )
                raise BundleError(self._uri(version, name), rule, "publish the bundle again.") from error

    def publish(self, bundle: Path) -> bool:
        """Upload a bundle of this machine, seal last; files that are there already are not sent again.

        Args:
            bundle: its folder, which is verified first.

        Returns:
            Whether this call sealed it; False if it was published already.

        Raises:
            BundleError: the bundle does not verify, or other bytes are published under its version.
        """
        manifest = verify_bundle(bundle)
        version = manifest.dataset_version
        for name in (*(entry.path for entry in manifest.tables.values()), MANIFEST_FILE):
            self._put(version, name, (bundle / name).read_bytes())
        return self._put(version, SUCCESS_FILE, (bundle / SUCCESS_FILE).read_bytes())

    def names(self, folder: str) -> tuple[str, ...]:
        """Names of the objects anywhere below a folder, relative to it, in order."""
        with self._explained():
            return tuple(blob.name.removeprefix(f"{self._prefix}{folder}/") for blob in self._below(folder))

    def create(self, folder: str, name: str, content: bytes) -> bool:
        """Write one small object that is whole or absent and never replaced.

        Returns:
            Whether this call made it; False if it is there already with these very bytes.

        Raises:
            BundleError: other bytes are stored under its name.
        """
        return self._put(folder, name, content)

    def remove(self, folder: str) -> None:
        """Remove the objects below a folder, a seal first: a bundle of which some are left is absent.

        What another process has removed meanwhile is no fault. What it writes meanwhile is looked for again, since a
        seal may then stand over files that are gone.

        Raises:
            BundleError: the folder is still being written to; nothing in it is sealed then, or the next call finds it.
        """
        with self._explained():
            from google.api_core.exceptions import NotFound, PreconditionFailed

            for _ in range(_REMOVALS):
                blobs = sorted(self._below(folder), key=lambda blob: not blob.name.endswith(f"/{SUCCESS_FILE}"))
                if not blobs:
                    return
                for blob in blobs:
                    with suppress(NotFound, PreconditionFailed):
                        blob.delete(if_generation_match=blob.generation, retry=self._retry)
        if self.names(folder):
            rule = "it is written to while it is being removed."
            raise BundleError(self._uri(folder), rule, "remove it again when whoever publishes it has ended.")

    def last_written(self, folder: str) -> datetime | None:
        """When an object below a folder was last written; None if there is none."""
        with self._explained():
            return max((blob.updated for blob in self._below(folder)), default=None)

    def _below(self, folder: str) -> list[Blob]:
        fields = "items(name,generation,updated),nextPageToken"
        return list(self._bucket.list_blobs(prefix=f"{self._prefix}{folder}/", retry=self._retry, fields=fields))

    def _put(self, version: str, name: str, content: bytes) -> bool:
        """Create one object and return True, or False if another publisher made the same one; no object is replaced."""
        blob, digest = self._blob(version, name), _md5(content)
        with self._explained():
            from google.api_core.exceptions import PreconditionFailed

            if blob.exists(retry=self._retry):
                created = False
            else:
                try:
                    blob.upload_from_string(
                        content, "application/octet-stream", if_generation_match=0, checksum="md5", retry=self._retry
                    )
                    created = True
                except (
                    PreconditionFailed
                ):  # made meanwhile, by another publisher or by an attempt whose answer was lost
                    created = False
            blob.reload(retry=self._retry)
        if blob.md5_hash != digest:
            rule = "other bytes are stored under this name, and a published file is never replaced."
            fix = (
                f"if {self._uri(version)} has no {SUCCESS_FILE}, remove that folder and publish again; else build anew."
            )
            raise BundleError(self._uri(version, name), rule, fix)
        return created

    @cached_property
    def _bucket(self) -> Bucket:
        from google.cloud import storage

        return (self._client or storage.Client(project=None)).bucket(self._bucket_name)

    @cached_property
    def _retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self._retry_seconds)

    def _blob(self, version: str, name: str) -> Blob:
        with self._explained():
            return self._bucket.blob(f"{self._prefix}{version}/{name}")

    def _uri(self, *parts: str) -> str:
        return "/".join((self.location, *parts))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the client raises becomes one `StoreError` with a fix; the client's own text may name credentials."""
        _require_client(self.location)
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
        from requests.exceptions import RequestException

        try:
            yield
        except GoogleAPICallError as error:
            rule = f"the store answered {error.code} {type(error).__name__}."
            raise StoreError(self.location, rule, _FIXES.get(int(error.code or 0), _FIX)) from None
        except GoogleAuthError as error:
            raise StoreError(self.location, f"no valid credentials ({type(error).__name__}).", _FIXES[401]) from None
        except (RetryError, RequestException, DataCorruption, InvalidResponse, OSError) as error:
            cause = error.cause if isinstance(error, RetryError) else error
            rule = f"no whole answer came from the store within {self._retry_seconds:.0f} s ({type(cause).__name__})."
            raise StoreError(self.location, rule, _FIX) from None


def _require_client(location: str) -> None:
    if find_spec("google") is None or find_spec("google.cloud.storage") is None:
        fix = "install it: `make install-dev`, or pip install '.[gcp]'."
        raise StoreError(location, "google-cloud-storage is not installed.", fix)


def _md5(content: bytes) -> str:
    """The hash by which the service describes an object; it proves a transfer, integrity is the manifest's sha256."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
