"""The border between our code and the user's: who raised, and what a function returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from sys import getsizeof
from types import GeneratorType
from typing import Any, Final

from mrcore.shuffle.keys import shown
from mrcore.shuffle.running import running
from mrcore.texts import text_of

UserFunction = Callable[..., Any]

DRAW_ROWS: Final = 1024
"""Pairs alive at once while they are drawn: few enough for tuples to stay in the cache."""
DRAW_BYTES: Final = 2 << 20
_FIXED_SIZES: Final = frozenset((int, float, bool, type(None)))
CAUGHT: Final = BaseException
"""What user code may raise and be an ordinary failure.

All of it: sys.exit() and a cancelled task must not end the child, nor a panic of code in Rust.
"""


class UserCodeError(Exception):
    """A function of the user raised, or gave back what it must not.

    `function` is its name ("map"), `problem` a phrase for the message, `error` what was raised
    (None where nothing was), `has_key` and `key` what it was called with.
    """

    def __init__(
        self,
        function: str,
        problem: str,
        *,
        error: BaseException | None = None,
        key: object = None,
        has_key: bool = False,
    ) -> None:
        super().__init__(problem)
        self.function = function
        self.problem = problem
        self.error = error
        self.key = key
        self.has_key = has_key

    @classmethod
    def raised(cls, function: str, error: BaseException, **key: Any) -> UserCodeError:
        """Return the error for an exception that came out of the user's function."""
        return cls(function, f"{function} raised {describe(error)}", error=error, **key)

    def at_key(self, key: object) -> UserCodeError:
        """Return an error that also tells the key, where this one tells none."""
        if self.has_key:
            return self
        problem = f"{self.problem}, for the key {shown(key)}"
        return UserCodeError(self.function, problem, key=key, has_key=True)


def describe(error: BaseException) -> str:
    """Return an exception as one line: its type and its message."""
    name = type(error).__qualname__
    text = text_of(error).strip()
    if isinstance(error, MemoryError) and not text:
        text = "the memory limit was reached; give tasks more by --memory"
    first = text.splitlines()[0] if text else ""
    return f"{name}: {first[:300]}" if first else name


def call_each(
    name: str, function: UserFunction, keys: Sequence[Any], *arguments: Iterable[Any]
) -> list[Any]:
    """Return what a plain function of the user returns for each key, called with `arguments`."""
    results: list[Any] = []
    try:
        # `extend` keeps what it got before an exception, and so tells which key it was.
        with running(name):
            results.extend(map(function, *arguments))
    except CAUGHT as error:
        raise UserCodeError.raised(name, error, key=keys[len(results)], has_key=True) from error
    if len(results) < len(keys):
        raise stopped(name, key=keys[len(results)], has_key=True)
    return results


def stopped(name: str, **key: Any) -> UserCodeError:
    """Return the error for a StopIteration, which ends a loop in C without a word."""
    return UserCodeError.raised(name, StopIteration("give next() a default"), **key)


def is_iterator_type(kind: type) -> bool:
    """Tell whether results of this type are generators or iterators: they stand for pairs."""
    return kind is GeneratorType or hasattr(kind, "__next__")


def pairs_of(results: Iterator[Any], count: int) -> Iterator[Any]:
    """Yield the pairs of what a plain `map` has returned for each of `count` records.

    Raises UserCodeError for what is not pairs, and where there are fewer results than records.
    """
    for result in results:
        count -= 1
        if result is None:
            continue
        if isinstance(result, dict):
            yield from result.items()
            continue
        try:
            pairs = iter(result)
        except TypeError:
            raise _returned(result, _NO_PAIRS) from None
        if isinstance(result, str | bytes):
            raise _returned(result, _NO_PAIRS)
        if type(result) is tuple and len(result) == 2 and not all(map(_looks_like_pair, result)):
            raise _returned(result, "one pair by itself: yield it, or return a list of pairs")
        yield from pairs
    if count:
        raise stopped("map")


_NO_PAIRS: Final = "not pairs: yield (key, value), or return a list of pairs"


