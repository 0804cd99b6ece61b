"""Each operation of a dataset against plain Python."""

from __future__ import annotations

import datetime as dt
import operator
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore import Dataset
from mrcore.dataset import pipeline

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "the", "cat"]
LEFT = [("a", 1), ("b", 2), ("a", 3), ("d", 4)]
RIGHT = [("a", "x"), ("c", "y"), ("a", "z"), ("d", "w")]


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))


def collected(dataset: Dataset, **options: Any) -> list[Any]:
    return dataset.collect(engine="inline", **options)


def test_operations_on_each_element_come_in_order_with_their_types() -> None:
    found = collected(
        mrcore.from_items(["a b", "", "c"])
        .flat_map(str.split)
        .map(lambda word: (word, 1.0))
        .filter(lambda pair: pair[0] != "b")
        .map_values(lambda number: (number, None))
        .key_by(lambda pair: pair[0])
    )
    assert found == [("a", ("a", (1.0, None))), ("c", ("c", (1.0, None)))]
    assert type(found[0][1][1][0]) is float


def test_halves_of_pairs_and_values_of_values() -> None:
    pairs = mrcore.from_items(LEFT)
    assert collected(pairs.keys()) == ["a", "b", "a", "d"]
    assert collected(pairs.values()) == [1, 2, 3, 4]
    assert collected(pairs.flat_map_values(range))[:3] == [("a", 0), ("b", 0), ("b", 1)]


def test_reduce_by_key_takes_any_function_and_keeps_results_that_are_none() -> None:
    texts = mrcore.from_items(WORDS).map(lambda word: (len(word), word))
    longest: dict[int, str] = {}
    for word in WORDS:
        longest[len(word)] = longest.get(len(word), "") + word
    assert dict(collected(texts.reduce_by_key(operator.add))) == longest
    assert collected(texts.reduce_by_key(lambda one, other: None)) == [
        (3, None), (4, None), (5, None),
    ]  # fmt: skip


def test_numbers_by_key() -> None:
    pairs = mrcore.from_items(LEFT)
    assert collected(pairs.count_by_key()) == [("a", 2), ("b", 1), ("d", 1)]
    assert collected(pairs.sum_by_key()) == [("a", 4), ("b", 2), ("d", 4)]
    assert collected(pairs.min_by_key()) == [("a", 1), ("b", 2), ("d", 4)]
    assert collected(pairs.max_by_key()) == [("a", 3), ("b", 2), ("d", 4)]
    assert collected(pairs.mean_by_key()) == [("a", 2.0), ("b", 2.0), ("d", 4.0)]


def test_means_keep_keys_of_each_type_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_KEYS", 3)
    for keys in (range(7), "abcdefg", [(1,), (True,)], [True, False], [b"x", b"y"], [None]):
        pairs = [(key, 2 * n) for n in range(5) for key in keys]
        found = collected(mrcore.from_items(pairs).mean_by_key())
        assert sorted(map(repr, found)) == sorted(repr((key, 4.0)) for key in keys)
    steps = pipeline.PartSums().over(iter([("a", 1), ("a", 2), ((1,), 5), ("b", 3)]))
    assert list(steps) == [((1,), (5, 1)), ("a", (3, 2)), ("b", (3, 1))]


def test_count_by_key_counts_values_and_not_their_sums() -> None:
    pairs = mrcore.from_items([("a", None), ("a", "x"), ("b", [1])])
    assert collected(pairs.count_by_key()) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("no_combine", [False, True])
def test_aggregate_by_key_begins_anew_for_each_key(no_combine: bool) -> None:
    def add(seen: list[int], value: int) -> list[int]:
        seen.append(value)
        return seen

    pairs = mrcore.from_items(LEFT * 50)
    found = collected(pairs.aggregate_by_key([], add, operator.add), no_combine=no_combine)
    assert {key: Counter(values) for key, values in found} == {
        "a": Counter({1: 50, 3: 50}), "b": Counter({2: 50}), "d": Counter({4: 50}),
    }  # fmt: skip


def test_groups_are_in_the_order_of_the_input_or_of_a_sort_key() -> None:
    pairs = mrcore.from_items(LEFT)
    assert collected(pairs.group_by_key()) == [("a", [1, 3]), ("b", [2]), ("d", [4])]
    turned = pairs.group_by_key(sort_key=operator.neg)
    assert collected(turned) == [("a", [3, 1]), ("b", [2]), ("d", [4])]


def test_flat_map_groups_gets_an_iterator_and_returns_elements() -> None:
    def ends(key: str, values: Any) -> Any:
        first = next(values)
        yield f"{key}:{first}+{sum(1 for _ in values)}"

    assert collected(mrcore.from_items(LEFT).flat_map_groups(ends)) == ["a:1+1", "b:2+0", "d:4+0"]


