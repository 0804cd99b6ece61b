"""Keys that `reduce` or `combine` cannot take: noted in case they kill the process, then skipped.

A key that `reduce` cannot take is left out. One that `combine` cannot take keeps its values as they
are, and `reduce` gets them all: how often a combiner runs must not matter to it anyway.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

from mrcore.model.skipping import key_mark as mark_of
from mrcore.model.skipping import marked_function
from mrcore.model.task import BadRecord, Mark, Skip, TaskSpec
from mrcore.plugin.aggregates import Aggregate, AggregateKind
from mrcore.plugin.functions import UserFunction
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import is_iterator_type
from mrcore.tasks.progress import ProgressSink
from mrcore.util.texts import text_of

_SAVED_CHARACTERS = 1_024


def kind_of(name: str) -> str:
    """Return the kind of a function by its name, such as `reduce` of `reduce of step 2`."""
    return name.partition(" ")[0]


def key_mark(key: object, name: str) -> Mark:
    """Return the mark of a key that a function takes: a text for people, a digest for us."""
    text = text_of(key, repr).encode(errors="backslashreplace")
    digest = hashlib.blake2b(text, digest_size=7).digest()  # a signed number holds it
    return mark_of(shown(key), int.from_bytes(digest), kind_of(name))


class BadKeys:
    """The keys that one function of a task does not get, and the one that it is at."""

    def __init__(self, spec: TaskSpec, progress: ProgressSink, name: str) -> None:
        """`name` is that of the reduce or combine that takes the keys."""
        self._name = name
        self._combines = kind_of(name) == "combine"
        self._skip = {
            skip.mark: skip for skip in spec.skip if marked_function(skip.mark) == kind_of(name)
        }
        self._marks = spec.mark_records
        self._marks_aggregates = spec.mark_records and spec.job.record_timeout_seconds is None
        self._progress = progress
        self._found: dict[Mark, BadRecord] = {}

    @property
    def found(self) -> tuple[BadRecord, ...]:
        """Return the keys that were skipped."""
        return tuple(self._found.values())

    def guarded(self, function: UserFunction) -> UserFunction:
        """Return what is called in place of a function; itself where nothing is to be done.

        An aggregate takes no time of its own. So a time limit alone does not guard it, and columns
        of numbers stay as fast as they are. A combiner that counts has to be known as such.
        """
        marks = self._marks
        if isinstance(function, Aggregate):
            if self._combines and function.kind is AggregateKind.COUNT:
                return function
            marks = self._marks_aggregates
        if not self._skip and not marks:
            return function
        if inspect.isgeneratorfunction(function):

            def generate(key: Any, values: Any) -> Iterator[Any]:
                skip = self._note(key)
                yield from function(key, values) if skip is None else self._left(key, values)

            return generate

        def call(key: Any, values: Any) -> Any:
            if self._note(key) is not None:
                return self._left(key, values) if self._combines else None
            result = function(key, values)
            if self._marks and is_iterator_type(type(result)):
                return self._marked(key, result)  # it is read when others have been called
            return result

        return call

    def _note(self, key: object) -> Skip | None:
        """Note a key as the one at work; return the order to skip it, if there is one."""
        mark = key_mark(key, self._name)
        skip = self._skip.get(mark)
        if skip is None:
            if self._marks:
                self._progress.mark_key(mark)
            return None
        self._progress.leave_keys(kind_of(self._name))
        if mark not in self._found:
            text = text_of(key, repr)[:_SAVED_CHARACTERS]
            cause = skip.cause or "two attempts failed on this key"
            self._found[mark] = BadRecord(self._name, 0, cause, text, skip.traceback)
        return skip

    def _left(self, key: object, values: Any) -> Iterator[Any]:
        """Yield the pairs that stand for a skipped key."""
        if self._combines:
            for value in values:
                yield key, value

    def _marked(self, key: object, pairs: Iterator[Any]) -> Iterator[Any]:
        self._progress.mark_key(key_mark(key, self._name))
        yield from pairs
