"""Clusters that are open, for libraries that name their back end by a text."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Final

from mrcore.errors import UsageError

if TYPE_CHECKING:
    from mrcore.cluster.client import Client

NAME: Final = "mrcore"
_lock = threading.RLock()  # a finalizer may close a client at any moment, also while it is held
_open: list[weakref.ref[Client]] = []


def opened(client: Client) -> None:
    """Note a client; `joblib.parallel_backend("mrcore")` works from now on if joblib is loaded."""
    with _lock:
        _open.append(weakref.ref(client))
    if "joblib" in sys.modules:
        from mrcore.cluster.joblib_backend import register

        register()


def closed(client: Client) -> None:
    """Forget a client."""
    with _lock:
        _open[:] = [one for one in _open if one() not in (None, client)]


def newest() -> Client:
    """Return the client that was opened last; raise UsageError where none is open."""
    with _lock:
        for one in reversed(_open):
            found = one()
            if found is not None:
                return found
    raise UsageError(
        "No cluster is open. Make one with mrcore.LocalCluster or mrcore.connect, or name it: "
        'joblib.parallel_backend("mrcore", client=CLUSTER).'
    )
