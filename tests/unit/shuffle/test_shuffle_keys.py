"""Keys: order, equality, round trips, partitions, and what is refused."""

from __future__ import annotations

import decimal
import enum
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrcore.errors import KeyTypeError
from mrcore.shuffle import sorting
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.chunks import ByteRows
from mrcore.shuffle.columns import KeyKind
from mrcore.shuffle.encoding import decode, encode, encode_column, encode_many
from mrcore.shuffle.hashing import partition_of
from mrcore.shuffle.keys import (
    KeyTypes,
    arrow_key_column,
    check_number_kinds,
    key_column,
    keys_to_python,
)
from mrcore.shuffle.sorting import sort_keys
from mrcore.util.number_order import Descending, ascending
from tests.support.shuffle_keys import FLOATS, INTS, TEXT, keys_with

KEYS = st.one_of(keys_with(INTS), keys_with(FLOATS))


class Rank:
    """The defined order of keys, written the slow way."""

    KINDS: Any = (type(None), bool, (int, float), str, bytes, tuple)

    def __init__(self, key: Any) -> None:
        self.key = key
        self.kind = next(i for i, kind in enumerate(self.KINDS) if isinstance(key, kind))

    def __lt__(self, other: Rank) -> bool:
        if self.kind != other.kind:
            return self.kind < other.kind
        if self.key is None:
            return False
        if isinstance(self.key, tuple):
            return [Rank(x) for x in self.key] < [Rank(x) for x in other.key]
        return bool(self.key < other.key)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Rank)
        return not self < other and not other < self

    __hash__ = None  # type: ignore[assignment]


@given(st.one_of(st.lists(keys_with(INTS), max_size=8), st.lists(keys_with(FLOATS), max_size=8)))
@settings(max_examples=150)
def test_encodings_sort_as_keys_do(keys: list[Any]) -> None:
    by_rank = sorted(keys, key=Rank)
    by_bytes = sorted(keys, key=encode)
    assert list(map(encode, by_rank)) == list(map(encode, by_bytes))


@given(KEYS)
@example(("a\0", "\0\xff", b"\0\xff\0", ()))
@example(((), ((),), "\ud800"))
def test_a_key_survives_its_encoding_with_its_type(key: Any) -> None:
    again = decode(encode(key))
    assert repr(again) == repr(_normal(key))


def _normal(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_normal, key))
    return 0.0 if type(key) is float and key == 0 else key


@given(st.one_of(
    st.lists(TEXT), st.lists(INTS), st.lists(FLOATS), st.lists(st.binary()), st.lists(KEYS),
    st.lists(st.tuples(TEXT, INTS)), st.lists(st.tuples(st.tuples(TEXT), st.binary())),
))  # fmt: skip
def test_encoding_a_batch_is_encoding_each_key(keys: list[Any]) -> None:
    assert encode_many(keys).to_pylist() == list(map(encode, keys))


SINGLE = st.one_of(
    st.lists(TEXT, max_size=40), st.lists(INTS, max_size=40), st.lists(FLOATS, max_size=40),
    st.lists(st.binary(max_size=30), max_size=40), st.lists(keys_with(INTS), max_size=20),
    st.lists(st.sampled_from(["", "a", "a\0", "common start", "common start\0", "common startés"])),
    st.lists(st.integers(0, 3).map(lambda n: "x" * (8 * n))),
)  # fmt: skip


@given(SINGLE)
@settings(max_examples=150)
def test_columns_sort_stably_and_find_where_keys_begin(keys: list[Any]) -> None:
    kind, column = key_column(keys)
    order, new = sort_keys(kind, column)
    expected = sorted(range(len(keys)), key=lambda i: encode(keys[i]))
    assert order.tolist() == expected
    changes = [
        place == 0 or encode(keys[row]) != encode(keys[expected[place - 1]])
        for place, row in enumerate(expected)
    ]
    assert new.tolist() == changes
    assert list(map(repr, keys_to_python(kind, column))) == [repr(_normal(key)) for key in keys]


LONG = st.builds(
    lambda prefix, length, end: "p" * prefix + "q" * length + end,
    st.sampled_from([0, 255, 256, 300]), st.integers(0, 3).map(lambda n: 64 * n), TEXT,
)  # fmt: skip


