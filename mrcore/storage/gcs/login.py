"""Credentials of people who have logged in to gcloud and nowhere else.

Google's libraries want "application default" credentials, which take a second login. With
`MRCORE_GCS_LOGIN=gcloud` in the environment, or where there are none of these, tokens come from
`gcloud auth print-access-token`: whoever can use gcloud can use mrcore, as the same account.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError

VARIABLE: Final = "MRCORE_GCS_LOGIN"
_KEEP: Final = timedelta(minutes=4)
"""Lifetime of a token here. gcloud returns none that ends within five minutes."""
_ANSWER_SECONDS: Final = 60.0


class GcloudCredentials(Credentials):
    """The tokens of the account that gcloud is logged in with."""

    def refresh(self, request: Any) -> None:
        """Ask gcloud for a token; raise RefreshError with its own words."""
        try:
            asked = subprocess.run(
                ["gcloud", "auth", "print-access-token", "--quiet"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_ANSWER_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise _refused(f"gcloud gives no token: {error}", retryable=True) from error
        except OSError as error:
            raise _refused(f"gcloud gives no token: {error}") from error
        if asked.returncode != 0:
            words = " ".join(asked.stderr.split()) or "it says nothing"
            raise _refused(f"gcloud gives no token, try `gcloud auth login`: {words}")
        self.token = asked.stdout.strip()
        # Google's library compares it with a time of UTC that does not say so.
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + _KEEP


def uses_gcloud() -> bool:
    """Return whether the environment asks for gcloud's login, as `mrcore gce` does."""
    return os.environ.get(VARIABLE) == "gcloud"


def find_login() -> Credentials:
    """Return the machine's default credentials, or gcloud's; raise DefaultCredentialsError."""
    if uses_gcloud():
        return _from_gcloud()
    try:
        found, _ = google.auth.default()
    except DefaultCredentialsError:
        if shutil.which("gcloud") is None:
            raise
        return _from_gcloud()
    return found


def _from_gcloud() -> Credentials:
    return GcloudCredentials()  # type: ignore[no-untyped-call]


def _refused(why: str, *, retryable: bool = False) -> RefreshError:
    return RefreshError(why, retryable=retryable)  # type: ignore[no-untyped-call]
