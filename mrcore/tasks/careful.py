"""Records that are mapped one by one, after an attempt has failed at one: bad ones are skipped.

An attempt that fails at each bad record would run as often as there are such records. So the second
attempt holds what a record emits until the record is done. It can then give up a record and go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from mrcore.errors import KeyTypeError
from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunction
from mrcore.plugin.running import running
from mrcore.shuffle.user_code import USER_EXCEPTIONS, UserCodeError, check_pairs
from mrcore.tasks.emit import Emitter, emitted
from mrcore.tasks.emitted_rows import is_row
from mrcore.tasks.records import Records
from mrcore.util.object_copies import UnpicklableValueError, kept, thawed

_HELD: Final = 1_024
"""Pairs of one record that are held. A record with more can only fail its attempt."""


class CarefulMap:
    """The map of a step for one record at a time, which gives up those that fail twice."""

    def __init__(
        self,
        user_map: UserFunction,
        name: str,
        records: Records,
        context: Context,
        then: Emitter,
        *,
        judges: bool,
    ) -> None:
        """`then` takes what `user_map` emits; with `judges` it has looked at it before."""
        self._map = user_map
        self._name = name
        self._records = records
        self._context = context
        self._then = then
        self._judges = judges

    def take(self, key: Any, value: Any) -> None:
        """Map a record, or give it up. Raises TooManyBadError where no more may be given up."""
        error: Exception | None = None
        value = _frozen(value)  # the first try may change it
        for _ in range(2):
            error = self._try(key, thawed(value))
            if error is None:
                return
            if _is_interrupt(error):
                raise error
        assert error is not None
        self._records.give_up(error)

    def _try(self, key: Any, value: Any) -> Exception | None:
        """Map a record, and pass on what it emits; return what it raised before that."""
        counters = dict(self._context.counters)
        try:
            held, rest = self._held(emitted(self._map, self._name, (key,), iter((value,)), 1))
            if self._judges:
                self._judge(list(map(thawed, held)))
        except (UserCodeError, KeyTypeError) as error:
            self._context.restore(counters)
            return error
        self._then.take(self._name, chain(map(thawed, held), rest))
        return None

    def _held(self, items: Iterator[Any]) -> tuple[list[Any], Iterator[Any]]:
        """Return the items that a record emits, as they are now, and those that are not held."""
        held: list[Any] = []
        try:
            with running(self._name):
                for item in items:
                    try:
                        held.append(kept(item))
                    except UnpicklableValueError:
                        return held, chain((item,), items)
                    if len(held) >= _HELD:
                        break
        except UserCodeError:
            raise
        except USER_EXCEPTIONS as error:
            raise UserCodeError.raised(self._name, error) from error
        return held, items

    def _judge(self, items: list[Any]) -> None:
        if self._then.takes_rows:
            items = [item for item in items if not is_row(item)]
        check_pairs(self._name, items)
        self._then.judge([key for key, _ in items], [value for _, value in items])


def _frozen(value: Any) -> Any:
    try:
        return kept(value)
    except UnpicklableValueError:
        return value


def _is_interrupt(error: Exception) -> bool:
    """Return whether a person has stopped the program, or left its debugger."""
    raised = error.error if isinstance(error, UserCodeError) else None
    return isinstance(raised, KeyboardInterrupt) or type(raised).__module__ == "bdb"
