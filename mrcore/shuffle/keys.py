"""Keys: which are allowed, and how a batch of them becomes a column.

A key is None, a bool, int, float, str, bytes, or a tuple of such. A batch whose keys all have one
of the types str, int (of 64 bits), float and bytes is a *native* column; anything else is *encoded*
(`mrcore.shuffle.encoding`). Both sort alike, and both hash alike (`mrcore.shuffle.hashing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any, Final

from mrcore.errors import KeyTypeError
from mrcore.model.task import shown_position
from mrcore.shuffle.arrow import Array, pa, pc
from mrcore.shuffle.columns import KeyKind
from mrcore.shuffle.encoding import NATIVE_TYPES, decode, encode, encode_many
from mrcore.shuffle.values import plain
from mrcore.util.arrow_values import python_values
from mrcore.util.number_order import BetweenFloats
from mrcore.util.texts import text_of

_KEY_TYPES: Final = frozenset((type(None), bool, int, float, str, bytes, tuple, BetweenFloats))
_NATIVE: Final = {
    str: KeyKind.STR,
    int: KeyKind.INT,
    float: KeyKind.FLOAT,
    bytes: KeyKind.BYTES,
}
_SHOWN_CHARACTERS: Final = 200


def shown(key: object) -> str:
    """Return a key as an error message shows it."""
    text = text_of(key, repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


class KeyTypes:
    """The types seen so far at each position of a task's keys, and the judge of new ones.

    A position is "" for the key itself, "0" for the first element of a tuple, "1.2" for the third
    of the second.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[type]] = {}

    def check(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Return the keys, numpy's scalars made Python's; raise KeyTypeError for what is refused.

        Refused are other types, NaN, and int and float at one position.
        """
        return self._check(keys, keys, "")

    def _check(self, found: Sequence[Any], keys: Sequence[Any], path: str) -> Sequence[Any]:
        kinds = set(map(type, found))
        if not kinds <= _KEY_TYPES:
            found = _python_scalars(found, keys)
            kinds = set(map(type, found))
        seen = self._seen.setdefault(path, set())
        if not kinds <= seen:
            _refuse_mixed(kinds, seen, found, keys, path)
            seen |= kinds
        if float in kinds:
            _refuse_nan(found, keys)
        if tuple in kinds:
            found = self._check_tuples(found, keys, path)
        return found

    def _check_tuples(self, found: Sequence[Any], keys: Sequence[Any], path: str) -> Sequence[Any]:
        rows = [i for i, element in enumerate(found) if type(element) is tuple]
        changed: dict[int, list[Any]] = {}
        for position in range(max(len(found[i]) for i in rows)):
            having = [i for i in rows if len(found[i]) > position]
            elements = [found[i][position] for i in having]
            below = f"{path}.{position}" if path else str(position)
            checked = self._check(elements, [keys[i] for i in having], below)
            if checked is not elements:
                for i, element in zip(having, checked, strict=True):
                    changed.setdefault(i, list(found[i]))[position] = element
        if not changed:
            return found
        out = list(found)
        for i, element in changed.items():
            out[i] = tuple(element)
        return out

    @property
    def collide(self) -> bool:
        """Return whether keys that differ may be equal to a dict, as True is to 1."""
        return any(bool in seen and (int in seen or float in seen) for seen in self._seen.values())

    def only(self, kind: type) -> bool:
        """Return whether all keys seen are of this one type."""
        return self._seen.get("") == {kind}

    @property
    def one(self) -> type | None:
        """Return the type of all keys seen, None where they have several."""
        seen = self._seen.get("", ())
        return next(iter(seen)) if len(seen) == 1 else None

    @property
    def number_kinds(self) -> dict[str, str]:
        """Return "int" or "float" for each position that has numbers."""
        return {
            path: kind.__name__
            for path, seen in sorted(self._seen.items())
            for kind in (int, float)
            if kind in seen
        }


def _python_scalars(found: Sequence[Any], keys: Sequence[Any]) -> list[Any]:
    out = []
    for element, key in zip(found, keys, strict=True):
        kind = type(element)
        python = element
        if kind.__module__ == "numpy" and getattr(element, "ndim", None) == 0:
            python = element.item()
        if type(python) not in _KEY_TYPES:
            name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
            raise KeyTypeError(
                f"the key {shown(key)} has the type {name}: keys are None, bool, int, float, "
                "str, bytes and tuples of these"
            )
        out.append(python)
    return out


def _refuse_mixed(
    kinds: set[type], seen: set[type], found: Sequence[Any], keys: Sequence[Any], path: str
) -> None:
    both = kinds | seen
    if int in both and float in both:
        # The later of the two is to blame: that is what the earlier ones were not.
        other = float if int in seen or (float not in seen and type(found[0]) is int) else int
        key = next(k for f, k in zip(found, keys, strict=True) if type(f) is other)
        raise mixed_numbers(path, f", as in the key {shown(key)}")


def mixed_numbers(path: str, example: str = "") -> KeyTypeError:
    """Return the error for int and float at one position of the keys."""
    return KeyTypeError(
        f"{shown_position(path)} mix int and float{example}: 1 and 1.0 would be one key or two, "
        "so convert them all to one type"
    )


def _refuse_nan(found: Sequence[Any], keys: Sequence[Any]) -> None:
    numbers = [x if type(x) is float else 0.0 for x in found]
    if True in map(isnan, numbers):
        key = keys[[isnan(x) for x in numbers].index(True)]
        raise KeyTypeError(
            f"the key {shown(key)} is or holds a NaN, which has no place in an order: "
            "leave such records out, or use None"
        )


def key_column(keys: Sequence[Any], type_: type | None = None) -> tuple[KeyKind, Array]:
    """Return the column of keys that `KeyTypes.check` has passed; `type_` is that of all of them.

    Without it their types are looked at.
    """
    if type_ is None:
        kinds = set(map(type, keys))
        if len(kinds) == 1:
            (type_,) = kinds
    if type_ is not None:
        kind = _NATIVE.get(type_)
        if kind is not None:
            try:
                column = pa.array(keys, NATIVE_TYPES[type_])
            except (UnicodeEncodeError, OverflowError, pa.ArrowException):
                pass  # a lone surrogate, or an int beyond 64 bits
            else:
                return kind, without_negative_zero(column) if kind is KeyKind.FLOAT else column
    return KeyKind.ENCODED, encode_many(keys)


def without_negative_zero(column: Array) -> Array:
    """Return a float64 column with 0.0 in the place of -0.0."""
    return pa.array(column.to_numpy() + 0.0)


def arrow_key_column(column: Array, types: KeyTypes) -> tuple[KeyKind, Array]:
    """Return the `key` column of a user's RecordBatch as it is carried; raise KeyTypeError.

    Integers of fewer bits and float32 are widened, which Python keys would be too.
    """
    column = plain(column)
    type_ = column.type
    if column.null_count == 0:
        if pa.types.is_string(type_):
            types.check(_SAMPLE_STR)
            return KeyKind.STR, column
        if pa.types.is_binary(type_):
            types.check(_SAMPLE_BYTES)
            return KeyKind.BYTES, column
        if pa.types.is_integer(type_) and type_ != pa.uint64():
            types.check(_SAMPLE_INT)
            return KeyKind.INT, column.cast(pa.int64())
        if pa.types.is_floating(type_) and not pc.any(pc.is_nan(column)).as_py():
            types.check(_SAMPLE_FLOAT)
            return KeyKind.FLOAT, without_negative_zero(column.cast(pa.float64()))
    return key_column(types.check(python_values(column)))


_SAMPLE_STR: Final = [""]
_SAMPLE_BYTES: Final = [b""]
_SAMPLE_INT: Final = [0]
_SAMPLE_FLOAT: Final = [0.0]


def keys_to_python(kind: KeyKind, column: Array) -> list[Any]:
    """Return the keys of a column as Python objects."""
    if kind is KeyKind.ENCODED:
        return list(map(decode, column.to_pylist()))
    values: list[Any]
    if kind in (KeyKind.INT, KeyKind.FLOAT):
        values = column.to_numpy().tolist()  # many times faster
    else:
        values = column.to_pylist()
    return values


def encoded_key(kind: KeyKind, column: Array, row: int) -> bytes:
    """Return the encoding of one key of a column."""
    key = column[row].as_py()
    return key if kind is KeyKind.ENCODED else encode(key)


def check_number_kinds(kinds: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Join the number kinds of several tasks; raise KeyTypeError where two disagree."""
    joined: dict[str, str] = {}
    for task in kinds:
        for path, kind in task.items():
            if joined.setdefault(path, kind) != kind:
                raise mixed_numbers(path, " (in different map tasks)")
    return joined
