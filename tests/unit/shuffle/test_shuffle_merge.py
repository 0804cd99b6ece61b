"""The k-way merge, groups that cross chunks, and the spills behind them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcore.shuffle.columns as columns_module
from mrcore.plugin.running import NOTED, note_in, running
from mrcore.shuffle import merge as merging
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.blocks import cut_blocks
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.columns import Columns, RowSource, common_layout
from mrcore.shuffle.encoding import encode
from mrcore.shuffle.group_values import values_of_groups
from mrcore.shuffle.groups import Groups, GroupStream
from mrcore.shuffle.keys import keys_to_python
from mrcore.shuffle.merge import SortedChunk, merge, sort_in_memory
from mrcore.shuffle.runfile import RunWriter
from mrcore.shuffle.spill import SpillFolder
from mrcore.shuffle.values import to_python, value_column
from tests.support.shuffle_rows import Row, columns_of, rows_of

KEYS = st.one_of(
    st.sampled_from(["a", "b", "same eight bytes 1", "same eight bytes 2", "same eight bytes "]),
    st.none(),
    st.sampled_from(["a", "b"]),
)


@st.composite
def cut_runs(draw: st.DrawFn) -> tuple[list[list[list[Row]]], bool]:
    """Return sorted runs, each cut into blocks; values number the rows of all runs."""
    order = draw(st.booleans())
    number = 0
    runs = []
    for _ in range(draw(st.integers(1, 5))):
        rows = []
        for key in draw(st.lists(KEYS, max_size=12)):
            rows.append((key, number))
            number += 1
        rows.sort(key=lambda row: (encode(row[0]), row[1] % 3 if order else 0))
        blocks = []
        while rows:
            size = draw(st.integers(1, 4))
            blocks.append(rows[:size])
            rows = rows[size:]
        runs.append(blocks)
    return runs, order


@given(cut_runs(), st.integers(1, 5))
@settings(max_examples=100)
def test_merging_is_a_stable_sort(cut: tuple[list[list[list[Row]]], bool], chunk_rows: int) -> None:
    runs, order = cut
    rows = [row for blocks in runs for block in blocks for row in block]
    expected = sorted(rows, key=lambda row: (encode(row[0]), row[1] % 3 if order else 0))
    batches = [[columns_of(block, order=order) for block in blocks] for blocks in runs]
    layout = common_layout([batch for run in batches for batch in run] or [columns_of([])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "CHUNK_ROWS", chunk_rows)
        chunks = list(merge(batches, layout))
    assert [row for chunk in chunks for row in rows_of(chunk.columns)] == expected
    news = [bool(flag) for chunk in chunks for flag in chunk.new]
    keys = [encode(key) for key, _ in expected]
    assert news == [i == 0 or key != keys[i - 1] for i, key in enumerate(keys)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=30), st.data())
@settings(max_examples=100)
def test_groups_are_whole_wherever_chunks_end(rows: list[Row], data: st.DataObject) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    taken = data.draw(st.sampled_from([0, 1, 2, 100]), label="values that the reducer takes")
    stream = GroupStream(iter(chunks_of(rows, data.draw(st.integers(1, 6), label="chunk"))))
    found = []
    for item in stream:
        if isinstance(item, Groups):
            keys = keys_to_python(item.columns.key_kind, item.columns.keys)
            values = to_python(item.columns.value_kind, item.columns.values)
            for start, end in zip(item.starts.tolist(), item.ends.tolist(), strict=True):
                found.append((keys[start], values[start:end][:taken]))
        else:
            found.append((item.key, list(islice(item.values, taken))))
    expected = [
        (key, [value for _, value in group][:taken])
        for key, group in groupby(rows, key=lambda row: row[0])
    ]
    assert found == expected


def chunks_of(rows: list[Row], size: int) -> Iterator[SortedChunk]:
    """Yield sorted rows in chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "CHUNK_ROWS", size)
        yield from list(sort_in_memory(RowSource([columns_of(rows)]))) if rows else []


def test_what_fails_while_values_are_read_is_not_swallowed_by_the_reducer() -> None:
    def chunks() -> Iterator[SortedChunk]:
        yield from chunks_of([("a", 1), ("a", 2)], 2)
        raise OSError("the disk is gone")

    stream = GroupStream(chunks())
    group = next(iter(stream))
    assert not isinstance(group, Groups)
    with pytest.raises(OSError, match="disk"):
        list(group.values)
    with pytest.raises(OSError, match="disk"):
        stream.check()


def test_time_in_which_values_are_read_is_not_that_of_the_function() -> None:
    """A limit on the time of a key is for the user's code, however slow the storage is."""
    page = bytearray(1)
    notes: list[str] = []

    def chunks() -> Iterator[SortedChunk]:
        for chunk in chunks_of([("a", 1), ("a", 2), ("a", 3)], 1):
            notes.append(NOTED[page[0]])
            yield chunk
        notes.append(NOTED[page[0]])

    note_in(page, 0)
    try:
        for group in GroupStream(chunks()):
            assert not isinstance(group, Groups)
            with running("reduce"):
                for _ in group.values:
                    assert NOTED[page[0]] == "reduce"
    finally:
        note_in(bytearray(1), 0)
    assert notes == [""] * 4


