"""Words of a column are those of `str.split`, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcore.plugin import words
from mrcore.plugin.words import count_words

SPECIAL = "ab \t\x01\x1c\x85\u00a0\u1680\u2003\u2028\u202f\u205f\u3000é語\x00"


def counted(column: pa.Array[Any] | pa.ChunkedArray[Any]) -> dict[str, int]:
    found = count_words(column).to_pydict()
    assert len(set(found["key"])) == len(found["key"]), "a word comes once"
    return dict(zip(found["key"], found["value"], strict=True))


def by_python(lines: Sequence[str | None]) -> dict[str, int]:
    return Counter(word for line in lines if line is not None for word in line.split())


@given(st.lists(st.none() | st.text(SPECIAL, max_size=30), max_size=8))
def test_words_are_those_of_python(lines: list[str | None]) -> None:
    assert counted(pa.array(lines, pa.string())) == by_python(lines)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 40])
def test_words_of_each_length(size: int) -> None:
    lines = [f"{'x' * size} {'y' * size}", f"{'x' * size}z {'x' * size}"]
    assert counted(pa.array(lines)) == by_python(lines)


def test_words_of_slices_chunks_and_large_strings() -> None:
    column = pa.array(["one", "two three", "three", "four"])
    assert counted(column[1:3]) == {"two": 1, "three": 2}
    assert counted(pa.chunked_array([column, column[:1]])) == by_python(
        [*column.to_pylist(), "one"]
    )
    assert counted(column.cast(pa.large_string())) == by_python(column.to_pylist())
    assert counted(pa.array([], pa.string())) == {}


def test_words_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_PRIME", 0)
    monkeypatch.setattr(words, "_OTHER_PRIME", 0)
    lines = ["abcdefghij abcdefghik"] * 3 + ["abcdefghik zyxwvutsrq"]
    assert counted(pa.array(lines)) == by_python(lines)


def test_a_column_of_numbers_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a column of strings, and this one has int64"):
        count_words(pa.array([1, 2]))
