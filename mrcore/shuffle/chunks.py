"""Eight bytes at a time of every row of a string column, as numbers that compare alike."""

from __future__ import annotations

from typing import Final

import numpy as np

from mrcore.shuffle.arrow import Array

CHUNK: Final = 8
_NOTHING: Final = np.empty(0, np.uint8)


class ByteRows:
    """The rows of a string or binary column, seen as big-endian chunks of eight bytes.

    `lengths` has the size of each row in bytes. The bytes of the column are not copied.
    """

    __slots__ = ("_data", "_last_word", "_starts", "_words", "lengths")

    def __init__(self, column: Array) -> None:
        n = len(column)
        _, offsets_buffer, data = column.buffers()
        if n == 0 or offsets_buffer is None:
            offsets = np.zeros(n + 1, np.int32)
        else:
            offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset : column.offset + n + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        content = np.frombuffer(data, np.uint8)[first:last] if last > first else _NOTHING
        if len(content) < CHUNK:
            content = np.concatenate([content, np.zeros(CHUNK - len(content), np.uint8)])
        self._data = content
        # Every byte of the column starts a word, as far as words go: rows are aligned to nothing.
        self._last_word = np.int32(len(content) - CHUNK)
        self._words = np.ndarray((len(content) - CHUNK + 1,), ">u8", content, 0, (1,))
        self._starts = offsets[:-1] - np.int32(first)
        self.lengths = np.diff(offsets)

    def chunk(self, skip: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Return bytes [skip, skip + 8) of all rows or of `rows`, zero-padded, as uint64."""
        starts, left = self._starts, self.lengths
        if rows is not None:
            starts, left = starts[rows], left[rows]
        left = left - np.int32(skip)
        places = starts + np.int32(skip)
        words: np.ndarray
        if len(left) and left.min() >= CHUNK:
            words = self._words[places].byteswap(inplace=True).view(np.uint64)
            return words
        # Where less than a word is left of the column, its last word has that at its end.
        (late,) = np.nonzero(places > self._last_word)
        beyond = np.minimum(places[late] - self._last_word, CHUNK - 1)
        places[late] = self._last_word
        words = self._words[places].byteswap(inplace=True).view(np.uint64)
        del places
        words[late] <<= (8 * beyond).astype(np.uint64)
        shift = ((CHUNK - np.clip(left, 1, CHUNK)) * 8).astype(np.uint64)
        words >>= shift
        words <<= shift
        words[left <= 0] = 0
        return words

    def windows(self, skip: int, size: int, rows: np.ndarray) -> list[bytes]:
        """Return bytes [skip, skip + size) of `rows`, as far as each of them goes."""
        lengths = self.lengths[rows].astype(np.int64)
        starts = self._starts[rows].astype(np.int64)
        begins = starts + np.minimum(lengths, skip)
        ends = starts + np.minimum(lengths, skip + size)
        data = self._data.data
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return [bytes(data[begin:end]) for begin, end in spans]
