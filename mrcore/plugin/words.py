"""Words of a column of text, counted without a Python object for each of them.

A word of up to 16 bytes is one or two numbers of eight bytes. So words are counted by sorting
numbers, which costs about half as much as a hash table of strings.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mrcore.util.arrays import changes, sums_by_key

_WORD: Final = 8
"""Bytes of a number."""
_SPACE: Final = 32
_UNICODE_SPACES: Final = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
"""White space beyond ASCII, in UTF-8."""
_ASCII_SPACES: Final = b"\t\n\v\f\r\x1c\x1d\x1e\x1f "
_PRIME: Final = 0x9E3779B97F4A7C15
_OTHER_PRIME: Final = 0xC2B2AE3D27D4EB4F


def count_words(lines: pa.Array[Any] | pa.ChunkedArray[Any]) -> pa.RecordBatch:
    """Return the words of a column of strings as `key`, and how often each comes as `value`.

    Words are what stands between white space, as for `str.split`. They come in no particular order,
    each once. A null has no words. Raises TypeError for a column that is not of strings.

        def map(key, batch):
            return mrcore.count_words(batch.column("line"))
    """

    column: Any = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise TypeError(f"count_words takes a column of strings, and this one has {column.type}.")
    column = (column.drop_null() if column.null_count else column).cast(pa.string())
    data, line_ends = _content(column)
    words = _Words(data, line_ends) if data else None
    if words is None or not len(words.starts):
        return _batch([], [])
    if words.has_zeros:
        counted = Counter(word for line in column.to_pylist() for word in line.split())
        values = np.fromiter(counted.values(), np.int64, len(counted))
        return _batch([pa.array(list(counted), pa.string())], [values])
    return _batch(*zip(words.short(), words.long(), words.very_long(), strict=True))


def _batch(keys: Any, values: Any) -> pa.RecordBatch:

    key = pa.concat_arrays([pa.array([], pa.string()), *keys])
    value = pa.array(np.concatenate([np.zeros(0, np.int64), *values]))
    return pa.RecordBatch.from_arrays([key, value], names=["key", "value"])


def _content(column: Any) -> tuple[bytes | memoryview, np.ndarray]:
    """Return the bytes of a column of strings, and where each of them ends."""

    _, offsets_buffer, content = column.buffers()
    if not len(column) or content is None:
        return b"", np.zeros(0, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset :][: len(column) + 1]
    data = memoryview(content)[int(offsets[0]) : int(offsets[-1])]
    ends = offsets[1:].astype(np.int64) - int(offsets[0])
    return data, ends


class _Words:
    """Places of all words in some text."""

    def __init__(self, data: bytes | memoryview, line_ends: np.ndarray) -> None:

        raw = np.frombuffer(data, np.uint8)
        if int(raw.max()) >= 0x80 and _UNICODE_SPACES.search(data):
            data = _UNICODE_SPACES.sub(lambda found: b" " * len(found[0]), data)
            raw = np.frombuffer(data, np.uint8)
        spaces = np.flatnonzero(raw <= _SPACE)
        found = np.bincount(raw[spaces], minlength=1)
        self.has_zeros = bool(found[0])
        """Whether a word may have zero bytes, which would not differ from none."""
        others = np.flatnonzero(found)
        if not set(others.tolist()) <= set(_ASCII_SPACES):
            is_space = np.zeros(256, bool)
            is_space[list(_ASCII_SPACES)] = True
            spaces = np.flatnonzero(is_space[raw])
        self._data = data
        self.starts, self._lengths = _between(spaces, line_ends)
        padded = np.zeros(len(raw) + 2 * _WORD, np.uint8)
        padded[: len(raw)] = raw
        # Every byte of the text starts a number: words are aligned to nothing.
        self._numbers = np.ndarray((len(raw) + _WORD,), "<u8", padded, 0, (1,))
        self._masks = np.array([(1 << 8 * size) - 1 for size in range(_WORD + 1)], np.uint64)

    def short(self) -> tuple[Any, np.ndarray]:
        """Return the words of up to 8 bytes, and their counts."""

        places = np.flatnonzero(self._lengths <= _WORD)
        numbers = self._numbers[self.starts[places]]
        numbers &= self._masks[self._lengths[places]]
        numbers.sort()
        begins = np.flatnonzero(changes(numbers))
        return _strings(numbers[begins]), np.diff(begins, append=len(numbers))

    def long(self) -> tuple[Any, np.ndarray]:
        """Return the words of 9 to 16 bytes, and their counts."""

        places = np.flatnonzero((self._lengths > _WORD) & (self._lengths <= 2 * _WORD))
        starts = self.starts[places]
        first, then = self._numbers[starts], self._numbers[starts + _WORD]
        then &= self._masks[self._lengths[places] - _WORD]
        # The order of hashes puts equal words side by side; the place of a word is its low bits.
        low = np.uint64((1 << len(places).bit_length()) - 1)
        packed = first * np.uint64(_PRIME)
        packed ^= packed >> np.uint64(32)
        packed += then
        packed *= np.uint64(_OTHER_PRIME)
        packed ^= packed >> np.uint64(32)
        packed *= np.uint64(_PRIME)
        packed &= ~low
        packed |= np.arange(len(places), dtype=np.uint64)
        packed.sort()
        rows = (packed & low).view(np.int64)
        first, then = first[rows], then[rows]
        begins = np.flatnonzero(changes(first) | changes(then))
        counts = np.diff(begins, append=len(places))
        words = _strings(first[begins], then[begins])
        packed >>= np.uint64(len(places).bit_length())
        if not changes(packed[begins]).all():  # two words have one hash
            return sums_by_key(words, counts)
        return words, counts

    def very_long(self) -> tuple[Any, np.ndarray]:
        """Return the longer words, and their counts."""

        places = np.flatnonzero(self._lengths > 2 * _WORD)
        starts = self.starts[places].tolist()
        ends = (self.starts[places] + self._lengths[places]).tolist()
        found = Counter(bytes(self._data[a:b]) for a, b in zip(starts, ends, strict=True))
        words = pa.array(list(found), pa.binary()).cast(pa.string())
        return words, np.fromiter(found.values(), np.int64, len(found))


def _between(spaces: np.ndarray, line_ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the starts and lengths of what lies between spaces and ends of lines."""

    before = np.searchsorted(spaces, line_ends)
    ends = np.insert(spaces, before, line_ends)
    width = np.ones(len(ends), np.int64)
    width[before + np.arange(len(line_ends))] = 0  # the end of a line takes no byte
    starts = np.zeros(len(ends), np.int64)
    np.add(ends[:-1], width[:-1], out=starts[1:])
    lengths = ends - starts
    if int(lengths.min()) == 0:
        (some,) = np.nonzero(lengths)
        starts, lengths = starts[some], lengths[some]
    return starts, lengths


def _strings(*numbers: np.ndarray) -> Any:
    """Return the words whose bytes are these numbers, zero bytes left out."""

    rows = np.stack(numbers, 1).view(np.uint8)
    content = rows != 0
    offsets: Any = np.zeros(len(rows) + 1, np.int32)
    np.cumsum(content.sum(1, dtype=np.int32), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rows[content])]
    return pa.Array.from_buffers(pa.string(), len(rows), buffers)
