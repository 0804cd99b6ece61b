"""Whole jobs whose output is rows: dicts by column, without a key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mrcore
from mrcore.errors import UsageError
from mrcore.records import row_table

EXTENSIONS = {"text": "", "jsonl": ".jsonl", "csv": ".csv", "tsv": ".tsv", "parquet": ".parquet"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def load(key: Any, line: str) -> Iterator[dict[str, Any]]:
    """Yield the rows that a line of the input states."""
    yield from json.loads(line)


def run(*files: list[dict[str, Any]], output_format: str, **options: Any) -> list[bytes]:
    """Write the rows of each file by a map-only job, and return the parts."""
    for number, rows in enumerate(files):
        Path(f"in-{number}").write_text(json.dumps(rows) + "\n")
    mrcore.run(
        **{"map": load, "map_only": True, **options},
        inputs="in-*",
        output="out",
        output_format=output_format,
        engine="inline",
        overwrite=True,
    )
    assert mrcore_verify("out")
    return [path.read_bytes() for path in sorted(Path("out").glob("part-*"))]


def mrcore_verify(output: str) -> bool:
    from mrcore.output.receipt import verify

    return verify(f"file://{Path(output).absolute()}").ok


def columns_of(parts: list[bytes]) -> list[dict[str, list[Any]]]:
    return [pq.read_table(pa.BufferReader(part)).to_pydict() for part in parts]


ANN = {"name": "Ann", "age": 41}
BOB = {"name": "Bob", "age": None}


@pytest.mark.parametrize(
    ("output_format", "part"),
    [
        ("text", b"Ann\t41\nBob\t\n"),
        ("jsonl", b'{"name":"Ann","age":41}\n{"name":"Bob","age":null}\n'),
        ("csv", b"name,age\nAnn,41\nBob,\n"),
        ("tsv", b"name\tage\nAnn\t41\nBob\t\n"),
    ],
)
def test_a_dict_without_a_key_is_a_row(output_format: str, part: bytes) -> None:
    assert run([ANN, BOB], output_format=output_format) == [part]


def test_a_row_of_parquet_has_a_column_for_each_name() -> None:
    (part,) = columns_of(run([ANN, BOB], output_format="parquet"))
    assert part == {"name": ["Ann", "Bob"], "age": [41, None]}


def test_a_last_reduce_yields_rows() -> None:
    def map_line(key: Any, line: str) -> Iterator[Any]:
        for row in json.loads(line):
            yield row["name"], row["age"]

    def reduce(name: str, ages: Iterator[int]) -> Iterator[Any]:
        yield {"name": name, "oldest": max(ages)}

    def reduce_finish(context: Any) -> Iterator[Any]:
        yield {"name": "nobody"}

    (part,) = run(
        [ANN, {"name": "Ann", "age": 7}],
        output_format="csv",
        map=map_line,
        reduce=reduce,
        reduce_finish=reduce_finish,
        map_only=False,
    )
    assert part == b"name,oldest\nAnn,41\nnobody,\n"


@pytest.mark.parametrize("compress", ["none", "gz", "bz2", "zst"])
def test_all_csv_parts_have_one_header(compress: str) -> None:
    """A part without rows has it too, and cells that a part lacks are empty."""
    rows: list[list[dict[str, Any]]] = [
        [],
        [{"a": "x,y", "b": 'say "hi"\nthere'}],
        [{"c": "\ufeffä", "b": 2}, {"b": None}],
    ]
    run(*rows, output_format="csv", compress=compress)
    parts = []
    for path in sorted(Path("out").glob("part-*")):
        with pa.input_stream(str(path), compression="detect") as stream:
            parts.append(stream.read().decode())
    assert parts == ["a,b,c\n", 'a,b,c\n"x,y","say ""hi""\nthere",\n', "a,b,c\n,2,\ufeffä\n,,\n"]


def test_all_parquet_parts_have_one_schema() -> None:
    parts = run([], [{"a": 1}], [{"b": [1.5], "a": None}], output_format="parquet")
    assert columns_of(parts) == [
        {"a": [], "b": []},
        {"a": [1], "b": [None]},
        {"a": [None], "b": [[1.5]]},
    ]
    schemas = [pq.read_schema(pa.BufferReader(part)) for part in parts]
    assert schemas[0] == schemas[1] == schemas[2]


def test_rows_of_jsonl_keep_their_own_fields() -> None:
    parts = run([{"a": 1}], [{"b": {"c": [True]}}, {}], output_format="jsonl", map=filled)
    assert parts == [b'{"a":1}\n', b'{"b":{"c":[true]}}\n']


def filled(key: Any, line: str) -> Iterator[Any]:
    for row in json.loads(line):
        if row:
            yield row


@pytest.mark.parametrize("output_format", EXTENSIONS)
def test_stated_columns_are_those_of_every_part(output_format: str) -> None:
    parts = run(
        [], [{"b": 1}], [{"a": "x"}],
        output_format=output_format,
        columns={"a": "str", "b": float},
    )  # fmt: skip
    expected: dict[str, list[Any]] = {
        "text": [b"", b"\t1.0\n", b"x\t\n"],
        "jsonl": [b"", b'{"a":null,"b":1.0}\n', b'{"a":"x","b":null}\n'],
        "csv": [b"a,b\n", b"a,b\n,1.0\n", b"a,b\nx,\n"],
        "tsv": [b"a\tb\n", b"a\tb\n\t1.0\n", b"a\tb\nx\t\n"],
    }
    if output_format == "parquet":
        assert columns_of(parts) == [
            {"a": [], "b": []}, {"a": [None], "b": [1.0]}, {"a": ["x"], "b": [None]},
        ]  # fmt: skip
        assert pq.read_schema(pa.BufferReader(parts[0])).types == [pa.string(), pa.float64()]
    else:
        assert parts == expected[output_format]


def test_stated_columns_may_be_those_of_pairs() -> None:
    def pairs(key: Any, line: str) -> Iterator[Any]:
        yield "k", 1

    options: dict[str, Any] = {"map": pairs, "output_format": "csv"}
    assert run([ANN], columns={"value": "int", "key": "str"}, **options) == [b"value,key\n1,k\n"]
    with pytest.raises(mrcore.RunFailedError, match="the column 'key', which `columns` does not"):
        run([ANN], columns={"value": "int"}, **options)


@pytest.mark.parametrize("output_format", ["text", "csv", "jsonl"])
def test_pairs_under_stated_columns_keep_their_types(output_format: str) -> None:
    def pairs(key: Any, line: str) -> Iterator[Any]:
        yield "k", Decimal("1.5")
        yield "l", [1]

    columns = {"key": "str", "value": "decimal"}
    with pytest.raises(mrcore.RunFailedError, match=r"The value \[1\] .* of type list, and"):
        run([ANN], map=pairs, output_format=output_format, columns=columns)
    if output_format != "jsonl":
        (part,) = run(
            [ANN],
            map=lambda *_: [("k", Decimal("1.5"))],
            output_format=output_format,
            columns=columns,
        )
        assert part.endswith(b"1.5\n")


def test_a_row_is_what_it_was_when_it_was_yielded() -> None:
    def reuse(key: Any, line: str) -> Iterator[Any]:
        row: dict[str, Any] = {"tags": []}
        for tag in "ab":
            row["tag"] = tag
            row["tags"].append(tag)
            yield row

    assert run([ANN], output_format="jsonl", map=reuse) == [
        b'{"tags":["a"],"tag":"a"}\n{"tags":["a","b"],"tag":"b"}\n'
    ]


def test_a_table_of_arrow_makes_rows() -> None:
    def tables(key: Any, batch: Any) -> Any:
        return pa.table({"size": [len(line) for line in batch.column("line").to_pylist()]})

    options: dict[str, Any] = {"map": tables, "input_format": "arrow"}
    assert run([ANN], output_format="csv", **options) == [b"size\n28\n"]


def test_columns_are_gathered_from_the_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_table, "HELD_ROWS", 3)
    rows: list[dict[str, Any]] = [{"a": 1}, {"a": 2}, {"b": 3}, {"a": 4}]
    assert run(rows, output_format="csv") == [b"a,b\n1,\n2,\n,3\n4,\n"]
    with pytest.raises(
        mrcore.RunFailedError, match=r"^Row 5 of the part has the column 'late', which the rows"
    ):
        run([*rows, {"late": 1}], output_format="csv")


@pytest.mark.parametrize(
    ("rows", "output_format", "sentence"),
    [
        (
            [{"a": 1}, ["k", 2]],
            "csv",
            r"map yielded \['k', 2\] after rows: yield only",
        ),
        ([["k", 2], {"a": 1}], "csv", "a dict by itself is a row of the output, which only"),
        ([{}], "csv", "map yielded an empty dict: a row needs at least one column"),
        ([{"a": [1]}], "csv", r"The column 'a' has the value \[1\], and csv cannot hold nested"),
        ([{"a": {"b": 1}}], "text", 'and text cannot hold nested values. Use output_format="js'),
        ([{"a": "x\ty"}], "text", "has the value 'x.*y' with a tab or a newline, which separate"),
        ([{"a": "\ud800"}], "tsv", "cannot be written as UTF-8, as it has a lone surrogate"),
        ([{"a": 1}, {"a": "x"}], "parquet", "The value 'x' in row 2 of the part does not fit the"),
    ],
)
def test_what_cannot_be_a_row_is_refused(
    rows: list[Any], output_format: str, sentence: str
) -> None:
    with pytest.raises(mrcore.RunFailedError, match=sentence):
        run(rows, output_format=output_format)
    assert not list(Path("out").glob("part-*"))


@pytest.mark.parametrize("output_format", EXTENSIONS)
def test_a_name_of_a_column_is_a_text(output_format: str) -> None:
    def numbered(key: Any, line: str) -> Iterator[Any]:
        yield {1: "x"}

    with pytest.raises(mrcore.RunFailedError, match="the column name 1, which is not a text"):
        run([ANN], output_format=output_format, map=numbered)


@pytest.mark.parametrize("output_format", EXTENSIONS)
def test_rows_and_pairs_in_two_parts_are_refused(output_format: str) -> None:
    with pytest.raises(mrcore.RunFailedError) as failed:
        run([ANN], [["k", 1]], output_format=output_format)  # type: ignore[list-item]
    assert str(failed.value) == (
        "Part 0 of the output has rows (dicts without a key), and part 1 has pairs. Yield only "
        "dicts, or only (key, value) pairs."
    )


def test_text_needs_the_same_columns_in_all_parts() -> None:
    with pytest.raises(mrcore.RunFailedError, match="part 0 and of part 1 have different columns"):
        run([{"a": 1}], [{"b": 1}], output_format="text")


def test_a_row_before_a_shuffle_is_refused_with_its_record() -> None:
    with pytest.raises(mrcore.RunFailedError, match="which only a last reduce yields, or a map"):
        run([ANN], output_format="csv", map_only=False)


@pytest.mark.parametrize(
    ("cell", "kind", "why"),
    [
        ("1", "int", "is of type str, and `columns` states int"),
        (1.5, "int", "is of type float, and `columns` states int"),
        (True, "int", "is of type bool, and `columns` states int"),
        (1, "decimal", "is of type int, and `columns` states decimal"),
    ],
)
def test_a_cell_of_another_type_than_stated_is_refused(cell: Any, kind: str, why: str) -> None:
    with pytest.raises(mrcore.RunFailedError, match=why):
        run([{"a": cell}], output_format="csv", columns={"a": kind})


def test_types_beyond_json_go_where_the_format_has_them() -> None:
    import datetime

    day = datetime.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - a time without a zone

    def rows(key: Any, line: str) -> Iterator[Any]:
        yield {"at": day, "sum": Decimal("1.50"), "day": day.date(), "raw": b"x"}

    types = {"at": "datetime", "sum": "decimal", "day": "date", "raw": "bytes"}
    (part,) = columns_of(run([ANN], output_format="parquet", map=rows, columns=types))
    assert part == {"at": [day], "sum": [Decimal("1.50")], "day": [day.date()], "raw": [b"x"]}
    with pytest.raises(mrcore.RunFailedError, match="csv holds text and not bytes"):
        run([ANN], output_format="csv", map=rows)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (["a"], r'^The columns are not a dict {"name": "type"}'),
        ({}, r"^The columns are not a dict .* with at least one column"),
        ({"a": "number"}, r"^The columns have the type 'number' for 'a', which is not one of int,"),
        ({1: int}, r"^The columns have the name 1, which is not a text"),
    ],
)
def test_columns_that_cannot_be_are_refused(columns: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run([ANN], output_format="csv", columns=columns)


def test_tsv_is_read_as_it_is_written(here: Path) -> None:
    rows = [{"a": 'x\ty "z"', "b": "1,2"}, {"a": "line\nbreak", "b": ""}]
    run(rows, output_format="tsv")
    for input_format in ("tsv", "arrow"):
        seen: list[Any] = []

        def keep(key: Any, value: Any, seen: list[Any] = seen) -> Any:
            if isinstance(value, dict):
                return [("row", json.dumps(value))]
            lines = [json.dumps(row) for row in value.to_pylist()]
            return pa.table({"key": ["row"] * len(lines), "value": lines})

        result = mrcore.run(
            map=keep,
            inputs="out/part-*",
            output=f"again-{input_format}",
            input_format=input_format,
            engine="inline",
            map_only=True,
        )
        assert [json.loads(line.partition("\t")[2]) for line in result.lines()] == rows
