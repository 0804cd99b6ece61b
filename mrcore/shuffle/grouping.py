"""Grouping of what `map` emits by key in a table, while combining pays.

Three tables have one interface: a Tally holds counts while all values are one and the same object,
Totals add up ints, and ValueLists hold any values. `grouping_policy` decides when a table is full
and whether combining pays; Grouping feeds the tables and does what the policy says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from sys import getsizeof
from typing import Any, Final, TypeAlias

from mrcore.plugin.running import running
from mrcore.shuffle import grouping_policy as policy
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.grouping_policy import TableSize
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.loops import SHORT_CHARACTERS
from mrcore.shuffle.object_sizes import VALUE_BYTES, key_bytes, values_bytes
from mrcore.shuffle.tally import Tally, Thaw
from mrcore.shuffle.totals import Totals
from mrcore.shuffle.user_code import READ_ROWS, PairReader, read_pairs
from mrcore.shuffle.value_lists import ValueLists
from mrcore.util.object_copies import thawed_list

_HEAD_ROWS: Final = 32
"""Pairs that are looked at closely before a bare loop takes more like them."""
FAST_ROWS: Final = 65_536
"""Pairs that the bare loop takes at most before the next look."""
_FLUSH_ROWS: Final = 8192
_ENTRY_BYTES: Final = 200
"""Bytes of a dict's entry and of the list that is its value."""

Table: TypeAlias = Tally | Totals | ValueLists


