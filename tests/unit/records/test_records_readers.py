"""Records of every text-like format, compressed or not, whole or broken."""

import bz2
import gzip
import io
import json
import lzma
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.errors import DataError, UnavailableError
from mrcore.model.formats import INPUT_FORMATS
from mrcore.model.job import Codec
from mrcore.records import arrow_reader, csv_reader, readers
from mrcore.records.batches import BLOCK_BYTES, BrokenRecordError
from mrcore.records.decompress import decompressed
from mrcore.records.inputs import expand, parse_input
from mrcore.storage.registry import storage_for
from tests.support.records_pieces import (
    batches_of,
    cut_as,
    input_file,
    piece_of,
    read_as,
    records_of,
)


def zstd(content: bytes, codec: Literal["zstd", "lz4"] = "zstd") -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def lz4(content: bytes) -> bytes:
    return zstd(content, "lz4")


Compress = Callable[[bytes], bytes]
CODECS = pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("x.gz", gzip.compress),
        ("x.bz2", bz2.compress),
        ("x.zst", zstd),
        ("x.xz", lzma.compress),
        ("x.lz4", lz4),
    ],
)


def test_text() -> None:
    (batch,) = batches_of(b"one\ntwo\r\n\nlast")
    assert batch.values == ["one", "two", "", "last"]
    assert batch.offsets == [0, 4, 9, 10]
    assert batch.size_bytes == 14
    assert list(batch.keys()) == [("a.txt", 0), ("a.txt", 4), ("a.txt", 9), ("a.txt", 10)]


def test_text_comes_in_blocks() -> None:
    batches = batches_of(b"0123456789abcde\n" * 40_000)
    assert len(batches) == 3
    assert [b.offsets[0] for b in batches] == [0, BLOCK_BYTES, 2 * BLOCK_BYTES]
    assert sum(len(b.values) for b in batches) == 40_000


def test_blocks_are_lines_as_they_are() -> None:
    content = b"ab\r\nc\xff\n" * 50_000 + b"end"
    records = records_of(content, "blocks")
    text = "".join(str(value) for _, value in records)
    assert text.encode("utf-8", "surrogateescape") == content
    assert all(str(value).endswith("\n") for _, value in records[:-1])
    offsets = [key[1] for key, _ in records if isinstance(key, tuple)]
    assert offsets[:2] == [0, len(str(records[0][1]))]


def test_whole_files() -> None:
    assert records_of(b"a\r\nb\xe9", "whole") == [("a.txt", "a\r\nb\udce9")]
    assert records_of(b"", "whole") == [("a.txt", "")]
    assert records_of(gzip.compress(b"abc"), "whole", "a.gz") == [("a.gz", "abc")]


def test_a_whole_file_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"^a.txt is larger than 10 bytes"):
        records_of(b"x" * 11, "whole")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=100)
@given(
    st.lists(JSON, max_size=8),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n  \n"]),
)
def test_jsonl_is_what_json_reads(values: list[object], ascii_only: bool, end: str) -> None:
    # Escaped lone surrogates and infinities are what `json.dumps` may write.
    texts = [json.dumps(value, ensure_ascii=ascii_only) for value in values]
    try:
        content = end.join(texts).encode()
    except UnicodeEncodeError:
        return
    records = records_of(content, "jsonl")
    assert repr([value for _, value in records]) == repr(values)
    for (key, _), text in zip(records, texts, strict=True):
        assert isinstance(key, tuple)
        assert content[key[1] :].startswith(text.encode())


@pytest.mark.parametrize(
    "bad", [b'{"a":', b"[1,\n2]", b"1 2", b'"\xff"', b"{'a': 1}", b"[" * 99999]
)
def test_a_broken_json_line_is_named(bad: bytes) -> None:
    with pytest.raises(DataError, match=r"^a.txt has a line at byte 9 that is not valid JSON"):
        records_of(b'{"a": 1}\n' + bad + b"\n", "jsonl")


@pytest.mark.parametrize("second", [b'{"a": 2}', b"[NaN]"])
def test_a_byte_order_mark_before_json_is_passed_over(second: bytes) -> None:
    records = records_of(b'\xef\xbb\xbf{"a": 1}\n' + second + b"\n", "jsonl")
    assert records[0] == (("a.txt", 0), {"a": 1})
    assert records[1][0] == ("a.txt", 12)
    with pytest.raises(DataError, match=r"^a.txt has a line at byte 2 that is not valid JSON"):
        records_of(b"1\n\xef\xbb\xbf2\n", "jsonl")


MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_no_text_and_counts_as_bytes() -> None:
    assert records_of(MARK + b"one\ntwo\n") == [(("a.txt", 0), "one"), (("a.txt", 7), "two")]
    assert records_of(MARK + b"\n") == [(("a.txt", 0), "")]
    assert records_of(b"one\n" + MARK + b"two\n")[1] == (("a.txt", 4), "\ufefftwo")
    assert records_of(MARK + b"one\n", "blocks") == [(("a.txt", 0), "one\n")]
    assert records_of(MARK + b"one\n", "whole") == [("a.txt", "one\n")]
    for line in ("one", "one\r\n", ""):
        for key, value in records_of(MARK + line.encode(), "arrow"):
            assert isinstance(value, pa.RecordBatch)
            assert (key, value.to_pydict()) == (("a.txt", 0), {"line": ["one"]})
    for input_format in ("text", "blocks", "arrow"):
        assert records_of(MARK, input_format) == []


def test_csv_rows_are_dicts_with_the_offset_of_the_row() -> None:
    content = b'\xef\xbb\xbfname,text\r\nann,"a, ""b""\nc"\n\nbob,\xe9\r\n'
    assert records_of(content, "csv", "a.csv") == [
        (("a.csv", 14), {"name": "ann", "text": 'a, "b"\nc'}),
        (("a.csv", 32), {"name": "bob", "text": "\udce9"}),
    ]
    assert records_of(b"name,text\n", "csv") == []
    assert records_of(b"\n\n", "csv") == []


