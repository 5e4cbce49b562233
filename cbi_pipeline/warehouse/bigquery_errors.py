"""What BigQuery's client raises, as one `WarehouseError` that says what to do; and what is worth another try.

The client's own text of a failed sign-in may quote credentials, so only its kind is passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cbi_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry

_PASSING_REASONS: Final = frozenset(
    {
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "backendError",
        "internalError",
        "rateLimitExceeded",
    }
)
_CONCURRENT: Final = ("concurrent update", "Already Exists: Table")
"""BigQuery: "Could not serialize access to table ... due to concurrent update"; it has no reason of its own. And what
CREATE TABLE IF NOT EXISTS answers if another makes the table at the same moment."""

_SIGN_IN: Final = (
    "sign in again (`gcloud auth application-default login`), or give GOOGLE_APPLICATION_CREDENTIALS a key that is "
    "valid; and compare this machine's clock with the true time: a token is refused when they are minutes apart."
)
_AGAIN: Final = "run the same command again when the service answers: a write is whole or absent."
_FIXES: Final = {
    400: "correct the statement or its parameters.",
    401: _SIGN_IN,
    403: "`cbi doctor --gcp` names the role that this account lacks; docs/gcp.md has the commands that give it.",
    404: "check CBI_GCP_PROJECT, CBI_BIGQUERY_DATASET and CBI_BIGQUERY_LOCATION, the region of all datasets; "
    "`{made_by}` makes what is missing.",
    429: _AGAIN,
}
_QUOTA: Final = "wait until the quota is free again, or raise it in the console (IAM & Admin, Quotas)."


def retry_of(seconds: float) -> Retry:
    """Retry of one request: what BigQuery's client calls passing (429, 5xx, lost connections), for so many seconds."""
    from google.cloud.bigquery.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(seconds)


def job_retry_of(seconds: float) -> Retry:
    """Retry of a whole job that ended in an error which another attempt may not meet."""
    from google.api_core.retry import Retry

    return Retry(predicate=_may_pass, initial=0.2, maximum=5.0, timeout=seconds)


def _may_pass(error: BaseException) -> bool:
    from google.api_core.exceptions import GoogleAPICallError

    if not isinstance(error, GoogleAPICallError):
        return False
    return _reason(error) in _PASSING_REASONS or any(text in str(error.message) for text in _CONCURRENT)


def _reason(error: GoogleAPICallError) -> str:
    details: Any = error.errors[0] if error.errors else {}
    return str(details.get("reason", "")) if isinstance(details, dict) else ""


@contextmanager
def explained(subject: str, retry_seconds: float, made_by: str) -> Iterator[None]:
    """Turn what the client raises into a `WarehouseError` about `subject`, which the command `made_by` makes."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.resumable_media import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException

    try:
        yield
    except GoogleAPICallError as error:
        raise _refusal(subject, error, made_by) from None
    except GoogleAuthError as error:
        if error.retryable:
            raise _silence(subject, error, retry_seconds) from None
        raise WarehouseError(subject, f"There are no valid credentials ({type(error).__name__}).", _SIGN_IN) from None
    except RetryError as error:
        if isinstance(error.cause, GoogleAPICallError):
            raise _refusal(subject, error.cause, made_by) from None
        raise _silence(subject, error.cause or error, retry_seconds) from None
    except (RequestException, DataCorruption, InvalidResponse, OSError) as error:
        raise _silence(subject, error, retry_seconds) from None


def _refusal(subject: str, error: GoogleAPICallError, made_by: str) -> WarehouseError:
    code, reason = int(error.code or 0), _reason(error)
    said = " ".join(str(error.message).split()) or type(error).__name__
    fix = _QUOTA if reason == "quotaExceeded" else _FIXES.get(code, _AGAIN).format(made_by=made_by)
    return WarehouseError(subject, f"BigQuery answers {code}{f' {reason}' if reason else ''}: {said}.", fix)


def _silence(subject: str, error: BaseException, retry_seconds: float) -> WarehouseError:
    rule = f"No whole answer came from BigQuery within {retry_seconds:.0f} s ({type(error).__name__})."
    return WarehouseError(subject, rule, _AGAIN)
