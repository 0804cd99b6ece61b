"""Hostile bytes: valid content with a few changes, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

_NUMBERS: Final = (0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
_LARGEST: Final = 1 << 20
"""Bytes of an input, at most."""


def mutated(rng: Random, corpus: Sequence[bytes]) -> bytes:
    """Return one of the corpus with up to eight changes; now and then bytes that are none of it."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(64))
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        rng.choice(_CHANGES)(rng, data, corpus)
    return bytes(data[:_LARGEST])


def _place(rng: Random, data: bytearray) -> int:
    return rng.randrange(len(data) + 1)


def _flip(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _insert(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))


def _remove(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 8, 64))]


def _cut(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _repeat(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = data[at : at + rng.choice((1, 8, 64))] * rng.choice((1, 2, 50))


def _number(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    at, number = _place(rng, data), rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _digits(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    """Put another number in place of one in a text."""
    digits = [at for at, byte in enumerate(data[:4_096]) if chr(byte).isdigit()]
    if digits:
        at = rng.choice(digits)
        number = rng.choice((-1, 0, 10**18, 10**19, 10**400, 0.5, "1e999", "null", '"x"', "[]"))
        data[at : at + 1] = str(number).encode()


def _splice(rng: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    start = rng.randrange(len(other) + 1)
    at = _place(rng, data)
    data[at : at + rng.choice((0, 8, 64))] = other[start : start + rng.choice((1, 8, 64, 512))]


_CHANGES: Final = (_flip, _set, _insert, _remove, _cut, _repeat, _number, _digits, _splice)
