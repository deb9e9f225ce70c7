"""What the errors of Google's libraries mean: BigQuery's reasons, refused log-ins, and nobody at the other end."""

import concurrent.futures
import re
from collections.abc import Mapping
from typing import Any

from mogul_assets.destinations.warehouse import Conflict
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, MogulError

REASONS: Mapping[str, tuple[type[MogulError], str, str]] = {
    "accessDenied": (DestinationRefused, "may not do that", "run  mogul destinations grants bigquery  and grant it"),
    "authError": (DestinationRefused, "does not accept the credentials", "make a new key for the service account"),
    "backendError": (DestinationUnavailable, "is not available just now", "it is tried again"),
    "badGateway": (DestinationUnavailable, "is not available just now", "it is tried again"),
    "billingNotEnabled": (DestinationRefused, "wants billing for the project", "enable billing, or leave the sandbox"),
    "billingTierLimitExceeded": (DestinationRefused, "finds the query too expensive", "raise the project's limit"),
    "blocked": (DestinationRefused, "blocks the operation for now", "ask Google's support"),
    "bytesBilledLimitExceeded": (
        DestinationRefused,
        "would bill more than maximum_bytes_billed",
        "raise maximum_bytes_billed, or leave it out",
    ),
    "internalError": (DestinationUnavailable, "had an error of its own", "it is tried again"),
    "invalid": (DestinationRefused, "does not take the rows or the request as they are", "look at the job there"),
    "invalidQuery": (DestinationRefused, "refused the statement", "look at the job there"),
    "jobBackendError": (DestinationUnavailable, "is not available just now", "it is tried again"),
    "jobInternalError": (DestinationUnavailable, "had an error of its own", "it is tried again"),
    "jobRateLimitExceeded": (DestinationUnavailable, "is asked too often just now", "it is tried again"),
    "notFound": (DestinationRefused, "does not have it", "check project, dataset and location, and who removed it"),
    "notImplemented": (DestinationRefused, "does not have that feature", "look at the job there"),
    "policyViolation": (DestinationRefused, "has a policy against it", "ask whoever keeps the organisation's policies"),
    "quotaExceeded": (DestinationUnavailable, "has a quota that is used up", "it is tried again; or raise the quota"),
    "rateLimitExceeded": (DestinationUnavailable, "is asked too often just now", "it is tried again"),
    "resourceInUse": (DestinationUnavailable, "is at work on it just now", "it is tried again"),
    "resourcesExceeded": (DestinationRefused, "lacks the resources for the query", "look at the job there"),
    "responseTooLarge": (DestinationRefused, "finds the answer too large", "look at the job there"),
    "stopped": (DestinationUnavailable, "stopped the job: cancelled, or out of time", "it is tried again"),
    "tableUnavailable": (DestinationUnavailable, "does not have the table at hand just now", "it is tried again"),
    "timeout": (DestinationUnavailable, "ran out of time", "it is tried again"),
}
"""What BigQuery's reasons mean: https://cloud.google.com/bigquery/docs/error-messages."""

TELLING = frozenset(
    {
        *("accessDenied", "billingNotEnabled", "bytesBilledLimitExceeded", "jobRateLimitExceeded", "notFound"),
        *("policyViolation", "quotaExceeded", "rateLimitExceeded", "resourceInUse"),
    }
)
"""Reasons whose messages name things, permissions and limits; others may quote a value."""

_BY_STATUS = {401: "authError", 403: "accessDenied", 404: "notFound", 409: "duplicate", 429: "rateLimitExceeded"}
"""Where an answer names no reason."""

_MADE = "duplicate"
"""The reason where another was faster to make what was not there."""
_CONFLICT = "due to concurrent update"
_DROPPED = "recently deleted in the table"


def told(error: Exception) -> MogulError | Conflict | None:
    """What an exception of Google's libraries means; ``None`` where it is none of them."""
    import google.auth.exceptions  # noqa: PLC0415 - only where it is needed
    import requests  # noqa: PLC0415
    from google.api_core import exceptions  # noqa: PLC0415
    from google.resumable_media import DataCorruption  # noqa: PLC0415

    if isinstance(error, exceptions.RetryError):
        cause = error.cause
        return told(cause) if isinstance(cause, Exception) else _silent()
    if isinstance(error, exceptions.GoogleAPICallError):
        return _answered(error)
    if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
        return DestinationRefused(
            "this machine is not logged in to Google",
            remedy="set credentials, or run  gcloud auth application-default login",
        )
    if isinstance(error, google.auth.exceptions.GoogleAuthError) and not error.retryable:
        if isinstance(error, google.auth.exceptions.TransportError):
            return _silent()
        kind, what, remedy = REASONS["authError"]
        return kind(f"Google {what}{_grant(error)}", remedy=remedy)
    if isinstance(
        error,
        google.auth.exceptions.GoogleAuthError
        | requests.exceptions.RequestException
        | concurrent.futures.TimeoutError
        | ConnectionError
        | DataCorruption,
    ):
        return _silent()
    return None


def reason_of(error: BaseException) -> str:
    """BigQuery's own word for what is wrong, or the one that its HTTP status stands for; empty for others' errors."""
    errors = getattr(error, "errors", None) or [{}]
    said = errors[0].get("reason") if isinstance(errors[0], Mapping) else None
    code = getattr(error, "code", None)
    if said in REASONS or said == _MADE:
        return str(said)
    if not isinstance(code, int):
        return ""
    return _BY_STATUS.get(code, "backendError" if code >= 500 else "invalid")


def job_of(error: Exception) -> str:
    """The id of the job that failed with it; nothing where a request did."""
    return str(getattr(error, "job", ""))


def _answered(error: Any) -> MogulError | Conflict:
    reason = reason_of(error)
    message = next((str(one.get("message")) for one in error.errors if isinstance(one, Mapping)), str(error.message))
    if reason == _MADE or _CONFLICT in message:
        return Conflict()
    if _DROPPED in message:
        return DestinationRefused(
            "BigQuery keeps the name of a column that was dropped for as long as time travel reaches",
            remedy="wait for that, at most seven days, or rename the column in the table's place",
        )
    kind, what, remedy = REASONS[reason or "internalError"]
    told = f"BigQuery {what} ({reason})"
    job = job_of(error)
    if reason in TELLING or not job:  # a request names things only; what a job meets may be a value
        told += f": {message.splitlines()[0][:300]}"
    if job:
        told += f", job {job}"
    return kind(told, remedy=remedy)


def _grant(error: Exception) -> str:
    """OAuth's word for what is wrong with a key, like ``invalid_grant``."""
    said = re.match(r"[a-z_]+(?=:)", str(error.args[0])) if error.args else None
    return f" ({said[0]})" if said else ""


def _silent() -> DestinationUnavailable:
    return DestinationUnavailable(
        "BigQuery gave no answer in time, or the connection broke", remedy="it is tried again"
    )
