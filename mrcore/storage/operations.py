"""Counting the operations that a bucket bills, at the one place where they all pass.

Class A writes or lists, class B reads, and deleting is free. Whatever is repeated counts again, as
it does on the bill.
"""

from __future__ import annotations

import threading
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Operations(NamedTuple):
    """Numbers of operations by class."""

    class_a: int = 0
    class_b: int = 0

    def since(self, earlier: Operations) -> Operations:
        """Return those that came after `earlier` was counted."""
        return Operations(self.class_a - earlier.class_a, self.class_b - earlier.class_b)


_counted = Operations()
_lock = threading.Lock()


def counted() -> Operations:
    """Return the operations of this process so far."""
    return _counted


def count(method: str, url: str) -> None:
    """Count one request; one that is part of a larger operation, or is free, counts nothing."""
    global _counted  # noqa: PLW0603 - a process has one bill
    is_a, is_b = billed(method, url)
    if is_a or is_b:
        with _lock:
            _counted = Operations(_counted.class_a + is_a, _counted.class_b + is_b)


def billed(method: str, url: str) -> Operations:
    """Return what one request of the JSON API is billed as."""
    parts = urlsplit(url)
    if method in ("GET", "HEAD"):
        lists = parts.path.endswith(("/o", "/b"))
        return Operations(1, 0) if lists else Operations(0, 1)
    if method == "DELETE":
        return Operations()
    if method == "PUT" and "upload_id" in parse_qs(parts.query):
        return Operations()  # a chunk of an upload, which was counted when it began
    return Operations(1, 0)