@given(st.lists(LONG, max_size=12), st.sampled_from([64, 1 << 20]))
@settings(max_examples=100)
def test_long_keys_sort_as_short_ones_do(keys: list[str], windows_bytes: int) -> None:
    kind, column = key_column(keys)
    with patch.object(sorting, "_WINDOWS_BYTES", max(windows_bytes, len(keys))):
        order, new = sort_keys(kind, column)
    expected = sorted(range(len(keys)), key=lambda i: encode(keys[i]))
    assert order.tolist() == expected
    assert np.count_nonzero(new) == len(set(keys))


def test_keys_of_a_megabyte_take_few_rounds() -> None:
    keys = ["k" * 1_000_000 + end for end in "bab"] + ["short"]
    kind, column = key_column(keys)
    with patch.object(ByteRows, "chunk", autospec=True, side_effect=ByteRows.chunk) as chunk:
        order, _ = sort_keys(kind, column)
        native = partition_of(kind, column, 1000)
    assert order.tolist() == [1, 0, 2, 3]
    assert native[0] == native[2]
    assert partition_of(KeyKind.ENCODED, encode_column(column), 1000).tolist() == native.tolist()
    assert chunk.call_count < 1000


@given(st.lists(SINGLE, max_size=3))
@example([["a", "b\0"], ["\ud800"]])  # a lone surrogate
@example([[1], [1 << 63], [True]])
@example([[True], [None], [False]])
@example([["a"], [b"a"], ["b"]])
@example([[(1, "a")], [(None,)]])
def test_a_column_is_the_same_where_the_type_of_all_keys_is_known(batches: list[list[Any]]) -> None:
    types = KeyTypes()
    for keys in filter(None, batches):
        try:
            checked = types.check(keys)
        except KeyTypeError:
            return
        kind, column = key_column(checked)
        known_kind, known_column = key_column(checked, types.one)
        assert kind is known_kind
        assert column.equals(known_column)
    seen = {type(key) for keys in batches for key in keys}
    assert types.one is (seen.pop() if len(seen) == 1 else None)


@given(SINGLE, st.integers(1, 300))
def test_both_representations_belong_to_the_same_partition(keys: list[Any], n: int) -> None:
    kind, column = key_column(keys)
    encoded = pa.array(list(map(encode, keys)), pa.binary())
    native = partition_of(kind, column, n).tolist()
    assert native == partition_of(KeyKind.ENCODED, encoded, n).tolist()
    assert all(0 <= part < n for part in native)


def test_partitions_are_the_same_in_every_process_and_release() -> None:
    keys = ["", "a", "the", "a longer key than sixteen", "é"]
    kind, column = key_column(keys)
    here = partition_of(kind, column, 1000).tolist()
    program = (
        "from mrcore.shuffle.keys import *; from mrcore.shuffle.hashing import *;"
        f"print(partition_of(*key_column({keys!r}), 1000).tolist())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert there.stdout.strip() == str(here)


@pytest.mark.parametrize(
    "make", [str, lambda i: i, float, lambda i: (i, str(i)), lambda i: i << 70]
)
def test_partitions_are_even(make: Callable[[int], Any]) -> None:
    kind, column = key_column([make(i) for i in range(20_000)])
    counts = np.bincount(partition_of(kind, column, 16), minlength=16)
    assert counts.min() > 1_000
    assert counts.max() < 1_500


def test_an_encoded_column_of_strings_is_sliced_right() -> None:
    column = pa.array(["no", "a\0b", "", "c", "no"]).slice(1, 3)
    assert encode_column(column).to_pylist() == [encode("a\0b"), encode(""), encode("c")]


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ([1], "list"), ({"a": 1}, "dict"), ({1}, "set"), (object, "type"),
        (decimal.Decimal(1), "decimal.Decimal"), (Colour.RED, "Colour"),
        (1j, "complex"), (("a", [2]), "list"), (np.zeros(1), "numpy.ndarray"),
        (np.datetime64("2026-01-01"), "numpy.datetime64"),
    ],
)  # fmt: skip
def test_other_types_are_refused_by_name(key: Any, named: str) -> None:
    with pytest.raises(KeyTypeError) as caught:
        KeyTypes().check(["fine", key])
    assert named in str(caught.value)
    assert repr(key)[:50] in str(caught.value)


