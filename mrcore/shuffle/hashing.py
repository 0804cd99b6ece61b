"""Hash of keys: the same in every process and in either representation.

Hashed are the UTF-8 of a str, the content of a bytes, the 64 bits of an int or a float, and the
encoding of any other key; of what is long, a digest. Python's `hash()` differs between processes,
so it has no place here.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from mrcore.shuffle.arrow import Array, pa, pc
from mrcore.shuffle.chunks import CHUNK, ByteRows
from mrcore.shuffle.columns import KeyKind
from mrcore.shuffle.encoding import BYTES, FLOAT, INT64, STR, ascending_bits

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_SIGN: Final = np.uint64(1 << 63)
_LONG_BYTES: Final = 1024
"""Longer rows are hashed one by one, since a round for every eight bytes would take too many."""


def partition_of(kind: KeyKind, keys: Array, partitions: int) -> np.ndarray:
    """Return the partition of each key, as the smallest unsigned type that holds them."""
    dtype = np.min_scalar_type(partitions - 1)
    if partitions == 1:
        return np.zeros(len(keys), dtype)
    high = hash_keys(kind, keys) >> np.uint64(32)
    return ((high * np.uint64(partitions)) >> np.uint64(32)).astype(dtype)


def hash_keys(kind: KeyKind, keys: Array) -> np.ndarray:
    """Return a hash of 64 bits of each key."""
    if kind is KeyKind.INT:
        return _finish(keys.to_numpy().view(np.uint64) ^ _SIGN)
    if kind is KeyKind.FLOAT:
        return _finish(ascending_bits(keys.to_numpy()))
    if kind is KeyKind.ENCODED:
        return _hash_encoded(keys)
    return _hash_bytes(keys)


def _hash_bytes(keys: Array) -> np.ndarray:
    rows = ByteRows(keys)
    state = (rows.chunk(0) ^ rows.lengths.astype(np.uint64)) * _MULTIPLIER
    long = rows.lengths > _LONG_BYTES
    for row in np.flatnonzero(long).tolist():
        digest = hashlib.blake2b(keys[row].as_buffer(), digest_size=8).digest()
        state[row] = int.from_bytes(digest, "little")
    lengths = np.where(long, 0, rows.lengths)
    skip = CHUNK
    longest = int(lengths.max()) if len(lengths) else 0
    while skip < longest:
        (longer,) = np.nonzero(lengths > skip)
        mixed = state[longer]
        mixed ^= mixed >> np.uint64(29)
        state[longer] = (mixed ^ rows.chunk(skip, longer)) * _MULTIPLIER
        skip += CHUNK
    return _finish(state)


def _hash_encoded(keys: Array) -> np.ndarray:
    """Hash each key as its native column would be, those that have no such column as they are."""
    if not len(keys):
        return np.zeros(0, np.uint64)
    tags = pc.binary_slice(keys, 0, 1)
    out = np.zeros(len(keys), np.uint64)
    for tag in pc.unique(tags).to_pylist():
        (rows,) = np.nonzero(pc.equal(tags, tag).to_numpy(zero_copy_only=False))
        some = keys.take(pa.array(rows))
        if tag[0] in (STR, BYTES):
            some = pc.replace_substring(pc.binary_slice(some, 1, -1), b"\0\xff", b"\0")
            out[rows] = _hash_bytes(some)
        elif tag[0] in (INT64, FLOAT):
            out[rows] = _finish(ByteRows(some).chunk(1))
        else:
            out[rows] = _hash_bytes(some)
    return out


def _finish(state: np.ndarray) -> np.ndarray:
    """Let every bit of the input reach every bit of the hash."""
    state = state ^ (state >> np.uint64(33))
    state *= _MIX_1
    state ^= state >> np.uint64(33)
    state *= _MIX_2
    state ^= state >> np.uint64(33)
    return state
