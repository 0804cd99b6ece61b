"""From pairs to the bytes of an output part.

========  =========================================================================================
format    a pair
========  =========================================================================================
text      `str(key)`, a tab, `str(value)`, a newline; a value of None leaves out itself and the tab;
          a newline within a pair of both is refused, a tab is not
jsonl     `{"key":…,"value":…}`; tuples become lists; bytes, NaN and infinities are refused
csv       `str(key),str(value)` under a header `key,value`; None is an empty field
parquet   columns `key` and `value`, see `mrcore.records.parquet_writer`
========  =========================================================================================

The bytes depend on the pairs alone, never on how they were batched. Text with lone surrogates that
stand for bytes that were not UTF-8 (`surrogateescape`) becomes those bytes again.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mrcore.errors import DataError, UsageError
from mrcore.model.formats import OUTPUT_FORMATS
from mrcore.model.job import Compression
from mrcore.records.outputs import Output, PartCounts, nested_numbers, python_number, shortened
from mrcore.storage.base import Writer
from mrcore.util.arrow_values import python_values
from mrcore.util.lazy import load

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 4096
"""Pairs that are formatted at a time."""
_JOIN_ROWS = 65536
_NUMPY = "np."
"""In the text of a list that holds a scalar of numpy: `[np.int64(1)]`."""
_MAX_STRING_BYTES = 256 << 20
"""Beyond it, arrays whose offsets are 32 bits might not hold the joined text."""


class PartWriter(Protocol):
    """Writes pairs to one output part. Not for use after `close`, or after an error."""

    def keep(self, thing: Any, /) -> Any:
        """Return what `write` needs of a key or value that may change before it is written.

        What the format cannot hold comes back as it is, for `write` to refuse.
        """
        ...

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs; raise DataError for one that the format cannot hold."""
        ...

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs; the same bytes as `write` of the arrays' Python values."""
        ...

    def close(self) -> PartCounts:
        """Pass everything on to the sink, which the caller commits."""
        ...


def open_part(
    sink: Writer, output_format: str, compression: Compression = Compression.NONE
) -> PartWriter:
    """Start a part that goes to `sink`.

    Raises UsageError when the format is not compressed that way (see `check_output_format`).
    """
    check_output_format(output_format, compression)
    writer: Callable[[Writer, Compression], PartWriter] = load(OUTPUT_FORMATS[output_format].writer)
    return writer(sink, compression)


def check_output_format(output_format: str, compression: Compression) -> None:
    """Raise UsageError when parts of this format cannot be compressed like this."""
    allowed = OUTPUT_FORMATS[output_format].compressions
    if compression not in allowed:
        others = ", ".join(item for item in allowed if item is not Compression.NONE)
        raise UsageError(
            f"A {output_format} output cannot be compressed by {compression}: choose "
            f"{others or compression.NONE} or none."
        )


class _RowWriter(ABC):
    """Base of the writers of lines, which encode the rows."""

    def __init__(self, sink: Writer, compression: Compression) -> None:
        self._output = Output(sink, compression)
        self._records = 0

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), ROWS):
            some = keys[start : start + ROWS]
            self._output.write(self._encoded(some, values[start : start + ROWS]))
            self._records += len(some)

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), _JOIN_ROWS):
            self.write(
                python_values(keys.slice(start, _JOIN_ROWS)),
                python_values(values.slice(start, _JOIN_ROWS)),
            )

    def close(self) -> PartCounts:
        """Pass everything on."""
        self._output.finish()
        return PartCounts(self._records, self._output.size_bytes, self._output.crc32c)

    def keep(self, thing: Any, /) -> Any:
        """Return the text of a key or value that may change."""
        return str(nested_numbers(thing))

    @abstractmethod
    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        """Return the rows of n pairs."""


