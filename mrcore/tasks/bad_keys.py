"""Keys that `reduce` or `combine` cannot take: noted in case they kill the process, then skipped.

A key that `reduce` cannot take is left out. One that `combine` cannot take keeps its values as they
are, and `reduce` gets them all: how often a combiner runs must not matter to it anyway.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import chain
from typing import Any

from mrcore.errors import KeyTypeError
from mrcore.model.skipping import key_mark as mark_of
from mrcore.model.skipping import marked_function
from mrcore.model.task import BadRecord, Mark, Skip
from mrcore.plugin.aggregates import Aggregate, AggregateKind
from mrcore.plugin.functions import UserFunction
from mrcore.shuffle.group_values import Values
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import UserCodeError, is_iterator_type
from mrcore.tasks.record_errors import key_sentence
from mrcore.tasks.skipped import SAVED_CHARACTERS, Guard, mark_number
from mrcore.tasks.trials import GivenUpError, Judge, Trials, held
from mrcore.util.object_copies import thawed
from mrcore.util.texts import text_of


def kind_of(name: str) -> str:
    """Return the kind of a function by its name, such as `reduce` of `reduce of step 2`."""
    return name.partition(" ")[0]


def key_mark(key: object, name: str) -> Mark:
    """Return the mark of a key that a function takes: a text for people, a digest for us."""
    text = text_of(key, repr).encode(errors="backslashreplace")
    return mark_of(shown(key), mark_number(text), kind_of(name))


class BadKeys:
    """The keys that one function of a task does not get, and the one that it is at."""

    def __init__(self, guard: Guard, name: str, judge: Judge | None = None) -> None:
        """`name` is that of the reduce or combine that takes the keys.

        `judge` raises for what it emits and cannot be.
        """
        spec = guard.spec
        self._guard = guard
        self._name = name
        self._combines = kind_of(name) == "combine"
        self._skip = {
            mark: skip
            for mark, skip in guard.orders().items()
            if marked_function(mark) == kind_of(name)
        }
        self._marks = spec.mark_records
        self._marks_aggregates = spec.mark_records and spec.job.record_timeout_seconds is None
        self._trials = Trials(name, guard.context, judge)
        self._left_out: set[Mark] = set()
        """Keys that were met and not given to the function."""

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
        if self._guard.careful:
            return self._careful(function)
        if not self._skip and not marks:
            return function
        if inspect.isgeneratorfunction(function):

            def generate(key: Any, values: Any) -> Iterator[Any]:
                is_left_out = self._note(key)
                yield from self._left(key, values) if is_left_out else function(key, values)

            return generate

        def call(key: Any, values: Any) -> Any:
            if self._note(key):
                return self._left(key, values) if self._combines else None
            result = function(key, values)
            if self._marks and is_iterator_type(type(result)):
                return self._marked(key, result)  # it is read when others have been called
            return result

        return call

    def _careful(self, function: UserFunction) -> UserFunction:
        """Return what calls a function, twice where it raises, and then gives up the key."""

        def generate(key: Any, values: Any) -> Iterator[Any]:
            if self._note(key):
                yield from self._left(key, values)
                return
            first, rest = held(values)
            other = next(rest, _NOTHING)
            if other is not _NOTHING:  # more values than are held cannot be given twice
                all_values = chain(map(thawed, first), (other,), rest)
                yield from _pairs(key, function(key, Values(all_values)))
                return
            try:
                pairs = self._trials.emitted(
                    lambda: _pairs(key, function(key, Values(map(thawed, first))))
                )
            except GivenUpError as failed:
                self._give_up(key, failed.error)
                pairs = self._left(key, map(thawed, first))
            yield from pairs

        return generate

    def _note(self, key: object) -> bool:
        """Note a key as the one at work; return whether it is left out instead."""
        mark = key_mark(key, self._name)
        skip = self._skip.get(mark)
        if skip is None and mark not in self._left_out:
            if self._marks:
                self._guard.progress.mark_key(mark)
            return False
        self._guard.progress.leave_keys(kind_of(self._name))
        if mark not in self._left_out:
            assert skip is not None
            self._left_out.add(mark)
            self._guard.skipped.add(_ordered(key, skip, self._name))
        return True

    def _give_up(self, key: object, error: UserCodeError | KeyTypeError) -> None:
        sentence = key_sentence(error, key, self._name)
        self._guard.skipped.give_up(self._name, 0, _saved(key), sentence=sentence, error=error)
        self._left_out.add(key_mark(key, self._name))
        self._guard.progress.leave_keys(kind_of(self._name))

    def _left(self, key: object, values: Any) -> Iterator[Any]:
        """Yield the pairs that stand for a key that is left out."""
        if self._combines:
            for value in values:
                yield key, value

    def _marked(self, key: object, pairs: Iterator[Any]) -> Iterator[Any]:
        self._guard.progress.mark_key(key_mark(key, self._name))
        yield from pairs


_NOTHING = object()


def _pairs(key: Any, result: Any) -> Iterator[Any]:
    """Return the pairs that a result of reduce or combine stands for."""
    if result is None:
        return iter(())
    if is_iterator_type(type(result)):
        return iter(result)
    return iter(((key, result),))


def _saved(key: object) -> str:
    return text_of(key, repr)[:SAVED_CHARACTERS]


def _ordered(key: object, skip: Skip, name: str) -> BadRecord:
    cause = skip.cause or "two attempts failed on this key"
    return BadRecord(name, 0, cause, _saved(key), skip.traceback)
