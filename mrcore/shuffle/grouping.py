"""Grouping what `map` emits by key in a dict, while combining pays."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from sys import getsizeof
from typing import Any, Final

from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.user import CAUGHT, DRAW_ROWS, Drawer, UserCodeError, check_pair, draw

_HEAD_ROWS: Final = 32
_FAST_ROWS: Final = 65_536
_FOLD_ROWS: Final = 2_097_152
_TRIAL_ROWS: Final = 32_768
_FLUSH_ROWS: Final = 8192
_ENTRY_BYTES: Final = 200
"""Of a dict's entry and of the list that is its value."""

_SIZES: Final[dict[type, int]] = {int: 40, float: 32, bool: 8, type(None): 8}


class Grouping:
    """Pairs grouped by key in a dict; lists of values are folded by the combiner now and then.

    Measured: 100 ns a pair over the generator's own time, where columns, a sort and a sum over
    them take 250.
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
        self._drawer = Drawer("map")
        self._groups: dict[Any, list[Any]] = {}
        self._tried = False
        self._rows = _HEAD_ROWS
        self._fast_rows = DRAW_ROWS
        self._keys_bytes = 0
        self._folded_rows = 0
        self._folded_bytes = 0
        self._pending_rows = 0
        """At most so many values wait to be folded, of so many bytes."""
        self._pending_bytes = 0

    def add(self, pairs: Iterator[Any]) -> Iterator[Any] | None:
        """Take all pairs; return None, or those that are left when columns are better from here.

        Each round begins with a few pairs that are looked at closely. Where they have one type of
        key and values of a fixed size, such as numbers, a bare loop takes many more like them.
        """
        while some := draw(self._drawer, pairs, self._rows):
            before = len(self._groups)
            self._add_checked(some)
            if self._hazardous():
                return self._leave(pairs)
            kind = type(some[-1][0])
            if kind in (str, bytes) and self._types.only(kind) and type(some[-1][1]) in _SIZES:
                foreign = self._add_fast(pairs, self._fast_rows, kind)
                if foreign is not None:
                    pairs = chain((foreign,), pairs)
                self._rows, self._fast_rows = _HEAD_ROWS, min(_FAST_ROWS, 2 * self._fast_rows)
            else:
                self._rows = DRAW_ROWS
            self._count_new_keys(len(self._groups) - before)
            if not self._worthwhile():
                return self._leave(pairs)
        return None

    def _hazardous(self) -> bool:
        """Tell whether a dict would take two keys for one."""
        return self._types.collide

    def _add_checked(self, pairs: list[Any]) -> None:
        """Group a few pairs, whatever their keys are, unless that would be hazardous."""
        if not pairs:
            return
        keys = self._types.check([key for key, _ in pairs])
        values = [value for _, value in pairs]
        if self._combiner.lift:
            values = [1] * len(values)
        self._pending_rows += len(values)
        self._pending_bytes += _sizes(values)
        if self._hazardous():
            self.flush()  # first, since values have to stay in the order of their emission
            self.pairs += len(keys)
            self._add(keys, values)
            return
        groups = self._groups
        for key, value in zip(keys, values, strict=True):
            found = groups.get(key)
            if found is not None:
                found.append(value)
            else:
                groups[key] = [value]

    def _add_fast(self, pairs: Iterator[Any], rows: int, kind: type) -> Any:
        """Group up to `rows` pairs; stop at a key of another type, and return that pair.

        All keys so far are `str` (or `bytes`), which are equal to nothing of another type, so that
        a foreign key is always a new one. Pairs are looked at where their key is new too: "ab" is
        no pair, though it can be unpacked.
        """
        self._pending_rows += rows
        self._pending_bytes += rows * _SIZES[int]
        groups = self._groups
        get = groups.get
        lift = self._combiner.lift
        pair: Any = None
        key: Any = None
        try:
            for pair in islice(pairs, rows):
                key, value = pair
                if lift:
                    value = 1
                found = get(key)
                if found is not None:
                    found.append(value)
                elif type(key) is kind and type(pair) is tuple:
                    groups[key] = [value]
                else:
                    return pair
        except UserCodeError:
            raise
        except CAUGHT as error:
            if pair is not None:
                check_pair("map", pair)
                self._types.check([pair[0]])  # a list, say, is no key of a dict
            raise UserCodeError.raised("map", error) from error
        return None

    def _count_new_keys(self, count: int) -> None:
        new = islice(reversed(self._groups), count)
        self._keys_bytes += sum(map(_key_bytes, new)) + count * _ENTRY_BYTES

    def _worthwhile(self) -> bool:
        """Fold and flush what is due; return False when too few keys repeat."""
        if not self._tried and self._pending_rows >= _TRIAL_ROWS:
            self._recount()
            if self._pending_rows >= _TRIAL_ROWS:
                self._tried = True
                if 2 * len(self._groups) > self._pending_rows:
                    return False
        if not self._full():
            return True
        self._recount()
        if not self._full():
            return True
        before = self._pending_rows + self._folded_rows
        self.fold()
        pays = 2 * self._folded_rows <= before or before < _TRIAL_ROWS
        if 2 * self._size_bytes() > self._limit_bytes:
            self.flush()
            self._spill()
        return pays

    def _full(self) -> bool:
        return self._size_bytes() > self._limit_bytes or self._pending_rows >= _FOLD_ROWS

    def _size_bytes(self) -> int:
        return self._keys_bytes + self._folded_bytes + self._pending_bytes

    def _recount(self) -> None:
        """Count the values that wait; before, the bare loop's were only known to be so many."""
        rows = self._count_pending()
        self._pending_bytes = self._pending_bytes * rows // max(1, self._pending_rows)
        self._pending_rows = rows

    def _count_pending(self) -> int:
        return sum(map(len, self._groups.values())) - self._folded_rows

    def fold(self) -> None:
        """Combine the values of every key that has more than one."""
        self.pairs += self._count_pending()
        groups = self._groups
        keys = [key for key, values in groups.items() if len(values) > 1]
        left = self._combiner.fold_many(keys, map(groups.__getitem__, keys))
        groups.update(zip(keys, left, strict=True))
        if [] in left:
            for key in [key for key, values in groups.items() if not values]:
                del groups[key]
        self._pending_rows = self._pending_bytes = 0
        folded = list(chain.from_iterable(groups.values()))
        self._folded_rows = len(folded)
        self._folded_bytes = _sizes(folded)

    def flush(self) -> None:
        """Pass all groups on as columns, folded; the dict is empty afterwards."""
        self.fold()
        items = iter(self._groups.items())
        while some := list(islice(items, _FLUSH_ROWS)):
            keys = [key for key, values in some for _ in values]
            self._add(keys, list(chain.from_iterable(values for _, values in some)))
        self._groups.clear()
        self._keys_bytes = self._folded_bytes = self._folded_rows = 0

    def _leave(self, pairs: Iterator[Any]) -> Iterator[Any]:
        self.flush()
        return pairs


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
        elif kind in (str, bytes):
            total += 64 + len(value)
        else:
            total += _deep_size(value)
    return total


def _deep_size(value: Any) -> int:
    try:
        return 128 + 3 * len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001 - the error is told when the value itself has to be pickled
        return 128
