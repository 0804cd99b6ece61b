"""Grouping what `map` emits by key in a dict, while combining pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from sys import getsizeof
from typing import Any, Final

from mrcore.plugin.running import running
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.loops import append_values, count_keys
from mrcore.shuffle.tally import Grouped, Tally
from mrcore.shuffle.user_code import READ_ROWS, PairReader, read_pairs
from mrcore.util.object_copies import thawed_list

_HEAD_ROWS: Final = 32
FAST_ROWS: Final = 65_536
_FOLD_ROWS: Final = 2_097_152
_TRIAL_ROWS: Final = 32_768
_FLUSH_ROWS: Final = 8192
_ENTRY_BYTES: Final = 200
"""Of a dict's entry and of the list that is its value."""

_SIZES: Final[dict[type, int]] = {int: 40, float: 32, bool: 8, type(None): 8}


class Grouping:
    """Pairs grouped by key in a dict; lists of values are folded by the combiner now and then.

    As long as all values are one and the same object the keys are only counted, in a Tally.

    Measured, over the generator's own time: 120 ns a pair for a tally, 180 for lists, where
    columns, a sort and a sum over them take 250.
    """

    def __init__(
        self,
        combiner: Combiner,
        types: KeyTypes,
        add: Callable[[Sequence[Any], Sequence[Any]], None],
        spill: Callable[[], None],
        limit_bytes: int,
    ) -> None:
        """`add` takes keys and values that leave the dict, `spill` makes room for more of them."""
        self.pairs = 0
        """How many pairs have left the dict, or stay in it folded."""
        self._combiner = combiner
        self._types = types
        self._add = add
        self._spill = spill
        self._limit_bytes = limit_bytes
        self._reader = PairReader("map")
        self._groups: dict[Any, list[Any]] = {}
        self._tally: Tally | None = None
        self._varied = False
        """Values have been seen that a tally cannot hold; so there will be none any more."""
        self._tried = False
        self._rows = _HEAD_ROWS
        self._fast_rows = READ_ROWS
        self._keys_bytes = 0
        self._folded_rows = 0
        self._folded_bytes = 0
        self._pending_rows = 0
        """At most so many values wait to be folded, of so many bytes."""
        self._pending_bytes = 0

    def add(
        self, pairs: Iterator[Any], function: str, at_most: int = FAST_ROWS
    ) -> Iterator[Any] | None:
        """Take all pairs; return None, or those that are left when columns are better from here.

        `function` is the name of the function that emits them, and `at_most` bounds their number.

        Each round begins with a few pairs that are looked at closely. Where they have one type of
        key and values of a fixed size, such as numbers, a bare loop takes many more like them.
        """
        self._reader.function = function
        waiting: tuple[Any, ...] = ()
        while (pairs_read := read_pairs(self._reader, chain(waiting, pairs), self._rows))[0]:
            keys, values = pairs_read
            waiting = ()
            before = len(self._held())
            self._add_checked(keys, values)
            if self._hazardous():
                return self._leave(pairs)
            kind = type(keys[-1])
            if kind in (str, bytes) and self._types.only(kind) and type(values[-1]) in _SIZES:
                foreign = self._add_fast(pairs, min(self._fast_rows, at_most), kind)
                if foreign is not None:
                    waiting = (foreign,)
                self._rows, self._fast_rows = _HEAD_ROWS, min(FAST_ROWS, 2 * self._fast_rows)
            else:
                self._rows = READ_ROWS
            self._count_new_keys(before)
            if not self._worthwhile():
                return self._leave(chain(waiting, pairs))
        return None

    def _held(self) -> dict[Any, Any]:
        return self._groups if self._tally is None else self._tally.counts

    def _hazardous(self) -> bool:
        """Tell whether a dict would take two keys for one."""
        return self._types.collide

    def _add_checked(self, emitted: list[Any], values: list[Any]) -> None:
        """Group a few pairs, whatever their keys are, unless that would be hazardous."""
        keys = self._types.check(emitted)
        if self._combiner.counts_values:
            values = [1] * len(values)
        if self._hazardous():
            self.flush()  # first, since values have to stay in the order of their emission
            self.pairs += len(keys)
            self._add(keys, values)
            return
        tally = self._tally_for(values)
        self._pending_rows += len(values)
        if tally is not None:
            tally.add(keys)
            return
        self._pending_bytes += _sizes(values)
        groups = self._groups
        for key, value in zip(keys, values, strict=True):
            found = groups.get(key)
            if found is not None:
                found.append(value)
            else:
                groups[key] = [value]

    def _tally_for(self, values: list[Any]) -> Tally | None:
        """Return the tally if these values can go there, begin it with the first ones."""
        if self._varied:
            return None
        if self._tally is None and type(values[0]) in _SIZES:
            self._tally = Tally(values[0])
        if self._tally is None or not self._tally.fits(values):
            self._varied = True
            if self._tally is not None:
                self._fold()
        return self._tally

    def _add_fast(self, pairs: Iterator[Any], rows: int, kind: type) -> Any:
        """Group up to `rows` pairs; stop at a key or a value of another sort, return that pair."""
        self._pending_rows += rows
        some = islice(pairs, rows)
        tally, function = self._tally, self._reader.function
        counts = self._combiner.counts_values
        with running(function):
            if tally is not None:
                return count_keys(
                    some, tally.counts, tally.same, kind, self._types,
                    function=function, counts_values=counts,
                )  # fmt: skip
            self._pending_bytes += rows * _SIZES[int]
            return append_values(
                some, self._groups, kind, self._types, function=function, counts_values=counts
            )

    def _count_new_keys(self, before: int) -> None:
        held = self._held()
        count = max(0, len(held) - before)
        new = islice(reversed(held), count)
        size = getsizeof if self._types.only(str) else _key_bytes
        self._keys_bytes += sum(map(size, new)) + count * _ENTRY_BYTES

    def _worthwhile(self) -> bool:
        """Fold and flush what is due; return False when too few keys repeat."""
        if not self._tried and self._pending_rows >= _TRIAL_ROWS:
            self._recount()
            if self._pending_rows >= _TRIAL_ROWS:
                self._tried = True
                if 2 * len(self._held()) > self._pending_rows:
                    return False
        if not self._full():
            return True
        self._recount()
        if not self._full():
            return True
        before = self._pending_rows + self._folded_rows
        if self._tally is not None:
            pays = 2 * len(self._tally.counts) <= before
            self.flush()
            self._spill()
            return pays or before < _TRIAL_ROWS
        self._fold()
        pays = 2 * self._folded_rows <= before or before < _TRIAL_ROWS
        if 2 * self._size_bytes() > self._limit_bytes:
            self.flush()
            self._spill()
        return pays

    def _full(self) -> bool:
        if self._tally is not None:
            return self._keys_bytes > self._limit_bytes
        return self._size_bytes() > self._limit_bytes or self._pending_rows >= _FOLD_ROWS

    def _size_bytes(self) -> int:
        return self._keys_bytes + self._folded_bytes + self._pending_bytes

    def _recount(self) -> None:
        """Count the values that wait; before, the bare loop's were only known to be so many."""
        rows = self._count_pending()
        self._pending_bytes = self._pending_bytes * rows // max(1, self._pending_rows)
        self._pending_rows = rows

    def _count_pending(self) -> int:
        if self._tally is not None:
            return self._tally.rows()
        return sum(map(len, self._groups.values())) - self._folded_rows

    def _fold(self) -> None:
        """Combine the values of every key that has more than one; a tally ends."""
        self.pairs += self._count_pending()
        self._pending_rows = self._pending_bytes = 0
        if self._tally is None:
            self._fold_lists()
        else:
            for keys, lists in self._end_tally():
                groups = zip(keys, lists, strict=True)
                self._groups.update((key, values) for key, values in groups if values)
        folded = list(chain.from_iterable(self._groups.values()))
        self._folded_rows = len(folded)
        self._folded_bytes = _sizes(folded)

    def _end_tally(self) -> Iterator[Grouped]:
        tally, self._tally = self._tally, None
        assert tally is not None
        return tally.drain(self._combiner, _FLUSH_ROWS)

    def _fold_lists(self) -> None:
        groups = self._groups
        keys = [key for key, values in groups.items() if len(values) > 1]
        lists: Iterator[Sequence[Any]] = map(groups.__getitem__, keys)
        if self._reader.kept or self._combiner.pickles:
            lists = map(thawed_list, map(groups.__getitem__, keys))
        left = self._combiner.fold_many(keys, lists)
        groups.update(zip(keys, left, strict=True))
        if [] in left:
            for key in [key for key, values in groups.items() if not values]:
                del groups[key]

    def flush(self) -> None:
        """Pass all groups on as columns, folded; nothing is held afterwards."""
        self.pairs += self._count_pending()
        self._pending_rows = self._pending_bytes = 0
        if self._tally is None:
            self._fold_lists()
            groups = _parts(self._groups, _FLUSH_ROWS)
        else:
            groups = self._end_tally()
        for keys, lists in groups:
            values = list(chain.from_iterable(lists))
            if set(map(len, lists)) == {1}:
                self._add(keys, values)
            elif values:
                self._add(
                    [key for key, some in zip(keys, lists, strict=True) for _ in some], values
                )
        self._groups.clear()
        self._keys_bytes = self._folded_bytes = self._folded_rows = 0

    def _leave(self, pairs: Iterator[Any]) -> Iterator[Any]:
        self.flush()
        return pairs


def _parts(groups: dict[Any, list[Any]], rows: int) -> Iterator[Grouped]:
    items = iter(groups.items())
    while some := list(islice(items, rows)):
        yield [key for key, _ in some], [values for _, values in some]


def _key_bytes(key: Any) -> int:
    size = getsizeof(key)
    return size + sum(map(_key_bytes, key)) if type(key) is tuple else size


def _sizes(values: Sequence[Any]) -> int:
    """Return about how many bytes values take as Python objects, counted, not measured."""
    kinds = set(map(type, values))
    if kinds <= _SIZES.keys():
        return sum(_SIZES[kind] for kind in kinds) // len(kinds) * len(values) if kinds else 0
    total = 0
    for value in values:
        kind = type(value)
        if kind in _SIZES:
            total += _SIZES[kind]
        elif kind is tuple:
            total += 64 + _sizes(value)
        else:  # a str, bytes, or what was pickled
            total += 64 + len(value)
    return total
