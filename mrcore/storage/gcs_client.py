"""The one client that a process has for Google Cloud Storage, made when first needed."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

CONNECTIONS: Final = 64
"""Connections kept to the service: as many range reads may run side by side."""


class GcsConnection:
    """A lazy client, and the bounds of every call made with it; for all threads of the process."""

    def __init__(
        self, deadline_seconds: float, timeout_seconds: float, first_delay_seconds: float
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._first_delay_seconds = first_delay_seconds
        self._timeout = (min(10.0, timeout_seconds), timeout_seconds)
        self._lock = threading.Lock()
        self._client: Any = None
        self._retry: Any = None

    def client(self) -> Any:
        """Return the client."""
        with self._lock:
            if self._client is None:
                from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: TID251 - the GCS store

                paced = DEFAULT_RETRY.with_delay(
                    self._first_delay_seconds, maximum=8.0, multiplier=2.0
                )
                self._retry = paced.with_timeout(self._deadline_seconds)
                self._client = _make_client()
            return self._client

    def bounds(self) -> dict[str, Any]:
        """Return the retry policy and the time limit, which every call of the client gets."""
        self.client()
        return {"retry": self._retry, "timeout": self._timeout}


def _make_client() -> Any:
    """Return a client whose connections are kept for all threads of the process."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage  # noqa: TID251 - this is the store
    from requests.adapters import HTTPAdapter

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        client = storage.Client(project="none", credentials=anonymous)
    else:
        client = storage.Client(project=None)
    # Newer clients look up each bucket from threads of their own, for traces that nobody asked for.
    client._bucket_metadata_cache = None  # noqa: SLF001 - there is only an environment variable
    session = client._http  # noqa: SLF001 - there is no public way to size its pool
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))
    return client
