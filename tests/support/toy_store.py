"""A back end of another scheme, as somebody else would add it: `toy://BUCKET/NAME`."""

from __future__ import annotations

from collections.abc import Mapping

from mrcore.storage.base import Writer
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.places import Reach


class ToyStorage(MemoryStorage):
    """Objects in memory that pretend to be far away, so that nothing takes them for files."""

    reach = Reach.EVERYWHERE

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        """Names of the objects that were begun."""

    def open_write(
        self,
        uri: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = False,
        private: bool = False,
    ) -> Writer:
        """Start a new object."""
        self.written.append(uri)
        return super().open_write(
            uri, expect=expect, metadata=metadata, durable=durable, private=private
        )