JOINED = [("a", (1, "x")), ("a", (3, "x")), ("a", (1, "z")), ("a", (3, "z")), ("d", (4, "w"))]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("join", []),
        ("left_join", [("b", (2, None))]),
        ("right_join", [("c", (None, "y"))]),
        ("full_join", [("b", (2, None)), ("c", (None, "y"))]),
    ],
)
def test_joins(name: str, more: list[Any]) -> None:
    left, right = mrcore.from_items(LEFT), mrcore.from_items(RIGHT)
    found = collected(getattr(left, name)(right))
    assert found == sorted([*JOINED, *more], key=operator.itemgetter(0))


def test_cogroup_takes_several_datasets() -> None:
    left, right = mrcore.from_items(LEFT), mrcore.from_items(RIGHT)
    assert collected(left.cogroup(right, left.filter(lambda pair: pair[1] > 2))) == [
        ("a", ([1, 3], ["x", "z"], [3])),
        ("b", ([2], [], [])),
        ("c", ([], ["y"], [])),
        ("d", ([4], ["w"], [4])),
    ]


def test_a_dataset_may_meet_itself_and_what_is_made_of_it() -> None:
    counts = mrcore.from_items(WORDS).map(lambda word: (word, 1)).reduce_by_key(operator.add)
    found = collected(counts.join(counts.map_values(lambda count: 10 * count)))
    assert found == [(word, (n, 10 * n)) for word, n in sorted(Counter(WORDS).items())]
    assert counts.join(counts).explain().count("from_items") == 1


def test_unions_keep_repeats_and_the_order_of_their_sides() -> None:
    left, right = mrcore.from_items([2, 1]), mrcore.from_items([1, 3])
    assert collected(left.union(right, left)) == [2, 1, 1, 3, 2, 1]
    assert collected(left.distinct().union(right)) == [1, 2, 1, 3]
    pairs = left.union(right).map(lambda number: (number, 1))
    assert collected(pairs.reduce_by_key(operator.add)) == [(1, 2), (2, 1), (3, 1)]


@pytest.mark.parametrize("reduces", [1, 3])
def test_distinct_and_sort_by(reduces: int) -> None:
    words = mrcore.from_items(WORDS * 3)
    assert sorted(collected(words.distinct(), reduces=reduces)) == sorted(set(WORDS))
    assert collected(words.sort_by(), reduces=reduces) == sorted(WORDS * 3)
    by_length = words.sort_by(len, reverse=True)
    assert collected(by_length, reduces=reduces) == sorted(WORDS * 3, key=len, reverse=True)


def test_distinct_keeps_the_types_of_tuples_and_numbers() -> None:
    items: list[Any] = [
        *[(1, "a"), (True, "a"), (None,), (), ("a", (b"x", 2**70)), 1, True, "1", b"1"] * 40,
        *[("z", n % 7, 2.5) for n in range(50)],
    ]
    for options in ({}, {"workers": 3, "reduces": 2, "no_combine": True}):
        found = collected(mrcore.from_items(items).distinct(), **options)
        assert sorted(map(repr, found)) == sorted(set(map(repr, items)))


KEYS: list[list[Any]] = [
    [3, -1, 0, 2**70, 2], [0.5, -1.5, 1e300], ["b", "a", "ab", "a\0", "a\0b", "", "ä"],
    [b"b", b"a\0\xff", b"a\0", b"a"], [True, False], [("a", 1), ("a", 2), ("b", 0), ("", 5)],
    [(), ("",), ("", 1), ("a",), ("a", ())], [("a", ("b",)), ("a", ()), ("a", ("b", "c"))],
    [2.5, 2, 3, True, 0, False, 1.0, 1, -0.5, 2.0, float("inf"), -float("inf")],
    [(2, "a"), (2.0, "a"), (1.5, "b"), (True, "c"), (1, "d"), (1.0, "a")],
    [dt.date(2024, 2, 1), dt.date(987, 12, 31), dt.date(2024, 1, 31)],
    [dt.datetime.fromisoformat(text) for text in ("2024-02-01T12", "2024-02-01T11:59:59.000001")],
    [dt.time(1, 2), dt.time(1, 1, 59, 5)], [dt.timedelta(1), dt.timedelta(-1), dt.timedelta(0, 5)],
    [
        dt.datetime(2024, 2, 1, 12, tzinfo=dt.UTC),
        dt.datetime(2024, 2, 1, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-9))),
    ],
    [2**53 + 1, float(2**53), 2**53, 2**53 + 2, 2**53 + 3, 10**400, -(10**400), 1e308, 0.5],
]  # fmt: skip


