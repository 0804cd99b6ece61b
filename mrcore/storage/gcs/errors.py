"""The border where errors of Google's libraries become those of mrcore."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mrcore.errors import (
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from mrcore.storage.base import ObjectInfo

_REQUEST: Final = re.compile(r"(GET|POST|PUT|PATCH|DELETE) \S+: ")
"""The start of Google's errors. Messages show the object's name instead."""
_RATE_LIMITS: Final = ("rateLimitExceeded", "userRateLimitExceeded")


@contextmanager
def gcs_errors(uri: str) -> Iterator[None]:
    """Turn what the client raises about `uri` into the errors of mrcore."""
    try:
        yield
    except Exception as error:
        mapped = _mapped(uri, error)
        if mapped is None:
            raise
        raise mapped from error


@contextmanager
def source_errors(source: ObjectInfo) -> Iterator[None]:
    """Blame the source for what is not there: a rewrite has no other 404, but for the buckets."""
    from google.api_core.exceptions import NotFound

    try:
        yield
    except NotFound as error:
        if "bucket" in error.message:
            raise
        raise NotFoundError(f"{source.uri} is gone, or has changed.") from error


def _mapped(uri: str, error: Exception) -> StorageError | None:
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage.exceptions import (  # noqa: TID251 - part of the GCS store
        DataCorruption,
        InvalidResponse,
    )
    from urllib3.exceptions import HTTPError

    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        return _mapped(uri, error.cause) or _unavailable(uri, str(error.cause))
    if isinstance(error, api.GoogleAPICallError):
        code = error.code if isinstance(error.code, int) else 0
        reasons = [str(detail.get("reason")) for detail in error.errors if isinstance(detail, dict)]
        return _from_status(uri, int(code), error.message or str(error), reasons)
    if isinstance(error, InvalidResponse):
        response = error.response
        return _from_status(uri, int(response.status_code), response.text[:500], [])
    if isinstance(error, DataCorruption):
        return UnavailableError(f"{uri} arrived damaged (its CRC32C differs). Try again.")
    if isinstance(error, auth.DefaultCredentialsError):
        return PermissionDeniedError(
            f"{uri} cannot be used without Google credentials ({_short(str(error))}). Run `gcloud "
            "auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."
        )
    if isinstance(error, auth.RefreshError):
        why = str(error.args[0]) if error.args else "without a reason"
        if _is_passing(error):
            return _unavailable(uri, f"no access token: {why}")
        return PermissionDeniedError(
            f"The Google credentials for {uri} are no longer accepted ({why}). "
            f"Run `{_login_command()}`."
        )
    transient = (
        auth.TransportError,
        auth.TimeoutError,
        auth.ResponseError,
        requests.RequestException,
        HTTPError,
        ConnectionError,
    )
    if isinstance(error, transient):
        return _unavailable(uri, str(error))
    return None


def _login_command() -> str:
    """Return the command that logs in to where the credentials come from."""
    from mrcore.storage.gcs.login import uses_gcloud

    return "gcloud auth login" if uses_gcloud() else "gcloud auth application-default login"


def _is_passing(error: BaseException) -> bool:
    """Return whether a failure to get an access token may pass: nobody answered, or said "later".

    A metadata server that is away for seconds, or a token service that is overloaded, says nothing
    about the account; google-auth wraps both in the error of an account that is refused.
    """
    from google.auth import exceptions as auth

    causes = [error, error.__cause__, *error.args]
    if any(getattr(cause, "retryable", False) for cause in causes):
        return True
    transport = next((c for c in causes if isinstance(c, auth.TransportError)), None)
    if transport is None:
        return False
    # The metadata server's answer, where there was one: 404 for a machine without an account.
    statuses = [getattr(argument, "status", None) for argument in transport.args]
    refused = any(isinstance(s, int) and 400 <= s < 500 and s not in (408, 429) for s in statuses)
    return not refused


def _from_status(uri: str, status: int, message: str, reasons: list[str]) -> StorageError:
    bucket = uri.partition("://")[2].partition("/")[0]
    if status == 404:
        lowered = message.lower()
        if "bucket" in lowered and "does not exist" in lowered:
            return NotFoundError(
                f"The bucket gs://{bucket} does not exist. Check its name, or create it."
            )
        return NotFoundError(f"{uri} does not exist.")
    if status == 412:
        return PreconditionFailedError(f"{uri} was changed by somebody else.")
    if status in (408, 429) or status >= 500 or any(word in _RATE_LIMITS for word in reasons):
        return _unavailable(uri, message)
    if status in (401, 403):
        return PermissionDeniedError(
            f"This account may not use gs://{bucket} in this way. Ask its owner for the role "
            "roles/storage.objectUser, or log in as somebody who has it with "
            f"`{_login_command()}` ({_short(message)})."
        )
    detail = _short(message)
    return StorageError(f"Google Cloud Storage refused {uri} (HTTP {status}: {detail}).")


def _unavailable(uri: str, detail: str) -> UnavailableError:
    return UnavailableError(
        f"Google Cloud Storage gives no answer for {uri} ({_short(detail)}). Try later."
    )


def _short(message: str) -> str:
    return " ".join(_REQUEST.sub("", message, count=1).split()).rstrip(".")[:200]
