"""Rights that a request needs, for a server that enforces a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.gcsserver.wire import Request


@dataclass(frozen=True, slots=True)
class Need:
    """One permission on a bucket, on an object, or (`bucket` empty) on the project."""

    permission: str
    bucket: str = ""
    name: str | None = None
    """Name of an object."""
    prefix: str = ""
    """Prefix of a listing."""

    @property
    def resource(self) -> str:
        """The resource's name as conditions see it."""
        path = f"projects/_/buckets/{self.bucket}"
        return path if self.name is None else f"{path}/objects/{self.name}"


Authorise = Callable[[Request, Need, Sequence[Mapping[str, Any]]], None]
"""Raises ApiError unless the request may do that; given the bindings of the bucket's policy."""
