"""Sums by key: over columns, in a table, and of dicts that a plain function returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import mrcore
from mrcore.plugin.functions import UserFunctions
from mrcore.shuffle import column_totals
from mrcore.shuffle import grouping_policy as policy
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.collect import Collector
from mrcore.shuffle.column_totals import ColumnTotals, totals_of
from mrcore.shuffle.columns import Columns, KeyKind
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.grouping import Grouping
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.loops import SHORT_CHARACTERS
from mrcore.shuffle.user_code import READ_BYTES, ResultPairs, UserCodeError
from mrcore.shuffle.value_lists import ValueLists
from mrcore.shuffle.values import ValueKind, to_python
from tests.support.inprocess import Job, spec_of


def columns(keys: list[str], values: list[Any], kind: ValueKind = ValueKind.INT) -> Columns:
    return Columns(KeyKind.STR, pa.array(keys), kind, pa.array(values))


def test_totals_have_each_key_once() -> None:
    found = totals_of(columns(["b", "a", "b"], [1, 2, -5]))
    assert found is not None
    assert (found.keys.to_pylist(), found.values.to_pylist()) == (["b", "a"], [-4, 2])


@pytest.mark.parametrize("value", [1 << 62, -(1 << 62)])
def test_a_sum_that_might_not_fit_is_left_alone(value: int) -> None:
    assert totals_of(columns(["a", "a"], [value, value])) is None
    assert totals_of(columns(["a"], [value])) is not None


class Taken:
    """Rows that left a table, and how many times."""

    def __init__(self) -> None:
        self.batches: list[Columns] = []

    def totals(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for batch in self.batches:
            for key, value in zip(batch.keys.to_pylist(), batch.values.to_pylist(), strict=True):
                found[key] += value
        return found


def test_rows_wait_while_adding_them_up_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_totals, "FULL_ROWS", 1_000)
    taken = Taken()
    totals = ColumnTotals(taken.batches.append, 1 << 30)
    for _ in range(300):
        totals.add(columns(["a", "b", "c", "a"] * 10, [1] * 40))
    assert not taken.batches
    totals.flush()
    assert [len(batch) for batch in taken.batches] == [3]
    assert taken.totals() == {"a": 6_000, "b": 3_000, "c": 3_000}


def test_rows_with_keys_of_their_own_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_totals, "FULL_ROWS", 40_000)
    taken = Taken()
    totals = ColumnTotals(taken.batches.append, 1 << 30)
    for start in range(0, 60_000, 20_000):
        totals.add(columns([str(number) for number in range(start, start + 20_000)], [1] * 20_000))
    assert sum(map(len, taken.batches)) == 60_000, "the third batch no longer waits"


def test_a_table_of_many_bytes_is_passed_on() -> None:
    taken = Taken()
    totals = ColumnTotals(taken.batches.append, 100)
    totals.add(columns(["a" * 200], [1]))
    assert len(taken.batches) == 1


def test_values_of_another_kind_are_passed_on_as_they_are() -> None:
    taken = Taken()
    totals = ColumnTotals(taken.batches.append, 1 << 30)
    totals.add(columns(["a", "a"], [0.5, 0.25], ValueKind.FLOAT))
    assert [batch.values.to_pylist() for batch in taken.batches] == [[0.5, 0.25]]


def test_dicts_of_ints_are_taken_up_to_the_first_other_result() -> None:
    results: list[Any] = [{"a": 1}, Counter("bb"), {}, {"a": True}, [("c", 3)], None, {"d": 4}]
    pairs = ResultPairs("map", iter(results), len(results))
    assert list(pairs.items_of_dicts(9)) == [(["a"], [1]), (["b"], [2])]
    assert list(pairs) == [("a", True), ("c", 3), ("d", 4)]


def test_items_of_a_large_dict_come_some_at_a_time() -> None:
    pairs = ResultPairs("map", iter([{"a": 1, "b": 2, "c": 3}]), 1)
    assert list(pairs.items_of_dicts(2)) == [(["a", "b"], [1, 2]), (["c"], [3])]
    assert list(pairs) == []


def test_a_missing_result_is_noticed_behind_dicts() -> None:
    pairs = ResultPairs("map", iter([{"a": 1}]), 2)
    assert list(pairs.items_of_dicts(9)) == [(["a"], [1])]
    with pytest.raises(UserCodeError, match="StopIteration"):
        list(pairs)


def test_no_record_is_mapped_after_one_that_stopped() -> None:
    def counted(number: int) -> dict[str, int]:
        called.append(number)
        if number == 1:
            raise StopIteration
        return {"a": number}

    called: list[int] = []
    pairs = ResultPairs("map", map(counted, range(9)), 9)
    assert list(pairs.items_of_dicts(9)) == [(["a"], [0])]
    with pytest.raises(UserCodeError, match="StopIteration"):
        list(pairs)
    assert called == [0, 1], "the record that is named is the last one that was taken"


class Builder(RunBuilder):
    """Builder that only keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Columns] = []

    def add(self, columns: Columns) -> None:
        self.batches.append(columns)

    def spill(self) -> None:
        pass


