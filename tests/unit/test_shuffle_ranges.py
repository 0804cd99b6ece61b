"""Which bytes of which runs a reduce task reads: all of them, once, in the order of the maps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrcore.shuffle.ranges import reduce_work, section_starts
from mrcore.storage.base import ObjectInfo
from mrcore.tasks.spec import BlockKey, TaskOutput

LENGTHS = st.integers(0, 3)
KEYS = st.binary(max_size=2)
BLOCKS = st.lists(st.tuples(KEYS, LENGTHS), max_size=6).map(sorted)


def output_of(index: int, **where: object) -> tuple[int, TaskOutput]:
    info = ObjectInfo(uri=f"mem://runs/{index}", size_bytes=1, generation="1")
    return index, TaskOutput(object=info, **where)  # type: ignore[arg-type]


@given(st.integers(1, 5).flatmap(lambda r: st.lists(st.lists(LENGTHS, min_size=r, max_size=r))))
def test_every_byte_of_every_section_is_read_once(sections: list[list[int]]) -> None:
    outputs = [output_of(m, section_bytes=tuple(one)) for m, one in enumerate(sections)]
    starts = [section_starts(output) for _, output in outputs]
    reduces = len(sections[0]) if sections else 1
    works = [reduce_work(outputs, reduces, index, None, starts) for index in range(reduces)]
    for map_index, lengths in enumerate(sections):
        slices = [
            (index, one.offset, one.length_bytes)
            for index, work in enumerate(works)
            for one in work.slices
            if one.map_index == map_index
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
        work = reduce_work([(0, output)], len(boundaries) + 1, index, boundaries)
        read = [range(one.offset, one.offset + one.length_bytes) for one in work.slices]
        assert {byte for one in read for byte in one} == needed
