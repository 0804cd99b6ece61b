"""The calls of the user's reduce: one for each key of a sorted stream."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Final

from mrcore.plugin.functions import UserFunction
from mrcore.plugin.running import running
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.columns import Columns, KeyKind
from mrcore.shuffle.combine import aggregate_groups
from mrcore.shuffle.group_values import ValueList, Values, values_of_groups
from mrcore.shuffle.groups import Groups, GroupStream, LongGroup
from mrcore.shuffle.keys import keys_to_python
from mrcore.shuffle.user_code import (
    USER_EXCEPTIONS,
    UserCodeError,
    call_keeping,
    is_iterator_type,
    unpicklable,
)
from mrcore.shuffle.values import ValueKind, to_python
from mrcore.tasks.emit import Emitter
from mrcore.tasks.position import Position
from mrcore.util.object_copies import UnpicklableValueError

_CALLS: Final = 1024
"""Groups whose results are alive at once."""
_NATIVE_VALUES: Final = frozenset(ValueKind) - {ValueKind.PICKLED}


class Reducer:
    """Calls the user's reduce for every group, and passes on what it gives."""

    def __init__(self, reduce: UserFunction, then: Emitter, name: str = "reduce") -> None:
        """`name` is that of the function in notes and errors; `then` takes what it emits."""
        self._reduce = reduce
        self._name = name
        self._yields = inspect.isgeneratorfunction(reduce)
        self._then = then

    def run(self, stream: GroupStream) -> None:
        """Reduce all groups, in order."""
        for item in stream:
            if isinstance(item, LongGroup):
                self._reduce_long(item, stream)
                continue
            results = aggregate_groups(self._reduce, item)
            columns = item.columns
            first_keys = columns.keys.take(pa.array(item.starts))
            if results is not None and columns.key_kind is not KeyKind.ENCODED:
                self._then.write_columns(first_keys, results)
                continue
            keys = keys_to_python(columns.key_kind, first_keys)
            if results is not None:
                self._then.write(self._name, keys, to_python(ValueKind.INT, results))
            else:
                self._reduce_groups(item, keys, to_python(columns.value_kind, columns.values))

    def _reduce_groups(self, groups: Groups, keys: list[Any], values: list[Any]) -> None:
        for first in range(0, len(keys), _CALLS):
            some = keys[first : first + _CALLS]
            starts, ends = (at[first : first + _CALLS] for at in (groups.starts, groups.ends))
            lists = values_of_groups(values, starts, ends)
            if not self._yields:
                self._pass_on_returned(some, lists)
                continue
            at = Position(some)
            pairs = chain.from_iterable(map(self._reduce, at.items, map(Values, lists)))
            self._take(pairs, partial(_item, some, at))

    def _take(self, pairs: Iterator[Any], key: Callable[[], Any]) -> None:
        """Pass on the pairs of an iterator; `key` returns the key at work, for errors."""
        try:
            self._then.take(self._name, pairs)
        except UserCodeError as error:
            if error.function != self._name:
                raise
            raise error.at_key(key()) from error.error

    def _pass_on_returned(self, keys: list[Any], lists: Iterable[ValueList]) -> None:
        """Call a plain function for each key, and pair what it returns with the key."""
        results = call_keeping(self._name, self._reduce, keys, lists, self._kept)
        kinds = set(map(type, results))
        if type(None) not in kinds and not any(map(is_iterator_type, kinds)):
            self._then.write(self._name, keys, results)
            return
        for key, result in zip(keys, results, strict=True):
            self._pass_on(key, result)

    def _kept(self, key: Any, result: Any) -> Any:
        """Return a result as it is now: reduce may return the same object for the next key."""
        try:
            return self._then.keep(result)
        except UnpicklableValueError as error:
            raise unpicklable(self._name, key, result, error) from None

    def _pass_on(self, key: Any, result: Any) -> None:
        if result is None:
            return
        if not is_iterator_type(type(result)):
            self._then.write(self._name, [key], [self._kept(key, result)])
            return
        self._take(result, lambda: key)

    def _reduce_long(self, group: LongGroup, stream: GroupStream) -> None:
        """Reduce a group whose values may go on through many chunks."""
        try:
            with running(self._name):
                result = self._reduce(group.key, group.values)
        except USER_EXCEPTIONS as error:
            stream.check()
            raise UserCodeError.raised(self._name, error, key=group.key, has_key=True) from error
        stream.check()
        try:
            self._pass_on(group.key, result)
        except UserCodeError:
            stream.check()
            raise


def _item(keys: list[Any], at: Position) -> Any:
    return keys[at.index]


def pass_on_columns(columns: Columns, then: Emitter) -> None:
    """Pass pairs on as they are; native columns never become Python objects."""
    if columns.key_kind is not KeyKind.ENCODED and columns.value_kind in _NATIVE_VALUES:
        then.write_columns(columns.keys, columns.values)
    else:
        keys = keys_to_python(columns.key_kind, columns.keys)
        then.write("", keys, to_python(columns.value_kind, columns.values))
