"""Records that are mapped one by one, after an attempt has failed at one: bad ones are skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunction
from mrcore.tasks.emit import Emitter, emitted
from mrcore.tasks.records import Records
from mrcore.tasks.trials import GivenUpError, Trials, frozen, judge_with
from mrcore.util.object_copies import thawed


class CarefulMap:
    """The map of a step for one record at a time, which gives up those that fail twice.

    A record is given up as well where a later map of the task cannot take what it emits.
    """

    def __init__(
        self, user_map: UserFunction, name: str, records: Records, context: Context, then: Emitter
    ) -> None:
        """`then` takes what `user_map` emits."""
        self._map = user_map
        self._name = name
        self._records = records
        self._then = then
        self._trials = Trials(name, context, judge_with(name, then))

    def take(self, keys: Iterable[Any], values: Iterator[Any], *, in_bulk: bool) -> None:
        """Map the records of a batch, or give up those that fail.

        Pairs of many records go on at a time if they may go `in_bulk`. Raises TooManyBadError where
        no more may be given up.
        """
        items = map(self._items, keys, values)
        if in_bulk:  # an output takes far less time for many pairs than for one after the other
            self._then.take(self._name, chain.from_iterable(items))
            return
        for some in items:
            self._then.take(self._name, some)

    def _items(self, key: Any, value: Any) -> Iterator[Any]:
        """Return what a record emits; nothing where it is given up."""
        value = frozen(value)  # the first try may change it
        try:
            return self._trials.emitted(
                lambda: emitted(self._map, self._name, (key,), iter((thawed(value),)), 1)
            )
        except GivenUpError as failed:
            self._records.give_up(failed.error)
            return iter(())
