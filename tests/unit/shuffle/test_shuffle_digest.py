"""The digest of a run: the same for the same rows, however memory has cut them."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.runfile import RunWriter
from tests.support.shuffle_rows import columns_of

KEYS = st.one_of(st.text(max_size=3), st.integers(0, 4), st.binary(max_size=2), st.booleans())
VALUES = st.one_of(
    st.integers(), st.text(max_size=2), st.none(), st.floats(allow_nan=False), st.binary(max_size=2)
)
BATCHES = st.sampled_from([VALUES, st.integers()]).flatmap(
    lambda values: st.lists(
        st.lists(st.tuples(KEYS, values), min_size=1, max_size=12), min_size=1, max_size=6
    )
)


def digest_of(batches: list[list[Any]], limit: int, *, total_order: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        budget = Budget(collect_bytes=limit, sort_bytes=limit, merge_bytes=limit)
        builder = RunBuilder(3, budget, Path(folder), total_order=total_order)
        order = all(type(value) is int for rows in batches for _, value in rows)
        for rows in batches:
            builder.add(columns_of(rows, order=order))
        writer = RunWriter(io.BytesIO(), None, builder.block_bytes)
        builder.write(writer)
        builder.close()
        return writer.finish()


@given(BATCHES, st.booleans())
@settings(max_examples=50)
def test_it_does_not_depend_on_memory(batches: list[list[Any]], total_order: bool) -> None:
    found = {
        digest_of(batches, limit, total_order=total_order) for limit in (1, 200, 2_000, 1 << 30)
    }
    assert len(found) == 1


def test_it_does_not_depend_on_where_blocks_are_cut() -> None:
    rows = [(f"k{i:03d}", i) for i in range(100)]
    found = set()
    for size, block_bytes in ((100, 1 << 20), (7, 1 << 20), (100, 50), (1, 1)):
        writer = RunWriter(io.BytesIO(), "lz4", block_bytes)
        for start in range(0, 100, size):
            writer.add(columns_of(rows[start : start + size]))
        writer.end_section()
        found.add(writer.finish())
    assert len(found) == 1


@pytest.mark.parametrize(
    "other",
    [
        [[("a", 1)], [("b", 3)]],
        [[("a", 1)], [("c", 2)]],
        [[("a", 1), ("b", 2)], []],
        [[("a", 1)], [("b", 2), ("b", 2)]],
        [[("b", 2)], [("a", 1)]],
        [[("a", 1.0)], [("b", 2)]],
        [[("a", True)], [("b", 2)]],
        [[("a", "1")], [("b", 2)]],
        [[("a", 1)], [(b"b", 2)]],
        [[("a", None)], [("b", 2)]],
    ],
)
def test_other_rows_have_another_digest(other: list[list[Any]]) -> None:
    assert _of_sections(other) != _of_sections([[("a", 1)], [("b", 2)]])


def test_rows_in_another_section_have_another_digest() -> None:
    rows = [("a", 1), ("b", 2)]
    assert len({_of_sections(sections) for sections in ([rows, []], [[], rows], [rows])}) == 3


def test_text_is_told_from_text_that_is_split_elsewhere() -> None:
    assert _of_sections([[("ab", 1), ("c", 1)]]) != _of_sections([[("a", 1), ("bc", 1)]])


def _of_sections(sections: list[list[Any]]) -> bytes:
    writer = RunWriter(io.BytesIO(), None)
    for rows in sections:
        if rows:
            writer.add(columns_of(rows))
        writer.end_section()
    return writer.finish()
