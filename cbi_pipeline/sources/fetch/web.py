"""HTTP as every provider needs it: time limits, a pause between requests, retries, and errors that hold no key.

What does not belong here: anything that knows one provider. A key travels in the `Authorization` header, so that
neither a log of requests nor an error can show it. Where a service takes it in the address only, it is added below the
client, after whatever logs, and only for the host that was asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import httpx
import stamina

from cbi_pipeline import __version__
from cbi_pipeline.errors import SourceError

ATTEMPTS: Final = 5
TIME_LIMIT: Final = httpx.Timeout(60.0, connect=10.0)
LONGEST_WAIT_SECONDS: Final = 60.0
"""A server that asks for a longer wait than this is left alone until the next fetch."""
LARGEST_ANSWER_BYTES: Final = 256 * 2**20
_TOO_MANY_REQUESTS: Final = 429
_NOT_THERE: Final = (404, 410)


class NotThereError(SourceError):
    """The provider answers that it has no such file."""


class _KeyInAddress(httpx.HTTPTransport):
    """Adds the key to the address of each request to `host`; the request that the client knows has none.

    It takes no proxy from the environment.
    """

    def __init__(self, parameter: str, key: str) -> None:
        super().__init__()
        self._added = {parameter: key}
        self.host = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != self.host:
            return super().handle_request(request)
        url = request.url.copy_merge_params(self._added)
        with_key = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return super().handle_request(with_key)


class Web:
    """A client for one provider.

    Args:
        pause_seconds: least time between two requests: the provider's rate limit.
        key: sent as the user name of basic authentication; None for a service without keys.
        wait_seconds: wait before the first retry; it doubles from there, with jitter of the same size.
        key_parameter: name of the key in addresses, for a service that does not take it in a header.
    """

    def __init__(
        self,
        pause_seconds: float = 0.5,
        key: str | None = None,
        wait_seconds: float = 1.0,
        key_parameter: str | None = None,
    ) -> None:
        in_address = key is not None and key_parameter is not None
        self._transport = _KeyInAddress(str(key_parameter), str(key)) if in_address else None
        self._client = httpx.Client(
            timeout=TIME_LIMIT,
            follow_redirects=True,
            headers={"User-Agent": f"cbi-pipeline/{__version__}"},
            auth=httpx.BasicAuth(key, "") if key is not None and not in_address else None,
            transport=self._transport,
        )
        self._pause, self._wait, self._next_request = pause_seconds, wait_seconds, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, url: str, params: Mapping[str, str] | None = None) -> bytes:
        """The body of a GET. Raises as `post`."""
        return self._ask("GET", url, params=params)

    def get_if_there(self, url: str, params: Mapping[str, str] | None = None) -> bytes | None:
        """The body of a GET, None where the provider answers that there is no such file. Raises as `post`."""
        try:
            return self._ask("GET", url, params=params)
        except NotThereError:
            return None

    def post(self, url: str, form: Mapping[str, str]) -> bytes:
        """The body of a POST of a form.

        Raises:
            SourceError: the provider refuses, cannot be reached, or answers whole on none of `ATTEMPTS` tries.
        """
        return self._ask("POST", url, data=form)

    def _ask(
        self, method: str, url: str, *, params: Mapping[str, str] | None = None, data: Mapping[str, str] | None = None
    ) -> bytes:
        if self._transport is not None:
            self._transport.host = httpx.URL(url).host
        try:
            for attempt in stamina.retry_context(
                on=_when_again,
                attempts=ATTEMPTS,
                timeout=None,
                wait_initial=self._wait,
                wait_jitter=self._wait,
                wait_max=LONGEST_WAIT_SECONDS,
            ):
                with attempt:
                    return self._once(method, url, params, data)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            fix = (
                "check the key of this provider, and that its account may read this data."
                if code in (401, 402, 403)
                else "fetch again later; if it stays, the address has changed: correct it in cbi_pipeline/sources/."
            )
            kind = NotThereError if code in _NOT_THERE else SourceError
            raise kind(_address(url), f"The provider answered {code} {error.response.reason_phrase}.", fix) from None
        except httpx.HTTPError as error:
            raise SourceError(
                _address(url),
                f"The provider could not be read ({type(error).__name__}: {error}).",
                "check the network and fetch again; the files that are there have not been touched.",
            ) from None
        raise AssertionError("stamina returns or raises")

    def _once(self, method: str, url: str, params: Mapping[str, str] | None, data: Mapping[str, str] | None) -> bytes:
        time.sleep(max(0.0, self._next_request - time.monotonic()))
        self._next_request = time.monotonic() + self._pause
        with self._client.stream(method, url, params=params, data=data) as response:
            response.raise_for_status()
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER_BYTES:
                    raise SourceError(
                        _address(url),
                        f"An answer must be no larger than {LARGEST_ANSWER_BYTES:,} bytes.",
                        "look at the address in a browser: it no longer serves what it used to.",
                    )
            return bytes(body)


def _when_again(error: Exception) -> bool | float:
    """Whether a failed request is worth another try, or after how many seconds the provider wants it."""
    if not isinstance(error, httpx.HTTPStatusError):
        return isinstance(error, httpx.TransportError)
    code = error.response.status_code
    if code != _TOO_MANY_REQUESTS and code < 500:
        return False
    asked = error.response.headers.get("Retry-After", "")
    if not asked.isdigit():
        return True
    return float(asked) if float(asked) <= LONGEST_WAIT_SECONDS else False


def _address(url: str) -> str:
    """The address without query, user or password."""
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode()}{parts.path}"
