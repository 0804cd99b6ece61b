"""Pairs that a later map of a task cannot take: noted in case they kill the process, then skipped.

A reduce may feed the map of the next step within one task. Each pair between them is taken for
itself: its place is its key, and its number among the pairs in a row with this key.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from mrcore.errors import KeyTypeError
from mrcore.model.skipping import is_pair, marked_function, pair_mark
from mrcore.model.task import BadRecord, Mark, Skip
from mrcore.plugin.functions import MapMany, StepFunctions
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import UserCodeError
from mrcore.tasks.emit import Emitter, MapStep, emitted
from mrcore.tasks.record_errors import key_sentence, record_text
from mrcore.tasks.skipped import SAVED_CHARACTERS, Guard, mark_number
from mrcore.tasks.trials import GivenUpError, Trials, frozen, judge_with
from mrcore.util.object_copies import thawed, thawed_list
from mrcore.util.texts import text_of


class GuardedMap(MapStep):
    """The map of a later step, which leaves out pairs that are poison for it."""

    def __init__(
        self, step: StepFunctions, of_step: str, then: Emitter, guard: Guard, *, is_last: bool
    ) -> None:
        """`is_last` is whether `then` is the output of the task, and not another map."""
        super().__init__(step, of_step, then)
        self._guard = guard
        each = self._map
        self._takes_each = not isinstance(each, MapMany) or each.is_by_record
        """Whether pairs may be mapped one by one."""
        self._skip = {mark: skip for mark, skip in guard.orders().items() if is_pair(mark)}
        self._trials = Trials(self.name, guard.context, judge_with(self.name, then, asks=is_last))
        self._key: Any = None
        """Key of the pair at work."""
        self._text: bytes | None = None
        """The same as text."""
        self._number = 0
        """Number of this pair among those in a row with this key."""
        self._mark: Mark | None = None

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Map pairs, but those that are skipped."""
        # A function over many pairs need not look at their keys, where they are noted.
        is_many = self._guard.marks and isinstance(self._map, MapMany)
        if self._takes_each and (self._guard.careful or self._skip or is_many):
            items = map(self._items, thawed_list(keys), thawed_list(values))
            try:
                self._then.take(self.name, chain.from_iterable(items))
            except UserCodeError as error:
                if error.function != self.name:
                    raise
                raise self.located(error, self._key) from error.error
        else:
            super().write(function, keys, values)

    def noted(self, keys: Iterator[Any]) -> Iterator[Any]:
        """Return keys that note the pair at work when they are taken."""
        return map(self._noted, keys) if self._guard.marks and self._takes_each else keys

    def located(self, error: UserCodeError, key: Any) -> UserCodeError:
        """Return an error with the pair at work."""
        found = error.at_key(key)
        found.mark = self._mark
        return found

    def _noted(self, key: Any) -> Any:
        self._note(key)
        return key

    def _note(self, key: Any) -> Skip | None:
        """Note the pair at work; return the order to skip it, if there is one."""
        text = text_of(key, repr).encode(errors="backslashreplace")
        self._number = self._number + 1 if text == self._text else 0
        self._key, self._text = key, text
        place = b"\0".join((self.name.encode(), str(self._number).encode(), text))
        self._mark = pair_mark(shown(key), mark_number(place), self.name)
        skip = self._skip.get(self._mark)
        if skip is not None:
            self._guard.progress.leave_keys(marked_function(self._mark))
        elif self._guard.marks:
            self._guard.progress.mark_key(self._mark)
        return skip

    def _items(self, key: Any, value: Any) -> Iterator[Any]:
        """Return what a pair emits; nothing where it is left out."""
        skip = self._note(key)
        if skip is not None:
            cause = skip.cause or "two attempts failed on this pair"
            self._guard.skipped.add(
                BadRecord(self.name, self._number, cause, _shown(key, value), skip.traceback)
            )
            return iter(())

        def start() -> Iterator[Any]:
            return emitted(self._map, self.name, (key,), iter((thawed(value),)), 1)

        if not self._guard.careful:
            return start()
        value = frozen(value)
        try:
            return self._trials.emitted(start)
        except GivenUpError as failed:
            self._give_up(key, thawed(value), failed.error)
            return iter(())

    def _give_up(self, key: Any, value: Any, error: UserCodeError | KeyTypeError) -> None:
        self._guard.skipped.give_up(
            self.name,
            self._number,
            _shown(key, value),
            sentence=key_sentence(error, key, self.name),
            error=error,
        )


def _shown(key: Any, value: Any) -> str:
    return record_text((key, value), SAVED_CHARACTERS)