class TextWriter(_RowWriter):
    """Lines `key<TAB>value`."""

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs; arrays of strings (valid UTF-8) and integers never become objects."""
        if not (_joins(keys) and _joins(values)):
            super().write_columns(keys, values)
            return
        for start in range(0, len(keys), _JOIN_ROWS):
            some, others = keys.slice(start, _JOIN_ROWS), values.slice(start, _JOIN_ROWS)
            text = _characters(some)
            if b"\n" in text or b"\r" in text or b"\n" in _characters(others):
                _check_lines(python_values(some), python_values(others))
            self._output.write(_joined(some, others))
            self._records += len(some)

    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        text = _text_rows(keys, values)
        if _NUMPY in text:
            text = _text_rows(*(list(map(nested_numbers, things)) for things in (keys, values)))
        if "\r" in text or text.count("\n") != len(keys):
            _check_lines(keys, values)
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise _not_text(keys, values) from error


def _text_rows(keys: Sequence[object], values: Sequence[object]) -> str:
    # One formatting of all rows costs half of what one a row does.
    if NoneType not in set(map(type, values)):
        return "%s\t%s\n" * len(keys) % tuple(chain.from_iterable(zip(keys, values, strict=True)))
    return "".join(
        f"{key!s}\n" if value is None else f"{key!s}\t{value!s}\n"
        for key, value in zip(keys, values, strict=True)
    )


def _check_lines(keys: Sequence[object], values: Sequence[object]) -> None:
    """Raise DataError for a pair with a value that would not be one line.

    A key without a value is a line of the output as it is, or several.
    """
    for key, value in zip(keys, values, strict=True):
        if value is None:
            continue
        name = str(key)
        if "\n" in name or "\r" in name:
            what = f"The key {shortened(key)}"
        elif "\n" in str(value):
            what = f"The value {shortened(value)} of the key {shortened(key)}"
        else:
            continue
        raise DataError(
            f"{what} has a newline, and in text output a pair is one line. "
            "Use --output-format jsonl or csv."
        )


def _not_text(keys: Sequence[object], values: Sequence[object]) -> DataError:
    """Return the error for the first pair that is not UTF-8 text."""
    for key, value in zip(keys, values, strict=True):
        try:
            f"{key!s}{value!s}".encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return DataError(
                f"The pair {shortened(key)}: {shortened(value)} cannot be written as UTF-8, as "
                "it has a lone surrogate. Replace that."
            )
    raise AssertionError("some pair could not be encoded")


def _joins(array: pa.Array[Any]) -> bool:
    """Return whether Arrow writes these values as `str()` does (it does not for floats, bools)."""
    import pyarrow as pa

    kind = array.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return (text or pa.types.is_integer(kind)) and not array.null_count


def _characters(array: pa.Array[Any]) -> bytes:
    """Return the text of all strings of an array; nothing for numbers."""
    import pyarrow as pa

    if pa.types.is_integer(array.type) or not len(array):
        return b""
    _, offsets, data = array.buffers()
    if offsets is None or data is None:
        return b""
    ends = memoryview(offsets).cast("i" if pa.types.is_string(array.type) else "q")
    start, end = ends[array.offset], ends[array.offset + len(array)]
    return data.slice(start, end - start).to_pybytes()


def _joined(keys: pa.Array[Any], values: pa.Array[Any]) -> memoryview | bytes:
    """Return the text of n pairs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    large = keys.nbytes + values.nbytes > _MAX_STRING_BYTES
    kind: Any = pa.large_string() if large else pa.string()
    join: Any = pc.binary_join_element_wise  # its stub knows no scalars
    tab, newline, nothing = (pa.scalar(text, kind) for text in ("\t", "\n", ""))
    lines = join(keys.cast(kind), tab, values.cast(kind), newline, nothing)
    return memoryview(lines.buffers()[2])


class _Pair(msgspec.Struct):
    key: object
    value: object


_PLAIN = frozenset((str, int, bool, NoneType, msgspec.Raw))
_SIMPLE = _PLAIN | {float}
_LINES = msgspec.json.Encoder()


def _number(thing: object) -> object:
    """Return a scalar of numpy as Python's; raise TypeError for what JSON does not know."""
    found = python_number(thing)
    if found is thing:
        raise TypeError(f"{type(thing).__qualname__} is not a type of JSON")
    return found


_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_number
).encode
_escape = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_number).encode


def _check_dicts(thing: object) -> None:
    """Raise ValueError where two keys of a dict are one in JSON, as 1 and "1" are."""
    if isinstance(thing, dict):
        for key in thing:
            if type(key) is not str:
                _check_keys(thing)
                break
        thing = thing.values()
    elif not isinstance(thing, (list, tuple)):
        return
    for item in thing:
        if type(item) not in _SIMPLE:
            _check_dicts(item)


def _check_keys(thing: dict[object, object]) -> None:
    found: dict[str, object] = {}
    for key in thing:
        text = key if isinstance(key, str) else _encode(key)
        if text in found:
            raise ValueError(f"the keys {found[text]!r} and {key!r} are one in JSON")
        found[text] = key


class JsonWriter(_RowWriter):
    """One JSON object a line, in UTF-8; what UTF-8 cannot hold is escaped."""

    def keep(self, thing: Any, /) -> Any:
        """Return the JSON of a key or value that may change."""
        try:
            return msgspec.Raw(self._json(thing))
        except _NOT_JSON:
            return thing

    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        if _PLAIN.issuperset(map(type, keys)) and _PLAIN.issuperset(map(type, values)):
            # msgspec is several times quicker, and writes these types as `json` does.
            with suppress(UnicodeEncodeError):
                return _LINES.encode_lines(list(map(_Pair, keys, values)))
        return b"".join(map(self._row, keys, values))

    def _row(self, key: object, value: object) -> bytes:
        try:
            return b'{"key":%b,"value":%b}\n' % (self._json(key), self._json(value))
        except _NOT_JSON as error:
            raise DataError(
                f"The pair {shortened(key)}: {shortened(value)} cannot be written as JSON "
                f"({error}): emit numbers, str, lists, dicts with str keys, True, False or None."
            ) from error

    def _json(self, thing: object) -> bytes:
        if type(thing) is msgspec.Raw:
            return bytes(thing)
        if type(thing) not in _PLAIN:
            _check_dicts(thing)
        try:
            return _encode(thing).encode()
        except UnicodeEncodeError:
            return _escape(thing).encode()


_NOT_JSON = (TypeError, ValueError, RecursionError)


class CsvWriter(_RowWriter):
    """Rows under a header, quoted where needed, lines ended by LF."""

    def __init__(self, sink: Writer, compression: Compression) -> None:
        super().__init__(sink, compression)
        self._lines: list[str] = []
        # A terminator of both has the fields quoted that hold either; `_Lines` takes the CR off.
        self._writer = csv.writer(_Lines(self._lines), lineterminator="\r\n")
        self._output.write(b"key,value\n")

    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        self._lines.clear()
        self._writer.writerows(zip(keys, values, strict=True))
        if any(_NUMPY in line for line in self._lines):
            self._lines.clear()
            self._writer.writerows(
                zip(*(map(nested_numbers, x) for x in (keys, values)), strict=True)
            )
        try:
            return "".join(self._lines).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise _not_text(keys, values) from error


class _Lines:
    """Lets `csv.writer` append to a list, rows ended by CRLF becoming rows ended by LF."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, row: str) -> None:
        self._lines.append(f"{row[:-2]}\n")
