"""User functions for tests of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrcore.model.task import TaskFailure, TaskOutput
from mrcore.plugin.functions import UserFunctions
from tests.support.inprocess import Job

URI = "mem://in/0.txt"


LINES = "ab\ncd\nef\n"


def failing_map(functions: UserFunctions, text: str = LINES, **options: Any) -> TaskFailure:
    """Return how the only map task of a job fails."""
    extra = options.pop("extra", {})
    result = Job([text], functions, **options).run_map(0, **extra)
    assert isinstance(result, TaskFailure), result
    return result


def failing_reduce(functions: UserFunctions, **options: Any) -> TaskFailure:
    """Return how the only reduce task of a job fails."""
    job = Job([LINES], functions, **options)
    output = job.run_map(0)
    assert isinstance(output, TaskOutput), output
    job.outputs.append(output)
    result = job.run_reduce(0, None)
    assert isinstance(result, TaskFailure), result
    return result


def emit(key: Any, value: str) -> Iterator[Any]:
    """Emit the line."""
    yield value, 1


def generator_map(key: Any, value: str) -> Iterator[Any]:
    yield value, 1
    if value == "cd":
        raise ValueError("cannot read this\nat all")
