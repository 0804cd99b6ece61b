"""Run files: round trips, damage of any kind, and what a reduce task reads of them."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.errors import CorruptRunError
from mrcore.model.task import BlockKey, KeyRange, RunSlice, TaskOutput, TaskRef
from mrcore.shuffle import build, reading
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.columns import Columns, KeyKind, concat
from mrcore.shuffle.encoding import encode
from mrcore.shuffle.keys import key_column
from mrcore.shuffle.ranges import choose_boundaries, run_input, trim
from mrcore.shuffle.reading import LostRunError, blocks_of, read_slices
from mrcore.shuffle.runfile import RunFooter, RunWriter, read_footer, separator
from mrcore.shuffle.values import ValueKind, arrow_value_column, value_column
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.storage.memory import MemoryStorage
from tests.support.shuffle_keys import INTS, TEXT, keys_with
from tests.support.shuffle_rows import Row, columns_of, rows_of
from tests.support.shuffle_values import VALUES
from tests.support.toy_store import ToyStorage

URI = "mem://runs/x.run"


def write(
    storage: Storage, sections: list[list[Columns]], codec: str | None = "lz4", **options: Any
) -> tuple[ObjectInfo, RunWriter, bytes]:
    """Write a run; return it, its writer and its digest."""
    with storage.open_write(URI) as sink:
        writer = RunWriter(sink, codec, **options)
        for section in sections:
            for batch in section:
                writer.add(batch)
            writer.end_section()
        digest = writer.finish()
        return sink.commit(), writer, digest


def slice_of(info: ObjectInfo, offset: int, length: int, index: int = 7) -> RunSlice:
    """Return a slice of a run."""
    return RunSlice(0, index, info.uri, info.generation, offset, length)


@given(
    st.lists(
        st.lists(st.lists(st.tuples(keys_with(INTS), VALUES), min_size=1, max_size=4), max_size=3),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([None, "lz4", "zstd"]),
    st.sampled_from([100, 1 << 20]),
)
@settings(max_examples=60)
def test_a_run_round_trips(sections: Any, codec: str | None, block_bytes: int) -> None:
    storage = MemoryStorage()
    columns = [
        [
            Columns(*key_column([k for k, _ in rows]), *value_column([v for _, v in rows]))
            for rows in section
        ]
        for section in sections
    ]
    info, writer, _ = write(storage, columns, codec, block_bytes=block_bytes)
    for section, footer in zip(sections, writer.sections, strict=True):
        piece = slice_of(info, footer.offset, footer.length_bytes)
        read = [
            row
            for block in read_slices([piece], 1 << 20, lambda uri: storage)
            for row in rows_of(block)
        ]
        assert repr(read) == repr([row for rows in section for row in rows])
        assert footer.rows == len(read)
    assert read_footer(storage, URI) == RunFooter(
        read_footer(storage, URI).kinds, tuple(writer.sections)
    )


def test_an_arrow_column_keeps_its_type_through_a_run() -> None:
    storage = MemoryStorage()
    values = pa.array([[1, None], None, []], pa.list_(pa.int8()))
    batch = Columns(*key_column(["a", "b", "c"]), *arrow_value_column(values))
    assert batch.value_kind is ValueKind.ARROW
    info, writer, _ = write(storage, [[batch]])
    piece = slice_of(info, 0, writer.sections[0].length_bytes)
    (read,) = read_slices([piece], 1 << 20, lambda uri: storage)
    assert read.values.equals(values)


SMALL = [[columns_of([("a", 1), ("b", 2)])], [], [columns_of([(None, 3), (("x", 1), 4)])]]


def test_any_flipped_byte_of_a_section_is_noticed() -> None:
    storage = MemoryStorage()
    info, writer, _ = write(storage, SMALL, None)
    data = storage.read(URI)
    for footer in (writer.sections[0], writer.sections[2]):
        for at in range(footer.offset, footer.offset + footer.length_bytes):
            damaged = bytearray(data)
            damaged[at] ^= 0x40
            with storage.open_write(URI) as sink:
                sink.write(bytes(damaged))
                info = sink.commit()
            piece = slice_of(info, footer.offset, footer.length_bytes)
            with pytest.raises(LostRunError) as caught:
                list(read_slices([piece], 1 << 20, lambda uri: storage))
            assert caught.value.run == TaskRef(0, 7)


def test_any_flipped_byte_of_a_footer_is_noticed() -> None:
    storage = MemoryStorage()
    _, writer, _ = write(storage, SMALL, None)
    data = storage.read(URI)
    end = writer.sections[2].offset + writer.sections[2].length_bytes
    for at in range(end, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x01
        with storage.open_write(URI) as sink:
            sink.write(bytes(damaged))
            sink.commit()
        with pytest.raises(CorruptRunError):
            read_footer(storage, URI)


@given(st.lists(st.integers(0, 300), max_size=40))
def test_blocks_are_found_wherever_ranges_end(cuts: list[int]) -> None:
    storage = MemoryStorage()
    rows = [("k" * (i % 7), i) for i in range(30)]
    _, writer, _ = write(storage, [[columns_of(rows)]], block_bytes=60)
    data = storage.read(URI, 0, writer.sections[0].length_bytes)
    borders = sorted({0, len(data), *(cut * 7 % len(data) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(borders)]
    assert [row for block in blocks_of(iter(pieces)) for row in rows_of(block)] == rows
    with pytest.raises(CorruptRunError, match=r"cut off|header"):
        list(blocks_of(iter([*pieces[:-1], pieces[-1][:-1]])))


def test_a_block_of_many_ranges_is_joined_once() -> None:
    """Reading a huge block took time by the square of its size."""
    storage = MemoryStorage()
    large = b"x" * 1_000_000
    batch = Columns(*key_column(["k"]), *value_column([large]))
    _, writer, _ = write(storage, [[batch]], None)
    data = storage.read(URI, 0, writer.sections[0].length_bytes)
    tracemalloc.start()
    try:
        pieces = (data[start : start + 10_000] for start in range(0, len(data), 10_000))
        (block,) = blocks_of(pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert block.values.to_pylist() == [large]
    assert peak < 2.5 * len(data)  # the pieces, and the block


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_run_that_was_cut_off_is_lost(cut: int) -> None:
    storage = MemoryStorage()
    info, writer, _ = write(storage, SMALL[:1], None)
    length = writer.sections[0].length_bytes
    with storage.open_write(URI) as sink:
        sink.write(storage.read(URI)[: length - cut])
        info = sink.commit()
    for claimed in (length, length - cut):
        with pytest.raises(LostRunError):
            list(read_slices([slice_of(info, 0, claimed)], 1 << 20, lambda uri: storage))


def test_a_run_that_was_cut_off_between_two_blocks_is_lost() -> None:
    storage = MemoryStorage()
    info, writer, _ = write(storage, [SMALL[0], SMALL[2]], None)
    first, second = (section.length_bytes for section in writer.sections)
    with storage.open_write(URI) as sink:
        sink.write(storage.read(URI)[:first])
        info = sink.commit()
    with pytest.raises(LostRunError, match=r"^is cut off: ") as caught:
        list(read_slices([slice_of(info, 0, first + second)], 1 << 20, lambda uri: storage))
    assert caught.value.run == TaskRef(0, 7)


def test_a_run_that_is_gone_or_replaced_is_lost() -> None:
    storage = MemoryStorage()
    info, writer, _ = write(storage, SMALL[:1])
    length = writer.sections[0].length_bytes
    other = RunSlice(0, 3, info.uri, "another generation", 0, length)
    with pytest.raises(LostRunError, match=r"^is gone: ") as caught:
        list(read_slices([other], 1 << 20, lambda uri: storage))
    assert caught.value.run == TaskRef(0, 3)
    storage.delete(URI)
    with pytest.raises(LostRunError, match=r"^is gone: ") as caught:
        list(read_slices([slice_of(info, 0, length)], 1 << 20, lambda uri: storage))
    assert caught.value.run == TaskRef(0, 7)


def test_slices_are_read_ahead_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ToyStorage()
    monkeypatch.setattr(reading, "RANGE_BYTES", 40)
    sections = [[columns_of([(f"{i}", i)])] for i in range(30)]
    info, writer, _ = write(storage, sections)
    slices = [
        slice_of(info, footer.offset, footer.length_bytes, i)
        for i, footer in enumerate(writer.sections)
    ]
    blocks = list(read_slices(slices, 200, lambda uri: storage))
    assert [rows_of(block) for block in blocks] == [[(f"{i}", i)] for i in range(30)]
    storage.delete(URI)
    with pytest.raises(LostRunError, match=r"^is gone: ") as caught:
        list(read_slices(slices, 200, lambda uri: storage))
    assert caught.value.run == TaskRef(0, 0)


def test_equal_content_has_equal_digests_and_other_content_others() -> None:
    storage = MemoryStorage()
    digests = [write(storage, SMALL)[2] for _ in range(2)]
    assert digests[0] == digests[1]
    others = [
        [SMALL[0], SMALL[2], []], [[columns_of([("a", 1), ("b", 3)])], [], SMALL[2]],
    ]  # fmt: skip
    assert digests[0] not in [write(storage, other)[2] for other in others]


# ---- which bytes a reduce task reads


def sorted_run(
    keys: list[Any], block_rows: int, map_index: int
) -> tuple[TaskOutput, list[Columns]]:
    """Return what a map task of a total order reports, each row 10 bytes, and its blocks."""
    keys = sorted(keys, key=encode)
    kind, column = key_column(keys) if keys else (KeyKind.STR, pa.array([], pa.string()))
    numbers = pa.array([map_index] * len(keys), pa.int64())
    whole = Columns(kind, column, ValueKind.INT, numbers)
    blocks = [whole.slice(at, block_rows) for at in range(0, len(keys), block_rows)]
    ends = [b"", *(encode(keys[at - 1]) for at in range(block_rows, len(keys), block_rows))]
    reported = tuple(
        BlockKey(separator(end, encode(keys[i * block_rows])), 10 * len(block), len(block))
        for i, (end, block) in enumerate(zip(ends, blocks, strict=bool(blocks)))
    )
    run = ObjectInfo(f"mem://runs/{map_index}", 10 * len(keys), "1") if keys else None
    return TaskOutput(object=run, blocks=reported), blocks


LONG = st.integers(0, 3).map(lambda n: "x" * 1_100 + str(n))
"""Keys that are the same up to where they are cut."""


@given(
    st.lists(
        st.lists(st.one_of(TEXT, LONG, st.integers(0, 9)), max_size=20), min_size=1, max_size=4
    ),
    st.integers(1, 6),
    st.integers(1, 4),
)
@settings(max_examples=150)
def test_key_ranges_cover_every_row_exactly_once(
    tasks: list[list[Any]], reduces: int, block_rows: int
) -> None:
    runs = [sorted_run(keys, block_rows, i) for i, keys in enumerate(tasks)]
    outputs = [(TaskRef(0, i), output) for i, (output, _) in enumerate(runs)]
    boundaries = choose_boundaries([output for _, output in outputs], reduces)
    assert boundaries == sorted(boundaries)
    assert len(boundaries) == reduces - 1
    found = []
    for index in range(reduces):
        work = run_input(outputs, reduces, index, boundaries)
        part = []
        for piece in work.slices:
            blocks = runs[piece.index][1]
            at = 0
            for block in blocks:
                if piece.offset <= at < piece.offset + piece.length_bytes:
                    part += rows_of(trim(block, work.keys))
                at += 10 * len(block)
        found.append(sorted(encode(key) for key, _ in part))
    flat = [key for part in found for key in part]
    assert flat == sorted(encode(key) for keys in tasks for key in keys)


@given(
    st.lists(st.lists(st.tuples(TEXT, VALUES), max_size=30), min_size=1, max_size=5),
    st.sampled_from([1, 100, 2_000]),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_blocks_in_total_order_begin_where_they_do_without_spills(
    batches: list[list[Row]], collect_bytes: int, partitions: int
) -> None:
    """Were it otherwise, the borders between parts would depend on the memory of a slot."""
    found = []
    for limit in (collect_bytes, 1 << 30):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "_MIN_BLOCK_BYTES", 64)
            budget = Budget(collect_bytes=limit, sort_bytes=limit, merge_bytes=limit)
            builder = RunBuilder(partitions, budget, Path(folder), total_order=True)
            for rows in batches:
                builder.add(columns_of(rows))
            if builder.empty:
                return
            writer = RunWriter(io.BytesIO(), None, builder.block_bytes, first_keys=True)
            builder.write(writer)
            builder.close()
            found.append([(block.first_key, block.rows) for block in writer.blocks])
    assert found[0] == found[1]


def test_boundaries_share_out_bytes_evenly() -> None:
    outputs = [
        TaskOutput(blocks=tuple(BlockKey(b"%04d" % (i * 3 + m), 100, 5) for i in range(100)))
        for m in range(3)
    ]
    assert choose_boundaries(outputs, 3) == [b"0100", b"0200"]
    assert choose_boundaries([TaskOutput()], 3) == [b"", b""]


def test_sections_become_slices_in_order_of_maps_and_empty_ones_are_left_out() -> None:
    info = ObjectInfo("mem://runs/1", 60, "g")
    outputs = [
        (TaskRef(0, 2), TaskOutput(object=info, section_bytes=(10, 0, 50))),
        (TaskRef(0, 0), TaskOutput(object=info, section_bytes=(20, 30, 10))),
        (TaskRef(0, 1), TaskOutput(section_bytes=(0, 0, 0))),
    ]
    assert [run_input(outputs, 3, index).slices for index in range(3)] == [
        (RunSlice(0, 0, "mem://runs/1", "g", 0, 20), RunSlice(0, 2, "mem://runs/1", "g", 0, 10)),
        (RunSlice(0, 0, "mem://runs/1", "g", 20, 30),),
        (RunSlice(0, 0, "mem://runs/1", "g", 50, 10), RunSlice(0, 2, "mem://runs/1", "g", 10, 50)),
    ]
    assert run_input(outputs, 3, 0).keys == KeyRange()


def test_joining_batches_of_different_kinds_keeps_every_type() -> None:
    parts: list[list[Any]] = [
        [("a", 1)],
        [("b", "x")],
        [(None, 2.5)],
        [(b"c", None)],
        [("d", 1 << 70)],
        [("e", b"raw")],
        [("f", [1])],
    ]
    joined = concat([columns_of(rows[:0]) if not rows else _columns(rows) for rows in parts])
    assert repr(rows_of(joined)) == repr([row for rows in parts for row in rows])


def _columns(rows: list[Any]) -> Columns:
    return Columns(*key_column([k for k, _ in rows]), *value_column([v for _, v in rows]))


def hot(key: str, rows: int) -> list[Columns]:
    return [columns_of([(key, number) for number in range(rows)])]


def test_a_run_names_the_key_that_fills_its_blocks() -> None:
    rest = columns_of([(f"x{number:05d}", 1) for number in range(20_000)])
    sections = [hot("a", 11_000), [*hot("m", 9_000), *hot("m", 9_000), rest], []]
    _, writer, _ = write(MemoryStorage(), sections, block_bytes=8_192)
    found = writer.heavy_key
    assert found is not None
    assert (found.partition, found.shown) == (1, "'m'")
    # The last block of the key has others, too.
    assert 17_000 < found.rows <= 18_000


def test_a_run_of_many_keys_or_few_rows_names_none() -> None:
    rest = columns_of([(f"x{number:05d}", 1) for number in range(20_000)])
    cases: list[list[list[Columns]]] = [[[rest]], [hot("a", 9_000), hot("a", 9_000)], [[]]]
    for sections in cases:
        assert write(MemoryStorage(), sections, block_bytes=8_192)[1].heavy_key is None
    _, writer, _ = write(MemoryStorage(), [hot("a", 20_000)], first_keys=True)
    assert writer.heavy_key is None
