"""Operations on arrays of NumPy and Arrow that more than one room needs."""

from __future__ import annotations

from typing import Any

import numpy as np


def changes(numbers: np.ndarray) -> np.ndarray:
    """Return which numbers differ from the one before them; the first one does."""
    new = np.empty(len(numbers), bool)
    new[:1] = True
    np.not_equal(numbers[1:], numbers[:-1], out=new[1:])
    return new


def sums_by_key(keys: Any, values: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return each key of an Arrow array once, and the sum of its values as int64.

    The sums are those of int64, which wrap around where they do not fit.
    """
    encoded = keys.dictionary_encode()
    sums = np.zeros(len(encoded.dictionary), np.int64)
    np.add.at(sums, encoded.indices.to_numpy(), values)
    return encoded.dictionary, sums
