"""Lines belong to exactly one range, wherever a file is cut."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrcore.errors import DataError
from mrcore.records.lines import line_blocks, line_starts, split_lines, without_mark
from tests.support.records_pieces import input_file, pairs_of, piece_of, read_as

ENDS = st.sampled_from([b"\n", b"\r\n"])
WORDS = st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"\x0b"))


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Files of short lines with mixed ends, often none at the last."""
    lines = draw(st.lists(st.tuples(WORDS, ENDS), max_size=12))
    return b"".join(line + end for line, end in lines) + draw(WORDS)


def expected_lines(content: bytes) -> list[tuple[int, str]]:
    """Find the lines one byte at a time."""
    lines: list[tuple[int, bytes]] = []
    start = 0
    for place, byte in enumerate(content):
        if byte == 10:
            lines.append((start, content[start:place].removesuffix(b"\r")))
            start = place + 1
    if start < len(content):
        lines.append((start, content[start:]))
    return [(at, line.decode("utf-8", "surrogateescape")) for at, line in lines]


def reader_from(content: bytes, position: int, sizes: Sequence[int]) -> Callable[[int], bytes]:
    """Return a `read` that returns fewer bytes than asked for: those of `sizes`, in turn."""
    turns = iter(range(1 << 30))

    def read(size: int) -> bytes:
        nonlocal position
        step = min(size, sizes[next(turns) % len(sizes)])
        data = content[position : position + step]
        position += len(data)
        return data

    return read


@settings(max_examples=300)
@given(
    contents(),
    st.lists(st.integers(0, 150), max_size=6),
    st.integers(1, 40),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
)
@example(b"ab\r\ncd\r\n", [1, 2, 3, 4, 5, 6, 7], 3, [2])
@example(b"\n\n\n", [1, 2], 1, [1])
def test_ranges_cover_each_line_once(
    content: bytes, cuts: list[int], block_bytes: int, sizes: list[int]
) -> None:
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    found: list[tuple[int, str]] = []
    for start, end in pairwise(borders):
        stop = end if end < len(content) else None
        read = reader_from(content, max(0, start - 1), sizes)
        for offset, block in line_blocks(read, start, stop, block_bytes, shown="f"):
            assert block
            starts = line_starts(block, offset)
            assert all(start <= at < end for at in starts)
            found += zip(starts, split_lines(block), strict=True)
    assert found == expected_lines(content)


@settings(max_examples=60)
@given(contents(), st.lists(st.integers(0, 150), max_size=6))
def test_pieces_of_a_stored_file_give_each_line_once(drawn: bytes, cuts: list[int]) -> None:
    content = b"-" + drawn.replace(b"\0", b"\1")  # what looks binary is refused
    file = input_file(content)
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    found: list[object] = []
    size_bytes = 0
    for start, end in pairwise(borders):
        for batch in read_as(piece_of(file, start, end), "text"):
            found += pairs_of(batch)
            size_bytes += batch.size_bytes
    assert found == [(("a.txt", at), line) for at, line in expected_lines(content)]
    assert size_bytes == len(content)


@pytest.mark.parametrize("length", [70_000, 300_000, 1_500_000])
def test_lines_longer_than_a_block_and_than_what_is_read_past_the_end(length: int) -> None:
    content = b"short\n" + b"x" * length + b"\nlast"
    file = input_file(content)
    first, second, third = (
        [
            (at, len(str(line)))
            for batch in read_as(piece_of(file, *borders), "text")
            for at, line in zip(batch.offsets, batch.values, strict=True)
        ]
        for borders in ((0, 10), (10, length), (length, len(content)))
    )
    assert first == [(0, 5), (6, length)]
    assert second == []
    assert third == [(length + 7, 4)]


def test_a_line_over_the_limit_is_an_error_with_its_place() -> None:
    content = b"ok\n" + b"x" * 100
    read = reader_from(content, 0, [10])
    with pytest.raises(DataError, match=r"line of more than 50 bytes at byte 3\. Split it"):
        list(line_blocks(read, 0, None, 10, shown="f", max_line_bytes=50))


def test_a_line_of_the_limit_is_none_too_long() -> None:
    read = reader_from(b"x" * 50 + b"\n", 0, [10])
    ((offset, block),) = line_blocks(read, 0, None, 10, shown="f", max_line_bytes=50)
    assert (offset, len(block)) == (0, 51)


def test_only_newlines_end_lines() -> None:
    text = "a\x0bb\x0cc\x1cd\u2028e\x85f\rg"
    assert split_lines(text.encode()) == [text]
    assert split_lines(b"a\r\r\nb\r") == ["a\r", "b\r"]


def test_bytes_that_are_not_utf8_survive() -> None:
    (line,) = split_lines(b"caf\xe9 \xc3\xa9\n")
    assert line == "caf\udce9 é"
    assert line.encode("utf-8", "surrogateescape") == b"caf\xe9 \xc3\xa9"


def test_a_byte_order_mark_is_one_at_the_start_of_a_file_alone() -> None:
    marked = "\ufeffx".encode()
    assert without_mark(marked, 0) == b"x"
    assert without_mark(marked, 3) == marked
