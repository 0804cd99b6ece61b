"""Cutting input into splits."""

from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.master.core.limits import Limits
from mrcore.records.inputs import InputFile, listed
from mrcore.records.splits import (
    MAX_AUTO_REDUCES,
    MAX_PIECES,
    MAX_SECTIONS,
    MAX_SPLIT_BYTES,
    SECTION_BYTES,
    TASKS_PER_SLOT,
    auto_reduces,
    cut,
    target_bytes,
)
from mrcore.storage.base import ObjectInfo
from tests.support.records_pieces import cut_as

MIB = 1 << 20


def files_of(*sizes: int, extension: str = ".txt") -> list[InputFile]:
    return [
        listed(
            ObjectInfo(uri=f"file:///in/{i}{extension}", size_bytes=size, generation="g"),
            f"in/{i}{extension}",
            "text",
        )
        for i, size in enumerate(sizes)
    ]


def test_target_is_a_fourth_of_a_slots_share_within_bounds() -> None:
    assert target_bytes(0, 2) == MIB
    assert target_bytes(80 * MIB, 2) == 10 * MIB
    assert target_bytes(2_048 * MIB, 2) == 64 * MIB
    assert target_bytes(80 * MIB, 0) == 20 * MIB
    assert target_bytes(20_000 * MIB, 2) == 200 * MIB
    assert target_bytes(20_000 * MIB, 40) == 125 * MIB
    assert target_bytes(1 << 43, 2) == 1024 * MIB


