"""How a running task tells of itself."""

from __future__ import annotations

from typing import Protocol


class ProgressSink(Protocol):
    """Where progress goes; calls are cheap and never fail."""

    def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002 - the public word
        """Say how far the attempt is (0 to 1), and the records and bytes read so far."""
        ...

    def status(self, text: str) -> None:
        """Show a line of the user's."""
        ...

    def mark(self, piece_uri: str, offset: int) -> None:
        """Note which record is mapped next, in case the process dies of it."""
        ...


class NoProgress:
    """Discards it all."""

    def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002 - the public word
        """Do nothing."""

    def status(self, text: str) -> None:
        """Do nothing."""

    def mark(self, piece_uri: str, offset: int) -> None:
        """Do nothing."""
