"""Errors of Google's libraries: what passes is UnavailableError, and only that is tried again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.auth import exceptions

from mrcore.errors import MrcoreError, PermissionDeniedError, UnavailableError
from mrcore.storage.gcs.errors import gcs_errors
from mrcore.storage.gcs.login import VARIABLE

# Their constructors have no types.
RefreshError: Any = exceptions.RefreshError
ResponseError: Any = exceptions.ResponseError
Timeout: Any = exceptions.TimeoutError
TransportError: Any = exceptions.TransportError

URI = "gs://bucket/x"


def refused_token(*args: Any, cause: Exception | None = None, **kwargs: Any) -> Exception:
    """Return what google-auth raises when it gets no access token."""
    error: Exception = RefreshError(*args, **kwargs)
    error.__cause__ = cause
    return error


def of_metadata_server(status: int | None) -> Exception:
    """Return what a VM raises whose metadata server answers so, or not at all."""
    given = () if status is None else (SimpleNamespace(status=status, data=b""),)
    error = TransportError(f"Failed to retrieve a token. Status: {status}", *given)
    return refused_token(error, cause=error)


def mapped(error: Exception) -> MrcoreError:
    with pytest.raises(MrcoreError) as caught, gcs_errors(URI):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        of_metadata_server(None),
        of_metadata_server(503),
        of_metadata_server(429),
        refused_token("internal_failure: try later", retryable=True),
        TransportError("connection reset"),
        Timeout("no answer in time"),
        ResponseError("half a reply"),
    ],
)
def test_a_token_service_that_is_away_may_come_back(error: Exception) -> None:
    found = mapped(error)
    assert type(found) is UnavailableError
    assert URI in str(found)


@pytest.mark.parametrize(
    "error",
    [
        of_metadata_server(404),
        refused_token("invalid_grant: Token has been expired or revoked.", {}),
        refused_token(),
    ],
)
def test_an_account_that_is_refused_is_named_as_such(error: Exception) -> None:
    found = mapped(error)
    assert type(found) is PermissionDeniedError
    assert "application-default login" in str(found)


def test_who_uses_the_login_of_gcloud_is_told_of_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gcloud")
    found = mapped(refused_token())
    assert "Run `gcloud auth login`." in str(found)
