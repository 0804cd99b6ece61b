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

_KEY: Final = "key "
_COMBINE_KEY: Final = "key of combine "
_ITEM: Final = "item"
"""Beginnings of marks that are not records. A URI has none of them, nor has a key as Python shows
it the second one."""


def key_mark(shown: str, digest: int, function: str = "reduce") -> Mark:
    """Return the mark of a key, given as people see it, at which a function is."""
    return Mark(f"{_COMBINE_KEY if function == 'combine' else _KEY}{shown}", digest)


def item_mark(number: int) -> Mark:
    """Return the mark of an item of a call."""
    return Mark(_ITEM, number)


def is_key(mark: Mark) -> bool:
    """Return whether a mark is a key."""
    return mark.uri.startswith(_KEY)


def is_item(mark: Mark) -> bool:
    """Return whether a mark is an item of a call."""
    return mark.uri == _ITEM


def marked_function(mark: Mark) -> str:
    """Return the function that is at a marked record, key or item, without its step."""
    if is_item(mark):
        return "call"
    if not is_key(mark):
        return "map"
    return "combine" if mark.uri.startswith(_COMBINE_KEY) else "reduce"


def shown_key(mark: Mark) -> str:
    """Return the key of a mark as people see it."""
    return mark.uri.removeprefix(_COMBINE_KEY).removeprefix(_KEY)


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
