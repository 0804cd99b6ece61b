"""Stores by the scheme of a URI, and URIs by what a user types.

A back end is a module and a line in `_BACK_ENDS`. Nothing outside `mrcore.storage` compares a
scheme or imports a back end: what differs between stores is asked of the store (`Storage`).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mrcore.errors import UsageError
from mrcore.storage.base import Storage
from mrcore.storage.places import SEPARATOR, Reach
from mrcore.util.lazy import load

_BACK_ENDS: Final = {
    "file": "mrcore.storage.local.store:LocalStorage",
    "gs": "mrcore.storage.gcs.store:GcsStorage",
    "mem": "mrcore.storage.memory:MemoryStorage",
}
"""The class of each store. It is imported when a URI of its scheme is first met."""
_PATHS: Final = "file"
"""The scheme of what is typed without one."""
FAULTS_VARIABLE: Final = "MRCORE_STORAGE_FAULTS"
"""Variable that names a file of faults (`mrcore.storage.injected`), for rehearsals of disasters."""
_SCHEME: Final = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*){SEPARATOR}")


def _factory(place: str) -> Callable[[], Storage]:
    def make() -> Storage:
        store: Storage = load(place)()
        return store

    return make


_lock = threading.Lock()
_factories: dict[str, Callable[[], Storage]] = {
    scheme: _factory(place) for scheme, place in _BACK_ENDS.items()
}
_stores: dict[str, Storage] = {}


def register(scheme: str, factory: Callable[[], Storage]) -> None:
    """Let `factory` make the store of a scheme, in place of the one before."""
    with _lock:
        _factories[scheme] = factory
        _stores.pop(scheme, None)


def preload() -> None:
    """Import the store of paths, which nearly every process uses."""
    load(_BACK_ENDS[_PATHS])


def storage_for(uri: str) -> Storage:
    """Return the store of a URI: one for each scheme and process, made when first asked for.

    Raises UsageError for a scheme that nobody registered, and for a text without one.
    """
    return _store_of(check_scheme(uri))


def _store_of(scheme: str) -> Storage:
    with _lock:
        store = _stores.get(scheme)
        if store is None:
            store = _stores[scheme] = _with_faults(_factories[scheme]())
        return store


def _with_faults(store: Storage) -> Storage:
    """Return a store that fails as a file of faults says, if the environment names one."""
    path = os.environ.get(FAULTS_VARIABLE)
    if not path:
        return store
    wrapped: Storage = load("mrcore.storage.injected:wrapped")(store, path)
    return wrapped


def check_scheme(uri: str) -> str:
    """Return the scheme of a URI, without making its store; raise UsageError for an unknown one."""
    scheme, separator, _ = uri.partition(SEPARATOR)
    if not separator or scheme not in _factories:
        shared = (name for name in _factories if _store_of(name).reach is not Reach.PROCESS)
        known = " or ".join(f"{name}{SEPARATOR}" for name in shared)
        raise UsageError(f"{uri!r} has no scheme that is known here. Use {known}, or a path.")
    return scheme


def _known(uri: str) -> Storage | None:
    scheme, separator, _ = uri.partition(SEPARATOR)
    return _store_of(scheme) if separator and scheme in _factories else None


def reach_of(uri: str) -> Reach:
    """Return which processes see the object; EVERYWHERE where the scheme is not known here."""
    store = _known(uri)
    return Reach.EVERYWHERE if store is None else store.reach


def shown(uri: str) -> str:
    """Return a URI as a person would type it: a file as its plain path."""
    store = _known(uri)
    return uri if store is None else store.shown(uri)


def form_problem(uri: str) -> str | None:
    """Return how a URI has to be written, None if this one is."""
    store = _known(uri)
    if store is not None:
        return store.form_problem(uri)
    return f"SCHEME{SEPARATOR}BUCKET/…" if path_of(uri).startswith("/") else None


def path_of(uri: str) -> str:
    """Return what stands behind the scheme of a URI."""
    return uri.partition(SEPARATOR)[2]


def without_last_slash(uri: str) -> str:
    """Return a URI without slashes at its end; the scheme stays whole."""
    scheme, separator, path = uri.partition(SEPARATOR)
    return f"{scheme}{separator}{path.rstrip('/')}"


def is_relative(text: str) -> bool:
    """Return whether a text that was typed is a path that counts from the current folder."""
    return SEPARATOR not in text and not text.startswith("/")


def uri_of_path(path: Path) -> str:
    """Return the URI of an absolute path of this machine."""
    return f"{_PATHS}{SEPARATOR}{path}"


def absolute_uri(text: str, cwd: str) -> str:
    """Return the URI of what a user typed: a path, relative to `cwd`, or already a URI.

    `.`, `..` and double slashes of paths are resolved by name alone; a slash at the end stays.
    Raises UsageError for an empty text and for `file://` with a relative path.
    """
    match = _SCHEME.match(text)
    if match is not None and match[1] != _PATHS:
        return text
    path = text if match is None else text[match.end() :]
    if not path or (match is not None and not path.startswith("/")):
        raise UsageError(
            f"{text!r} does not name a file. Use a path, or file:// and an absolute path."
        )
    absolute = "/" + os.path.normpath(f"{cwd}/{path}" if path[0] != "/" else path).lstrip("/")
    if path.endswith("/") and absolute != "/":
        absolute += "/"
    return f"{_PATHS}{SEPARATOR}{absolute}"
