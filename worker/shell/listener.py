"""Listener of a supervisor: the interface through which it asks and reports."""

from __future__ import annotations

from typing import Protocol

from mrcore.model.ids import AttemptId
from mrcore.model.task import TaskResult


class Listener(Protocol):
    """Receiver of what a supervisor reports."""

    def may_begin(self) -> bool:
        """Return whether there is room for the results of attempts that have yet to begin."""
        ...

    def attempt_ended(self, attempt: AttemptId, result: TaskResult) -> None:
        """Take the result of an attempt that has ended by itself, or could not begin."""
        ...
