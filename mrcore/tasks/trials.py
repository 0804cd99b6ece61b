"""Tries of the user's code at one record, key or pair: what it emits is held until it is done.

An attempt that fails at each bad record would run as often as there are such records. So the second
attempt holds what a record emits. It can then give up the record, and go on with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

from mrcore.errors import KeyTypeError
from mrcore.plugin.context import Context
from mrcore.plugin.running import running
from mrcore.shuffle.user_code import (
    READ_BYTES,
    USER_EXCEPTIONS,
    UserCodeError,
    check_pairs,
    size_of,
)
from mrcore.tasks.emit import Emitter
from mrcore.tasks.emitted_rows import is_row
from mrcore.util.object_copies import UnpicklableValueError, kept, thawed

_HELD: Final = 1_024
"""Pairs of a record, or values of a key, that are held. With more it can only fail its attempt."""


Judge = Callable[[list[Any]], None]
"""Raises UserCodeError or KeyTypeError for items that a function has emitted and that cannot be."""


class GivenUpError(Exception):
    """The user's code has failed twice; carries the second error."""

    def __init__(self, error: UserCodeError | KeyTypeError) -> None:
        super().__init__(str(error))
        self.error = error


class Trials:
    """Tries of one function of the user, twice for what fails."""

    def __init__(self, name: str, context: Context, judge: Judge | None = None) -> None:
        """`name` is that of the function; `judge` raises for emitted items that cannot be."""
        self._name = name
        self._context = context
        self._judge = judge

    def emitted(self, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Return what one call emits, held where it is short.

        `start` makes the call, and gives it arguments that no former one has changed. Raises
        GivenUpError, and UserCodeError where a person has stopped the program.
        """
        last: UserCodeError | KeyTypeError
        for _ in range(2):
            before = dict(self._context.counters)
            try:
                held, rest = self._held(start)
                after = dict(self._context.counters)
                if self._judge is not None:
                    self._judge(list(map(thawed, held)))
            except (UserCodeError, KeyTypeError) as error:
                self._context.restore(before)
                if _is_interrupt(error):
                    raise
                last = error
                continue
            self._context.restore(after)  # later maps may have counted while they were asked
            return chain(map(thawed, held), rest)
        raise GivenUpError(last) from last

    def _held(self, start: Callable[[], Iterator[Any]]) -> tuple[list[Any], Iterator[Any]]:
        """Return the items that a call emits, as they are now, and those that are not held."""
        try:
            with running(self._name):
                return held(start())
        except UserCodeError:
            raise
        except USER_EXCEPTIONS as error:
            raise UserCodeError.raised(self._name, error) from error


def held(items: Iterable[Any]) -> tuple[list[Any], Iterator[Any]]:
    """Return the first items, as they are now, and the others: none if the first are all.

    Items that cannot be pickled are among the others.
    """
    found: list[Any] = []
    size_bytes = 0
    rest = iter(items)
    for item in rest:
        try:
            found.append(kept(item))
        except UnpicklableValueError:
            return found, chain((item,), rest)
        size_bytes += size_of(found[-1])
        if len(found) >= _HELD or size_bytes > READ_BYTES:
            break
    return found, rest


def frozen(value: Any) -> Any:
    """Return a value as it is now, to be thawed for each try; itself if it cannot be pickled."""
    try:
        return kept(value)
    except UnpicklableValueError:
        return value


def judge_with(name: str, then: Emitter, *, asks: bool = True) -> Judge:
    """Return a judge of items that the function of this name emits for `then`.

    It refuses what is not a pair and, if it `asks`, what `then` would refuse.
    """

    def judge(items: list[Any]) -> None:
        if then.takes_rows:
            items = [item for item in items if not is_row(item)]
        check_pairs(name, items)
        if asks:
            then.judge([key for key, _ in items], [value for _, value in items])

    return judge


def _is_interrupt(error: Exception) -> bool:
    """Return whether a person has stopped the program, or left its debugger."""
    raised = error.error if isinstance(error, UserCodeError) else None
    return isinstance(raised, KeyboardInterrupt) or type(raised).__module__ == "bdb"
