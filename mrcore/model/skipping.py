"""Rules of skipped records and keys, which the master and the inline engine share."""

from __future__ import annotations

from typing import Final

from mrcore.model.task import Mark, Skip, TaskFailure
from mrcore.util.texts import printable

FAILURES_TO_SKIP: Final = 2
"""Attempts that raise or die at one record before it is taken for the cause."""
_CAUSE_CHARACTERS: Final = 200
"""Length of what a skipped record is saved with, at most."""
_TRACEBACK_CHARACTERS: Final = 600
"""Length of the end of the traceback that it is saved with: a job may skip very many records."""


KEY: Final = "key "
"""Beginning of a mark that is a key of a reduce, and not a record; no URI begins so."""


def is_key(mark: Mark) -> bool:
    """Return whether a mark is a key."""
    return mark.uri.startswith(KEY)


def skip_at(mark: Mark, failure: TaskFailure) -> Skip:
    """Return the order to skip a record or a key, given its last failure."""
    cause = printable(failure.message, _CAUSE_CHARACTERS)
    return Skip(mark, cause, failure.traceback[-_TRACEBACK_CHARACTERS:])


def bad_records_problem(skipped: int, allowed: int) -> str | None:
    """Return why a job has to end for the records that it has skipped; None if it may go on."""
    if skipped <= allowed:
        return None
    return (
        f"{skipped} bad records were skipped, more than the {allowed} allowed: look at _bad/ "
        "under the output"
    )