def _looks_like_pair(found: object) -> bool:
    return isinstance(found, tuple | list) and len(found) == 2


def _returned(result: object, problem: str) -> UserCodeError:
    return UserCodeError("map", f"map returned {shown(result)}, {problem}")


def check_pairs(function: str, pairs: Sequence[Any]) -> None:
    """Raise UserCodeError unless all are tuples or lists of two."""
    kinds = set(map(type, pairs))
    if kinds <= _PAIR_TYPES and set(map(len, pairs)) <= {2}:
        return
    for pair in pairs:
        check_pair(function, pair)


_PAIR_TYPES: Final = frozenset((tuple, list))


def check_pair(function: str, pair: Any) -> None:
    """Raise UserCodeError unless it is a tuple or a list of two."""
    if not _looks_like_pair(pair):
        problem = f"{function} yielded {shown(pair)}, not a (key, value) pair"
        raise UserCodeError(function, problem)


class Drawer:
    """Draws pairs from what the user's code yields: some at a time, few while they are large.

    A value of a few bytes may be followed by one of many megabytes, so where values have no fixed
    size each is looked at; numbers, which are drawn in C, are taken to be followed by numbers. What
    containers hold takes longer to tell, so some of them stand for those that follow.
    """

    def __init__(self, function: str, limit_bytes: int = DRAW_BYTES) -> None:
        self._function = function
        self._limit_bytes = limit_bytes
        self._fixed = False

    def draw(self, pairs: Iterator[Any], rows: int = DRAW_ROWS) -> list[Any]:
        """Return up to `rows` pairs, none at the end; raise UserCodeError for what is no pair.

        What the user's code raises comes through as it is.
        """
        with running(self._function):
            drawn = list(islice(pairs, rows)) if self._fixed else self._draw_measured(pairs, rows)
        if drawn:
            check_pairs(self._function, drawn)
            self._fixed = type(drawn[-1][1]) in _FIXED_SIZES
        return drawn

    def draw_for(self, key: Any, pairs: Iterator[Any]) -> list[Any]:
        """Return what `draw` does; what goes wrong is told with the key that it went wrong at."""
        try:
            return self.draw(pairs)
        except UserCodeError as error:
            raise error.at_key(key) from None
        except CAUGHT as error:
            raise UserCodeError.raised(self._function, error, key=key, has_key=True) from error

    def _draw_measured(self, pairs: Iterator[Any], rows: int) -> list[Any]:
        drawn: list[Any] = []
        left, held = self._limit_bytes, 0
        for number, pair in enumerate(islice(pairs, rows)):
            drawn.append(pair)
            try:
                value = pair[1]
            except (TypeError, LookupError):
                break  # no pair, as will be found
            size = getsizeof(value, 0)
            if not number % _LOOK_EVERY:
                held = _size_of(value, _LEVELS) - size
            left -= size + held
            if left < 0:
                break
        return drawn


_LOOK_EVERY: Final = 16
_LEVELS: Final = 3
_ELEMENTS: Final = 4


def _size_of(value: Any, levels: int) -> int:
    """Return about how many bytes a value and all that it holds take, judged by a few elements."""
    size = getsizeof(value, 0)
    if not levels:
        return size
    held = value
    if type(value) not in _CONTAINERS:
        try:
            held = vars(value)
        except CAUGHT:  # it may be looked up by code of the user
            return size
    if type(held) not in _CONTAINERS or not held:
        return size
    elements: Iterable[Any] = held.values() if type(held) is dict else held
    some = [_size_of(element, levels - 1) for element in islice(elements, _ELEMENTS)]
    return size + sum(some) * len(held) // len(some)


_CONTAINERS: Final = frozenset((list, tuple, dict, set, frozenset))


def draw(drawer: Drawer, pairs: Iterator[Any], rows: int = DRAW_ROWS) -> list[Any]:
    """Return the next pairs that the user's `map` emits; raise UserCodeError."""
    try:
        return drawer.draw(pairs, rows)
    except UserCodeError:
        raise
    except CAUGHT as error:
        raise UserCodeError.raised("map", error) from error
