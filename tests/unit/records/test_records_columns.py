"""Record batches and parquet rows."""

import gzip
import io
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.errors import DataError, InputError
from mrcore.records import arrow_reader
from mrcore.records.inputs import InputFile
from mrcore.records.parquet_reader import row_group_starts
from tests.support.records_pieces import (
    batches_of,
    input_file,
    pairs_of,
    piece_of,
    read_as,
    records_of,
)


def columns_of(content: bytes, name: str) -> list[tuple[object, dict[str, list[object]]]]:
    """Return key and columns of each record batch."""
    found: list[tuple[object, dict[str, list[object]]]] = []
    for key, value in records_of(content, "arrow", name):
        assert isinstance(value, pa.RecordBatch)
        value.validate(full=True)
        found.append((key, value.to_pydict()))
    return found


TEXT = st.text(st.sampled_from("aé\r\n\n\u2028🙂"), max_size=40)


@settings(max_examples=150)
@given(TEXT, st.lists(st.integers(0, 90), max_size=4))
def test_arrow_lines_are_the_lines_of_text(text: str, cuts: list[int]) -> None:
    content = text.encode()
    file = input_file(content)
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    for start, end in pairwise(borders):
        piece = piece_of(file, start, end)
        as_text = [v for b in read_as(piece, "text") for v in b.values]
        as_arrow = [
            line
            for batch in read_as(piece, "arrow")
            for value in batch.values
            if isinstance(value, pa.RecordBatch)
            for line in value.column("line").to_pylist()
        ]
        assert as_arrow == as_text


def test_arrow_lines_come_in_large_batches_of_one_string_column() -> None:
    content = b"0123456789abcde\n" * 200_000
    batches = batches_of(content, "arrow")
    assert [batch.offsets[0] for batch in batches] == [0, 2 << 20]
    (record,) = batches[0].values
    assert isinstance(record, pa.RecordBatch)
    assert record.schema == pa.schema([("line", pa.string())])
    assert record.num_rows == 131_072


def test_a_line_that_is_not_utf8_is_named_by_file_and_offset() -> None:
    content = b"fine\n" * 300_000 + b"caf\xe9\n"
    with pytest.raises(DataError, match=r"^a.txt is not UTF-8 at byte 1500003, "):
        batches_of(content, "arrow")
    content = b'\xef\xbb\xbf{"a": "b"}\n{"a": "\xff"}\n'
    with pytest.raises(DataError, match=r"^a.jsonl is not UTF-8 at byte 21, "):
        batches_of(content, "arrow", "a.jsonl")


def test_arrow_by_extension() -> None:
    csv = b'a,b\n1,"x\ny"\n2,z\n'
    columns: dict[str, list[object]] = {"a": ["1", "2"], "b": ["x\ny", "z"]}
    assert columns_of(csv, "t.csv") == [(("t.csv", 0), columns)]
    assert columns_of(gzip.compress(csv), "t.csv.gz") == [(("t.csv.gz", 0), columns)]
    assert columns_of(b"a,b\n", "t.csv") == []
    jsonl = b'{"a": 1}\n\n{"a": 2, "b": [3]}\n'
    both: dict[str, list[object]] = {"a": [1, 2], "b": [None, [3]]}
    for name in ("t.jsonl", "t.ndjson"):
        assert columns_of(jsonl, name) == [((name, 0), both)]
    assert columns_of(b"\n \n", "t.jsonl") == []
    assert columns_of(b"\xef\xbb\xbf" + jsonl, "t.jsonl") == [(("t.jsonl", 0), both)]
    assert columns_of(csv.replace(b",", b"\t"), "t.tsv") == [(("t.tsv", 0), columns)]
    assert columns_of(b"a\tb\n1\tx\n", "t.tsv") == [(("t.tsv", 0), {"a": ["1"], "b": ["x"]})]
    assert columns_of(csv, "t.dat")[0][1] == {"line": ["a,b", '1,"x', 'y"', "2,z"]}


