"""Whole jobs through map and reduce, against plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcore
from mrcore.errors import KeyTypeError
from mrcore.plugin.functions import UserFunctions
from mrcore.shuffle.arrow import pa, pc
from mrcore.shuffle.encoding import encode
from tests.support.inprocess import Job, Pair, emitting, nothing, spec_of, tiny_budget
from tests.support.shuffle_keys import FLOATS, INTS, TEXT, keys_with
from tests.support.shuffle_values import VALUES

KEY_KINDS = st.sampled_from(
    [
        TEXT, INTS, FLOATS, st.binary(max_size=4), st.integers(0, 3), st.sampled_from("abc"),
        keys_with(st.integers(0, 2)), st.tuples(st.sampled_from("ab"), st.integers(0, 1)),
        st.one_of(st.booleans(), st.integers(0, 1)), st.one_of(st.none(), st.sampled_from("ab")),
    ]
)  # fmt: skip


@st.composite
def tasks(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> list[list[Pair]]:
    """Return what each of a few map tasks emits."""
    keys = draw(KEY_KINDS)
    return draw(st.lists(st.lists(st.tuples(keys, values), max_size=25), min_size=1, max_size=4))


def seen_by_reduce(job_tasks: list[list[Pair]], reduces: int, **options: Any) -> list[list[Pair]]:
    """Return, for each reduce task, the keys and lists of values that its reduce was given."""
    texts, user_map = emitting(job_tasks)
    seen: list[Pair] = []

    def reduce(key: Any, values: Iterator[Any]) -> None:
        seen.append((key, list(values)))

    memory = options.pop("memory_bytes", 0)
    total_order = options.pop("total_order", False)
    functions = UserFunctions(map=user_map, reduce=reduce, **options)
    job = Job(texts, functions, reduces, spec_of(total_order=total_order), memory)
    found = []
    for _ in job.run_lazily():
        found.append(list(seen))
        seen.clear()
    return found


def grouped(job_tasks: list[list[Pair]]) -> dict[bytes, tuple[Any, list[Any]]]:
    """Return key and values by encoded key: the oracle."""
    groups: dict[bytes, tuple[Any, list[Any]]] = {}
    for pairs in job_tasks:
        for key, value in pairs:
            groups.setdefault(encode(key), (key, []))[1].append(value)
    return groups


def check_groups(found: list[list[Pair]], job_tasks: list[list[Pair]]) -> None:
    """Compare what all reduce tasks saw with the oracle: keys, types, values and their order."""
    expected = grouped(job_tasks)
    flat = [pair for part in found for pair in part]
    by_key = {encode(key): values for key, values in flat}
    assert len(by_key) == len(flat), "every key is reduced once"
    assert {k: repr(v) for k, v in by_key.items()} == {k: repr(v) for k, (_, v) in expected.items()}
    for part in found:
        order = [encode(key) for key, _ in part]
        assert order == sorted(order)


@given(tasks(), st.sampled_from([1, 3, 16]))
@settings(max_examples=60)
def test_reduce_sees_every_value_of_a_key_in_order(job_tasks: list[list[Pair]], n: int) -> None:
    check_groups(seen_by_reduce(job_tasks, n), job_tasks)


@given(tasks(), st.sampled_from([1, 3, 16]))
@settings(max_examples=40)
def test_total_order_is_one_order_over_all_parts(job_tasks: list[list[Pair]], n: int) -> None:
    found = seen_by_reduce(job_tasks, n, total_order=True)
    check_groups([[pair for part in found for pair in part]], job_tasks)


@given(tasks(), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=40)
def test_spills_show_nowhere(job_tasks: list[list[Pair]], n: int, total: bool) -> None:
    with tiny_budget():
        check_sorted = seen_by_reduce(job_tasks, n, total_order=total)
    check_groups(check_sorted, job_tasks)


@given(tasks(st.integers(-5, 5)), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=40)
def test_sort_key_orders_values_and_ties_stay(
    job_tasks: list[list[Pair]], n: int, tiny: bool
) -> None:
    with tiny_budget() if tiny else nothing():
        found = seen_by_reduce(job_tasks, n, sort_key=abs)
    expected = grouped(job_tasks)
    for part in found:
        for key, values in part:
            assert values == sorted(expected[encode(key)][1], key=abs)
    assert sum(map(len, found)) == len(expected)


def plain_sum(key: Any, values: Any) -> int:
    """Sum, as a function that returns."""
    return sum(values)


def yielding_sum(key: Any, values: Any) -> Iterator[Pair]:
    """Sum, as a generator."""
    yield key, sum(values)


@pytest.mark.parametrize("combine", [plain_sum, yielding_sum, mrcore.sum])
@given(
    job_tasks=tasks(st.integers(-(1 << 64), 1 << 64)), n=st.sampled_from([1, 3]), tiny=st.booleans()
)
@settings(max_examples=30)
def test_a_combiner_changes_nothing(
    combine: Any, job_tasks: list[list[Pair]], n: int, tiny: bool
) -> None:
    with tiny_budget() if tiny else nothing():
        found = seen_by_reduce(job_tasks, n, combine=combine)
    sums = {encode(key): sum(values) for part in found for key, values in part}
    assert sums == {k: sum(v) for k, (_, v) in grouped(job_tasks).items()}


@pytest.mark.parametrize("aggregate", [mrcore.sum, mrcore.count, mrcore.min, mrcore.max])
@given(
    job_tasks=tasks(st.one_of(st.integers(-9, 9), st.integers(-(1 << 63), (1 << 63) - 1))),
    combine=st.booleans(),
    tiny=st.booleans(),
)
@settings(max_examples=25)
def test_aggregates_are_what_python_says(
    aggregate: Any, job_tasks: list[list[Pair]], combine: bool, tiny: bool
) -> None:
    # The output is text, so a key may not hold a newline.
    job_tasks = [
        [(repr(key) if isinstance(key, str) else key, value) for key, value in pairs]
        for pairs in job_tasks
    ]
    texts, user_map = emitting(job_tasks)
    functions = UserFunctions(map=user_map, reduce=aggregate, combine=aggregate)
    job = Job(texts, functions, 2, spec_of(output_format="text", combine=combine))
    with tiny_budget() if tiny else nothing():
        lines = [line for part in job.run() for line in part.split(b"\n") if line]
    plain = {"sum": sum, "count": len, "min": min, "max": max}[aggregate.kind.value]
    expected = [plain(values) for _, values in grouped(job_tasks).values()]  # type: ignore[operator]
    assert sorted(int(line.rpartition(b"\t")[2]) for line in lines) == sorted(expected)


def test_grouping_gives_way_to_columns_and_loses_nothing() -> None:
    # First few keys over and over, then only new ones, then keys of other types.
    pairs: list[Pair] = [(f"k{i % 7}", 1) for i in range(20_000)]
    pairs += [(f"u{i}", 1) for i in range(80_000)]
    pairs += [(b"bytes", 1), (None, 1), (5, 1), (("t", 1), 1)] * 10 + [("k0", 1)] * 10
    found = seen_by_reduce([pairs], 2, combine=lambda key, values: sum(values))
    counts = {key: sum(values) for part in found for key, values in part}
    assert counts == Counter(key for key, _ in pairs)


def test_keys_that_a_dict_would_merge_stay_apart() -> None:
    pairs: list[Pair] = [
        (1, 1),
        (True, 10),
        (1, 1),
        (False, 5),
        (0, 7),
        (("a", 1), 1),
        (("a", True), 2),
    ]
    found = seen_by_reduce([pairs * 50], 1, combine=lambda key, values: sum(values))
    sums = {repr(key): sum(values) for key, values in found[0]}
    assert sums == {
        "1": 100, "True": 500, "False": 250, "0": 350, "('a', 1)": 50, "('a', True)": 100,
    }  # fmt: skip


def test_values_stay_in_order_where_a_dict_gives_way_to_columns() -> None:
    # The first True beside a 1 comes when "k" has values in the dict already.
    pairs: list[Pair] = [("k", [i]) for i in range(200)]
    pairs += [(1, [0]), (True, [0])]
    pairs += [("k", [i]) for i in range(200, 400)]

    def concatenated(key: Any, values: Any) -> list[int]:
        return [number for value in values for number in value]

    (found,) = seen_by_reduce([pairs], 1, combine=concatenated)
    (values,) = [values for key, values in found if key == "k"]
    assert concatenated("k", values) == list(range(400))


@pytest.mark.parametrize("returned", ["list", "dict", "Counter", "None", "iterator", "lists"])
def test_what_map_may_return(returned: str) -> None:
    def user_map(key: Any, value: str) -> Any:
        words = value.split()
        return {
            "list": [(word, 1) for word in words],
            "dict": dict.fromkeys(words, 1),
            "Counter": Counter(words),
            "None": None,
            "iterator": iter([(word, 1) for word in words]),
            "lists": [[word, 1] for word in words],
        }[returned]

    functions = UserFunctions(map=user_map, reduce=lambda key, values: sum(values))
    (part,) = Job(["a b\nc a a\n"], functions).run()
    expected = {
        "dict": b"a\t2\nb\t1\nc\t1\n",
        "None": b"",
    }.get(returned, b"a\t3\nb\t1\nc\t1\n")
    assert part == expected


def test_what_reduce_may_return() -> None:
    def reduce(key: str, values: Any) -> Any:
        match key:
            case "none":
                return None
            case "iterator":
                return iter([("x", 1), ["y", 2]])
            case "list":
                return [("stays", "a"), "list"]
            case "tuple":
                return (1, 2)
        return dict.fromkeys(values, 0)

    pairs: list[Pair] = [(k, "v") for k in ("none", "iterator", "list", "tuple", "dict")]
    texts, user_map = emitting([pairs])
    (part,) = Job(texts, UserFunctions(map=user_map, reduce=reduce)).run()
    assert part.decode().splitlines() == [
        "dict\t{'v': 0}", "x\t1", "y\t2", "list\t[('stays', 'a'), 'list']", "tuple\t(1, 2)",
    ]  # fmt: skip


@pytest.mark.parametrize("tiny", [True, False])
def test_values_that_reduce_leaves_are_skipped(tiny: bool) -> None:
    pairs: list[Pair] = [(key, i) for i in range(4_000) for key in "abc"]
    texts, user_map = emitting([pairs])

    def first(key: str, values: Iterator[int]) -> int:
        return next(values)

    with tiny_budget() if tiny else nothing():
        (part,) = Job(texts, UserFunctions(map=user_map, reduce=first)).run()
    assert part == b"a\t0\nb\t0\nc\t0\n"


def test_without_reduce_the_pairs_come_in_key_order() -> None:
    texts, user_map = emitting([[("b", 1), ("a", 2)], [("b", 0), ("a", None)]])
    (part,) = Job(texts, UserFunctions(map=user_map)).run()
    assert part == b"a\t2\na\nb\t1\nb\t0\n"


def test_map_only_pairs_come_as_they_come() -> None:
    texts, user_map = emitting([[("b", 1), ("a", [2])], [(float("nan"), None)]])
    spec = spec_of(map_only=True)
    assert Job(texts, UserFunctions(map=user_map), spec=spec).run() == [b"b\t1\na\t[2]\n", b"nan\n"]


def test_the_users_partition_decides() -> None:
    texts, user_map = emitting([[(i, i) for i in range(20)]])
    functions = UserFunctions(map=user_map, partition=lambda key, n: key % n)
    parts = Job(texts, functions, 3).run()
    assert [[int(line.split()[0]) for line in part.splitlines()] for part in parts] == [
        list(range(start, 20, 3)) for start in range(3)
    ]


ARROW = spec_of(input_format="arrow")


@pytest.mark.parametrize("reduces", [1, 3])
@pytest.mark.parametrize("combine", [None, mrcore.sum])
def test_arrow_columns_count_words(reduces: int, combine: Any) -> None:
    def user_map(key: Any, batch: Any) -> Any:
        words = pc.list_flatten(pc.utf8_split_whitespace(batch.column("line")))
        return pa.table({"key": words, "value": pa.repeat(pa.scalar(1), len(words))})

    texts = ["the cat\nthe dog\n", "a cat\n" * 1000]
    functions = UserFunctions(map=user_map, reduce=mrcore.sum, combine=combine)
    parts = Job(texts, functions, reduces, ARROW).run()
    lines = sorted(line for part in parts for line in part.decode().splitlines())
    assert lines == ["a\t1000", "cat\t1001", "dog\t1", "the\t2"]


@pytest.mark.parametrize("tiny", [True, False])
def test_arrow_values_of_any_type_reach_reduce(tiny: bool) -> None:
    columns = [
        pa.array([[1, 2], None, [3]]), pa.array([1.5, None, 2.5]),
        pa.array(["x", "y", "x"]).dictionary_encode(), pa.array([1, 2, 3], pa.timestamp("s")),
        pa.array([True, False, None]), pa.array([7, 8, 9], pa.int16()),
        pa.array([{"a": 1}, {"a": 2}, None]),
    ]  # fmt: skip
    column_of = iter(columns * 2)

    def user_map(key: Any, batch: Any) -> Any:
        yield pa.record_batch([pa.array(["k", "l", "k"]), next(column_of)], ["key", "value"])

    seen: list[Any] = []

    def reduce(key: str, values: Iterator[Any]) -> None:
        seen.append((key, list(values)))

    functions = UserFunctions(map=user_map, reduce=reduce)
    with tiny_budget() if tiny else nothing():
        Job(["line\n"] * len(columns), functions, 1, ARROW).run()
    lists = [column.to_pylist() for column in columns]
    assert seen == [
        ("k", [value for row in lists for value in (row[0], row[2])]),
        ("l", [row[1] for row in lists]),
    ]


def test_int_and_float_in_different_maps_are_told_apart() -> None:
    texts, user_map = emitting([[(1, "a")], [(1.0, "b")]])
    job = Job(texts, UserFunctions(map=user_map))
    with pytest.raises(KeyTypeError, match="int and float"):
        job.run()


def test_a_map_that_emits_nothing_leaves_no_object() -> None:
    job = Job(["x\n"], UserFunctions(map=lambda key, value: None), 3)
    assert job.run() == [b"", b"", b""]
    assert job.outputs[0].object is None
    assert job.outputs[0].section_bytes == (0, 0, 0)


def test_runs_are_the_same_bytes_every_time() -> None:
    pairs: list[Pair] = [(f"k{i % 1000}", i) for i in range(50_000)]
    digests = set()
    for _ in range(2):
        texts, user_map = emitting([pairs])
        job = Job(texts, UserFunctions(map=user_map, combine=lambda key, values: sum(values)), 4)
        job.run()
        digests.add(job.outputs[0].digest)
    assert len(digests) == 1
    assert job.outputs[0].records_out == 50_000
