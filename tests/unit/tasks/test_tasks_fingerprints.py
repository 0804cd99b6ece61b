"""Fingerprints: whether two attempts have raised the same error at the same place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from mrcore.model.task import FailureKind, TaskFailure
from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunctions
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from tests.support.inprocess import Job, spec_of, succeeded
from tests.support.supervised_worker import SupervisedWorker, in_house


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def failure_of(job: Job) -> TaskFailure:
    """Return the failure of one attempt at the first map task."""
    failure = job.run_map(0)
    assert isinstance(failure, TaskFailure), failure
    assert failure.kind is FailureKind.USER
    return failure


def failing_at(*records: str, error: type[Exception] = ValueError) -> Job:
    """Return a job that fails at one of these records in each attempt, in turn."""
    turns, attempts = itertools.cycle(records), itertools.count()

    def user_map(key: Any, value: str) -> Iterator[Any]:
        if key[1] == 0:
            found["at"] = next(turns)
        if value == found["at"]:
            raise error(f"attempt {next(attempts)}")
        yield value, 1

    found: dict[str, str] = {}
    return Job(["a\nb\nc\n"], UserFunctions(map=user_map), spec=spec_of())


def test_one_error_at_one_record_has_one_fingerprint_whatever_its_message() -> None:
    job = failing_at("b")
    first, second = failure_of(job), failure_of(job)
    assert first.message != second.message
    assert first.fingerprint == second.fingerprint != ""


def test_another_record_or_another_error_has_another_fingerprint() -> None:
    job = failing_at("b", "c")
    found = [failure_of(job).fingerprint, failure_of(job).fingerprint]
    found.append(failure_of(failing_at("b", error=KeyError)).fingerprint)
    assert "" not in found
    assert len(set(found)) == 3


@pytest.mark.parametrize("error", [ConnectionRefusedError, TimeoutError, OSError, MemoryError])
def test_what_may_pass_has_none(error: type[Exception]) -> None:
    assert failure_of(failing_at("b", error=error)).fingerprint == ""


def test_what_follows_from_an_error_that_may_pass_has_none() -> None:
    class ServiceError(Exception):
        pass

    def user_map(key: Any, value: str) -> list[Any]:
        try:
            raise ConnectionResetError
        except OSError as error:
            raise ServiceError("no answer") from error

    assert failure_of(Job(["a\n"], UserFunctions(map=user_map))).fingerprint == ""


def test_a_file_that_is_not_there_is_certain() -> None:
    assert failure_of(failing_at("b", error=FileNotFoundError)).fingerprint


def test_a_pair_that_is_not_one_is_certain() -> None:
    job = Job(["a\n"], UserFunctions(map=lambda key, value: [object()]))
    first, second = failure_of(job), failure_of(job)
    assert first.fingerprint == second.fingerprint != ""


def test_setup_and_keys_of_reduce_are_places() -> None:
    def setup(context: Context) -> None:
        raise ImportError(f"no module {next(tries)}")

    tries = itertools.count()
    job = Job(["a\n"], UserFunctions(map=lambda key, value: [(value, 1)], setup=setup))
    assert failure_of(job).fingerprint == failure_of(job).fingerprint != ""

    def user_reduce(key: str, values: Iterator[int]) -> int:
        if key in bad:
            raise ValueError(key)
        return 1

    bad: list[str] = []
    functions = UserFunctions(map=lambda key, value: [(value, 1)], reduce=user_reduce)
    job = Job(["a\nb\n"], functions)
    job.outputs = [succeeded(job.run_map(0))]
    found = []
    for key in "aab":
        bad[:] = [key]
        failure = job.run_reduce(0)
        assert isinstance(failure, TaskFailure)
        found.append(failure.fingerprint)
    assert found[0] == found[1] != found[2]


@in_house()
async def test_a_process_that_could_not_start_the_plugin_gets_no_second_task(
    house: SupervisedWorker,
) -> None:
    house.job("import os\nraise ValueError(f'in process {os.getpid()}')\n", "import")
    house.job(
        """
        import os
        def setup(context):
            raise ValueError(f"in process {os.getpid()}")
        def map(key, value):
            yield value, 1
        """,
        "setup",
    )
    for job_id in ("import", "setup"):
        first = await house.failure(house.give(job_id=job_id))
        second = await house.failure(house.give(job_id=job_id))
        assert first.message != second.message, "they are of two processes"
        assert "in process " in first.message
