"""The border between our code and the user's: who raised, and what a function returned."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from types import GeneratorType
from typing import Any, Final, NoReturn

from mrcore.errors import DataError, InternalError
from mrcore.model.task import Mark
from mrcore.plugin.running import running
from mrcore.plugin.tracebacks import missing_module_hint
from mrcore.shuffle.group_values import ValueList, Values
from mrcore.shuffle.keys import shown
from mrcore.util.object_copies import SCALARS, UnpicklableValueError, kept
from mrcore.util.texts import text_of

UserFunction = Callable[..., Any]

READ_ROWS: Final = 1024
"""Number of pairs alive at once while reading: few enough for their tuples to stay in the cache."""
READ_BYTES: Final = 2 << 20
FIXED_SIZES: Final = frozenset((int, float, bool, type(None)))
"""Types of small values that never change."""
USER_EXCEPTIONS: Final = BaseException
"""Exceptions of user code that are ordinary failures.

All of it: sys.exit() and a cancelled task must not end the child, nor a panic of code in Rust.
"""


class UserCodeError(InternalError):
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
        self.mark: Mark | None = None
        """The pair that a later map was at, where pairs are noted."""

    @classmethod
    def raised(cls, function: str, error: BaseException, **key: Any) -> UserCodeError:
        """Return the error for an exception that came out of the user's function."""
        return cls(function, f"{function} raised {describe(error)}", error=error, **key)

    def at_key(self, key: object) -> UserCodeError:
        """Return an error that also tells the key, where this one tells none."""
        if self.has_key:
            return self
        if self.error is not None:
            return UserCodeError(
                self.function, self.problem, error=self.error, key=key, has_key=True
            )
        problem = f"{self.problem}, for the key {shown(key)}"
        return UserCodeError(self.function, problem, key=key, has_key=True)


def describe(error: BaseException) -> str:
    """Return an exception as one line: its type and its message."""
    name = type(error).__qualname__
    text = text_of(error).strip()
    if isinstance(error, MemoryError) and not text:
        text = "the memory limit was reached; give tasks more by --memory"
    first = text.splitlines()[0] if text else ""
    hint = missing_module_hint(error)
    return f"{name}: {first[:300]}{hint}" if first else f"{name}{hint}"


def call_each(
    name: str, function: UserFunction, keys: Sequence[Any], *arguments: Iterable[Any]
) -> list[Any]:
    """Return what a plain function of the user returns for each key, called with `arguments`."""
    results: list[Any] = []
    try:
        # `extend` keeps what it got before an exception, and so tells which key it was.
        with running(name):
            results.extend(map(function, *arguments))
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(name, error, key=keys[len(results)], has_key=True) from error
    if len(results) < len(keys):
        raise stopped(name, key=keys[len(results)], has_key=True)
    return results


def call_keeping(
    name: str,
    function: UserFunction,
    keys: Sequence[Any],
    lists: Iterable[ValueList],
    keep: Callable[[Any, Any], Any],
) -> list[Any]:
    """Return what a plain function of the user returns for each key and its values, given once.

    What may change is kept at once, by `keep` of key and result: the function may return the same
    object for the next key. Iterators come as they are.
    """
    results: list[Any] = []
    key: Any = None
    new = Values.__new__
    try:
        with running(name):
            for key, some in zip(keys, lists, strict=True):
                # As its constructor does, in three quarters of the time: many groups are small.
                values = new(Values)
                values._rest = iter(some)  # noqa: SLF001
                values._begun = False  # noqa: SLF001
                result = function(key, values)
                if type(result) not in SCALARS and not is_iterator_type(type(result)):
                    result = keep(key, result)
                results.append(result)
    except StopIteration:
        raise stopped(name, key=key, has_key=True) from None
    except (UserCodeError, DataError):
        raise
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(name, error, key=key, has_key=True) from error
    return results


def stopped(name: str, **key: Any) -> UserCodeError:
    """Return the error for a StopIteration, which ends a loop in C without a word."""
    return UserCodeError.raised(name, StopIteration("give next() a default"), **key)


def is_iterator_type(kind: type) -> bool:
    """Return whether results of this type are generators or iterators: they stand for pairs."""
    return kind is GeneratorType or hasattr(kind, "__next__")


class ResultPairs(Iterator[Any]):
    """Pairs of what a plain function has returned for each of `count` records, read lazily.

    An iteration over them passes no frame of ours. It raises UserCodeError for what is not pairs,
    and where there are fewer results than records.
    """

    def __init__(self, function: str, results: Iterator[Any], count: int) -> None:
        self._function = function
        self._results = results
        self._left = count
        self._pairs = chain(chain.from_iterable(map(self._pairs_of, results)), self._end())

    def __iter__(self) -> Iterator[Any]:
        return self._pairs

    def __next__(self) -> Any:
        return next(self._pairs)

    def items_of_dicts(self, rows: int) -> Iterator[tuple[list[Any], list[int]]]:
        """Yield the items of the first results, while they are dicts of ints; what is left stays.

        Keys and values come up to `rows` at a time. Raises what the user's function raises.
        """
        for result in self._results:
            if type(result) not in _DICTS or not _INTS.issuperset(map(type, result.values())):
                self._pairs = chain(self._pairs_of(result), self._pairs)
                return
            self._left -= 1
            keys, values = iter(result), iter(result.values())
            while some := list(islice(keys, rows)):
                yield some, list(islice(values, rows))
        self._pairs = chain(self._end())  # a function that raised StopIteration is not called again

    def _pairs_of(self, result: Any) -> Iterable[Any]:
        self._left -= 1
        if result is None:
            return ()
        if isinstance(result, dict):
            return result.items()
        try:
            pairs: Iterator[Any] = iter(result)
        except TypeError:
            raise _returned(self._function, result, _NO_PAIRS) from None
        if isinstance(result, str | bytes):
            raise _returned(self._function, result, _NO_PAIRS)
        if type(result) is tuple and len(result) == 2 and not all(map(_looks_like_pair, result)):
            raise _returned(
                self._function, result, "one pair by itself: yield it, or return a list of pairs"
            )
        return pairs

    def _end(self) -> Iterator[Any]:
        """Yield nothing; raise UserCodeError where results are missing."""
        if self._left:
            raise stopped(self._function)
        yield from ()


