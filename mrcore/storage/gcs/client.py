"""The one client that a process has for Google Cloud Storage, and how its calls are repeated.

Repeating is done here, around whole calls, and not by the client: it repeats some failures only,
and says nothing of them to a caller who must know whether a request may have worked. A resumable
upload alone is repeated by the client, chunk by chunk, within one call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mrcore.errors import UnavailableError
from mrcore.storage import operations
from mrcore.storage.gcs.errors import gcs_errors
from mrcore.util.clock import SYSTEM, Clock

CONNECTIONS: Final = 64
"""Connections kept to the service: as many range reads may run side by side."""
_LONGEST_PAUSE_SECONDS: Final = 8.0

T = TypeVar("T")


class GcsConnection:
    """A lazy client, and the bounds of every call made with it; for all threads of the process."""

    def __init__(
        self,
        deadline_seconds: float,
        timeout_seconds: float,
        first_pause_seconds: float,
        clock: Clock = SYSTEM,
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._first_pause_seconds = first_pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._client: Any = None
        self.bounds: Final[dict[str, Any]] = {
            "retry": None,
            "timeout": (min(10.0, timeout_seconds), timeout_seconds),
        }
        """Keyword arguments of every call of the client but uploads."""

    def client(self) -> Any:
        """Return the client."""
        with self._lock:
            if self._client is None:
                with gcs_errors("gs://"):
                    self._client = _make_client()
            return self._client

    def close(self) -> None:
        """Close every connection; the next call makes new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def upload_bounds(self, on_error: Callable[[Exception], None]) -> dict[str, Any]:
        """Return keyword arguments of an upload, whose failed requests go to `on_error`."""
        from google.api_core.retry import Retry
        from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: TID251 - the GCS store

        retry = Retry(
            predicate=DEFAULT_RETRY._predicate,  # noqa: SLF001 - the list of what is transient
            initial=self._first_pause_seconds,
            maximum=_LONGEST_PAUSE_SECONDS,
            timeout=self._deadline_seconds,
            on_error=on_error,
        )
        return {**self.bounds, "retry": retry}

    def insist(self, uri: str, act: Callable[[], T]) -> T:
        """Call `act` until it works, fails for good, or the deadline has passed."""
        deadline = self._clock.monotonic() + self._deadline_seconds
        pause = self._first_pause_seconds
        while True:
            try:
                with gcs_errors(uri):
                    return act()
            except UnavailableError:
                # Between half and the whole of it: who failed together should not come together.
                chosen = pause * (0.5 + os.urandom(1)[0] / 510)
                if self._clock.monotonic() + chosen >= deadline:
                    raise
            self._clock.sleep(chosen)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _make_client() -> Any:
    """Return a client whose connections are kept for all threads of the process."""
    import google.cloud.storage as storage  # noqa: TID251 - this is the store
    from google.auth.credentials import AnonymousCredentials
    from requests.adapters import HTTPAdapter

    from mrcore.storage.gcs.login import find_login

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        client = storage.Client(project="none", credentials=anonymous)
    else:
        client = storage.Client(project=None, credentials=find_login())
    # Newer clients look up each bucket from threads of their own, for traces that nobody asked for.
    client._bucket_metadata_cache = None  # noqa: SLF001 - there is only an environment variable
    session = client._http  # noqa: SLF001 - there is no public way to size its pool
    session.hooks["response"].append(_count)
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))
    return client


def _count(response: Any, *_: Any, **__: Any) -> None:
    """Take one request to the service into account, whatever was answered."""
    operations.count(response.request.method, response.request.url)
