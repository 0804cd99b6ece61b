"""Stable sorting of columns in NumPy, by chunks of eight bytes, ties only going on to the next."""

from __future__ import annotations

from typing import Final

import numpy as np

from mrcore.shuffle.arrow import Array, pa
from mrcore.shuffle.chunks import CHUNK, ByteRows
from mrcore.shuffle.columns import Columns, KeyKind
from mrcore.shuffle.encoding import ascending_bits
from mrcore.util.arrays import changes

_SIGN: Final = np.uint64(1 << 63)
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64((1 << 32) - 1)
_LONG_BYTES: Final = 256
"""From here on few rows are compared by windows, as Python's bytes: a key of a megabyte would take
NumPy a hundred thousand rounds."""
_WINDOWS_BYTES: Final = 4 << 20
"""Bytes of all windows at once."""
_FEW_ROWS: Final = _WINDOWS_BYTES // _LONG_BYTES


def sort_rows(batch: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return the stable order of a batch by key, then by `order`; and where keys begin.

    The first is row numbers, the second a bool a row, in sorted order: its key is not that of the
    row before.
    """
    if batch.order is None:
        return sort_keys(batch.key_kind, batch.keys)
    first, _ = sort_keys(KeyKind.ENCODED, batch.order)
    then, new = sort_keys(batch.key_kind, batch.keys.take(pa.array(first)))
    return first[then], new


def sort_keys(kind: KeyKind, keys: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the stable order of keys, and where keys begin, as `sort_rows` does."""
    return _sort(number_of(kind, keys), None if _fixed(kind) else ByteRows(keys), None)


def sort_part(key_rows: KeyRows, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `rows`, or all, in the stable order of their keys, and where keys begin."""
    if rows is None:
        return _sort(key_rows.numbers, key_rows.bytes, None)
    numbers = None if key_rows.numbers is None else key_rows.numbers[rows]
    perm, new = _sort(numbers, key_rows.bytes, rows)
    return rows[perm], new


class KeyRows:
    """A column of keys made ready to sort parts of it."""

    __slots__ = ("bytes", "numbers")

    def __init__(self, kind: KeyKind, keys: Array) -> None:
        self.numbers = number_of(kind, keys)
        self.bytes = None if _fixed(kind) else ByteRows(keys)


def _fixed(kind: KeyKind) -> bool:
    return kind in (KeyKind.INT, KeyKind.FLOAT)


def number_of(kind: KeyKind, keys: Array) -> np.ndarray | None:
    """Return int and float keys as uint64 that sort alike; None for others."""
    if not _fixed(kind):
        return None
    numbers: np.ndarray = keys.to_numpy()
    return numbers.view(np.uint64) ^ _SIGN if kind is KeyKind.INT else ascending_bits(numbers)


def prefixes(kind: KeyKind, keys: Array) -> np.ndarray:
    """Return uint64 that never disagree with the order of the keys, though they may tie."""
    numbers = number_of(kind, keys)
    return ByteRows(keys).chunk(0) if numbers is None else numbers


def _sort(
    numbers: np.ndarray | None, bytes_: ByteRows | None, rows: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    skip = 0
    if numbers is None:
        assert bytes_ is not None
        skip = _common_prefix(bytes_, rows)
        numbers = bytes_.chunk(skip, rows)
    # The fast argsort is not stable, so ties are put back in order at the end.
    perm = np.argsort(numbers)
    new = changes(numbers[perm])
    if bytes_ is not None:
        _break_ties(bytes_, rows, skip, perm, new)
    _restore_order(perm, new)
    return perm, new


def _common_prefix(bytes_: ByteRows, rows: np.ndarray | None) -> int:
    """Return how many bytes all rows start with alike (a few may be missed)."""
    lengths = bytes_.lengths if rows is None else bytes_.lengths[rows]
    shortest = int(lengths.min()) if len(lengths) else 0
    if len(lengths) <= _FEW_ROWS:
        shortest = min(shortest, _LONG_BYTES)
    sample = np.linspace(0, len(lengths) - 1, 16).astype(np.int64) if len(lengths) else None
    skip = 0
    while skip < shortest:
        if sample is not None and rows is not None:
            probe = bytes_.chunk(skip, rows[sample])
        else:
            probe = bytes_.chunk(skip, sample)
        if probe.min() >> np.uint64(56) != probe.max() >> np.uint64(56):
            break  # the first byte differs already: no need to look at all rows
        chunk = bytes_.chunk(skip, rows)
        differing = int(chunk.min()) ^ int(chunk.max())
        same = (64 - differing.bit_length()) // 8
        skip += min(same, shortest - skip)
        if same < CHUNK:
            break
    return skip


def _break_ties(
    bytes_: ByteRows, rows: np.ndarray | None, skip: int, perm: np.ndarray, new: np.ndarray
) -> None:
    """Order rows that tie on their chunk at `skip` by what follows; changes `perm` and `new`."""
    places = _tied(new)
    while len(places):
        if skip >= _LONG_BYTES and len(places) <= _FEW_ROWS:
            _break_long_ties(bytes_, rows, skip, places, perm, new)
            return
        numbers = perm[places] if rows is None else rows[perm[places]]
        left = bytes_.lengths[numbers] - np.int32(skip)
        # Zero padding makes a row tie with one that goes on with zero bytes: the shorter is first.
        _sort_within(places, np.clip(left, 0, CHUNK + 1), perm, new)
        # Rows that end within their chunk are equal now, or distinguished.
        numbers = perm[places] if rows is None else rows[perm[places]]
        left = bytes_.lengths[numbers] - np.int32(skip)
        places = places[left > CHUNK]
        places = places[_tied(new[places])]
        numbers = perm[places] if rows is None else rows[perm[places]]
        skip += CHUNK
        _sort_within(places, bytes_.chunk(skip, numbers), perm, new)
        places = places[_tied(new[places])]


def _break_long_ties(
    bytes_: ByteRows,
    rows: np.ndarray | None,
    skip: int,
    places: np.ndarray,
    perm: np.ndarray,
    new: np.ndarray,
) -> None:
    """Order the rows at `places`, which tie up to `skip`; changes `perm` and `new`."""
    while len(places):
        size = _WINDOWS_BYTES // len(places)
        numbers = perm[places] if rows is None else rows[perm[places]]
        windows = bytes_.windows(skip, size, numbers)
        ranks = {window: rank for rank, window in enumerate(sorted(set(windows)))}
        _sort_within(places, np.array([ranks[window] for window in windows]), perm, new)
        # A row that ends within its window differs from all that do not.
        numbers = perm[places] if rows is None else rows[perm[places]]
        places = places[bytes_.lengths[numbers] - np.int32(skip) >= size]
        places = places[_tied(new[places])]
        skip += size


def _tied(new: np.ndarray) -> np.ndarray:
    """Return the places of rows that are equal to a neighbour, as far as is known."""
    tied = ~new
    tied[:-1] |= tied[1:]
    return np.flatnonzero(tied)


def _sort_within(
    places: np.ndarray, numbers: np.ndarray, perm: np.ndarray, new: np.ndarray
) -> None:
    """Order the rows at `places` by number within their groups; changes `perm` and `new`."""
    if not len(places):
        return
    begins = new[places]
    differs = numbers[1:] != numbers[:-1]
    differs &= ~begins[1:]
    if not differs.any():
        return
    # Most groups are one key over and over: only those that hold several are sorted.
    groups = np.cumsum(begins, dtype=np.uint32)
    several = np.zeros(int(groups[-1]) + 1, bool)
    several[groups[1:][differs]] = True
    chosen = several[groups]
    places, numbers, groups = places[chosen], numbers[chosen], groups[chosen]
    # Two fast sorts of integers, several times faster than `np.lexsort`.
    by_number = np.argsort(numbers)
    packed = np.empty(len(numbers), np.uint64)
    packed[by_number] = np.cumsum(changes(numbers[by_number]), dtype=np.uint64)
    del by_number, numbers
    packed |= groups.astype(np.uint64) << _HALF
    order = np.argsort(packed)
    perm[places] = perm[places[order]]
    new[places] = changes(packed[order]) | new[places]


def _restore_order(perm: np.ndarray, new: np.ndarray) -> None:
    """Put rows of one key back in the order in which they came."""
    places = _tied(new)
    if not len(places):
        return
    packed = np.cumsum(new[places], dtype=np.uint64)
    packed <<= _HALF
    packed |= perm[places].astype(np.uint64)
    packed.sort()
    packed &= _LOW
    perm[places] = packed
