"""Refusals of datasets: one sentence each, and nothing left behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.errors import MrcoreError, OutputError, PicklingError, PluginError, UsageError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


NUMBERS = mrcore.from_items([1, 2, 3])


def test_collect_refuses_more_than_its_limit() -> None:
    assert NUMBERS.collect(3, engine="inline") == [1, 2, 3]
    with pytest.raises(UsageError, match=r"found more than 2 elements\. Write them with"):
        NUMBERS.collect(2, engine="inline")
    with pytest.raises(UsageError, match="would fill the memory"):
        NUMBERS.take(10**9)


def test_unknown_keywords_name_the_nearest_one() -> None:
    with pytest.raises(
        UsageError, match=r"collect has no option 'reduce'\. Did you mean 'reduces'"
    ):
        NUMBERS.collect(reduce=3)
    with pytest.raises(UsageError, match="write_text has no option 'total_order'"):
        NUMBERS.write_text("out", total_order=True)
    with pytest.raises(UsageError, match="'spark' is not an engine"):
        NUMBERS.count(engine="spark")
    with pytest.raises(UsageError, match="is not a cluster"):
        NUMBERS.count(on="127.0.0.1:7")


def test_a_dataset_is_not_written_into_its_own_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a\n")
    with pytest.raises(OutputError, match="would read what it writes"):
        mrcore.read_text("in").write_text("in/out", engine="inline")
    joined = NUMBERS.map(lambda n: (str(n), n)).join(mrcore.read_text("in").key_by(len))
    with pytest.raises(OutputError, match="would read what it writes"):
        joined.write_text("in", engine="inline")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.txt"]


def test_a_key_that_cannot_be_one_is_named() -> None:
    with pytest.raises(MrcoreError, match=r"the key \{\} has the type dict"):
        NUMBERS.map(lambda n: ({}, n)).group_by_key().collect(engine="inline")
    with pytest.raises(MrcoreError, match=r"the key \[1\] has the type list"):
        NUMBERS.map(lambda n: [n]).distinct().collect(engine="inline")
    with pytest.raises(MrcoreError, match="has the type set"):
        NUMBERS.sort_by(lambda n: {n}, reverse=True).collect(engine="inline")


def test_elements_that_are_not_pairs_are_named() -> None:
    with pytest.raises(MrcoreError, match=r"yielded 1, not a \(key, value\) pair"):
        NUMBERS.group_by_key().collect(engine="inline")


def test_a_function_that_cannot_be_pickled_is_refused() -> None:
    lock = threading.Lock()
    held = (
        r"^The functions of the job cannot be sent to a worker, since the variable lock in the "
        r"closure of the lambda at test_dataset_refusals\.py:\d+ \(an object of the type "
        r"_thread\.lock\) cannot be pickled"
    )
    with pytest.raises(PluginError, match=held):
        NUMBERS.map(lambda n: (lock, n)).collect(engine="inline")
    pairs = NUMBERS.map(lambda n: (n, n))
    with pytest.raises(PluginError, match=held):
        pairs.reduce_by_key(lambda a, b: (lock, a + b)[1]).collect(engine="inline")


def test_items_that_cannot_be_pickled_are_refused() -> None:
    named = "since the value of the key 'b', in item 1 of a list .*lock.* cannot be pickled"
    with pytest.raises(PicklingError, match=named):
        mrcore.from_items([1, {"b": threading.Lock()}])


def test_an_exception_of_the_users_code_ends_the_job_with_its_traceback() -> None:
    with pytest.raises(mrcore.RunFailedError, match="ZeroDivisionError") as raised:
        NUMBERS.map(lambda n: 1 / (n - 2)).collect(engine="inline")
    assert "lambda n: 1 / (n - 2)" in str(raised.value)


def test_wrong_arguments_are_refused_where_they_are_given() -> None:
    for wrong in (
        lambda: NUMBERS.map(3),  # type: ignore[arg-type]
        lambda: NUMBERS.join([("a", 1)]),  # type: ignore[arg-type]
        lambda: NUMBERS.sample(1.5),
        lambda: NUMBERS.top(0),
        lambda: mrcore.from_items("abc"),
        lambda: mrcore.read_text([]),
        lambda: NUMBERS.take(0),
        lambda: list(NUMBERS),
        lambda: len(NUMBERS),
        lambda: NUMBERS.filter(lambda n: False).min(engine="inline"),
    ):
        with pytest.raises(UsageError, match=r"\. "):
            wrong()


def test_elements_that_have_no_order_or_sum_are_named() -> None:
    missing = mrcore.from_items([None, None])
    for workers in (1, 2):
        options: dict[str, Any] = {"engine": "inline", "workers": workers}
        with pytest.raises(MrcoreError, match=r"None together|on item 1 of from_items: None"):
            missing.min(**options)
    with pytest.raises(
        UsageError, match=r"^max\(\) cannot take 1 and 'a' together \('>' not .*\. L"
    ):
        mrcore.from_items([1, "a"]).max(engine="inline", workers=2)
    with pytest.raises(UsageError, match=r"^mean\(\) cannot take 1 and 'a' together"):
        mrcore.from_items([1, "a"]).mean(engine="inline", workers=2)


def test_an_item_in_memory_is_named_by_its_number() -> None:
    Path("a.txt").write_text("1\n0\n")
    numbers = mrcore.read_text("a.txt").map(int).union(mrcore.from_items([3, 0, 4]))
    with pytest.raises(mrcore.RunFailedError, match=r"on the record at offset 2 of a\.txt: 0"):
        numbers.map(lambda n: 1 / n).collect(engine="inline")
    with pytest.raises(mrcore.RunFailedError, match=r"on item 1 of from_items: 0"):
        numbers.filter(lambda n: n != 1).map(lambda n: n and 1 / n).union(
            mrcore.from_items([1, 0]).map(lambda n: 1 / n)
        ).collect(engine="inline")
    with pytest.raises(
        mrcore.RunFailedError, match=r"not a \(key, value\) pair \(on item 0 of fro"
    ):
        mrcore.from_items([1]).group_by_key().collect(engine="inline")


def test_a_missing_input_is_named() -> None:
    with pytest.raises(UsageError, match=r"missing\.txt"):
        mrcore.read_text("missing.txt").count(engine="inline")