_DICTS: Final = frozenset((dict, Counter, defaultdict, OrderedDict))
"""Types whose items are what their class says."""
_INTS: Final = frozenset((int,))
_NO_PAIRS: Final = "not pairs: yield (key, value), or return a list of pairs"


def _looks_like_pair(found: object) -> bool:
    return isinstance(found, tuple | list) and len(found) == 2


def _returned(function: str, result: object, problem: str) -> UserCodeError:
    return UserCodeError(function, f"{function} returned {shown(result)}, {problem}")


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
        if isinstance(pair, dict):
            problem += (
                ": a dict by itself is a row of the output, which only a last reduce yields, or a "
                "map with --map-only, and not beside pairs"
            )
        raise UserCodeError(function, problem)


Pairs = tuple[list[Any], list[Any]]
"""Keys and values of some pairs."""


class PairReader:
    """Reads pairs from what the user's code yields: some at a time, few while they are large.

    The user's code may change an object that it has yielded and yield it again. So every pair is
    taken apart, and what may change is kept as it is, before the next pair is read.
    """

    def __init__(
        self,
        function: str,
        keep: Callable[[Any], Any] = kept,
        *,
        keep_keys: bool = False,
        limit_bytes: int = READ_BYTES,
    ) -> None:
        """`keep` returns what is needed of an object that may change.

        Keys are kept too with `keep_keys`; a shuffle refuses all keys that may change.
        """
        self.kept = False
        """Whether `keep` was asked for any value so far."""
        self.function = function
        """Name of the function that emits the pairs, for notes and errors."""
        self._keep = keep
        self._keep_keys = keep_keys
        self._limit_bytes = limit_bytes

    def read(self, pairs: Iterator[Any], rows: int = READ_ROWS) -> Pairs:
        """Return up to `rows` pairs, none at the end; raise UserCodeError for what is not a pair.

        What the user's code raises comes through as it is.
        """
        keys: list[Any] = []
        values: list[Any] = []
        left, keep_keys = self._limit_bytes, self._keep_keys
        usual: type | None = None  # of a small value, and most values have one type
        with running(self.function):
            for pair in islice(pairs, rows):
                try:
                    key, value = pair
                except (TypeError, ValueError):
                    self._refuse(pair)
                if type(pair) is not tuple:
                    check_pair(self.function, pair)
                kind = type(value)
                if kind is not usual:
                    if kind is str:  # as `size_of` has it, without a call
                        left -= 64 + len(value)
                    elif kind in FIXED_SIZES:
                        usual = kind
                    else:
                        if kind not in SCALARS:
                            value = self._kept(key, value)
                        left -= size_of(value)
                if keep_keys and type(key) not in SCALARS:
                    key = self._keep(key)
                keys.append(key)
                values.append(value)
                if left < 0:
                    break
        return keys, values

    def _kept(self, key: Any, value: Any) -> Any:
        self.kept = True
        try:
            return self._keep(value)
        except UnpicklableValueError as error:
            raise unpicklable(self.function, key, value, error) from None

    def _refuse(self, pair: Any) -> NoReturn:
        check_pair(self.function, pair)
        raise TypeError(f"a pair of the type {type(pair).__qualname__} cannot be taken apart")


def size_of(value: Any) -> int:
    """Return about how many bytes a value takes that `kept` has returned."""
    if type(value) is tuple:
        if FIXED_SIZES.issuperset(map(type, value)):
            return 64 * len(value)
        return sum(map(size_of, value))
    try:
        return 64 + len(value)
    except USER_EXCEPTIONS:  # an object that the format cannot hold, as will be found
        return 64


def unpicklable(function: str, key: Any, value: Any, error: Exception) -> UserCodeError:
    """Return the error for a value that cannot be pickled."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return UserCodeError(
        function,
        f"{function} emitted, for the key {shown(key)}, a value of type {name} that cannot be "
        f"pickled ({error}): emit plain data instead",
        key=key,
        has_key=True,
    )


def read_pairs(reader: PairReader, pairs: Iterator[Any], rows: int = READ_ROWS) -> Pairs:
    """Return the next pairs that the user's function emits; raise UserCodeError."""
    try:
        return reader.read(pairs, rows)
    except UserCodeError:
        raise
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(reader.function, error) from error
