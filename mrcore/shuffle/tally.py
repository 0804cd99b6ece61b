"""Table of keys that all come with one and the same value, as in `yield word, 1`: counts only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.loops import count_keys
from mrcore.util.object_copies import thawed

Grouped = tuple[list[Any], list[list[Any]]]
"""Keys, and the list of the values of each."""
Thaw = Callable[[Sequence[Any]], Sequence[Any]]
"""Function that returns values of a list with copies of those that were pickled."""

_PIECE_ROWS: Final = 2_097_152
"""Values handed to one call of the combiner, which may well put them in a list."""


class Tally:
    """Table that holds the number of pairs of each key; the value of all is the object `same`.

    Measured: a third of the time of a dict of lists, over the generator's own, since a count lies
    where the list would only be pointed at.
    """

    holds_rows = False
    """Whether each pair takes memory."""

    def __init__(self, same: Any) -> None:
        self.same = same
        self.table: dict[Any, int] = {}

    def fits(self, values: Sequence[Any]) -> bool:
        """Return whether all values are the object `same`; equal ones, as 1.0 and 1, are not."""
        same = self.same
        return all(value is same for value in values)

    def add(self, keys: Sequence[Any], values: Sequence[Any]) -> int:
        """Count keys of pairs that fit; return the bytes that their values take: none."""
        table = self.table
        for key in keys:
            table[key] = table.get(key, 0) + 1
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
        """Count the keys of pairs up to the first foreign one; return that, or None."""
        return count_keys(
            pairs,
            self.table,
            self.same,
            kind,
            types,
            function=function,
            counts_values=counts_values,
        )

    def value_bytes(self, rows: int) -> int:
        """Return the bytes that the values of `rows` pairs may take: none."""
        return 0

    def has_long_lists(self) -> bool:
        """Return whether a key has more values than are folded at once."""
        return max(self.table.values(), default=0) > _PIECE_ROWS

    def rows(self) -> int:
        """Return the number of pairs that are held."""
        return sum(self.table.values())

    def drain(self, combiner: Combiner, rows: int, thaw: Thaw | None) -> Iterator[Grouped]:
        """Yield all keys, up to `rows` at a time, each with what its values were combined to.

        A key that came once keeps its value as it is; the lists of others may be empty. Keys come
        in no particular order. One that came very often may come several times in turn. Nothing is
        held afterwards. Raises UserCodeError.
        """
        table, self.table = self.table, {}
        same = self.same
        items = iter(table.items())
        while some := list(islice(items, rows)):
            once = [key for key, count in some if count == 1]
            many = [key for key, count in some if 1 < count <= _PIECE_ROWS]
            repeats = [count for _, count in some if 1 < count <= _PIECE_ROWS]
            lists = combiner.fold_many(many, map(chain, map(repeat, repeat(same), repeats)))
            yield once, [[same] for _ in once]
            yield many, lists
            if len(once) + len(many) < len(some):
                for key, count in some:
                    if count > _PIECE_ROWS:
                        for left in self._fold_pieces(combiner, key, count):
                            yield [key], [left]

    def _fold_pieces(self, combiner: Combiner, key: Any, count: int) -> Iterator[list[Any]]:
        """Yield the values that are left of a key, in order.

        What hardly shrinks is not folded again with the next piece: such a key may be one that the
        combiner cannot take, which keeps all of its values.
        """
        left: list[Any] = []
        while count:
            rows = min(count, _PIECE_ROWS)
            left = combiner.fold(key, chain(map(thawed, left), repeat(self.same, rows)))
            count -= rows
            if 2 * len(left) > rows:
                yield left
                left = []
        yield left
