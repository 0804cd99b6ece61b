"""From the scheme of a URI to the store behind it, and from what a user types to a URI."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import Final

from mrcore.errors import UsageError
from mrcore.storage.base import Storage

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def _local() -> Storage:
    from mrcore.storage.local.store import LocalStorage

    return LocalStorage()


def _gcs() -> Storage:
    from mrcore.storage.gcs.store import GcsStorage

    return GcsStorage()


def _memory() -> Storage:
    from mrcore.storage.memory import MemoryStorage

    return MemoryStorage()


_lock = threading.Lock()
_factories: dict[str, Callable[[], Storage]] = {"file": _local, "gs": _gcs, "mem": _memory}
_stores: dict[str, Storage] = {}


def register(scheme: str, factory: Callable[[], Storage]) -> None:
    """Let `factory` make the store of a scheme, in place of what was there."""
    with _lock:
        _factories[scheme] = factory
        _stores.pop(scheme, None)


def storage_for(uri: str) -> Storage:
    """Return the store of a URI: one a scheme and process, made when first asked for.

    Raises UsageError for a scheme that nobody registered, and for a text without one.
    """
    scheme = check_scheme(uri)
    with _lock:
        store = _stores.get(scheme)
        if store is None:
            store = _stores[scheme] = _factories[scheme]()
        return store


def check_scheme(uri: str) -> str:
    """Return the scheme of a URI, without making its store; raise UsageError for an unknown one."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme not in _factories:
        known = " or ".join(f"{name}://" for name in _factories if name != "mem")
        raise UsageError(f"{uri!r} has no scheme that is known here: use {known}, or a path.")
    return scheme


def absolute_uri(text: str, cwd: str) -> str:
    """Return the URI of what a user typed: a path, relative to `cwd`, or already a URI.

    `.`, `..` and double slashes of paths are resolved by name alone; a slash at the end stays.
    Raises UsageError for an empty text and for `file://` with a relative path.
    """
    match = _SCHEME.match(text)
    if match is not None and match[1] != "file":
        return text
    path = text if match is None else text[match.end() :]
    if not path or (match is not None and not path.startswith("/")):
        raise UsageError(f"{text!r} names no file: give a path, or file:// and an absolute path.")
    absolute = "/" + os.path.normpath(f"{cwd}/{path}" if path[0] != "/" else path).lstrip("/")
    if path.endswith("/") and absolute != "/":
        absolute += "/"
    return f"file://{absolute}"
