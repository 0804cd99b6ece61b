"""Progress reports of a running task."""

from __future__ import annotations

from typing import Protocol

from mrcore.model.task import Mark


class ProgressSink(Protocol):
    """Takes progress reports; calls are cheap and never fail."""

    def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002 - the public word
        """Report how far the attempt is (0 to 1), and the records and bytes read so far."""
        ...

    def status(self, text: str) -> None:
        """Show a line of the user's code."""
        ...

    def mark(self, piece_uri: str, offset: int) -> None:
        """Note the record that is mapped next, in case it kills the process."""
        ...

    def mark_key(self, mark: Mark) -> None:
        """Note the key that `reduce` or `combine` takes next, likewise."""
        ...

    def leave_keys(self, function: str) -> None:
        """Note that `reduce` or `combine` takes no key for now."""
        ...


class NoProgress:
    """Discards all reports."""

    def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002 - the public word
        """Do nothing."""

    def status(self, text: str) -> None:
        """Do nothing."""

    def mark(self, piece_uri: str, offset: int) -> None:
        """Do nothing."""

    def mark_key(self, mark: Mark) -> None:
        """Do nothing."""

    def leave_keys(self, function: str) -> None:
        """Do nothing."""
