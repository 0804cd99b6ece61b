"""mrcore's own aggregates say what Python says, of any numbers, and never wrap around."""

from __future__ import annotations

import builtins
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcore

NUMBERS = st.one_of(
    st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False, width=16)
)


@given(st.lists(NUMBERS, max_size=40))
def test_sums_are_those_of_python(values: list[Any]) -> None:
    found, expected = mrcore.sum("k", iter(values)), builtins.sum(values)
    assert (found, type(found)) == (expected, type(expected))


def test_many_values_are_summed_without_being_held() -> None:
    assert mrcore.sum("k", (1 for _ in range(100_000))) == 100_000


@pytest.mark.parametrize(
    "values",
    [
        [np.int8(100)] * 4,
        [100, np.int8(100), np.int8(100), True],
        [np.uint8(200), 2**70, np.uint8(200)],
    ],
    ids=["numpy alone", "after Python's", "huge ones between"],
)
def test_numbers_of_numpy_do_not_wrap_around(values: list[Any]) -> None:
    found = mrcore.sum("k", iter(values))
    assert found == builtins.sum(map(int, values))
    assert type(found) is int


def test_what_only_can_be_added_is_added() -> None:
    found = mrcore.sum("k", [np.array([1, 2]), np.array([3, 4])])
    assert found.tolist() == [4, 6]
    with pytest.raises(TypeError, match="NoneType"):
        mrcore.sum("k", [1, None])


@pytest.mark.parametrize("aggregate", [mrcore.sum, mrcore.count, mrcore.min, mrcore.max])
def test_an_aggregate_travels_as_itself(aggregate: Any) -> None:
    assert pickle.loads(pickle.dumps(aggregate)) is aggregate
