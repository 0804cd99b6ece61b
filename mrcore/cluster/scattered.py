"""Values that were sent to a cluster once, and that many calls take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Scattered(Generic[T]):
    """A value that lies in the store of a cluster; pass it as an argument of calls.

    It is kept as long as calls name it, and an hour beyond.
    """

    def __init__(self, sha256: str, size_bytes: int, read: Callable[[str], T]) -> None:
        self.sha256 = sha256
        """SHA-256 of the pickled value, which is its name."""
        self.size_bytes = size_bytes
        """Bytes of the pickled value."""
        self._read = read

    def result(self) -> T:
        """Return the value, read from the cluster; raise NotFoundError where it is gone."""
        return self._read(self.sha256)

    def __repr__(self) -> str:
        """Return the name and the size."""
        return f"<Scattered {self.sha256[:12]}: {self.size_bytes:,} bytes>"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse to be pickled: a call has a placeholder in its place."""
        raise TypeError("a scattered value travels only as an argument of a call")
