"""Rows of strings seen as numbers, and taken in another order."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.shuffle import merge
from mrcore.shuffle.arrow import Array, pa
from mrcore.shuffle.chunks import CHUNK, ByteRows
from mrcore.shuffle.columns import RowSource
from mrcore.shuffle.merge import take_chunks
from mrcore.shuffle.picking import Picker
from tests.support.shuffle_rows import columns_of, rows_of

BYTES = st.lists(st.sampled_from([0, 1, 97, 255]), max_size=20).map(bytes)


def sliced(rows: list[bytes], before: int, after: int) -> Array:
    """Return a column of rows that lies between others."""
    column = pa.array([b"xyz"] * before + rows + [b"zyx0123456"] * after, pa.binary())
    return column.slice(before, len(rows))


@given(st.lists(BYTES, max_size=6), st.integers(0, 2), st.integers(0, 2), st.integers(0, 30))
@settings(max_examples=300)
def test_chunks_are_the_bytes_of_each_row_and_of_no_other(
    rows: list[bytes], before: int, after: int, skip: int
) -> None:
    found = ByteRows(sliced(rows, before, after))
    wanted = [int.from_bytes(row[skip:][:CHUNK].ljust(CHUNK, b"\0"), "big") for row in rows]
    assert found.lengths.tolist() == list(map(len, rows))
    assert found.chunk(skip).tolist() == wanted
    if rows:
        some = np.array([len(rows) - 1, 0, len(rows) // 2])
        assert found.chunk(skip, some).tolist() == [wanted[row] for row in some]
        assert found.windows(skip, 5, some) == [rows[row][skip : skip + 5] for row in some]


@given(
    st.integers(0, 12).flatmap(
        lambda width: st.lists(st.binary(min_size=width, max_size=width) | BYTES, max_size=8)
    ),
    st.integers(0, 2),
    st.integers(0, 2),
)
@settings(max_examples=300)
def test_rows_are_taken_alike_whatever_their_lengths(
    rows: list[bytes], before: int, after: int
) -> None:
    column = sliced(rows, before, after)
    order = random.Random(len(rows)).choices(range(len(rows)), k=2 * len(rows))
    taken = Picker(column).take(pa.array(order, pa.int64()))
    taken.validate(full=True)
    assert taken.type == column.type
    assert taken.to_pylist() == [rows[row] for row in order]


@pytest.mark.parametrize(
    ("values", "type_", "is_fixed"),
    [
        (["aä", "bb\0", "\0\0\0"], pa.string(), True),  # three bytes each
        (["aä", "bb", "\0\0\0"], pa.string(), False),
        (["", "abcd", "ab"], pa.string(), False),
        (["a", None, "b"], pa.string(), False),
        (["", "", ""], pa.string(), False),
        ([b"ab", b"cd", b"ef"], pa.binary(), True),
        ([1, 2, 3], pa.int64(), False),
        ([None, None, None], pa.null(), False),
    ],
)
def test_a_column_of_any_type_is_taken_as_arrow_does(
    values: list[object], type_: object, is_fixed: bool
) -> None:
    column = pa.array(values, type_)
    picker = Picker(column)
    rows = pa.array([2, 0, 2, 1])
    assert (picker._fixed is not None) == is_fixed
    assert picker.take(rows).equals(column.take(rows))
    nothing = picker.take(pa.array([], pa.int64()))
    assert (len(nothing), nothing.type) == (0, column.type)


def test_chunks_of_rows_are_whole_blocks_where_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merge, "CHUNK_ROWS", 50)
    rows = [(f"{number:04d}", number) for number in range(100)]
    source = RowSource([columns_of(rows)])
    order, new = np.arange(100), np.ones(100, bool)
    chunks = list(take_chunks(source, order, new, 30))
    assert [len(chunk.columns) for chunk in chunks] == [30, 30, 30, 10]
    assert [row for chunk in chunks for row in rows_of(chunk.columns)] == rows
    chunks = list(take_chunks(source, order, new, 60))
    assert [len(chunk.columns) for chunk in chunks] == [50, 50]
