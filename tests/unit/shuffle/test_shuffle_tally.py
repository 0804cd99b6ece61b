"""Grouping pairs whose value is always the same object, and what ends that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore import count
from mrcore.errors import KeyTypeError
from mrcore.shuffle import tally as tally_module
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.grouping import Grouping
from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.user_code import UserCodeError
from mrcore.shuffle.value_lists import ValueLists
from mrcore.util.object_copies import thawed

Pair = tuple[Any, Any]
AMPLE = 1 << 30


class Whole(list[Any]):
    """All values of a key as one value, in their order."""

    def __init__(self, values: Iterable[Any]) -> None:
        super().__init__()
        for value in values:
            self.extend(value if isinstance(value, Whole) else [value])


def whole(_key: Any, values: Iterable[Any]) -> Whole:
    return Whole(values)


def total(_key: Any, values: Iterable[int]) -> int:
    return sum(values)


def group(pairs: Iterable[Any], function: Any, limit: int = AMPLE) -> tuple[list[Pair], int]:
    """Return the pairs that leave a Grouping, and how often it spilled."""
    out: list[Pair] = []
    spills: list[None] = []

    def add(keys: Any, values: Any) -> None:
        out.extend(zip(keys, values, strict=True))

    grouping = Grouping(Combiner(function), KeyTypes(), add, lambda: spills.append(None), limit)
    rest = grouping.add(iter(pairs), "map")
    grouping.flush()
    out.extend(rest or ())
    return [(key, thawed(value)) for key, value in out], len(spills)


def by_key(pairs: Iterable[Pair]) -> dict[Any, list[tuple[type, Any]]]:
    """Return the values of each key with their types, which tell 1, 1.0 and True apart."""
    found: dict[Any, Whole] = defaultdict(lambda: Whole(()))
    for key, value in pairs:
        found[key].extend(Whole([value]))
    return {key: [(type(value), value) for value in values] for key, values in found.items()}


KEYS = st.sampled_from("abcdefgh")
SAME = st.lists(st.tuples(KEYS, st.just(1)), max_size=200)
VARIED = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", b"a", "x", ("a", 1)]),
        st.sampled_from([1, 1.0, True, None, 2, 10**30, "1"]),
    ),
    max_size=200,
)


@settings(max_examples=60)
@given(SAME, VARIED, st.integers(1, 40))
def test_values_stay_what_they_are_and_in_their_order(
    same: list[Pair], varied: list[Pair], times: int
) -> None:
    pairs = same * times + varied + same
    found, _ = group(pairs, whole)
    assert by_key(found) == by_key(pairs)


@settings(max_examples=30)
@given(SAME, st.integers(1, 40), st.sampled_from([1, 1.5, True, None]))
def test_a_combiner_sees_each_value(same: list[Pair], times: int, value: Any) -> None:
    pairs = [(key, value) for key, _ in same] * times
    found, _ = group(pairs, whole)
    assert by_key(found) == by_key(pairs)
    assert len(found) == len(by_key(found)), "what was held together leaves once a key"


def test_a_value_that_repeats_too_often_for_one_call_is_combined_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally_module, "_PIECE_ROWS", 100)
    calls: list[int] = []

    def counted(_key: Any, values: Iterable[int]) -> int:
        found = list(values)
        calls.append(len(found))
        return sum(found)

    pairs = [("hot", 1)] * 1050 + [("warm", 1)] * 100 + [("once", 1)]
    found, _ = group(pairs, counted)
    assert sorted(found) == [("hot", 1050), ("once", 1), ("warm", 100)]
    assert max(calls) <= 101
    assert len(calls) == 12, "eleven pieces, and one call for the key that fits"


@pytest.mark.parametrize("last", [[], [("cold", 2)]])
def test_a_combiner_that_passes_values_on_sees_each_of_them_once_or_twice(
    monkeypatch: pytest.MonkeyPatch, last: list[Pair]
) -> None:
    """As for a key that `combine` cannot take: its values must not pile up, piece after piece."""
    monkeypatch.setattr(tally_module, "_PIECE_ROWS", 100)
    calls: list[int] = []

    def passing(key: Any, values: Iterable[int]) -> Iterator[Pair]:
        found = list(values)
        calls.append(len(found))
        return iter([(key, value) for value in found])

    longest: list[int] = []
    monkeypatch.setattr(
        ValueLists, "take_folded", lambda _, groups: longest.extend(len(g[1]) for g in groups)
    )
    pairs = [("hot", 1)] * 5_000 + last
    found, _ = group(pairs, passing)
    assert Counter(found) == Counter(pairs)
    assert max(calls) == 100
    assert sum(calls) <= 2 * len(pairs)
    assert not longest, "a list of all values of a hot key may not fit into memory"


def test_keys_that_fill_the_memory_are_spilled_and_counted_again() -> None:
    pairs = [(f"key {n % 2000}", 1) for n in range(100_000)]
    found, spills = group(pairs, total, limit=100_000)
    assert spills > 1
    sums: Counter[str] = Counter()
    for key, value in found:
        sums[key] += value
    assert sums == {f"key {n}": 50 for n in range(2000)}


def test_keys_that_do_not_repeat_are_left_to_columns() -> None:
    pairs = iter([(f"key {n}", 1) for n in range(100_000)])
    out: list[Any] = []
    grouping = Grouping(
        Combiner(total), KeyTypes(), lambda keys, _: out.extend(keys), lambda: None, AMPLE
    )
    rest = grouping.add(pairs, "map")
    assert rest is not None
    assert len(out) + len(list(rest)) == 100_000
    assert grouping.pairs == len(out)


def test_pairs_are_counted_before_they_are_combined() -> None:
    grouping = Grouping(
        Combiner(total), KeyTypes(), lambda _keys, _values: None, lambda: None, AMPLE
    )
    assert grouping.add(iter([("a", 1)] * 500 + [("a", 2)] * 10 + [("b", 1)] * 7), "map") is None
    grouping.flush()
    assert grouping.pairs == 517


def test_a_combiner_may_drop_keys() -> None:
    def unless_twice(_key: Any, values: Iterable[int]) -> int | None:
        found = sum(values)
        return None if found == 2 else found

    found, _ = group([("a", 1), ("b", 1), ("b", 1), ("c", 1), ("c", 1), ("c", 1)], unless_twice)
    assert sorted(found) == [("a", 1), ("c", 3)]
    found, _ = group([("b", 1)] * 2 + [("c", 2)] * 3, unless_twice)
    assert found == [("c", 6)]


def test_counting_needs_no_values() -> None:
    values: list[Any] = [1, "x", None, 2.5, object()]
    found, _ = group([("k", values[n % 5]) for n in range(1000)], count)
    assert found == [("k", 1000)]


def test_what_combine_raises_names_the_key() -> None:
    def broken(key: Any, values: Iterable[int]) -> int:
        if key == "bad":
            raise ValueError("no")
        return sum(values)

    with pytest.raises(UserCodeError) as caught:
        group([("good", 1), ("bad", 1)] * 100, broken)
    assert caught.value.key == "bad"


def after(fine: int, *last: Any) -> Iterator[Any]:
    yield from [("a", 1)] * fine
    yield from last


@pytest.mark.parametrize("fine", [1, 500])
def test_what_is_no_pair_is_told(fine: int) -> None:
    for bad in ("xy", 7, ("a", 1, 2), None):
        with pytest.raises(UserCodeError, match=r"not a \(key, value\) pair"):
            group(after(fine, bad), total)
    for function in (total, count):
        for varied in ((), [("a", 2)] * 100):
            with pytest.raises(UserCodeError, match=r"'ab', not a \(key, value\) pair"):
                group(after(fine, *varied, "ab"), function)
    with pytest.raises(KeyTypeError, match="list"):
        group(after(fine, (["a"], 1)), total)


def test_what_map_raises_after_good_pairs_is_its_own() -> None:
    def failing() -> Iterator[Pair]:
        yield from after(500)
        raise ValueError("broken record")

    with pytest.raises(UserCodeError, match="broken record") as caught:
        group(failing(), total)
    assert caught.value.function == "map"
