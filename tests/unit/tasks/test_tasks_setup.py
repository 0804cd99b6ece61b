"""`setup` runs once in each process of a job, and its context serves every task."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcore.model.task import TaskFailure, TaskOutput
from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunctions
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from mrcore.tasks.setup import Setup
from tests.support.inprocess import Job, spec_of
from tests.support.supervised_worker import SupervisedWorker, in_house


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def test_one_context_serves_all_tasks_and_setup_is_called_once() -> None:
    kept: list[Context] = []
    tasks: list[str] = []

    def setup(context: Context) -> None:
        kept.append(context)
        context.count(f"models {context.params['model']}")

    def user_map(key: Any, value: str) -> Iterator[Any]:
        tasks.append(kept[0].task)
        kept[0].count("records")
        yield value, 1

    functions = UserFunctions(map=user_map, setup=setup)
    job = Job(["a\n", "b\nc\n"], functions, spec=spec_of(params={"model": "m"}))
    job.setup = Setup(functions, job.spec.params)
    counters = []
    for index in range(2):
        output = job.run_map(index)
        assert isinstance(output, TaskOutput), output
        counters.append(output.counters)
    assert counters == [{"models m": 1, "records": 1}, {"records": 2}]
    assert len(kept) == 1
    assert tasks == ["map-00000", "map-00001", "map-00001"]


def test_a_setup_that_failed_is_tried_again() -> None:
    calls: list[str] = []

    def setup(context: Context) -> None:
        context.count("tries")
        calls.append(context.task)
        if len(calls) == 1:
            raise ConnectionError("no model server")

    functions = UserFunctions(map=lambda key, value: [(value, 1)], setup=setup)
    job = Job(["a\n", "b\n"], functions)
    job.setup = Setup(functions, {})
    failure = job.run_map(0)
    assert isinstance(failure, TaskFailure)
    assert failure.message == "setup raised ConnectionError: no model server"
    for index, tries in enumerate((1, None)):
        output = job.run_map(index)
        assert isinstance(output, TaskOutput)
        assert output.counters.get("tries") == tries
    assert len(calls) == 2


def test_each_task_starts_in_the_folder_that_setup_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    found: list[str] = []

    def user_map(key: Any, value: str) -> Iterator[Any]:
        found.append(os.getcwd())  # noqa: PTH109 - as user code does
        os.chdir("/usr")
        yield value, 1

    functions = UserFunctions(map=user_map, setup=lambda context: os.chdir(tmp_path))
    job = Job(["a\n", "b\n"], functions)
    job.setup = Setup(functions, {})
    for index in range(2):
        assert isinstance(job.run_map(index), TaskOutput)
    assert found == [str(tmp_path)] * 2


@in_house()
async def test_a_child_calls_setup_once_for_a_job(house: SupervisedWorker) -> None:
    house.job("""
        import os
        def setup(context):
            print("loading in", os.getcwd())
        def map(key, value):
            os.chdir("/usr")
            yield value, 1
    """)
    first, second = house.give(), house.give()
    for attempt in (first, second):
        assert isinstance(await house.result(attempt), TaskOutput)
    assert house.log(first).startswith("loading in ")
    assert not house.log_path(second).exists()
