"""Keys that `reduce` cannot take: noted in case they kill the process, and skipped in the end."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

from mrcore.model.skipping import KEY, is_key
from mrcore.model.task import BadRecord, Mark, TaskSpec
from mrcore.plugin.functions import UserFunction
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import is_iterator_type
from mrcore.tasks.progress import ProgressSink
from mrcore.util.texts import text_of

_SAVED_CHARACTERS = 1_024


def key_mark(key: object) -> Mark:
    """Return the mark of a key: its text for people, and a digest of it for us."""
    text = text_of(key, repr).encode(errors="backslashreplace")
    digest = hashlib.blake2b(text, digest_size=7).digest()  # a signed number holds it
    return Mark(f"{KEY}{shown(key)}", int.from_bytes(digest))


class BadKeys:
    """The keys of a task that are skipped, and the one at work."""

    def __init__(self, spec: TaskSpec, progress: ProgressSink, function: str) -> None:
        """`function` is the name of the reduce that takes them."""
        self._skip = {skip.mark: skip for skip in spec.skip if is_key(skip.mark)}
        self._marks = spec.mark_records
        self._progress = progress
        self._function = function
        self.found: list[BadRecord] = []
        """Keys that were skipped."""

    def guarded(self, reduce: UserFunction) -> UserFunction:
        """Return what is called in place of a reduce; itself where nothing is to be done."""
        if not self._skip and not self._marks:
            return reduce
        if inspect.isgeneratorfunction(reduce):

            def generate(key: Any, values: Any) -> Iterator[Any]:
                if self._passes(key):
                    yield from reduce(key, values)

            return generate

        def call(key: Any, values: Any) -> Any:
            if not self._passes(key):
                return None
            result = reduce(key, values)
            if self._marks and is_iterator_type(type(result)):
                return self._marked(key, result)  # it is read when others have been called
            return result

        return call

    def _passes(self, key: object) -> bool:
        mark = key_mark(key)
        skip = self._skip.get(mark)
        if skip is None:
            self._note(mark)
            return True
        text = text_of(key, repr)[:_SAVED_CHARACTERS]
        cause = skip.cause or "two attempts failed on this key"
        self.found.append(BadRecord(self._function, 0, cause, text, skip.traceback))
        return False

    def _marked(self, key: object, pairs: Iterator[Any]) -> Iterator[Any]:
        self._note(key_mark(key))
        yield from pairs

    def _note(self, mark: Mark) -> None:
        if self._marks:
            self._progress.mark(mark.uri, mark.offset)
