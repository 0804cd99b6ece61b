"""Lines of JSON and csv as record batches: one schema a file, whoever reads which piece."""

import json
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.errors import DataError
from mrcore.records import arrow_json, arrow_reader
from mrcore.records.csv_reader import CsvRows
from tests.support.records_pieces import input_file, piece_of, read_as, records_of


def tables_of(content: bytes, name: str, *cuts: int) -> list[pa.RecordBatch]:
    """Return the record batches of a file that is cut at these bytes."""
    file = input_file(content, name)
    found = []
    for start, end in pairwise([0, *cuts, len(content)]):
        for batch in read_as(piece_of(file, start, end), "arrow"):
            (table,) = batch.values
            assert isinstance(table, pa.RecordBatch)
            table.validate(full=True)
            found.append(table)
    return found


def rows_of(content: bytes, name: str, *cuts: int) -> list[object]:
    return [row for table in tables_of(content, name, *cuts) for row in table.to_pylist()]


@pytest.mark.parametrize(
    "lines",
    [
        [{"a": [None, 1]}, {"a": [2]}],
        [{"a": [None]}, {"a": [None, None, "yy"]}, {"a": ["zzz", None]}],
        [{"a": [None, {"b": [None, 1]}]}, {"a": [{"b": None}]}],
        [{"a": None, "b": []}, {"a": "x", "b": ["y"]}],
        [{"a": {"t": "2024-01-01"}}, {"a": {"t": "n/a"}}],
        [{}, {}],
    ],
)
def test_arrow_reads_what_jsonl_reads(lines: list[object]) -> None:
    content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    assert rows_of(content, "t.jsonl") == lines
    # Blank lines make the slower check look.
    assert rows_of(content.replace(b"\n", b"\n\n"), "t.jsonl") == lines


def test_strings_that_look_like_times_are_strings_however_a_file_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow_json, "ARROW_BLOCK_BYTES", 200)
    content = b'{"day":"2024-01-01","id":1}\n' * 50 + b'{"day":"n/a","id":9007199254740993}\n'
    kinds: dict[str, pa.DataType] = {"day": pa.string(), "id": pa.int64()}
    schema = pa.schema(kinds)
    whole = tables_of(content, "t.jsonl")
    assert len(whole) > 2
    for tables in (whole, tables_of(content, "t.jsonl", 90, 500, len(content) - 5)):
        assert {table.schema for table in tables} == {schema}
        rows = [row for table in tables for row in table.to_pylist()]
        assert rows[-1] == {"day": "n/a", "id": 9007199254740993}
        assert len(rows) == 51


def test_a_long_first_line_alone_makes_the_schema_however_a_file_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow_json, "ARROW_BLOCK_BYTES", 100)
    content = b'{"a":1,"b":"%b"}\n' % (b"x" * 150) + b'{"a":2.0}\n' * 30
    for cuts in ((), (120,), (250, 300)):
        with pytest.raises(DataError, match=r"at byte 165 .* to int64"):
            rows_of(content, "t.jsonl", *cuts)
    assert rows_of(content.replace(b"2.0", b"2"), "t.jsonl", 250)[1:] == [{"a": 2, "b": None}] * 30


def test_columns_that_are_nested_too_deeply_are_an_error_with_advice() -> None:
    content = b'{"a":' * 850 + b"1" + b"}" * 850 + b"\n"
    with pytest.raises(DataError, match=r"first lines that no columns can hold .maximum rec"):
        rows_of(content, "t.jsonl")


def test_a_file_of_small_pieces_has_the_schema_of_its_head() -> None:
    content = b'{"a":1.5}\n' + b'{"a":2}\n' * 9
    for table in tables_of(content, "t.jsonl", 12, 30):
        assert table.schema == pa.schema({"a": pa.float64()})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"null", "at byte 8 that is not a JSON object"),
        (b'{"a":2} null', "at byte 8 that is not valid JSON"),
        (b"[1]", "at byte 8 that is not a JSON object"),
        (b'{"a":2}{"a":3}', "at byte 8 that is not valid JSON"),
        (b'{"a":12345678901234567890}', "first lines that no columns can hold"),
        (b'{"a":"x"}', "first lines that no columns can hold"),
    ],
)
def test_what_is_no_row_is_refused_and_named(line: bytes, message: str) -> None:
    for content in (b'{"a":1}\n' + line + b"\n", b'{"a":1}\n' + line + b'\n{"a":4}\n'):
        with pytest.raises(DataError, match=rf"^t.jsonl has .*{message}"):
            rows_of(content, "t.jsonl")
    with pytest.raises(DataError, match=r"^t.jsonl has a line at byte 0 that is not a JSON object"):
        rows_of(b"null\n", "t.jsonl")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":1.5}', "couldn't parse:1.5"),
        (b'{"a":12345678901234567890}', "couldn't parse:12345678901234567890"),
        (b'{"a":"x"}', "from number to string"),
        (b'{"b":1}', "the field 'b' is new"),
    ],
)
def test_a_later_line_of_another_type_is_named(
    line: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_json, "ARROW_BLOCK_BYTES", 16)
    content = b'{"a":1}\n' * 4 + line + b"\n"
    for cuts in ((), (30,)):
        with pytest.raises(DataError, match=rf"^t.jsonl has a line at byte 32 .*{reason}"):
            rows_of(content, "t.jsonl", *cuts)


CELL = st.sampled_from(["", "a", "00501", "1.50", "NA", "null", "true", "2024-01-01", " x"])
QUOTED = st.sampled_from(['""', '"a,b"', '"x\ny"', '"say ""hi"""', '"\r\n"'])


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(CELL | QUOTED, CELL | QUOTED) | st.tuples(CELL, CELL) | st.just(()), max_size=12
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 60),
)
def test_arrow_csv_is_what_csv_reads(rows: list[tuple[str, ...]], end: str, size: int) -> None:
    content = "".join(f"{','.join(row)}{end}" for row in [("k", "v"), *rows]).encode()
    expected = [value for _, value in records_of(content, "csv")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow_reader, "ARROW_BLOCK_BYTES", size)
        patch.setattr(arrow_reader, "LINES_BLOCK_BYTES", size)
        assert rows_of(content, "t.csv") == expected


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"a,b", b"\n\n"])
def test_csv_without_rows_has_no_batch(content: bytes) -> None:
    assert tables_of(content, "t.csv") == []


def test_csv_without_quotes_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CsvRows, "parse", None)
    assert rows_of(b"a,b\n1,x\n\n2,y", "t.csv") == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b'1,"2\n3,4\n5,6\n', r"a row at byte 4 that is not valid csv"),
        (b'1,"2"x\n', r"a row at byte 4 that is not valid csv"),
        (b"1,2\n3\n", r"a row of 1 fields at byte 8"),
        (b"1,2\r3,4\r", r"a carriage return without a newline in the row at byte 4"),
        (b'1,"2\n\xff"\n', r"UTF-8 at byte 9"),
    ],
)
def test_broken_csv_is_named_alike(rows: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^t.csv (has|is not) {message}"):
        rows_of(b"a,b\n" + rows, "t.csv")


def test_a_row_over_two_blocks_that_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_reader, "ARROW_BLOCK_BYTES", 8)
    monkeypatch.setattr(arrow_reader, "LINES_BLOCK_BYTES", 8)
    with pytest.raises(DataError, match=r"^t.csv is not UTF-8 at byte 24"):
        rows_of(b'a,b\n1,"23456789\n23456789\xff"\n', "t.csv")
