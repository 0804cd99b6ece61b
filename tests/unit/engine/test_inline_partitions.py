"""Whole jobs whose output is partitioned: a folder for each value of a column."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

import mrcore
from mrcore.cli import outcome
from mrcore.errors import DataError, OutputError, UsageError
from mrcore.model.partition_folders import NULL, folder_of
from mrcore.output.reading import output_chunks
from mrcore.output.receipt import read_receipt, verify
from mrcore.tasks import partitioned

ROWS: list[dict[str, Any]] = [
    {"country": "SE", "year": 2025, "amount": 1},
    {"country": "a/b=%", "year": 2026, "amount": 2},
    {"country": None, "year": 2026, "amount": 3},
    {"country": "SE", "year": 2026, "amount": 4},
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(2):
        lines = "".join(json.dumps(row) + "\n" for row in ROWS[2 * number : 2 * number + 2])
        (tmp_path / f"in-{number}").write_text(lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def rows(key: Any, row: dict[str, Any]) -> Iterator[Any]:
    yield row


def run(**options: Any) -> mrcore.Result:
    return mrcore.run(
        **{
            "map": rows,
            "map_only": True,
            "input_format": "jsonl",
            "output_format": "parquet",
            "partition_by": "country",
            **options,
        },
        inputs="in-*",
        output="out",
        engine="inline",
    )


def names(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("part-*"))
    return sorted(found)


OUT_URI = "file://{}/out"
FOLDERS = ["country=SE", "country=__HIVE_DEFAULT_PARTITION__", "country=a%2Fb%3D%25"]


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl", "tsv", "text"])
def test_each_value_has_a_folder(here: Path, output_format: str) -> None:
    extension = "" if output_format == "text" else f".{output_format}"
    result = run(output_format=output_format)
    assert names(here / "out") == [
        f"{FOLDERS[0]}/part-00000{extension}",
        f"{FOLDERS[0]}/part-00001{extension}",
        f"{FOLDERS[1]}/part-00001{extension}",
        f"{FOLDERS[2]}/part-00000{extension}",
    ]
    uri = OUT_URI.format(here)
    assert verify(uri).ok
    receipt = read_receipt(uri)
    assert sorted(part.name for part in receipt.parts) == names(here / "out")
    assert receipt.records_out == 4
    # The header of csv and tsv comes once, however many files there are.
    assert len(b"".join(output_chunks(uri)).splitlines()) == (5 if extension in CSV else 4)
    assert result.job.counters == {}
    assert not list((here / "out").glob("_tmp"))


CSV = (".csv", ".tsv")


def test_the_number_of_parts_is_that_of_the_files(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = run().job
    outcome.tell(job, as_json=False)
    assert "4 records, 4 parts in " in capsys.readouterr().err
    (here / "out/_SUCCESS").unlink()
    outcome.tell(job, as_json=False)
    assert "4 records, parts by country in " in capsys.readouterr().err


@pytest.mark.parametrize("output_format", ["parquet", "csv"])
def test_arrow_reads_the_output_as_one_dataset(here: Path, output_format: str) -> None:
    run(output_format=output_format, partition_by=["country", "year"])
    assert f"{FOLDERS[0]}/year=2025/part-00000.{output_format}" in names(here / "out")
    read: Any = ds.dataset  # whose stub wants a literal
    partitioning: Any = ds.partitioning(flavor="hive")
    table = read("out", format=output_format, partitioning=partitioning).to_table()
    found = sorted(table.to_pylist(), key=lambda row: row["amount"])
    assert found == ROWS


def test_all_files_have_one_schema(here: Path) -> None:
    def uneven(key: Any, row: dict[str, Any]) -> Iterator[Any]:
        if row["amount"] == 4:
            row["note"] = "last"
        yield row

    run(map=uneven)
    schemas = {str(ds.dataset(str(path)).schema) for path in (here / "out").rglob("part-*")}
    assert schemas == {"year: int64\namount: int64\nnote: string"}


def test_a_reduce_writes_partitions_and_columns_are_stated(here: Path) -> None:
    def pairs(key: Any, row: dict[str, Any]) -> Iterator[Any]:
        yield row["year"], row["amount"]

    def reduce(year: int, amounts: Iterator[int]) -> Iterator[Any]:
        yield {"total": sum(amounts), "year": year}

    run(
        map=pairs,
        reduce=reduce,
        map_only=False,
        reduces=2,
        partition_by="year",
        output_format="csv",
        columns={"year": "int", "total": "float"},
    )
    texts = {path.parent.name: path.read_text() for path in (here / "out").rglob("part-*")}
    assert texts == {"year=2025": "total\n1.0\n", "year=2026": "total\n9.0\n"}


def test_pairs_are_rows_of_key_and_value(here: Path) -> None:
    def pairs(key: Any, row: dict[str, Any]) -> Iterator[Any]:
        yield row["year"], row["amount"]

    run(map=pairs, map_only=False, partition_by="key", output_format="jsonl")
    texts = {path.parent.name: path.read_text() for path in (here / "out").rglob("part-*")}
    assert texts == {
        "key=2025": '{"value":1}\n',
        "key=2026": '{"value":2}\n{"value":3}\n{"value":4}\n',
    }


def test_overwrite_replaces_all_files_of_a_former_job_and_nothing_else(here: Path) -> None:
    run()
    with pytest.raises(OutputError, match="is not empty"):
        run()
    run(partition_by="year", overwrite=True)
    assert {name.partition("/")[0] for name in names(here / "out")} == {"year=2025", "year=2026"}
    assert not list((here / "out").glob("country=*"))
    (here / "out/year=2025/mine").write_text("x")
    assert verify(OUT_URI.format(here)).problems == (
        "year=2025/mine is there, but the receipt does not name it.",
    )
    with pytest.raises(OutputError, match="holds year=2025/mine, which no receipt there names"):
        run(overwrite=True)
    (here / "out/year=2025/mine").unlink()
    run(overwrite=True, partition_by=[])
    assert names(here / "out") == ["part-00000.parquet", "part-00001.parquet"]
    assert verify(OUT_URI.format(here)).ok


def test_a_damaged_file_is_named(here: Path) -> None:
    run()
    path = here / "out" / names(here / "out")[0]
    path.write_bytes(b"")
    (problem,) = verify(OUT_URI.format(here)).problems
    assert problem.startswith("country=SE/part-00000.parquet has 0 bytes, the receipt says ")


def test_the_values_of_a_task_are_bounded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioned, "MAX_VALUES", 1)
    with pytest.raises(
        mrcore.RunFailedError,
        match=r"rows of more than 1 values of amount \(the last is amount=2\), and each is a file",
    ):
        run(partition_by="amount")
    assert not (here / "out").exists() or not names(here / "out")


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("nothing", "The row .* lacks the partition column 'nothing'. Give it a value"),
        (["country", "year", "amount"], "has no column but those that the output is partitioned"),
    ],
)
def test_rows_without_a_partition_or_anything_else_are_refused(column: Any, sentence: str) -> None:
    with pytest.raises(mrcore.RunFailedError, match=sentence):
        run(partition_by=column)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("_id", "'_id' cannot begin the name of a folder, which readers would skip"),
        (["a", "a"], "name a column twice"),
        (3, "partition_by is 3, but has to be the name of a column, or a list of names"),
        ([f"c{n}" for n in range(11)], "are 11. Name at most 10"),
    ],
)
def test_columns_that_cannot_be_folders_are_refused(column: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(partition_by=column)


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("a b", "c=a b"),
        ("ü", "c=ü"),
        ("x\ty\n\0", "c=x%09y%0A%00"),
        ("{[^?*:]}\\\"'#%=/", "c=%7B%5B%5E%3F%2A%3A%5D}%5C%22%27%23%25%3D%2F"),
        ("", f"c={NULL}"),
        (None, f"c={NULL}"),
        (True, "c=true"),
        (1.5, "c=1.5"),
        (datetime.date(2026, 1, 2), "c=2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3), "c=2026-01-02 03%3A00%3A00"),  # noqa: DTZ001
    ],
)
def test_values_are_escaped_as_hive_does(value: Any, folder: str) -> None:
    assert folder_of({"c": value}, ["c"]) == folder


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1], "has a value of type list, which cannot be the name of a folder"),
        (b"x", "has a value of type bytes"),
        ("\ud800", "which is not valid Unicode. Replace it"),
        ("x" * 254, "makes a folder's name of 256 bytes, and 255 is the limit"),
    ],
)
def test_values_that_cannot_be_folders_are_refused(value: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        folder_of({"c": value}, ["c"])
