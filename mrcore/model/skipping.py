"""Rules of skipped records, which the master and the inline engine share."""

from __future__ import annotations

from typing import Final

from mrcore.model.task import Mark, Skip
from mrcore.util.texts import printable

FAILURES_TO_SKIP: Final = 2
"""Attempts that raise or die at one record before it is taken for the cause."""
_CAUSE_CHARACTERS: Final = 200
"""Length of what a skipped record is saved with, at most."""


def skip_at(mark: Mark, cause: str) -> Skip:
    """Return the order to skip a record, for the message of its last failure."""
    return Skip(mark, printable(cause, _CAUSE_CHARACTERS))


def bad_records_problem(skipped: int, allowed: int) -> str | None:
    """Return why a job has to end for the records that it has skipped; None if it may go on."""
    if skipped <= allowed:
        return None
    return (
        f"{skipped} bad records were skipped, more than the {allowed} allowed: look at _bad/ "
        "under the output"
    )
