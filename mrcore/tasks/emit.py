"""Destinations of emitted pairs: the next map function, or the output of the task."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Protocol

from mrcore.errors import KeyTypeError
from mrcore.plugin.context import Context
from mrcore.plugin.functions import MapMany, StepFunctions, UserFunction
from mrcore.plugin.running import running
from mrcore.shuffle.arrow import Array
from mrcore.shuffle.collect import arrow_batches
from mrcore.shuffle.user_code import (
    READ_ROWS,
    USER_EXCEPTIONS,
    PairReader,
    ResultPairs,
    UserCodeError,
    check_pairs,
    read_pairs,
    stopped,
)
from mrcore.tasks.emitted_rows import is_row
from mrcore.tasks.position import Position
from mrcore.util.arrow_values import python_values
from mrcore.util.object_copies import kept, thawed_list


class Emitter(Protocol):
    """Takes what the user's functions emit. `function` is the name of the one that does."""

    @property
    def takes_rows(self) -> bool:
        """Return whether dicts without a key may be among what it takes."""
        ...

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Take note of the input that the next pairs come from."""
        ...

    def take(self, function: str, pairs: Iterator[Any]) -> None:
        """Take all pairs of an iterator over the user's code; raise UserCodeError."""
        ...

    def take_tables(self, function: str, tables: Iterator[Any]) -> None:
        """Take RecordBatches and Tables with the columns `key` and `value`."""
        ...

    def keep(self, value: Any) -> Any:
        """Return what `write` needs of a value that the user's code may change later."""
        ...

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Take pairs as two lists; `keep` has returned the values."""
        ...

    def write_columns(self, keys: Array, values: Array) -> None:
        """Take pairs as two columns."""
        ...

    def judge(self, keys: list[Any], values: list[Any]) -> None:
        """Raise for pairs that `take` would refuse, as it would, and take nothing."""
        ...


class PairTaker(ABC):
    """An emitter of pairs without rows, which keeps each pair as it is before the next is read."""

    takes_rows = False

    def take(self, function: str, pairs: Iterator[Any]) -> None:
        """Take all pairs, some at a time: the function that emits them may change them later."""
        reader = PairReader(function, keep_keys=True)
        while (some := read_pairs(reader, pairs))[0]:
            self.write(function, *some)

    def take_tables(self, function: str, tables: Iterator[Any]) -> None:
        """Take all rows of RecordBatches and Tables."""
        for table in tables:
            for batch in arrow_batches(function, table):
                self.write_columns(batch.column("key"), batch.column("value"))

    def keep(self, value: Any) -> Any:
        """Return the value as it is now."""
        return kept(value)

    @abstractmethod
    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Take pairs as two lists; `keep` has returned the values."""

    def write_columns(self, keys: Array, values: Array) -> None:
        """Take pairs that lie in columns."""
        self.write("", python_values(keys), python_values(values))


class MapStep(PairTaker):
    """The map of a step, called for pairs that another function of the same task has emitted."""

    def __init__(self, step: StepFunctions, of_step: str, then: Emitter) -> None:
        """`of_step` follows the names of the functions in errors; `then` takes what they emit."""
        self.name = f"map{of_step}"
        self._map = step["map"]
        self._then = then

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Pass it on."""
        self._then.start_batch(records, size_bytes)

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Map pairs; an error names the key of the pair at work."""
        keys = list(thawed_list(keys))
        at = Position(keys)
        noted, given = self.noted(at.items), iter(thawed_list(values))
        pairs = emitted(self._map, self.name, noted, given, len(keys))
        try:
            self._then.take(self.name, pairs)
        except UserCodeError as error:
            if error.function != self.name or at.index < 0:
                raise
            raise self.located(error, keys[at.index]) from error.error

    def noted(self, keys: Iterator[Any]) -> Iterator[Any]:
        """Return the keys of pairs, which are taken one by one when the pairs are mapped."""
        return keys

    def located(self, error: UserCodeError, key: Any) -> UserCodeError:
        """Return an error with the key of the pair at work."""
        return error.at_key(key)

    def judge(self, keys: list[Any], values: list[Any]) -> None:
        """Map the pairs, and let the next one judge."""
        for key, value in zip(keys, values, strict=True):
            try:
                map_one(self._map, self.name, key, value, self._then)
            except (UserCodeError, KeyTypeError):
                raise
            except USER_EXCEPTIONS as error:
                raise UserCodeError.raised(self.name, error) from error


def emitted(
    function: UserFunction, name: str, keys: Iterable[Any], values: Iterator[Any], count: int
) -> Iterator[Any]:
    """Return what a map function emits for `count` keys and values, lazily."""
    if isinstance(function, MapMany):
        return function.over(keys, values)
    results = map(function, keys, values)
    if inspect.isgeneratorfunction(function):
        return chain.from_iterable(results)
    return ResultPairs(name, results, count)


def emitted_tables(
    function: UserFunction, name: str, keys: Iterable[Any], values: Iterator[Any], count: int
) -> Iterator[Any]:
    """Yield the tables that a map function makes of `count` RecordBatches."""
    results = map(function, keys, values)
    try:
        for result in results:
            count -= 1
            if result is None:
                continue
            if hasattr(result, "schema"):
                yield result
            elif isinstance(result, Iterator | list | tuple):
                yield from result
            else:
                yield result  # refused where it is looked at
    except GeneratorExit:
        raise  # nobody wants the rest
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(name, error) from error
    if count:
        raise stopped(name)


def map_one(function: UserFunction, name: str, key: Any, value: Any, then: Emitter) -> None:
    """Map one record, some pairs at a time, and have judged what comes out."""
    pairs = ResultPairs(name, iter([function(key, value)]), 1)
    while some := list(islice(pairs, READ_ROWS)):
        if then.takes_rows:
            some = [item for item in some if not is_row(item)]
        check_pairs(name, some)
        then.judge([key for key, _ in some], [value for _, value in some])


def finish(function: UserFunction | None, name: str, context: Context, then: Emitter) -> None:
    """Call `map_finish` or `reduce_finish`, and pass on the pairs that it emits.

    Raises UserCodeError and KeyTypeError with the name of the function.
    """
    if function is None:
        return
    try:
        with running(name):
            result = function(context)
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(name, error) from error
    with named_in_key_errors(name):
        then.take(name, ResultPairs(name, iter([result]), 1))


@contextmanager
def named_in_key_errors(function: str) -> Iterator[None]:
    """Add to an error about a key which function has emitted it."""
    try:
        yield
    except KeyTypeError as error:
        raise KeyTypeError(f"{error} (emitted by {function})") from error