def test_csv_rows_across_blocks() -> None:
    cell = "x" * 200_000
    content = "".join(["k,v\n", *(f'{i},"{cell}\n{cell}"\n' for i in range(4))]).encode()
    records = records_of(content, "csv")
    size = (len(content) - 4) // 4
    assert [key for key, _ in records] == [("a.txt", 4 + i * size) for i in range(4)]
    assert [value for _, value in records] == [
        {"k": str(i), "v": f"{cell}\n{cell}"} for i in range(4)
    ]
    assert sum(b.size_bytes for b in batches_of(content, "csv")) == len(content)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b"1,2\n3\n", r"^a.txt has a row of 1 fields at byte 8, but its first row has 2"),
        (b'1,2\n"3,4\n', r"^a.txt has a row at byte 8 that is not valid csv"),
        (b'1,2\n"3"x,4\n', r"^a.txt has a row at byte 8 that is not valid csv"),
    ],
)
def test_a_broken_csv_row_is_named(rows: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        records_of(b"a,b\n" + rows, "csv")


def broken_of(
    content: bytes, input_format: str, name: str = "a.txt"
) -> tuple[list[object], list[tuple[int, str]]]:
    """Return the values of a file, and offset and text of the broken records between them."""
    broken: list[tuple[int, str]] = []
    piece = piece_of(input_file(content, name))

    def skip(error: BrokenRecordError) -> None:
        assert f"at byte {error.offset}" in str(error)
        broken.append((error.offset, error.record))

    batches = list(read_as(piece, input_format, skip))
    assert all(batch.values for batch in batches)
    return [value for batch in batches for value in batch.values], broken


def test_broken_lines_of_json_are_handed_over_one_by_one() -> None:
    content = b'{"a":\n1\n\n\xff\n[2]\n}'
    assert broken_of(content, "jsonl") == (
        [1, [2]],
        [(0, '{"a":'), (9, "\udcff"), (15, "}")],
    )


@pytest.mark.parametrize(
    ("rows", "values", "broken"),
    [
        (b"1\n2,3\n4,5,6\n", ["23"], [(4, "1"), (8 + 2, "4,5,6")]),
        (b'1,"2"x\n3,4\n', ["34"], [(4, '1,"2"x')]),
        # The quote swallows what follows, up to another or to the end: that is read again.
        (b'1,"2\n3,4\n5,"6"\n', ["34", "56"], [(4, '1,"2')]),
        (b'1,"2\n3,4\n5,6', ["34", "56"], [(4, '1,"2')]),
        (b'1,2\r3,4\n"5\n",6\n', ["5\n6"], [(4, "1,2\r3,4")]),
        (b'"1\n"2\n"3\n4,5', ["45"], [(4, '"1'), (7, '"2'), (10, '"3')]),
    ],
)
@pytest.mark.parametrize("block_bytes", [5, 1 << 18])
def test_broken_rows_of_csv_are_handed_over_by_their_first_line(
    rows: bytes,
    values: list[str],
    broken: list[tuple[int, str]],
    block_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(arrow_reader, "ARROW_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(arrow_reader, "LINES_BLOCK_BYTES", block_bytes)
    found, skipped = broken_of(b"a,b\n" + rows, "csv")
    assert ["".join(row.values()) for row in found if isinstance(row, dict)] == values
    assert skipped == broken
    tables, skipped = broken_of(b"a,b\n" + rows, "arrow", "a.csv")
    assert skipped == broken
    all_rows = [row for t in tables if isinstance(t, pa.RecordBatch) for row in t.to_pylist()]
    assert ["".join(row.values()) for row in all_rows] == values


def test_a_broken_header_is_never_passed_over() -> None:
    with pytest.raises(DataError, match=r"^a.txt has a row at byte 0 that is not valid csv"):
        broken_of(b'"a"b,c\n1,2\n', "csv")


def test_csv_refuses_a_column_named_twice() -> None:
    with pytest.raises(DataError, match=r"^a.txt names a column twice"):
        records_of(b"a,a\n1,2\n", "csv")


@CODECS
def test_compressed_files_with_many_members(name: str, compress: Compress) -> None:
    first = b"".join(b"line %d\n" % i for i in range(60_000))
    stored = compress(first) + compress(b"") + compress(b"half") + compress(b" line\nlast")
    batches = batches_of(stored, name=name)
    values = [value for batch in batches for value in batch.values]
    assert values == [*first.decode().split("\n")[:-1], "half line", "last"]
    assert batches[-1].offsets[-1] == len(first) + 10
    assert sum(batch.size_bytes for batch in batches) == len(stored)


@CODECS
def test_truncated_files_are_an_error(name: str, compress: Compress) -> None:
    stored = compress(b"".join(b"%d\n" % (i * 7919 % 104729) for i in range(100_000)))
    for kept in (1, len(stored) // 2, len(stored) - 1):
        with pytest.raises(DataError, match=rf"^{name} is truncated: .* at byte {kept}; copy"):
            batches_of(stored[:kept], name=name)


@CODECS
def test_files_that_are_not_what_their_name_says(name: str, compress: Compress) -> None:
    with pytest.raises(DataError, match=rf"^{name} is not valid .* data, at or before byte 60"):
        batches_of(b"plain text" * 6, name=name)
    with pytest.raises(DataError, match=rf"^{name} is not valid"):
        batches_of(compress(b"fine\n") + b"garbage behind it", name=name)


@pytest.mark.parametrize(
    ("name", "compress"),
    [("x.gz", gzip.compress), ("x.bz2", bz2.compress), ("x.xz", lzma.compress)],
)
def test_zeros_behind_a_member_are_padding(name: str, compress: Compress) -> None:
    stored = compress(b"one\n") + bytes(200_000) + compress(b"two\n") + bytes(512)
    batches = batches_of(stored, name=name)
    assert [value for batch in batches for value in batch.values] == ["one", "two"]
    for broken in (bytes(512) + compress(b"one\n"), compress(b"one\n") + bytes(512) + b"x"):
        with pytest.raises(DataError, match=rf"^{name} is "):
            batches_of(broken, name=name)


def test_a_bomb_is_read_in_bounded_pieces() -> None:
    stored = gzip.compress(b"0123456789abcde\n" * 4_000_000)
    piece = piece_of(input_file(stored, "x.gz"))
    before = pa.total_allocated_bytes()
    count = 0
    for batch in read_as(piece, "blocks"):
        assert len(str(batch.values[0])) <= BLOCK_BYTES
        assert pa.total_allocated_bytes() - before < 4 << 20
        count += 1
    assert count == 245


@pytest.mark.parametrize("input_format", INPUT_FORMATS.names())
def test_a_file_that_changed_since_it_was_listed(tmp_path: Path, input_format: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n")
    files = expand([parse_input("a.txt", str(tmp_path))], "text")
    (split,) = cut_as(files, input_format, 1)
    path.write_bytes(b"other\n")
    with pytest.raises(DataError, match=r"^a.txt was changed or deleted after the job had listed"):
        list(read_as(split.pieces[0], input_format))
    path.unlink()
    with pytest.raises(DataError, match=r"^a.txt was changed or deleted"):
        list(read_as(split.pieces[0], input_format))


@pytest.mark.parametrize("name", ["x", "x.gz", "x.bz2", "x.zst", "x.parquet", "x.csv"])
def test_trouble_of_the_store_stays_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise UnavailableError("The store is out of order.")

    file = input_file(b"x" * 100, name)
    monkeypatch.setattr(storage_for(file.uri), "open_read", lambda *_, **__: Stream(b"x" * 100))
    with pytest.raises(UnavailableError, match=r"^The store is out of order.$"):
        list(read_as(piece_of(file), "arrow"))


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789abcde\n" * 1_000_000)
    (split, *_) = cut_as(expand([parse_input("a.txt", str(tmp_path))], "text"), "text", 1)
    batches = read_as(split.pieces[0], "text")
    next(batches)
    with path.open("r+b") as file:
        file.truncate(3_000_000)
    with pytest.raises(DataError, match=r"^a.txt ends at byte 3000000, but had 16000000 bytes"):
        list(batches)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_reads_that_fail_leave_no_memory_behind(codec: Literal["zstd", "lz4"]) -> None:
    stored = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stored, codec) as stream:
        stream.write(b"line\n" * 20)
    damaged = stored.getvalue().to_pybytes()[:-3]

    def fail(times: int) -> int:
        for _ in range(times):
            source = decompressed(io.BytesIO(damaged), Codec.ZSTD if codec == "zstd" else Codec.LZ4)
            with pytest.raises(OSError, match="Truncated"):
                source.read(4 << 20)
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    before = fail(10)
    assert fail(100) - before < 100 << 20