@given(st.integers(0, 1 << 47), st.integers(1, 10_000))
def test_sections_of_a_large_input_are_few_and_no_slot_waits(size: int, slots: int) -> None:
    reduces = auto_reduces(size, slots)
    split = target_bytes(size, slots, reduces=reduces)
    maps = -(-size // split)
    assert maps * reduces <= MAX_SECTIONS
    share = -(-size // (TASKS_PER_SLOT * slots))
    assert split <= max(MIB, share, -(-size * reduces // MAX_SECTIONS))
    if split < min(share, MAX_SPLIT_BYTES) and slots < reduces < MAX_AUTO_REDUCES:
        assert maps * reduces * SECTION_BYTES <= 1.1 * size + (1 << 31)


def test_what_is_asked_for_goes_before_the_bound_of_sections() -> None:
    size = 100 * 10**12
    assert target_bytes(size, 100, 1_000_000, reduces=1_000) == 10**8
    assert target_bytes(size, 100, reduces=10_000) == size * 10_000 // MAX_SECTIONS
    assert Limits().live_sections_max >= 2 * MAX_SECTIONS, "two such jobs at once"
    assert len(cut(files_of(1000 * MIB), 1, reduces=MAX_SECTIONS // 10)) == 10


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 40 * MIB) | st.integers(0, 1000), max_size=40),
    st.integers(1, 9),
    st.sampled_from(["text", "whole", "csv"]),
)
def test_splits_cover_every_byte_once_and_in_order(
    sizes: list[int], slots: int, input_format: str
) -> None:
    files = files_of(*sizes)
    splits = cut_as(files, input_format, slots)
    most = target_bytes(sum(sizes), slots) * 5 // 4
    pieces = [piece for split in splits for piece in split.pieces]
    expected = [f for f in files if f.size_bytes or input_format == "whole"]
    assert list(dict.fromkeys(p.uri for p in pieces)) == [f.uri for f in expected]
    for file in expected:
        own = [p for p in pieces if p.uri == file.uri]
        assert own[0].start == 0
        assert own[-1].end == file.size_bytes
        assert all(a.end == b.start for a, b in pairwise(own))
        if input_format != "text":
            assert len(own) == 1
    for split in splits:
        assert split.pieces
        assert split.size_bytes <= most or len(split.pieces) == 1
        if input_format == "text":
            assert split.size_bytes <= most
    assert len(splits) >= min(4 * slots, len(expected))


def test_small_files_share_a_task_once_every_slot_has_four() -> None:
    splits = cut_as(files_of(*[1000] * 400), "text", 2)
    assert [len(split.pieces) for split in splits] == [50] * 8
    assert len(cut_as(files_of(10, 20, 30), "text", 2)) == 3
    assert len(cut_as(files_of(*[600 * 1024] * 100), "text", 1)) == 4


def test_files_a_little_larger_than_a_split_are_not_halved() -> None:
    sizes = [17_650_000] * 7 + [11_000_000]  # a fourth of a slot's share is 16.8 MB
    splits = cut_as(files_of(*sizes), "text", 2)
    assert [split.size_bytes for split in splits] == sizes
    twice = cut_as(files_of(*sizes, *sizes), "text", 2)
    assert [len(split.pieces) for split in twice] == [2] * 8
    # Beyond a fourth more they are.
    splits = cut_as(files_of(*[13 * MIB] * 4), "text", 1)
    assert len(splits) == 4
    splits = cut_as(files_of(13 * MIB, *[9 * MIB] * 3), "text", 1)
    assert [split.size_bytes for split in splits][:2] == [6.5 * MIB] * 2


def test_packs_end_where_they_come_closest_to_the_target() -> None:
    splits = cut_as(files_of(*[MIB] * 80), "text", 2)
    assert [len(split.pieces) for split in splits] == [10] * 8
    splits = cut(files_of(*[7 * MIB] * 8), 1, tasks=3)  # sizes that users ask for are not exceeded
    assert [len(split.pieces) for split in splits] == [2, 2, 2, 2]


def test_a_task_holds_a_bounded_number_of_files() -> None:
    splits = cut_as(files_of(*[1] * 5000), "text", 1)
    assert max(len(split.pieces) for split in splits) <= MAX_PIECES


def test_a_large_file_is_cut_evenly() -> None:
    (file,) = files_of(10 * MIB + 3)
    splits = cut_as([file], "text", 1)
    assert [(s.pieces[0].start, s.pieces[0].end) for s in splits] == [
        (0, 2621440),
        (2621440, 5242881),
        (5242881, 7864322),
        (7864322, 10 * MIB + 3),
    ]


def test_what_cannot_be_split_stays_whole() -> None:
    for extension in (".gz", ".txt.bz2", ".zst", ".zstd"):
        (split,) = cut_as(files_of(300 * MIB, extension=extension), "text", 4)
        assert (split.pieces[0].start, split.pieces[0].end) == (0, 300 * MIB)
    (split,) = cut_as(files_of(300 * MIB, extension=".csv"), "arrow", 4)
    assert split.size_bytes == 300 * MIB
    assert len(cut_as(files_of(300 * MIB, extension=".jsonl"), "arrow", 4)) == 16


def test_parquet_is_cut_between_row_groups() -> None:
    (file,) = files_of(10 * MIB, extension=".parquet")
    starts = tuple(4 + i * 700 * 1024 for i in range(14))
    file = msgspec.structs.replace(file, cut_points=starts)
    splits = cut_as([file], "parquet", 1)
    borders = [split.pieces[0].start for split in splits]
    assert borders[0] == 0
    assert set(borders[1:]) <= set(starts)
    assert all(split.size_bytes <= target_bytes(10 * MIB, 1) for split in splits)
    assert splits[-1].pieces[0].end == 10 * MIB


def test_row_groups_that_just_fit_share_a_split() -> None:
    (file,) = files_of(4 * MIB, extension=".parquet")
    starts = tuple(range(0, 4 * MIB, MIB // 2))
    file = msgspec.structs.replace(file, cut_points=starts)
    splits = cut_as([file], "parquet", 1)
    assert [split.pieces[0].start for split in splits] == [0, MIB, 2 * MIB, 3 * MIB]


def test_the_same_file_twice_is_read_twice() -> None:
    (file,) = files_of(10)
    splits = cut_as([file, file], "text", 1)
    assert [piece.uri for split in splits for piece in split.pieces] == [file.uri, file.uri]
