"""Datasets from files and into files, in each format."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import mrcore
from mrcore.records import parquet_rows

ROWS = [{"name": "Ann", "age": 3}, {"name": "Bob", "age": 5}]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


def written(folder: str) -> str:
    return "".join(path.read_text() for path in sorted(Path(folder).glob("part-*")))


def test_text_has_a_line_for_each_element_and_a_tab_in_pairs() -> None:
    result = mrcore.from_items([1, "x", (1, 2, 3)]).write_text("out", engine="inline")
    assert written("out") == "1\nx\n(1, 2, 3)\n"
    assert list(result.lines()) == ["1", "x", "(1, 2, 3)"]
    mrcore.from_items([("a", 1)]).write_text("pairs", engine="inline")
    assert written("pairs") == "a\t1\n"


def test_rows_go_out_and_come_back_in_every_format() -> None:
    rows = mrcore.from_items(ROWS)
    rows.write_jsonl("j", engine="inline")
    rows.write_csv("c", engine="inline")
    rows.write_tsv("t", engine="inline")
    rows.write_parquet("p", engine="inline")
    assert written("j").splitlines() == [json.dumps(row, separators=(",", ":")) for row in ROWS]
    assert written("c").replace("name,age\n", "") == "Ann,3\nBob,5\n"
    assert mrcore.read_jsonl("j").collect(engine="inline") == ROWS
    assert mrcore.read_parquet("p").collect(engine="inline") == ROWS
    texts = [{"name": "Ann", "age": "3"}, {"name": "Bob", "age": "5"}]
    assert mrcore.read_csv("c").collect(engine="inline") == texts
    assert written("t").replace("name\tage\n", "") == "Ann\t3\nBob\t5\n"
    assert mrcore.read_tsv("t").collect(engine="inline") == texts


def test_elements_that_are_no_rows_have_a_column_of_their_own() -> None:
    mrcore.from_items([1, 2]).write_jsonl("j", engine="inline")
    assert written("j") == '{"value":1}\n{"value":2}\n'
    mrcore.from_items([("a", 1)]).write_parquet("p", engine="inline")
    assert pq.read_table("p").to_pylist() == [{"key": "a", "value": 1}]


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_rows_may_be_of_a_class_that_is_derived_from_dict(name: str) -> None:
    rows = mrcore.from_items([OrderedDict(a="x"), defaultdict(str, a="y"), Counter(["a"])])
    getattr(rows.filter(lambda row: row["a"] != 1), f"write_{name}")("o", engine="inline")
    found = getattr(mrcore, f"read_{name}")("o").collect(engine="inline")
    assert found == [{"a": "x"}, {"a": "y"}]


def test_batches_come_as_they_are_read_and_their_rows_can_be_written() -> None:
    def older(batch: Any) -> Any:
        import pyarrow.compute as pc

        ages = pc.add(batch.column("age"), 1)
        return batch.set_column(batch.schema.get_field_index("age"), "age", ages)

    mrcore.from_items(ROWS).write_parquet("p", engine="inline")
    people = mrcore.read_batches("p").map_batches(older)
    assert people.map(lambda row: row["age"]).collect(engine="inline") == [4, 6]
    people.write_jsonl("out", engine="inline")
    assert [json.loads(line)["age"] for line in written("out").splitlines()] == [4, 6]


def test_files_come_with_their_names() -> None:
    Path("in").mkdir()
    for name in ("a", "b"):
        Path(f"in/{name}.txt").write_text(f"{name}\n{name}\n")
    found = mrcore.read_files("in").map_values(len).collect(engine="inline")
    assert found == [("in/a.txt", 4), ("in/b.txt", 4)]


def test_inputs_of_several_formats_meet_in_one_job() -> None:
    Path("users.csv").write_text("id,name\n1,Ann\n2,Bob\n")
    Path("visits.jsonl").write_text('{"user": 1, "page": "/"}\n{"user": 3, "page": "/x"}\n')
    users = mrcore.read_csv("users.csv").map(lambda row: (int(row["id"]), row["name"]))
    visits = mrcore.read_jsonl(["visits.jsonl"]).map(lambda row: (row["user"], row["page"]))
    found = users.full_join(visits).collect(engine="inline")
    assert found == [(1, ("Ann", "/")), (2, ("Bob", None)), (3, (None, "/x"))]


def test_sorted_output_is_in_order_over_all_parts() -> None:
    numbers = mrcore.from_items(range(3_000)).map(lambda n: n * 7 % 3_001)
    numbers.sort_by().write_text("out", reduces=3, engine="inline")
    assert written("out").split() == [str(n) for n in sorted(n * 7 % 3_001 for n in range(3_000))]
    assert len(list(Path("out").glob("part-*"))) == 3


def test_options_of_the_job_reach_it() -> None:
    mrcore.from_items([1]).write_text("out", compress="gz", engine="inline")
    with pytest.raises(mrcore.UsageError, match="not empty"):
        mrcore.from_items([2]).write_text("out", engine="inline")
    mrcore.from_items([2]).write_text("out", compress="gz", overwrite=True, engine="inline")
    assert mrcore.read_text("out").collect(engine="inline") == ["2"]


def test_rows_are_written_into_a_folder_for_each_value_of_a_column() -> None:
    rows = [{"country": "CH", "n": 1}, {"country": "SE", "n": 2}, {"country": "CH", "n": 3}]
    mrcore.from_items(rows).write_parquet("out", partition_by="country", engine="inline")
    assert sorted(path.name for path in Path("out").glob("*=*")) == ["country=CH", "country=SE"]
    parts = sorted(Path("out/country=CH").glob("*.parquet"))
    found = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
    assert found == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"partition_by": "side"}])
def test_rows_of_json_go_into_parquet_wherever_their_types_show(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(parquet_rows, "GROUP_ROWS", 2)
    monkeypatch.setattr(parquet_rows, "HELD_GROUPS", 1)
    rows: list[dict[str, Any]] = [
        *({"side": n % 2, "price": n} for n in range(9)),
        {"side": 0, "price": 2.5, "note": {"late": "x"}},
        {"side": 1, "price": None},
    ]
    mrcore.from_items(rows).write_parquet("out", engine="inline", **options)
    found = ds.dataset("out", format="parquet", partitioning="hive").to_table()
    assert str(found.schema.field("price").type) == "double"
    expected = [{"note": None, **row} for row in rows]
    got = found.to_pylist()
    assert len(got) == len(expected)
    assert all(row in got for row in expected)


def test_text_can_be_partitioned_too() -> None:
    rows = mrcore.from_items([{"c": "x", "n": 1, "m": "a"}, {"c": "y", "n": 2, "m": "b"}])
    rows.write_text("out", partition_by="c", engine="inline")
    assert Path("out/c=x/part-00000").read_text() == "1\ta\n"
    with pytest.raises(mrcore.RunFailedError, match=r"The row \{'value': 1\} lacks the partition"):
        mrcore.from_items([1]).write_text("lines", partition_by="c", engine="inline")