class Grouping:
    """Pairs grouped by key, as long as that pays.

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
        """`add` takes keys and values that leave the table, `spill` makes room for more of them."""
        self.pairs = 0
        """Number of pairs that have left the table, or stay in it folded."""
        self._combiner = combiner
        self._types = types
        self._add = add
        self._spill = spill
        self._limit_bytes = limit_bytes
        self._reader = PairReader("map")
        self._table: Table | None = None
        """Table in use; None before the first pair, and after one without lists was flushed."""
        self._size = TableSize()
        self._tried = False
        """Whether the trial is over."""
        self._rows = _HEAD_ROWS
        self._fast_rows = READ_ROWS

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
            before = self._size.keys
            table = self._add_checked(keys, values)
            if table is None:
                return self._leave(pairs)
            kind = type(keys[-1])
            if kind in (str, bytes) and self._types.only(kind) and _is_small(values[-1]):
                foreign = self._add_fast(table, pairs, min(self._fast_rows, at_most), kind)
                if foreign is not None:
                    waiting = (foreign,)
                self._rows, self._fast_rows = _HEAD_ROWS, min(FAST_ROWS, 2 * self._fast_rows)
            else:
                self._rows = READ_ROWS
            self._count_new_keys(table, before)
            if not self._make_room():
                return self._leave(chain(waiting, pairs))
        return None

    def _add_checked(self, emitted: list[Any], values: list[Any]) -> Table | None:
        """Group a few pairs, whatever their keys are; return the table that holds them.

        None where a dict would take two keys for one, as True for 1: the pairs are passed on.
        """
        keys = self._types.check(emitted)
        if self._combiner.counts_values:
            values = [1] * len(values)
        if self._types.collide:
            self.flush()  # first, since values have to stay in the order of their emission
            self.pairs += len(keys)
            self._add(keys, values)
            return None
        table = self._table_for(values)
        self._size.pending_rows += len(values)
        self._size.pending_bytes += table.add(keys, values)
        return table

    def _table_for(self, values: list[Any]) -> Table:
        """Return the table that can hold these values: lists from the first that need them."""
        table = self._table
        if isinstance(table, ValueLists):
            return table
        if table is None and self._combiner.adds_up and Totals.fits(values):
            table = Totals()
        elif table is None and type(values[0]) in VALUE_BYTES:
            table = Tally(values[0])
        if table is None or not table.fits(values):
            table = self._lists_after(table)
        self._table = table
        return table

    def _lists_after(self, former: Tally | Totals | None) -> ValueLists:
        """Return lists that hold what another table held, folded."""
        lists = ValueLists()
        if former is not None and former.has_long_lists():
            self.flush()  # the values of a key that combine cannot take may not fit into a list
        elif former is not None:
            self._settle_pending(former)
            folded = lists.take_folded(former.drain(self._combiner, _FLUSH_ROWS, self._thaw()))
            self._note_folded(lists, folded)
        return lists

    def _add_fast(self, table: Table, pairs: Iterator[Any], rows: int, kind: type) -> Any:
        """Group up to `rows` pairs; stop at a key or a value of another sort, return that pair."""
        self._size.pending_rows += rows
        self._size.pending_bytes += table.value_bytes(rows)
        some, function = islice(pairs, rows), self._reader.function
        counts = self._combiner.counts_values
        with running(function):
            return table.add_fast(some, kind, self._types, function=function, counts_values=counts)

    def _count_new_keys(self, table: Table, before: int) -> None:
        self._size.keys = len(table.table)
        count = max(0, self._size.keys - before)
        new = islice(reversed(table.table), count)
        size = getsizeof if self._types.only(str) else key_bytes
        self._size.keys_bytes += sum(map(size, new)) + count * _ENTRY_BYTES

    def _make_room(self) -> bool:
        """Fold and flush what is due; return False when too few keys repeat."""
        table, size = self._table, self._size
        assert table is not None
        if isinstance(table, Totals):
            if not policy.is_full_of_sums(size, self._limit_bytes):
                return True
            pays = policy.adding_pays(size.keys, table.rows())
            self.flush()
            return pays
        if not self._tried and policy.is_trial_due(size):
            size.recount(table.rows())
            if policy.is_trial_due(size):
                self._tried = True
                if not policy.keys_repeat(size):
                    return False
        if not policy.is_full(size, self._limit_bytes, holds_rows=table.holds_rows):
            return True
        size.recount(table.rows())
        if not policy.is_full(size, self._limit_bytes, holds_rows=table.holds_rows):
            return True
        before = size.rows
        if isinstance(table, ValueLists):
            self._settle_pending(table)
            self._note_folded(table, table.fold(self._combiner, self._thaw()))
            left = size.folded_rows
        else:  # it is as small as folding could make it
            left = size.keys
        if policy.must_flush(size, self._limit_bytes):
            self.flush()
            self._spill()
        return policy.folding_pays(before, left)

    def _settle_pending(self, table: Table) -> None:
        """Count the pairs that wait, which are about to be folded."""
        self.pairs += table.rows()
        self._size.pending_rows = self._size.pending_bytes = 0

    def _note_folded(self, lists: ValueLists, values: list[Any]) -> None:
        self._size.keys = len(lists.table)  # fewer where the combiner has left nothing of a key
        self._size.folded_rows, self._size.folded_bytes = len(values), values_bytes(values)

    def _thaw(self) -> Thaw | None:
        """Return how values are made again before they are folded; None if all are as emitted."""
        return thawed_list if self._reader.kept or self._combiner.pickles else None

    def flush(self) -> None:
        """Pass all groups on as columns, folded; nothing is held afterwards."""
        table = self._table
        if table is None:
            return
        self._settle_pending(table)
        for keys, lists in table.drain(self._combiner, _FLUSH_ROWS, self._thaw()):
            values = list(chain.from_iterable(lists))
            if set(map(len, lists)) == {1}:
                self._add(keys, values)
            elif values:
                self._add(
                    [key for key, some in zip(keys, lists, strict=True) for _ in some], values
                )
        if not isinstance(table, ValueLists):
            self._table = None  # the next pairs may suit another table
        self._size = TableSize()

    def _leave(self, pairs: Iterator[Any]) -> Iterator[Any]:
        self.flush()
        return pairs


def _is_small(value: Any) -> bool:
    """Return whether a bare loop takes values like this one."""
    return type(value) in VALUE_BYTES or (type(value) is str and len(value) <= SHORT_CHARACTERS)
