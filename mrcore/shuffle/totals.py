"""Table of keys with the sum of the values of each, for `combine = mrcore.sum` over ints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.loops import add_values
from mrcore.shuffle.tally import Grouped, Thaw


class Totals:
    """Table that adds up at once, so no value waits to be folded.

    Ints only: their sum does not depend on the order of the additions, as that of floats does.
    """

    holds_rows = False
    """Whether each pair takes memory."""

    def __init__(self) -> None:
        self.table: dict[Any, int] = {}
        self._pairs = 0

    @staticmethod
    def fits(values: Sequence[Any]) -> bool:
        """Return whether all values are ints; a bool that is alone has to stay one."""
        return set(map(type, values)) == {int}

    def add(self, keys: Sequence[Any], values: Sequence[Any]) -> int:
        """Add values that fit; return the bytes that they take: none."""
        table = self.table
        for key, value in zip(keys, values, strict=True):
            table[key] = table.get(key, 0) + value
        self._pairs += len(keys)
        return 0

    def add_fast(
        self,
        pairs: Iterator[Any],
        kind: type,
        types: KeyTypes,
        *,
        function: str,
        counts_values: bool,
    ) -> Any:
        """Add the values of pairs up to the first foreign one; return that, or None."""
        assert not counts_values, "counts have a tally"
        added, foreign = add_values(pairs, self.table, kind, types, function=function)
        self._pairs += added
        return foreign

    def value_bytes(self, rows: int) -> int:
        """Return the bytes that the values of `rows` pairs may take: none."""
        return 0

    def has_long_lists(self) -> bool:
        """Return whether the values of a key may be too many for a list: there is one."""
        return False

    def rows(self) -> int:
        """Return the number of pairs that are held."""
        return self._pairs

    def drain(self, combiner: Combiner, rows: int, thaw: Thaw | None) -> Iterator[Grouped]:
        """Yield all keys, up to `rows` at a time, each with its sum; nothing is held then."""
        del combiner, thaw  # what they would do is done
        table, self.table, self._pairs = self.table, {}, 0
        items = iter(table.items())
        while some := list(islice(items, rows)):
            yield [key for key, _ in some], [[total] for _, total in some]
