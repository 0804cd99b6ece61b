"""Byte ranges of runs that reduce tasks read: all of them, once, in the order of the maps."""

from __future__ import annotations

import io
from bisect import bisect_left
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcore.model.task import BlockKey, TaskOutput, TaskRef
from mrcore.shuffle.encoding import encode
from mrcore.shuffle.ranges import choose_boundaries, run_input, section_starts
from mrcore.shuffle.runfile import RunWriter, separator
from mrcore.storage.base import ObjectInfo
from tests.support.shuffle_rows import columns_of

LENGTHS = st.integers(0, 3)
KEYS = st.binary(max_size=2)
BLOCKS = st.lists(st.tuples(KEYS, LENGTHS), max_size=6).map(sorted)


def output_of(index: int, **where: object) -> tuple[TaskRef, TaskOutput]:
    info = ObjectInfo(uri=f"mem://runs/{index}", size_bytes=1, generation="1")
    return TaskRef(0, index), TaskOutput(object=info, **where)  # type: ignore[arg-type]


@given(st.integers(1, 5).flatmap(lambda r: st.lists(st.lists(LENGTHS, min_size=r, max_size=r))))
def test_every_byte_of_every_section_is_read_once(sections: list[list[int]]) -> None:
    outputs = [output_of(m, section_bytes=tuple(one)) for m, one in enumerate(sections)]
    starts = [section_starts(output) for _, output in outputs]
    reduces = len(sections[0]) if sections else 1
    works = [run_input(outputs, reduces, index, None, starts) for index in range(reduces)]
    for map_index, lengths in enumerate(sections):
        slices = [
            (index, one.offset, one.length_bytes)
            for index, work in enumerate(works)
            for one in work.slices
            if one.index == map_index
        ]
        assert slices == [
            (index, sum(lengths[:index]), length) for index, length in enumerate(lengths) if length
        ]


@given(BLOCKS, st.lists(KEYS, max_size=4).map(sorted))
def test_a_range_of_keys_reads_the_blocks_that_may_hold_it(
    blocks: list[tuple[bytes, int]], boundaries: list[bytes]
) -> None:
    _, output = output_of(0, blocks=tuple(BlockKey(key, length, 1) for key, length in blocks))
    edges = [None, *boundaries, None]
    for index in range(len(boundaries) + 1):
        low, high = edges[index], edges[index + 1]
        needed = set()
        for number, (key, length) in enumerate(blocks):
            after = blocks[number + 1][0] if number + 1 < len(blocks) else None
            reaches = low is None or after is None or after >= low
            begins = high is None or key < high
            if reaches and begins and (low is None or low != high):
                at = sum(length for _, length in blocks[:number])
                needed |= set(range(at, at + length))
        work = run_input([(TaskRef(0, 0), output)], len(boundaries) + 1, index, boundaries)
        read = [range(one.offset, one.offset + one.length_bytes) for one in work.slices]
        assert {byte for one in read for byte in one} == needed


def sizes_of_parts(keys: list[Any], reduces: int, block_rows: int = 100) -> list[int]:
    """Return how many rows each part of a total order gets, of one run of these keys."""
    column = columns_of([(key, 1) for key in sorted(keys)])
    writer = RunWriter(io.BytesIO(), None, first_keys=True)
    writer.cut_every(block_rows)
    writer.add(column)
    writer.end_section()
    boundaries = choose_boundaries([TaskOutput(blocks=tuple(writer.blocks))], reduces)
    assert boundaries == sorted(boundaries)
    assert len(boundaries) == reduces - 1
    encoded = sorted(map(encode, keys))
    places = [0, *(bisect_left(encoded, boundary) for boundary in boundaries), len(encoded)]
    return [end - start for start, end in pairwise(places)]


@pytest.mark.parametrize("prefix", ["", "p" * 70, "p" * 900], ids=len)
def test_keys_that_begin_alike_are_shared_out(prefix: str) -> None:
    sizes = sizes_of_parts([f"{prefix}{i:05d}" for i in range(10_000)], 8)
    assert max(sizes) - min(sizes) <= 200
    tuples = sizes_of_parts([(prefix, i) for i in range(10_000)], 8)
    assert max(tuples) - min(tuples) <= 200


def test_the_keys_behind_a_hot_one_are_shared_out() -> None:
    sizes = sizes_of_parts(["a-hot"] * 30_000 + [f"k{i:05d}" for i in range(6_000)], 7)
    assert sizes[0] < 30_200
    assert max(sizes[1:]) - min(sizes[1:]) <= 200


@pytest.mark.parametrize("hot", ["k2", "z-hot"])
def test_a_hot_key_has_a_part_of_its_own(hot: str) -> None:
    sizes = sizes_of_parts([hot] * 30_000 + [f"k{i:05d}" for i in range(6_000)], 7)
    assert max(sizes) < 30_200
    assert sorted(sizes)[-2] < 36_000 // 7 + 200


def test_too_few_keys_leave_parts_empty() -> None:
    assert sizes_of_parts(["a"] * 1_000, 4) == [0, 0, 0, 1_000]
    assert sizes_of_parts(["a"] * 500 + ["b"] * 500, 4) == [500, 0, 0, 500]


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_a_separator_is_above_the_key_before(one: bytes, other: bytes) -> None:
    before, key = sorted((one, other))
    cut = separator(before, key)
    assert cut <= key
    assert cut > before or key == before or not before