@pytest.mark.parametrize("fan_in_bytes", [1, 1 << 30])
def test_spills_are_merged_and_removed(tmp_path: Path, fan_in_bytes: int) -> None:
    budget = Budget(collect_bytes=2_000, sort_bytes=2_000, merge_bytes=fan_in_bytes)
    builder = RunBuilder(3, budget, tmp_path / "spills")
    rows = [(f"key {i * 7919 % 500}", i) for i in range(3_000)]
    for start in range(0, len(rows), 50):
        builder.add(columns_of(rows[start : start + 50]))
    assert len(list((tmp_path / "spills").iterdir())) > 20
    sink = Sink()
    writer = RunWriter(sink, None)
    builder.write(writer)
    writer.finish()
    builder.close()
    assert list((tmp_path / "spills").iterdir()) == []
    assert writer.rows == 3_000
    assert [section.rows > 0 for section in writer.sections] == [True] * 3


class Sink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview, /) -> int:
        self.data += data
        return len(data)


def test_a_spill_is_read_back_section_by_section(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    first, second = columns_of([("a", 1), ("b", 2)]), columns_of([(None, 3)])
    spill = folder.write([[first], [], [second]], 1 << 20)
    assert [[rows_of(block) for block in spill.section(i)] for i in range(3)] == [
        [[("a", 1), ("b", 2)]], [], [[(None, 3)]],
    ]  # fmt: skip
    folder.close()
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=60), st.integers(1, 4_000))
def test_blocks_are_bounded_however_uneven_the_rows_are(sizes: list[int], limit: int) -> None:
    batch = columns_of([("x" * size, i) for i, size in enumerate(sizes)])
    blocks = list(cut_blocks(batch, limit))
    assert [row for block in blocks for row in rows_of(block)] == rows_of(batch)
    assert all(len(block) == 1 or block.size_bytes <= 2 * limit for block in blocks)


@given(st.lists(st.lists(st.tuples(KEYS, st.integers()), min_size=1, max_size=5), min_size=1))
def test_large_rows_are_picked_as_small_ones_are(batches: list[list[Row]]) -> None:
    """The kinds of keys and values differ from batch to batch."""
    found = []
    for limit in (1, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columns_module, "LARGE_ROW_BYTES", limit)
            source = RowSource([columns_of(rows) for rows in batches])
            rows = [row for chunk in sort_in_memory(source) for row in rows_of(chunk.columns)]
            found.append((len(source), rows))
    assert found[0] == found[1]
    expected = [row for rows in batches for row in rows]
    assert found[0] == (len(expected), sorted(expected, key=lambda row: encode(row[0])))


def test_large_rows_are_not_held_twice() -> None:
    batches = [columns_of([(f"k{i % 3}", i)]) for i in range(6)]
    large = [
        Columns(b.key_kind, b.keys, *value_column([bytes([i]) * 1_000_000]))
        for i, b in enumerate(batches)
    ]
    before = pa.total_allocated_bytes()
    chunks = list(sort_in_memory(RowSource(large)))
    assert [len(chunk.columns) for chunk in chunks] == [2, 2, 2]
    # A chunk of two rows joins them; what is taken row by row lies where it lay.
    assert pa.total_allocated_bytes() - before < 7_000_000
    single = RowSource(large).take(np.array([4]))
    assert single.values.buffers()[2].address == large[4].values.buffers()[2].address


def test_runs_of_large_rows_are_merged_a_few_at_a_time() -> None:
    budget = Budget.of(256 << 20)
    assert budget.fan_in(1 << 20) * 3 * (1 << 20) <= budget.sort_bytes
    assert 2 <= budget.fan_in(10 << 20) <= budget.merge_bytes // (10 << 20)
    assert budget.fan_in(1 << 30) == 2


def test_an_empty_block_does_not_end_a_run() -> None:
    first, last = columns_of([("a", 1)]), columns_of([("b", 2)])
    chunks = merge([[first, first.slice(0, 0), last]], common_layout([first]))
    assert [row for chunk in chunks for row in rows_of(chunk.columns)] == [("a", 1), ("b", 2)]


@given(st.lists(st.sampled_from([1, 1, 1, 2, 5]), max_size=20), st.integers(0, 3))
def test_the_values_of_each_group_are_its_own(sizes: list[int], before: int) -> None:
    """Most groups may have one value, or many."""
    ends = before + np.cumsum(sizes, dtype=np.int64)
    starts = ends - np.array(sizes, np.int64)
    values = [object() for _ in range(before + sum(sizes) + 2)]
    found = list(values_of_groups(values, starts, ends))
    slices = zip(starts.tolist(), ends.tolist(), strict=True)
    assert list(map(list, found)) == [values[start:end] for start, end in slices]