@pytest.mark.parametrize("key", [float("nan"), ("a", float("nan")), ((1, (float("nan"),)),)])
def test_nan_is_refused_wherever_it_is(key: Any) -> None:
    with pytest.raises(KeyTypeError, match="NaN"):
        KeyTypes().check([key])


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ([1, 2.0], "keys mix"), ([2.0, 1], "keys mix"), ([("a", 1), ("a", 1.0)], "position 1 "),
        ([((1,),), ((1.5,),)], "position 0.0 "),
    ],
)  # fmt: skip
def test_int_and_float_at_one_position_are_refused(keys: list[Any], where: str) -> None:
    for batches in ([keys], [[key] for key in keys]):
        types = KeyTypes()
        *first, last = batches
        for batch in first:
            types.check(batch)
        with pytest.raises(KeyTypeError) as caught:
            types.check(last)
        assert where in str(caught.value)
        assert repr(keys[1]) in str(caught.value)


NUMBERS = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.booleans(),
    st.integers(-(2**1100), 2**1100), st.integers(2**53, 2**55), st.floats(2**53, 2**55),
)  # fmt: skip


@given(st.lists(NUMBERS, max_size=12), st.booleans())
@example([2**53, float(2**53), 2**53 + 1, 2**53 + 2], False)
@example([1.7976931348623157e308, 10**400, float("inf"), -(10**400)], False)
def test_numbers_of_all_types_sort_by_value(numbers: list[Any], one_in_tuples: bool) -> None:
    keys = [(number, "x") for number in numbers] if one_in_tuples else numbers
    for order, reverse in ((ascending, False), (Descending(), True)):
        ordered = [order(key) for key in keys]
        encoded = encode_many(KeyTypes().check(ordered)).to_pylist()
        assert encoded == list(map(encode, ordered))
        by_bytes = sorted(range(len(keys)), key=encoded.__getitem__)
        assert [keys[n] for n in by_bytes] == sorted(keys, reverse=reverse)
        kind, column = key_column(ordered)
        rows, _ = sort_keys(kind, column)
        assert rows.tolist() == sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
    assert list(map(decode, map(encode, map(ascending, keys)))) == keys


def test_int_and_float_at_different_positions_are_fine() -> None:
    types = KeyTypes()
    types.check([(1, 1.0), ("x", 2.0), "x", True, None])
    assert types.number_kinds == {"0": "int", "1": "float"}


def test_tasks_that_disagree_on_numbers_are_refused() -> None:
    assert check_number_kinds([{"": "int"}, {}, {"": "int", "0": "float"}]) == {
        "": "int",
        "0": "float",
    }
    with pytest.raises(KeyTypeError, match="different map tasks"):
        check_number_kinds([{"": "int"}, {"": "float"}])


def test_numpy_scalars_become_pythons() -> None:
    checked = KeyTypes().check([np.int32(5), ("a", np.float32(0.5)), np.str_("x"), np.bool_(True)])
    assert list(map(repr, checked)) == ["5", "('a', 0.5)", "'x'", "True"]


def test_a_dict_may_take_true_for_one_and_we_know() -> None:
    types = KeyTypes()
    types.check([1, "a", ("x", True)])
    assert not types.collide
    types.check([("x", 1)])
    assert types.collide


@pytest.mark.parametrize(
    ("column", "kind", "keys"),
    [
        (pa.array([1, 2], pa.int8()), KeyKind.INT, [1, 2]),
        (pa.array([1 << 63], pa.uint64()), KeyKind.ENCODED, [1 << 63]),
        (pa.array([0.5], pa.float32()), KeyKind.FLOAT, [0.5]),
        (pa.array(["a"], pa.large_string()), KeyKind.STR, ["a"]),
        (pa.array(["a"]).dictionary_encode(), KeyKind.STR, ["a"]),
        (pa.array([b"a"]), KeyKind.BYTES, [b"a"]),
        (pa.array([None, "a"]), KeyKind.ENCODED, [None, "a"]),
        (pa.array([True]), KeyKind.ENCODED, [True]),
    ],
)
def test_arrow_keys_are_the_python_keys_they_mean(column: Any, kind: KeyKind, keys: Any) -> None:
    found_kind, found = arrow_key_column(column, KeyTypes())
    assert found_kind is kind
    assert list(map(repr, keys_to_python(found_kind, found))) == list(map(repr, keys))


@pytest.mark.parametrize(
    "column", [pa.array([float("nan")]), pa.array([[1]]), pa.array([0], pa.timestamp("s"))]
)
def test_arrow_keys_that_may_not_be_are_refused(column: Any) -> None:
    with pytest.raises(KeyTypeError):
        arrow_key_column(column, KeyTypes())


def test_arrow_keys_of_two_number_types_are_refused() -> None:
    types = KeyTypes()
    arrow_key_column(pa.array([1]), types)
    with pytest.raises(KeyTypeError, match="int and float"):
        arrow_key_column(pa.array([1.0]), types)
