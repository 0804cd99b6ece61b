"""Output parts in jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from types import NoneType
from typing import Any

import msgspec

from mrcore.errors import DataError
from mrcore.records.outputs import python_number, shortened
from mrcore.records.row_table import Row, check_name
from mrcore.records.writers import _RowWriter


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

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Append rows; each has its own columns, unless the job states them."""
        if self._table.settled:
            super().write_rows(rows)
            return
        self._has_rows = True
        self._write_ready(rows)

    def _encoded_rows(self, rows: Sequence[Row], names: Sequence[str]) -> bytes:
        return b"".join(map(self._object, rows))

    def _object(self, row: Row) -> bytes:
        for name in row:
            check_name(name, row)
        try:
            return self._json(row) + b"\n"
        except _NOT_JSON as error:
            raise DataError(
                f"The row {shortened(row)} cannot be written as JSON ({error}): {_EMIT_JSON}."
            ) from error

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
                f"({error}): {_EMIT_JSON}."
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
_EMIT_JSON = "emit numbers, str, lists, dicts with str keys, True, False or None"
