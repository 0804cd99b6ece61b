"""User code that changes an object after it has emitted it: each pair is what it was then."""

from __future__ import annotations

import csv
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcore.plugin.functions import UserFunctions
from mrcore.util.object_copies import kept, thawed
from tests.support.inprocess import Job, spec_of

FORMATS = ["text", "csv", "jsonl", "parquet"]


def pairs_of(part: bytes, output_format: str) -> list[tuple[Any, Any]]:
    """Return the pairs of a part whose values are lists or dicts."""
    match output_format:
        case "parquet":
            rows = pq.read_table(pa.BufferReader(part)).to_pylist()
            return [(row["key"], row["value"]) for row in rows]
        case "jsonl":
            rows = [json.loads(line) for line in part.splitlines()]
            return [(row["key"], row["value"]) for row in rows]
        case "csv":
            cells = list(csv.reader(part.decode().splitlines()))[1:]
        case "text":
            cells = [line.split("\t") for line in part.decode().splitlines()]
    return [(key, json.loads(value.replace("'", '"'))) for key, value in cells]


def one_row(key: Any, line: str) -> Iterator[Any]:
    row = {"tag": ""}
    for tag in line.split():
        row["tag"] = tag
        yield tag, row


def one_list_as_pair(key: Any, line: str) -> Iterator[Any]:
    pair: list[Any] = ["", {}]
    for tag in line.split():
        pair[0], pair[1] = tag, {"tag": tag}
        yield pair


def listed(key: Any, values: Iterator[Any]) -> list[Any]:
    return list(values)


def first(key: Any, values: Iterator[Any]) -> Any:
    return next(values)


TAGS = {"a": {"tag": "a"}, "b": {"tag": "b"}, "c": {"tag": "c"}}


@pytest.mark.parametrize("user_map", [one_row, one_list_as_pair])
@pytest.mark.parametrize("combine", [None, first])
def test_map_may_yield_one_object_again_and_again(
    user_map: Callable[..., Any], combine: Callable[..., Any] | None
) -> None:
    functions = UserFunctions(map=user_map, reduce=first, combine=combine or first)
    spec = spec_of(output_format="jsonl", combine=combine is not None)
    (part,) = Job(["a b\nc\n"], functions, spec=spec).run()
    assert dict(pairs_of(part, "jsonl")) == TAGS


def test_values_sort_by_what_they_were() -> None:
    functions = UserFunctions(
        map=lambda key, line: (("k", row) for _, row in one_row(key, line)),
        reduce=lambda key, values: [value["tag"] for value in values],
        sort_key=lambda row: row["tag"],
    )
    assert Job(["b c a\n"], functions).run() == [b"k\t['a', 'b', 'c']\n"]


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_map_only_job_writes_what_was_yielded(output_format: str) -> None:
    spec = spec_of(map_only=True, output_format=output_format)
    (part,) = Job(["a b\nc\n"], UserFunctions(map=one_row), spec=spec).run()
    assert dict(pairs_of(part, output_format)) == TAGS


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("returns", [True, False])
def test_reduce_may_fill_one_list_for_all_keys(output_format: str, returns: bool) -> None:
    held: list[int] = []

    def returning(key: str, values: Iterator[int]) -> list[int]:
        held.clear()
        held.extend(values)
        return held

    def yielding(key: str, values: Iterator[int]) -> Iterator[Any]:
        yield key, returning(key, values)

    functions = UserFunctions(
        map=lambda key, line: [(word, len(word)) for word in line.split()],
        reduce=returning if returns else yielding,
    )
    (part,) = Job(["a bb a ccc\n"], functions, spec=spec_of(output_format=output_format)).run()
    assert pairs_of(part, output_format) == [("a", [1, 1]), ("bb", [2]), ("ccc", [3])]


def test_reduce_may_yield_its_running_state() -> None:
    def reduce(key: str, values: Iterator[str]) -> Iterator[Any]:
        seen: Counter[str] = Counter()
        for value in values:
            seen[value] += 1
            yield key, seen

    functions = UserFunctions(
        map=lambda key, line: [("k", word) for word in line.split()], reduce=reduce
    )
    (part,) = Job(["a b a\n"], functions, spec=spec_of(output_format="jsonl")).run()
    assert [value for _, value in pairs_of(part, "jsonl")] == [
        {"a": 1},
        {"a": 1, "b": 1},
        {"a": 2, "b": 1},
    ]


def test_a_key_that_reduce_changes_is_written_as_it_was() -> None:
    def reduce(key: str, values: Iterator[int]) -> Iterator[Any]:
        path: list[str] = []
        for step in key:
            path.append(step)
            yield path, 1

    functions = UserFunctions(map=lambda key, line: [(line, 1)], reduce=reduce)
    assert Job(["ab\n"], functions).run() == [b"['a']\t1\n['a', 'b']\t1\n"]


def joined(key: str, values: Iterator[Any]) -> Any:
    total = next(values)
    for value in values:
        total |= value
    return total


COLLECTED: list[str] = []


def refilled(key: str, values: Iterator[Any]) -> Any:
    """Return the same list for every key."""
    found = sorted(set().union(*values))
    COLLECTED[:] = found
    return COLLECTED


@pytest.mark.parametrize("combine", [joined, refilled])
def test_a_combiner_gets_copies_and_may_keep_its_result(combine: Callable[..., Any]) -> None:
    def user_map(key: Any, line: str) -> Iterator[Any]:
        words = set(line.split())
        for word in sorted(words):
            yield word, words

    def reduce(key: str, values: Iterator[Any]) -> str:
        return " ".join(sorted(set().union(*values)))

    text = "a b\nc d\nb c\ne\n"
    plain = Job([text], UserFunctions(map=user_map, reduce=reduce)).run()
    functions = UserFunctions(map=user_map, reduce=reduce, combine=combine)
    assert Job([text], functions, spec=spec_of(combine=True)).run() == plain
    assert plain == [b"a\ta b\nb\ta b c\nc\tb c d\nd\tc d\ne\te\n"]


def test_numbers_may_be_followed_by_an_object_that_changes() -> None:
    def user_map(key: Any, line: str) -> Iterator[Any]:
        row: list[int] = []
        for i in range(6_000):
            yield f"k{i % 7}", i
            if i % 1_000 == 999:
                row.append(i)
                yield f"row{i}", row

    def last(key: str, values: Iterator[Any]) -> Any:
        return list(values)[-1]

    for combine in (None, last):
        functions = UserFunctions(map=user_map, reduce=last, combine=combine or last)
        spec = spec_of(combine=combine is not None)
        (part,) = Job(["line\n"], functions, spec=spec).run()
        rows = [line for line in part.decode().splitlines() if line.startswith("row")]
        assert rows[:2] == ["row1999\t[999, 1999]", "row2999\t[999, 1999, 2999]"]
        assert rows[-1] == "row999\t[999]"


def test_a_tuple_is_kept_as_it_is_only_where_nothing_in_it_can_change() -> None:
    inner = [1]
    for value in ((inner, 2), (1, (2, (inner,)))):
        before = pickle.loads(pickle.dumps(value))
        held = kept(value)
        inner.append(1)
        assert thawed(held) == before
    plain = (1, ("x", (None, 2.5)))
    assert kept(plain) is plain
