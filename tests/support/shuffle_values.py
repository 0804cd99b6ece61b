"""Hypothesis strategies for values."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.shuffle_keys import TEXT

VALUES = st.one_of(
    st.integers(), st.floats(), TEXT, st.binary(max_size=5), st.booleans(), st.none(),
    st.lists(st.integers(), max_size=2), st.tuples(st.integers(), TEXT),
)  # fmt: skip