def test_arrow_csv_counts_rows_over_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_reader, "ARROW_BLOCK_BYTES", 100)
    monkeypatch.setattr(arrow_reader, "LINES_BLOCK_BYTES", 100)
    content = b"a,b\n" + b"1,some text\n" * 50
    found = columns_of(content, "t.csv")
    assert len(found) > 1
    rows = [0]
    for key, columns in found:
        assert key == ("t.csv", rows[-1])
        rows.append(rows[-1] + len(columns["a"]))
    assert rows[-1] == 50


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"a,b\n1,2\n3\n", "t.csv", r"^t.csv has a row of 1 fields at byte 8, but its fir"),
        (b'{"a": 1}\n{"a": \n', "t.jsonl", r"^t.jsonl has a line at byte 9 that is not valid J"),
        (b"no parquet, this", "t.parquet", r"^t.parquet cannot be read as parquet \("),
        (
            gzip.compress(b"a,b\n1,2\n", mtime=0)[:-3],
            "t.csv.gz",
            r"^t.csv.gz is truncated",
        ),
    ],
)
def test_broken_columns_are_named(content: bytes, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        batches_of(content, "arrow", name)


def parquet(rows: int, group: int) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"n": range(rows), "s": [f"row {i}" for i in range(rows)]})
    pq.write_table(table, sink, row_group_size=group)
    return sink.getvalue()


def listed_with_groups(content: bytes) -> tuple[InputFile, tuple[int, ...]]:
    file = input_file(content, "t.parquet")
    return file, row_group_starts(file)


def test_parquet_rows_are_dicts_with_row_numbers() -> None:
    records = records_of(parquet(10_000, 3_000), "parquet", "t.parquet")
    assert records == [(("t.parquet", i), {"n": i, "s": f"row {i}"}) for i in range(10_000)]


def test_parquet_as_arrow() -> None:
    found = columns_of(parquet(10, 4), "t.parquet")
    assert [key for key, _ in found] == [("t.parquet", 0), ("t.parquet", 4), ("t.parquet", 8)]
    assert found[2][1] == {"n": [8, 9], "s": ["row 8", "row 9"]}


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), max_size=5))
def test_any_cut_gives_each_row_group_once(cuts: list[float]) -> None:
    content = parquet(50, 7)
    file, starts = listed_with_groups(content)
    assert len(starts) == 8
    assert list(starts) == sorted(set(starts))
    size = len(content)
    borders = sorted({0, size, *(int(cut * size) for cut in cuts)})
    found: list[object] = []
    for start, end in pairwise(borders):
        for batch in read_as(piece_of(file, start, end), "parquet"):
            found += pairs_of(batch)
    assert found == [(("t.parquet", i), {"n": i, "s": f"row {i}"}) for i in range(50)]


def test_parquet_that_is_none_is_an_input_error_when_planned() -> None:
    with pytest.raises(InputError, match=r"^t.parquet cannot be read as parquet"):
        row_group_starts(input_file(b"PAR1 but no more PAR1", "t.parquet"))


def test_a_column_that_pyarrow_cannot_make_out_ends_no_process() -> None:
    """Reading its metadata by itself would."""
    content = Path("tests/fuzz/corpus/parquet-column-histogram.bin").read_bytes()
    assert row_group_starts(input_file(content, "t.parquet")) == (0,)
    with pytest.raises(DataError, match=r"^t.parquet cannot be read as parquet"):
        records_of(content, "parquet", "t.parquet")


def test_row_groups_start_within_the_file_whatever_it_says_of_them() -> None:
    empty = pa.table({"n": pa.array([], pa.int64())})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, empty.schema) as writer:
        for rows in (0, 5, 0, 0, 3, 0):
            writer.write_table(pa.table({"n": range(rows)}, schema=empty.schema))
    content = sink.getvalue()
    file, starts = listed_with_groups(content)
    assert starts[0] == 0
    assert list(starts) == sorted(starts)
    assert starts[-1] < len(content)
    assert len(records_of(content, "parquet", "t.parquet")) == 8
    for start in starts[1:]:
        halves = (piece_of(file, 0, start), piece_of(file, start))
        found = [batch.values for piece in halves for batch in read_as(piece, "parquet")]
        assert sum(map(len, found)) == 8


def test_parquet_without_rows() -> None:
    assert records_of(parquet(0, 1), "parquet", "t.parquet") == []
