"""Table of keys with the list of values of each; the combiner folds the lists now and then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.loops import append_values
from mrcore.shuffle.object_sizes import LARGEST_FIXED_BYTES, SHORT_TEXT_BYTES, values_bytes
from mrcore.shuffle.tally import Grouped, Thaw


class ValueLists:
    """Table that holds the values of each key, those of the last fold first."""

    holds_rows = True
    """Whether each pair takes memory."""

    def __init__(self) -> None:
        self.table: dict[Any, list[Any]] = {}
        self._folded_rows = 0
        self._has_texts = False

    def add(self, keys: Sequence[Any], values: Sequence[Any]) -> int:
        """Append values to the lists of their keys; return the bytes that they take."""
        table = self.table
        self._has_texts = self._has_texts or str in set(map(type, values))
        for key, value in zip(keys, values, strict=True):
            found = table.get(key)
            if found is not None:
                found.append(value)
            else:
                table[key] = [value]
        return values_bytes(values)

    def add_fast(
        self,
        pairs: Iterator[Any],
        kind: type,
        types: KeyTypes,
        *,
        function: str,
        counts_values: bool,
    ) -> Any:
        """Append the values of pairs up to the first foreign one; return that, or None."""
        return append_values(
            pairs,
            self.table,
            kind,
            types,
            function=function,
            counts_values=counts_values,
            takes_texts=self._has_texts,
        )

    def value_bytes(self, rows: int) -> int:
        """Return the bytes that the values of `rows` pairs may take in the bare loop."""
        return rows * (SHORT_TEXT_BYTES if self._has_texts else LARGEST_FIXED_BYTES)

    def rows(self) -> int:
        """Return the number of values that wait to be folded."""
        return sum(map(len, self.table.values())) - self._folded_rows

    def take_folded(self, groups: Iterator[Grouped]) -> list[Any]:
        """Take groups that another table has folded, while this one is empty; return all values."""
        for keys, lists in groups:
            pairs = zip(keys, lists, strict=True)
            self.table.update((key, values) for key, values in pairs if values)
        return self._folded()

    def fold(self, combiner: Combiner, thaw: Thaw | None) -> list[Any]:
        """Combine the values of every key that has more than one; return all that are left."""
        self._fold_lists(combiner, thaw)
        return self._folded()

    def _folded(self) -> list[Any]:
        left = list(chain.from_iterable(self.table.values()))
        self._folded_rows = len(left)
        return left

    def _fold_lists(self, combiner: Combiner, thaw: Thaw | None) -> None:
        table = self.table
        keys = [key for key, values in table.items() if len(values) > 1]
        lists: Iterator[Sequence[Any]] = map(table.__getitem__, keys)
        if thaw is not None:
            lists = map(thaw, map(table.__getitem__, keys))
        left = combiner.fold_many(keys, lists)
        table.update(zip(keys, left, strict=True))
        if [] in left:
            for key in [key for key, values in table.items() if not values]:
                del table[key]

    def drain(self, combiner: Combiner, rows: int, thaw: Thaw | None) -> Iterator[Grouped]:
        """Yield all keys, up to `rows` at a time, with their folded values; nothing is held then.

        Raises UserCodeError.
        """
        self._fold_lists(combiner, thaw)
        table, self.table, self._folded_rows = self.table, {}, 0
        items = iter(table.items())
        while some := list(islice(items, rows)):
            yield [key for key, _ in some], [values for _, values in some]
