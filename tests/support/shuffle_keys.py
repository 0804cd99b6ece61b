"""Hypothesis strategies for keys."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec=None), max_size=12)
"""Lone surrogates too: invalid UTF-8 in the input becomes such."""


INTS = st.one_of(
    st.integers(),
    st.integers(-(1 << 63) - 2, -(1 << 63) + 2),
    st.integers((1 << 63) - 2, (1 << 63) + 2),
    st.integers(-(1 << 80), 1 << 80),
)


FLOATS = st.floats(allow_nan=False)


SIMPLE = st.one_of(st.none(), st.booleans(), TEXT, st.binary(max_size=12))


def keys_with(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return keys of every type, with numbers of one type."""
    simple = st.one_of(SIMPLE, numbers)
    return st.recursive(simple, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
