"""Parts of datasets by themselves: what they keep between tasks, and what they share."""

from __future__ import annotations

from pathlib import Path

import pytest

import mrcore
from mrcore.dataset import pipeline, running
from mrcore.dataset.lowers import AsValues, FirstOnes, InOrder
from mrcore.dataset.planning import plan


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))


def test_each_task_of_a_process_begins_to_count_anew() -> None:
    first = FirstOnes(2)
    for index in range(2):
        first.begin_task(index)
        assert not first.done
        assert list(first.over(iter("abc"))) == [(None, "a"), (None, "b")]
        assert first.done
    ordered = InOrder(4)
    for index in range(2):
        ordered.begin_task(index)
        assert list(ordered.over(iter("ab"))) == [((4, index, 1), "a"), ((4, index, 2), "b")]


def test_part_sums_keep_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_KEYS", 2)
    pairs = iter([("a", 1), ("b", 1), ("a", 1), ("c", 1), ("a", 1)])
    found = list(pipeline.PartSums().over(pairs))
    assert found == [("a", (2, 2)), ("b", (1, 1)), ("c", (1, 1)), ("a", (1, 1))]


def test_an_accumulator_with_something_in_it_is_copied_whole() -> None:
    def add(seen: dict[str, list[int]], value: int) -> dict[str, list[int]]:
        seen["values"].append(value)
        return seen

    def merge(one: dict[str, list[int]], other: dict[str, list[int]]) -> dict[str, list[int]]:
        return {"values": one["values"] + other["values"]}

    pairs = mrcore.from_items([("a", 1), ("b", 2), ("a", 3)])
    gathered = pairs.aggregate_by_key({"values": []}, add, merge)
    assert gathered.collect(engine="inline") == [("a", {"values": [1, 3]}), ("b", {"values": [2]})]


def test_values_of_a_union_come_in_the_order_of_its_sides() -> None:
    items = [mrcore.from_items([("k", number)]) for number in range(4)]
    shuffled = [each.reduce_by_key(max) for each in items]
    for sides in ((items[0], shuffled[1], items[2]), (shuffled[3], items[1], shuffled[0])):
        found = sides[0].union(*sides[1:]).group_by_key().collect(engine="inline")
        numbers = [side.values().collect(engine="inline")[0] for side in sides]
        assert found == [("k", numbers)]


def test_items_that_are_read_twice_are_stored_once() -> None:
    items = mrcore.from_items([1, 2])
    made = plan(items.union(items.map(str)).node, AsValues())
    stored: list[bytes] = []

    def store(data: bytes, number: int) -> str:
        stored.append(data)
        return f"items-{number}"

    request = running._request(made, running.where("collect", {}), None, "text", store)
    assert len(stored) == 1
    assert request.inputs == ("items-0", "items-0")
    assert request.input_names == ("from_items", "from_items")
