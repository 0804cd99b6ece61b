"""Rules of skipped records and keys, which the master and the inline engine share."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from mrcore.model.task import Mark, Skip, TaskFailure
from mrcore.util.texts import printable

FAILURES_TO_SKIP: Final = 2
"""Attempts that raise or die at one record before it is taken for the cause."""
MAX_SKIPPED: Final = 10_000_000
"""Records that a job can skip: a task with many stores them, and reports their number."""
MAX_SKIPPED_IN_TASK: Final = 100_000
"""Records that one attempt can skip by itself. A share is known when all is read, so it does not
keep code that fails everywhere from writing a list as long as the input."""
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")
_CAUSE_CHARACTERS: Final = 200
"""Length of what a skipped record is saved with, at most."""
_TRACEBACK_CHARACTERS: Final = 600
"""Length of the end of the traceback that it is saved with: a job may skip very many records."""

_BY_OPTION: Final = "allowed by --max-bad-records"
_KEY: Final = "key "
_COMBINE_KEY: Final = "key of combine "
_PAIR: Final = "pair of "
_ITEM: Final = "item"
"""Beginnings of marks that are not records. A URI has none of them, nor has a key as Python shows
it the second one."""


def key_mark(shown: str, digest: int, function: str = "reduce") -> Mark:
    """Return the mark of a key, given as people see it, at which a function is."""
    return Mark(f"{_COMBINE_KEY if function == 'combine' else _KEY}{shown}", digest)


def pair_mark(shown: str, digest: int, function: str) -> Mark:
    """Return the mark of a pair by its key, as people see it, and the later map that takes it."""
    return Mark(f"{_PAIR}{function}: {shown}", digest)


def item_mark(number: int) -> Mark:
    """Return the mark of an item of a call."""
    return Mark(_ITEM, number)


def is_key(mark: Mark) -> bool:
    """Return whether a mark is a key."""
    return mark.uri.startswith(_KEY)


def is_pair(mark: Mark) -> bool:
    """Return whether a mark is a pair that a later map of a task takes."""
    return mark.uri.startswith(_PAIR)


def pair_place(mark: Mark) -> tuple[str, str]:
    """Return the map that takes a marked pair, such as `map of step 2`, and its key as shown."""
    function, _, shown = mark.uri.removeprefix(_PAIR).partition(": ")
    return function, shown


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
    """Return the order to skip a record, key or item, given its last failure."""
    return Skip(mark, *trimmed(failure.message, failure.traceback), failure.exception)


def trimmed(message: str, traceback: str) -> tuple[str, str]:
    """Return what a skipped record is saved with of its failure."""
    return printable(message, _CAUSE_CHARACTERS), traceback[-_TRACEBACK_CHARACTERS:]


Allowance = int | str
"""Bad records that a job may skip: a number, or a share of the records that it reads, as in 1%."""


def share_of(text: str) -> Allowance | None:
    """Return the share that a text stands for, in its shortest form; None if it is not one."""
    match = _SHARE.fullmatch(text)
    if match is None or not 0 <= Fraction(match[1]) <= 100:
        return None
    whole, _, part = match[1].partition(".")
    shortest = f"{int(whole)}.{part}".rstrip("0").rstrip(".")
    return f"{shortest}%" if shortest != "0" else 0


def most_skipped(allowance: Allowance, read: int | None = None) -> int:
    """Return the number of records that a job may skip.

    `read` is the number of all records of its input; None while some are yet to be read, and a
    share is not known as a number.
    """
    if isinstance(allowance, int):
        return allowance
    if read is None:
        return MAX_SKIPPED
    return min(MAX_SKIPPED, int(Fraction(allowance.rstrip("%")) * read / 100))


def bad_records_problem(skipped: int, allowance: Allowance, read: int | None = None) -> str | None:
    """Return why a job has to end for the records that it has skipped; None if it may go on.

    `read` is that of `most_skipped`.
    """
    if skipped <= most_skipped(allowance, read):
        return None
    records = f"{skipped:,} bad records" if skipped > 1 else "1 bad record"
    if isinstance(allowance, int):
        allowed = f"{allowance:,} are" if allowance != 1 else "1 is"
    elif read is None or skipped > MAX_SKIPPED:
        allowed = f"{MAX_SKIPPED:,} are the limit, and {allowance} is"
    else:
        records += f" of {read:,}"
        allowed = f"{allowance} is"
    return (
        f"{records} had to be skipped, and {allowed} {_BY_OPTION}. Correct the "
        "input or the code, or allow more."
    )


def is_about_allowance(message: str) -> bool:
    """Return whether a job has failed, with this message, for more bad records than allowed."""
    return _BY_OPTION in message


def task_skips_problem(skipped: int, allowance: Allowance) -> str | None:
    """Return why one task cannot skip this many records; None if it can."""
    problem = bad_records_problem(skipped, allowance)
    if problem is None and skipped > MAX_SKIPPED_IN_TASK:
        problem = (
            f"The task has more than {MAX_SKIPPED_IN_TASK:,} bad records, which is all that one "
            "can skip. Correct the input or the code, or use more tasks: --map-tasks, "
            "--reduces."
        )
    return problem