def largest(key: Any, values: Iterator[int]) -> int:
    return max(values)


@pytest.mark.parametrize("combine", [None, mrcore.sum])
def test_few_dicts_of_long_keys_become_columns_at_once(combine: Any) -> None:
    builder = Builder()
    combiner = None if combine is None else Combiner(combine)
    collector = Collector(builder, Budget(20 << 20, 0, 0), combiner=combiner)
    long = "x" * 100_000
    results = ({f"{number}{long}": 1} for number in range(300))
    collector.add(ResultPairs("map", results, 300), "map")
    collector.finish()
    assert collector.pairs == 300
    sizes = [batch.size_bytes for batch in builder.batches]
    assert max(sizes) < 4 * READ_BYTES, "the keys of all dicts would not fit into memory"


def test_dicts_are_grouped_for_a_combiner_of_the_user() -> None:
    builder = Builder()
    collector = Collector(builder, Budget(20 << 20, 0, 0), combiner=Combiner(largest))
    collector.add(ResultPairs("map", ({"a": number} for number in range(50)), 50), "map")
    collector.finish()
    assert [batch.values.to_pylist() for batch in builder.batches] == [[49]]


def test_a_class_of_dicts_may_have_other_items() -> None:
    class Doubled(Counter[str]):
        def items(self) -> Any:
            return [(key, 2 * value) for key, value in super().items()]

    pairs = ResultPairs("map", iter([Doubled("a")]), 1)
    assert list(pairs.items_of_dicts(9)) == []
    assert list(pairs) == [("a", 2)]


@pytest.mark.parametrize("before", [1, 500], ids=["looked at", "in the bare loop"])
def test_a_bool_that_is_alone_stays_one(before: int) -> None:
    builder = Builder()
    collector = Collector(builder, Budget(20 << 20, 0, 0), combiner=Combiner(mrcore.sum))
    pairs: list[Any] = [("a", number) for number in range(before)]
    collector.add(iter([*pairs, ("b", True)]), "map")
    collector.finish()
    (batch,) = builder.batches
    found = to_python(batch.value_kind, batch.values)
    assert [(type(value), value) for value in found] == [(int, sum(range(before))), (bool, True)]


def test_sums_are_given_up_where_keys_do_not_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "SUMS_KEYS", 100)
    taken: list[Any] = []

    def take(keys: Any, _values: Any) -> None:
        taken.extend(keys)

    for count, is_left in [(10_000, True), (10, False)]:
        grouping = Grouping(Combiner(mrcore.sum), KeyTypes(), take, taken.clear, 1 << 30)
        pairs = [(str(number % count), number) for number in range(10_000)]
        assert (grouping.add(iter(pairs), "map") is not None) is is_left


def test_the_bare_loop_takes_short_texts_where_there_were_some() -> None:
    short, long = ("b", "x" * SHORT_CHARACTERS), ("b", "x" * (SHORT_CHARACTERS + 1))
    for begun, text, foreign in [("y", short, None), ("y", long, long), (1, short, short)]:
        lists, types = ValueLists(), KeyTypes()
        lists.add(types.check(["a"]), [begun])
        found = lists.add_fast(iter([text]), str, types, function="map", counts_values=False)
        assert found == foreign


def counters(key: Any, line: str) -> Counter[str]:
    return Counter(line.split())


def generated(key: Any, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def mixed(key: Any, line: str) -> Any:
    found: dict[str, Any] = dict(Counter(line.split()))
    return found if len(line) % 3 else {word: float(count) for word, count in found.items()}


@pytest.mark.parametrize("function", [counters, generated, mixed])
@pytest.mark.parametrize("combine", [None, mrcore.sum])
@pytest.mark.parametrize("few", [False, True])
def test_sums_are_those_of_all_pairs(
    function: Any, combine: Any, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if few:  # each table is full at once
        monkeypatch.setattr(policy, "SUMS_KEYS", 3)
        monkeypatch.setattr(column_totals, "FULL_ROWS", 5)
    lines = [f"a b{number % 7} c{number} a {'x' * (number % 5)}" for number in range(500)]
    functions = UserFunctions(map=function, combine=combine, reduce=mrcore.sum)
    wanted = Counter(word for line in lines for word in line.split())
    job = Job(["\n".join(lines[:300]), "\n".join(lines[300:])], functions, 2, spec_of())
    found = [line.split(b"\t") for part in job.run() for line in part.splitlines()]
    assert {word.decode(): float(count) for word, count in found} == wanted
    assert len(found) == len(wanted)
