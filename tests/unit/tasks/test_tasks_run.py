"""Attempts that fail, and what they say: whose fault, which record, which key."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcore
from mrcore.errors import DiskFullError, UnavailableError
from mrcore.model.task import FailureKind, Mark, TaskFailure, TaskOutput, TaskRef
from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunctions
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register, storage_for
from tests.support.inprocess import Job, spec_of, tiny_budget
from tests.support.repository import ROOT
from tests.support.task_functions import (
    URI,
    emit,
    failing_map,
    failing_reduce,
    generator_map,
)


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def list_map(key: Any, value: str) -> list[Any]:
    return list(generator_map(key, value))


@pytest.mark.parametrize("user_map", [generator_map, list_map])
@pytest.mark.parametrize("combine", [None, mrcore.sum])
@pytest.mark.parametrize("marking", [False, True])
@pytest.mark.parametrize("map_only", [False, True])
def test_a_map_that_raises_names_the_record(
    user_map: Any, combine: Any, marking: bool, map_only: bool
) -> None:
    failure = failing_map(
        UserFunctions(map=user_map, combine=combine),
        spec=spec_of(map_only=map_only),
        extra={"mark_records": marking},
    )
    assert failure.kind is FailureKind.USER
    assert failure.message == (
        "map raised ValueError: cannot read this, on the record at offset 3 of in/0.txt: cd"
    )
    assert failure.mark == Mark(URI, 3)
    assert not failure.died
    assert (
        'in generator_map\n    raise ValueError("cannot read this\\nat all")' in failure.traceback
    )
    assert failure.traceback.endswith("ValueError: cannot read this\nat all")
    assert "mrcore/" not in failure.traceback.replace(str(ROOT), "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(3), "map raised SystemExit: 3"),
        (KeyboardInterrupt(), "map raised KeyboardInterrupt"),
        (MemoryError(), "map raised MemoryError: the memory limit was reached"),
        (RecursionError("deep"), "map raised RecursionError: deep"),
        (FileNotFoundError(2, "No such file", "x"), "map raised FileNotFoundError: [Errno 2]"),
        (UnavailableError("the user's own"), "map raised UnavailableError: the user's own"),
        (StopIteration(), "map raised RuntimeError: generator raised StopIteration"),
    ],
)
def test_whatever_a_map_raises_is_the_users(error: BaseException, said: str) -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        yield value, 1
        raise error

    failure = failing_map(UserFunctions(map=user_map))
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(said)
    assert failure.mark == Mark(URI, 0)


def test_a_long_record_is_cut() -> None:
    def user_map(key: Any, value: str) -> None:
        raise ValueError

    failure = failing_map(UserFunctions(map=user_map), "x" * 10_000)
    assert failure.message.endswith(": " + "x" * 200 + "…")


@pytest.mark.parametrize(
    ("emitted", "said"),
    [
        ("abc", "map yielded 'abc', not a (key, value) pair"),
        ("ab", "map yielded 'ab', not a (key, value) pair"),
        (("a", 1, 2), "map yielded ('a', 1, 2), not a (key, value) pair"),
        (7, "map yielded 7, not a (key, value) pair"),
        (([1], 1), "the key [1] has the type list: keys are None, bool, int, float, str"),
        ((float("nan"), 1), "the key nan is or holds a NaN"),
    ],
)
@pytest.mark.parametrize("combine", [None, mrcore.sum])
@pytest.mark.parametrize("later", [0, 5_000])
def test_what_is_no_pair_or_no_key_is_refused(
    emitted: Any, said: str, combine: Any, later: int
) -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        for _ in range(later):
            yield "x", 1
        if value == "cd":
            yield emitted

    failure = failing_map(UserFunctions(map=user_map, combine=combine))
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(said)
    assert failure.message.endswith(" (on the record at offset 3 of in/0.txt: cd)")
    assert failure.mark == Mark(URI, 3)


@pytest.mark.parametrize("combine", [None, mrcore.count])
def test_a_number_of_another_type_is_found_in_its_record(combine: Any) -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        yield (1, 1.5 if value == "ef" else 1), value

    failure = failing_map(UserFunctions(map=user_map, combine=combine))
    assert failure.message.startswith("position 1 of the keys mix int and float")
    assert failure.message.endswith(" (on the record at offset 6 of in/0.txt: ef)")


def test_a_map_that_does_better_the_second_time_is_located_by_its_file() -> None:
    calls: list[str] = []

    def user_map(key: Any, value: str) -> Iterator[Any]:
        calls.append(value)
        yield (value, 1) if len(calls) > 1 else 7

    failure = failing_map(UserFunctions(map=user_map))
    assert failure.message == "map yielded 7, not a (key, value) pair (in in/0.txt)"
    assert failure.mark is None


def test_a_bad_pair_of_a_map_only_job_names_its_record() -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        yield "abc" if value == "cd" else (value, lambda: 1)

    failure = failing_map(UserFunctions(map=user_map), spec=spec_of(map_only=True))
    assert failure.message == (
        "map yielded 'abc', not a (key, value) pair (on the record at offset 3 of in/0.txt: cd)"
    )


@pytest.mark.parametrize("combine", [None, lambda key, values: list(values)[-1]])
def test_a_value_that_cannot_be_pickled_is_named(combine: Any) -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        yield value, 1
        yield "bad", (lambda: 0) if value == "ef" else 2

    failure = failing_map(UserFunctions(map=user_map, combine=combine))
    assert failure.kind is FailureKind.USER
    assert "for the key 'bad', a value of type function that cannot be pickled" in failure.message
    assert failure.message.endswith(": ef)")


@pytest.mark.parametrize(
    ("combine", "said"),
    [
        (lambda key, values: 1 // 0, "combine raised ZeroDivisionError: integer division"),
        (lambda key, values: iter([("other", 1)]), "combine yielded the key 'other' for the key"),
        (lambda key, values: iter([1]), "combine yielded 1, not a (key, value) pair, for the key"),
    ],
)
def test_a_combiner_that_fails_names_the_key(combine: Any, said: str) -> None:
    def user_map(key: Any, value: str) -> Any:
        return [("k", 1), ("k", 2)]

    failure = failing_map(UserFunctions(map=user_map, combine=combine))
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(said)
    assert failure.mark is None


def test_an_aggregate_of_what_cannot_be_added_is_the_users_failure() -> None:
    failure = failing_reduce(UserFunctions(map=lambda k, v: [("k", "text")], reduce=mrcore.sum))
    assert failure.kind is FailureKind.USER
    assert "unsupported operand" in failure.message
    assert "for the key 'k'" in failure.message


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        (lambda key, n: n, "partition returned 3 for the key 'ab': it must return an int from 0"),
        (lambda key, n: "0", "partition returned '0' for the key 'ab'"),
        (lambda key, n: True, "partition returned True for the key 'ab'"),
        (lambda key, n: key[5], "partition raised IndexError: string index out of range, for the"),
    ],
)
def test_a_partition_that_fails_names_the_key(partition: Any, said: str) -> None:
    failure = failing_map(UserFunctions(map=emit, partition=partition), reduces=3)
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(said)


def test_a_partition_may_return_what_numpy_computes() -> None:
    functions = UserFunctions(map=emit, partition=lambda key, n: np.int64(len(key)) % n)
    assert Job(["a\nbb\n"], functions, reduces=2).run() == [b"bb\t1\n", b"a\t1\n"]


def test_a_sort_key_that_fails_names_the_key() -> None:
    failure = failing_map(UserFunctions(map=emit, sort_key=lambda value: value.x))
    assert failure.message.startswith("sort_key raised AttributeError: 'int' object has no")
    failure = failing_map(UserFunctions(map=emit, sort_key=lambda value: [value]))
    assert failure.message.startswith("sort_key returned what cannot be sorted: the key [1] has")


def yielding_reduce(key: str, values: Iterator[int]) -> Iterator[Any]:
    yield key, 1
    if key == "cd":
        raise KeyError("nothing there")


def returning_reduce(key: str, values: Iterator[int]) -> Any:
    return list(yielding_reduce(key, values))


def iterator_reduce(key: str, values: Iterator[int]) -> Any:
    return yielding_reduce(key, values)


@pytest.mark.parametrize("reduce", [yielding_reduce, returning_reduce, iterator_reduce])
def test_a_reduce_that_raises_names_the_key(reduce: Any) -> None:
    failure = failing_reduce(UserFunctions(map=emit, reduce=reduce))
    assert failure.kind is FailureKind.USER
    assert failure.message == "reduce raised KeyError: 'nothing there', for the key 'cd'"
    assert 'raise KeyError("nothing there")' in failure.traceback


def sloppy_reduce(key: str, values: Iterator[int]) -> Iterator[Any]:
    yield "no" if key == "cd" else (key, sum(values))


def sloppy_iterator(key: str, values: Iterator[int]) -> Any:
    return sloppy_reduce(key, values)


@pytest.mark.parametrize("reduce", [sloppy_reduce, sloppy_iterator])
def test_what_a_reduce_yields_must_be_pairs(reduce: Any) -> None:
    failure = failing_reduce(UserFunctions(map=emit, reduce=reduce))
    assert failure.message == "reduce yielded 'no', not a (key, value) pair, for the key 'cd'"


def test_a_setup_that_raises_is_the_users() -> None:
    def setup(context: Context) -> None:
        context.file("missing.txt")

    failure = failing_map(UserFunctions(map=emit, setup=setup))
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(
        "setup raised UsageError: there is no side file 'missing.txt'"
    )


def test_a_truncated_input_is_bad_data() -> None:
    import gzip

    register("mem", MemoryStorage)
    job = Job([gzip.compress(b"line\n" * 1000)[:-9]], UserFunctions(map=emit))
    result = job.run_map(0, extension="txt.gz")
    assert isinstance(result, TaskFailure)
    assert result.kind is FailureKind.DATA
    assert "0.txt.gz" in result.message


def test_a_lost_run_names_its_map() -> None:
    job = Job(["ab\n"] * 3, UserFunctions(map=emit, reduce=lambda key, values: sum(values)))
    for index in range(3):
        output = job.run_map(index)
        assert isinstance(output, TaskOutput)
        job.outputs.append(output)
    lost = job.outputs[1].object
    assert lost is not None
    storage_for(lost.uri).delete(lost.uri)
    failure = job.run_reduce(0, None)
    assert isinstance(failure, TaskFailure)
    assert failure.kind is FailureKind.LOST_INPUT
    assert failure.lost_runs == (TaskRef(0, 1),)
    assert failure.message.startswith("The run of map-00001 is gone: ")


class Full(MemoryStorage):
    """A store without room."""

    error: Exception = DiskFullError("no space is left on mem")

    def open_write(self, uri: str, **options: Any) -> Any:
        if not uri.startswith("mem://in/"):
            raise self.error
        return super().open_write(uri, **options)


def test_a_store_that_fails_is_the_infrastructure() -> None:
    store = Full()
    store.error = UnavailableError("503")
    register("mem", lambda: store)
    failure = failing_map(UserFunctions(map=emit))
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message == "503"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, "the output mem://out/job"),
        ({"temp_uri": "mem://t"}, "--temp mem://t"),
        ({"temp_uri": "mem://t", "map_only": True}, "the output mem://out/job"),
    ],
)
def test_a_full_disk_is_told_alike_by_every_attempt(changes: dict[str, Any], place: str) -> None:
    register("mem", Full)
    failure = failing_map(UserFunctions(map=emit), spec=spec_of(**changes))
    assert failure.kind is FailureKind.DATA  # said twice, it ends the job
    assert failure.message == (f"no space is left below {place}: free some, or name another place")


def fail_to_spill(monkeypatch: pytest.MonkeyPatch, number: int, **options: Any) -> TaskFailure:
    """Return how a map task fails whose temporary files meet an error of the system."""

    def no_space(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("mrcore.shuffle.spill.os.write", no_space)
    with tiny_budget():
        return failing_map(UserFunctions(map=emit), "some line\n" * 100, **options)


def test_a_full_scratch_disk_is_the_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = fail_to_spill(monkeypatch, errno.ENOSPC)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message.startswith("no space is left for temporary files below ")
    assert failure.message.endswith(": free some, or start the worker with another --scratch")


def test_a_scratch_disk_that_breaks_is_the_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = fail_to_spill(monkeypatch, errno.EIO)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "a temporary file below" in failure.message
    assert "Input/output error" in failure.message


def test_a_full_disk_of_an_embedded_run_is_that_of_all_its_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "run" / "scratch"
    scratch.mkdir(parents=True)
    failure = fail_to_spill(
        monkeypatch,
        errno.ENOSPC,
        scratch=scratch,
        extra={"state_uri": f"file://{tmp_path}/run/state"},
    )
    assert failure.kind is FailureKind.DATA
    assert failure.message == (
        f"no space is left for temporary files below {tmp_path}/run: "
        "free some, or let XDG_STATE_HOME name another place"
    )
