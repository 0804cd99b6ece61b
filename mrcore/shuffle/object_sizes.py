"""Estimated sizes of Python objects: counted by type, never measured, so that runs can repeat."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof
from typing import Any, Final

VALUE_BYTES: Final[dict[type, int]] = {int: 40, float: 32, bool: 8, type(None): 8}
"""Bytes of a value of a fixed size, by its type."""
LARGEST_FIXED_BYTES: Final = VALUE_BYTES[int]
_OBJECT_BYTES: Final = 64
"""Bytes of an object beside its content."""
SHORT_TEXT_BYTES: Final = 3 * _OBJECT_BYTES
"""Bytes of a text of up to 32 characters, of four bytes each."""


def key_bytes(key: Any) -> int:
    """Return about how many bytes a key takes."""
    size = getsizeof(key)
    return size + sum(map(key_bytes, key)) if type(key) is tuple else size


def values_bytes(values: Sequence[Any]) -> int:
    """Return about how many bytes values take in all."""
    kinds = set(map(type, values))
    if kinds <= VALUE_BYTES.keys():
        if not kinds:
            return 0
        return sum(VALUE_BYTES[kind] for kind in kinds) // len(kinds) * len(values)
    total = 0
    for value in values:
        kind = type(value)
        if kind in VALUE_BYTES:
            total += VALUE_BYTES[kind]
        elif kind is tuple:
            total += _OBJECT_BYTES + values_bytes(value)
        else:  # a str, bytes, or what was pickled
            total += _OBJECT_BYTES + len(value)
    return total