@pytest.mark.parametrize("keys", KEYS)
def test_descending_order_is_the_opposite_of_ascending_order(keys: list[Any]) -> None:
    items = mrcore.from_items(keys)
    for options in ({}, {"workers": 3, "reduces": 2}):
        # By their texts, since 1 equals 1.0 and True.
        found = collected(items.sort_by(), **options)
        assert list(map(repr, found)) == list(map(repr, sorted(keys)))
        found = collected(items.sort_by(reverse=True), **options)
        assert list(map(repr, found)) == list(map(repr, sorted(keys, reverse=True)))


def test_parts_of_ints_and_of_floats_sort_as_one_list() -> None:
    numbers = [*range(2_000), *(n + 0.5 for n in range(2_000)), *range(2**60, 2**60 + 9)]
    found = collected(mrcore.from_items(numbers).sort_by(), workers=3, reduces=4)
    assert list(map(repr, found)) == list(map(repr, sorted(numbers)))


def test_a_sort_key_may_mix_ints_and_floats() -> None:
    prices = [2, 1.5, 2**53 + 1, float(2**53), 1, True, 2.0]
    pairs = mrcore.from_items([("a", price) for price in prices])
    [(_, found)] = collected(pairs.group_by_key(sort_key=lambda price: price))
    assert list(map(repr, found)) == list(map(repr, sorted(prices)))


def test_none_comes_first_and_last() -> None:
    items = mrcore.from_items([1, None, 2.5, None, "a", ("b",)])
    assert collected(items.sort_by()) == [None, None, 1, 2.5, "a", ("b",)]
    assert collected(items.sort_by(reverse=True))[-2:] == [None, None]


def test_nan_has_no_place_in_an_order() -> None:
    for reverse in (False, True):
        with pytest.raises(mrcore.RunFailedError, match="is or holds a NaN"):
            collected(mrcore.from_items([1, float("nan")]).sort_by(reverse=reverse))


def test_a_union_keeps_the_order_of_sides_that_several_tasks_make() -> None:
    numbers = [(7 * number) % 50 for number in range(50)]
    items, others = mrcore.from_items(numbers), mrcore.from_items(range(30))
    for reduces in (1, 4):
        options: dict[str, Any] = {"workers": 3, "reduces": reduces}
        assert collected(items.sort_by().union(others), **options) == [*range(50), *range(30)]
        assert collected(others.union(items.sort_by(), items), **options) == [
            *range(30), *range(50), *numbers,
        ]  # fmt: skip


def test_top_is_the_beginning_of_the_sorted_list_with_ties_in_the_order_of_the_input() -> None:
    words = mrcore.from_items(WORDS)
    assert collected(words.top(4, key=len)) == sorted(WORDS, key=len, reverse=True)[:4]
    assert collected(words.top(99)) == sorted(WORDS, reverse=True)


def test_a_sample_depends_on_its_seed_alone() -> None:
    numbers = mrcore.from_items(range(2_000)).flat_map(lambda n: [n, n])
    one = collected(numbers.sample(0.1, seed=1))
    assert collected(numbers.sample(0.1, seed=1), workers=4) == one
    assert collected(numbers.sample(0.1, seed=2)) != one
    assert 300 < len(one) < 500
    assert any(count == 1 for count in Counter(one).values()), "equal elements are drawn alike"
    assert collected(numbers.sample(0.0)) == []
    assert len(collected(numbers.sample(1.0))) == 4_000


def test_map_batches_gets_record_batches_and_gives_rows() -> None:
    def doubled(batch: Any) -> Any:
        import pyarrow.compute as pc

        return {"n": pc.multiply(batch.column("n"), 2)}

    rows = mrcore.from_items([{"n": 1}, {"n": 2}])
    assert collected(rows.map_batches(doubled).map(lambda row: row["n"])) == [2, 4]


def test_actions_that_return_numbers() -> None:
    numbers = mrcore.from_items([3, 1, 2] * 400)
    assert numbers.count(engine="inline") == 1_200
    assert numbers.sum(engine="inline") == 2_400
    assert numbers.min(engine="inline") == 1
    assert numbers.max(engine="inline") == 3
    assert numbers.mean(engine="inline") == 2.0
    assert numbers.reduce(lambda one, other: one * other % 7, engine="inline") == 6**400 % 7
    nothing = numbers.filter(lambda n: n > 3)
    assert nothing.count(engine="inline") == 0
    assert nothing.sum(engine="inline") == 0


def test_take_asks_for_no_more_elements_than_it_needs() -> None:
    def note(number: int) -> int:
        assert number < 3, "later tasks need not run"
        return number

    assert mrcore.from_items(range(9_000)).map(note).take(3, engine="inline") == [0, 1, 2]


def test_steps_behind_each_other_keep_types() -> None:
    rows = [("x", {"n": 1, "tags": {"a"}}), ("y", {"n": 2, "tags": set()})]
    found = collected(
        mrcore.from_items(rows)
        .group_by_key()
        .map(lambda pair: (len(pair[1]), pair))
        .group_by_key()
        .values()
    )
    assert found == [[(key, [value]) for key, value in rows]]
