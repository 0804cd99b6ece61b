"""Objects that clients have stored, as one process reads and keeps them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from mrcore.errors import NotFoundError, StorageError
from mrcore.model import object_names
from mrcore.storage.registry import storage_for


def read_object(state_uri: str, sha256: str) -> bytes:
    """Return a stored object; raise StorageError if it is gone or damaged."""
    uri = object_names.object_uri(state_uri, sha256)
    try:
        data = storage_for(uri).read(uri)
    except NotFoundError:
        raise StorageError(
            f"the object {uri} of a call is not there: it was stored too long ago, or this worker "
            "sees another store"
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StorageError(f"the object {uri} of a call is damaged: store it again")
    return data


class ObjectCache:
    """The objects that were read last, as far as they fit into `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self.kept_bytes = 0

    def read(self, state_uri: str, sha256: str) -> bytes:
        """Return a stored object; raise StorageError if it is gone or damaged."""
        data = self._kept.get(sha256)
        if data is not None:
            self._kept.move_to_end(sha256)
            return data
        data = read_object(state_uri, sha256)
        if len(data) <= self._limit_bytes:
            self._kept[sha256] = data
            self.kept_bytes += len(data)
            while self.kept_bytes > self._limit_bytes:
                self.kept_bytes -= len(self._kept.popitem(last=False)[1])
        return data
