"""Keys of any supported type as bytes that compare as the keys do.

    None     05
    False    10          True      11
    int      20 …        below the int64 range: complement of length and magnitude
             21 + 8      in the int64 range: big-endian, sign bit flipped
             22 …        above it: length (8 bytes), magnitude
    float    28 + 8      IEEE bits, big-endian, flipped so that they ascend
             … 70 int    an int between that float and the next (`BetweenFloats`)
    str      40 … 00     UTF-8 (`surrogatepass`), 00 written as 00 FF
    bytes    50 … 00     likewise
    tuple    60 … 00     its elements; the terminator is lower than any tag

No encoding is the prefix of another but for a float and the ints behind it: 70 is above all that
may follow a float. So encodings can be joined and still compare right. Nothing in an encoding of
text follows its terminator with FF, which is what keeps 00 FF unambiguous.

Type checks are the business of `mrcore.shuffle.keys`; here every key is one of the types above.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from mrcore.errors import CorruptRunError
from mrcore.shuffle.arrow import Array, pa, pc
from mrcore.util.number_order import BetweenFloats, number_of

Key = None | bool | int | float | str | bytes | tuple["Key", ...]

NONE: Final = 0x05
FALSE: Final = 0x10
TRUE: Final = 0x11
NEGATIVE: Final = 0x20
INT64: Final = 0x21
POSITIVE: Final = 0x22
FLOAT: Final = 0x28
STR: Final = 0x40
BYTES: Final = 0x50
TUPLE: Final = 0x60
BETWEEN: Final = 0x70
END: Final = 0x00

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

_SIGN: Final = 1 << 63
_MASK: Final = (1 << 64) - 1
_BETWEEN: Final = bytes([BETWEEN])
_U64: Final = struct.Struct(">Q")
_F64: Final = struct.Struct(">d")


def encode(key: object) -> bytes:
    """Return the encoding of one key."""
    out = bytearray()
    _append(key, out)
    return bytes(out)


def _append(key: object, out: bytearray) -> None:
    kind = type(key)
    if kind is str:
        assert isinstance(key, str)
        out.append(STR)
        out += key.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff")
        out.append(END)
    elif kind is int:
        assert isinstance(key, int)
        _append_int(key, out)
    elif kind is tuple:
        assert isinstance(key, tuple)
        out.append(TUPLE)
        for element in key:
            _append(element, out)
        out.append(END)
    elif kind is float:
        assert isinstance(key, float)
        _append_float(key, out)
    elif kind is BetweenFloats:
        assert isinstance(key, BetweenFloats)
        _append_float(key.below, out)
        out.append(BETWEEN)
        _append_int(key.rest, out)
    elif kind is bytes:
        assert isinstance(key, bytes)
        out.append(BYTES)
        out += key.replace(b"\0", b"\0\xff")
        out.append(END)
    elif key is None:
        out.append(NONE)
    else:
        assert kind is bool, kind
        out.append(TRUE if key else FALSE)


def _append_float(key: float, out: bytearray) -> None:
    (bits,) = _U64.unpack(_F64.pack(key + 0.0))  # + 0.0 makes -0.0 a 0.0
    out.append(FLOAT)
    out += _U64.pack(bits ^ (_MASK if bits & _SIGN else _SIGN))


def _append_int(key: int, out: bytearray) -> None:
    if INT64_MIN <= key <= INT64_MAX:
        out.append(INT64)
        out += _U64.pack(key + _SIGN)
        return
    magnitude = abs(key).to_bytes((key.bit_length() + 7) // 8, "big")
    body = _U64.pack(len(magnitude)) + magnitude
    if key > 0:
        out.append(POSITIVE)
        out += body
    else:
        out.append(NEGATIVE)
        out += bytes(0xFF ^ byte for byte in body)


def decode(data: bytes) -> Key:
    """Return the key that `encode` made `data` of; raise CorruptRunError for other bytes."""
    try:
        key, end = _take(data, 0)
    except (AssertionError, IndexError, OverflowError, RecursionError, struct.error, ValueError):
        end = -1
    if end != len(data):
        raise CorruptRunError(f"a run is damaged: {data[:64]!r} is not a key")
    return key


def _take(data: bytes, at: int) -> tuple[Key, int]:
    tag = data[at]
    at += 1
    if tag in (STR, BYTES):
        end = data.index(END, at)
        if data[end + 1 : end + 2] != b"\xff":
            text = data[at:end]
        else:
            while data[end + 1 : end + 2] == b"\xff":
                end = data.index(END, end + 2)
            text = data[at:end].replace(b"\0\xff", b"\0")
        return (text if tag == BYTES else text.decode("utf-8", "surrogatepass")), end + 1
    if tag == INT64:
        return _U64.unpack_from(data, at)[0] - _SIGN, at + 8
    if tag == TUPLE:
        elements = []
        while data[at] != END:
            element, at = _take(data, at)
            elements.append(element)
        return tuple(elements), at + 1
    if tag == FLOAT:
        (bits,) = _U64.unpack_from(data, at)
        number: float = _F64.unpack(_U64.pack(bits ^ (_SIGN if bits & _SIGN else _MASK)))[0]
        at += 8
        if data[at : at + 1] != _BETWEEN:
            return number, at
        rest, at = _take(data, at + 1)
        assert isinstance(rest, int)
        return number_of(number, rest), at
    if tag in (POSITIVE, NEGATIVE):
        flip = 0xFF if tag == NEGATIVE else 0
        size = _U64.unpack(bytes(flip ^ byte for byte in data[at : at + 8]))[0]
        body = bytes(flip ^ byte for byte in data[at + 8 : at + 8 + size])
        magnitude = int.from_bytes(body, "big")
        return (magnitude if tag == POSITIVE else -magnitude), at + 8 + size
    return (None if tag == NONE else tag == TRUE), at


def encode_many(keys: Sequence[object]) -> Array:
    """Return the encodings of `keys` as a binary column; a uniform batch is encoded in C."""
    kinds = set(map(type, keys))
    column: Array | None = None
    if len(kinds) == 1:
        (kind,) = kinds
        if kind is tuple:
            column = _tuples(keys)
        elif kind in (str, int, bytes, float):
            try:
                column = encode_column(pa.array(keys, NATIVE_TYPES[kind]))
            except (UnicodeEncodeError, OverflowError, pa.ArrowException):
                column = None  # a lone surrogate, or an int beyond 64 bits
    elif kinds == {float, BetweenFloats}:
        column = _numbers(keys)
    if column is None:
        column = pa.array(list(map(encode, keys)), pa.binary())
    return column


def _numbers(keys: Sequence[Any]) -> Array | None:
    """Return the encodings of floats and ints between them; None where some int is very large."""
    is_float = [type(key) is float for key in keys]
    pairs = zip(keys, is_float, strict=True)
    below = np.array([key if alone else key.below for key, alone in pairs])
    try:
        rest = np.array(
            [0 if alone else key.rest for key, alone in zip(keys, is_float, strict=True)], np.int64
        )
    except OverflowError:
        return None
    marks = pa.array(np.where(is_float, b"", _BETWEEN).tolist(), pa.binary())
    rests = pc.if_else(pa.array(is_float), b"", encode_column(pa.array(rest)))
    floats = _fixed(FLOAT, ascending_bits(below))
    return pc.binary_join_element_wise(floats, marks, rests, pa.scalar(b""))


def _tuples(keys: Sequence[Any]) -> Array | None:
    lengths = set(map(len, keys))
    if len(lengths) != 1 or lengths == {0}:
        return None
    parts = [encode_many(column) for column in zip(*keys, strict=True)]
    return pc.binary_join_element_wise(
        pa.scalar(bytes([TUPLE])), *parts, pa.scalar(bytes([END])), pa.scalar(b"")
    )


NATIVE_TYPES: Final = {str: pa.string(), int: pa.int64(), float: pa.float64(), bytes: pa.binary()}


def encode_column(column: Array) -> Array:
    """Return the encodings of a native column (string, binary, int64 or float64, no nulls)."""
    if pa.types.is_int64(column.type):
        bits = column.to_numpy().view(np.uint64) ^ np.uint64(_SIGN)
        return _fixed(INT64, bits)
    if pa.types.is_float64(column.type):
        return _fixed(FLOAT, ascending_bits(column.to_numpy()))
    tag = STR if pa.types.is_string(column.type) else BYTES
    data = column.view(pa.binary())
    if _has_zero(data):
        data = pc.replace_substring(data, b"\0", b"\0\xff")
    return pc.binary_join_element_wise(
        pa.scalar(bytes([tag])), data, pa.scalar(bytes([END])), pa.scalar(b"")
    )


def ascending_bits(numbers: np.ndarray) -> np.ndarray:
    """Return float64 as uint64 of the same order; -0.0 counts as 0.0."""
    bits = (numbers + 0.0).view(np.uint64)
    sign = np.uint64(_SIGN)
    flipped: np.ndarray = np.where(bits & sign, ~bits, bits | sign)
    return flipped


def _fixed(tag: int, bits: np.ndarray) -> Array:
    """Return rows of one tag and eight big-endian bytes."""
    rows = np.empty((len(bits), 9), np.uint8)
    rows[:, 0] = tag
    rows[:, 1:] = bits.astype(">u8").view(np.uint8).reshape(-1, 8)
    offsets = np.arange(0, 9 * len(bits) + 1, 9, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(bits), [None, pa.py_buffer(offsets), pa.py_buffer(rows)]
    )


def _has_zero(column: Array) -> bool:
    data = column.buffers()[2]
    if data is None or not len(column):
        return False
    offsets = np.frombuffer(column.buffers()[1], np.int32)
    first, last = offsets[column.offset], offsets[column.offset + len(column)]
    return not np.frombuffer(data, np.uint8)[first:last].all()
