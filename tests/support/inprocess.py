"""Runs the tasks of a job one after the other in this process, over mem:// or files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, StepFlags
from mrcore.model.stages import Stage, stages_of
from mrcore.model.task import Split, TaskOutput, TaskRef, TaskResult, TaskSpec, TaskWork
from mrcore.plugin.functions import UserFunctions
from mrcore.records.inputs import listed
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.ranges import choose_boundaries, merge_number_kinds, run_input
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register, storage_for
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.run import run_task
from mrcore.tasks.setup import Setup
from tests.support.specs import job_spec

Pair = tuple[Any, Any]


def spec_of(**changes: Any) -> JobSpec:
    """Return a spec with an output in memory."""
    return job_spec(**{"output_uri": "mem://out/job", **changes})


@dataclass
class Job:
    """One job; `texts` are the files of its input, one map task each."""

    texts: Sequence[str | bytes]
    functions: UserFunctions
    reduces: int = 1
    spec: JobSpec = field(default_factory=spec_of)
    memory_bytes: int = 0
    scratch: Path | None = None
    progress: Any = field(default_factory=NoProgress)
    outputs: list[TaskOutput] = field(default_factory=list)
    setup: Setup | None = None

    def attempt(self, stage: int, index: int) -> AttemptId:
        """Return the first attempt at a task."""
        return AttemptId(TaskId("test-1", stage, index), AttemptNumber(1, index))

    def run_map(self, index: int, extension: str = "txt", **extra: Any) -> TaskResult:
        """Run one map task."""
        uri = f"mem://in/{index}.{extension}"
        text = self.texts[index]
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        with storage_for(uri).open_write(uri) as sink:
            sink.write(data)
            info = sink.commit()
        piece = listed(info, f"in/{index}.{extension}", self.spec.input_format).piece(0, len(data))
        reduces = self.reduces if self.stages[0].run_step is not None else 0
        return self._run(0, index, TaskWork(Split((piece,)), reduces), **extra)

    def run_reduce(
        self, index: int, boundaries: Sequence[bytes] | None = None, stage: int = 1
    ) -> TaskResult:
        """Run one task over the outputs of all tasks of the stage before."""
        outputs = [(TaskRef(stage - 1, n), output) for n, output in enumerate(self.outputs)]
        read = run_input(outputs, self.reduces, index, boundaries)
        reduces = self.reduces if self.stages[stage].run_step is not None else 0
        return self._run(stage, index, TaskWork(read, reduces))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of the job."""
        return stages_of(self._job_spec())

    def _job_spec(self) -> JobSpec:
        steps = tuple(map(StepFlags.of, self.functions.steps))
        plugin = msgspec.structs.replace(self.spec.plugin, steps=steps)
        return msgspec.structs.replace(self.spec, plugin=plugin)

    def _run(self, stage: int, index: int, work: Any, **extra: Any) -> TaskResult:
        given = {"state_uri": "mem://state", "memory_bytes": self.memory_bytes, **extra}
        attempt = self.attempt(stage, index)
        spec = TaskSpec(attempt=attempt, job=self._job_spec(), work=work, **given)
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            result = run_task(spec, self.functions, Path(scratch), self.progress, setup=self.setup)
            assert not list(Path(scratch).iterdir()), "scratch is left as it was found"
        return result

    def run(self) -> list[bytes]:
        """Run it all; return the content of each part."""
        return list(self.run_lazily())

    def run_lazily(self) -> Iterator[bytes]:
        """Run it all; yield the content of each part as soon as it is there."""
        register("mem", MemoryStorage)
        last = len(self.stages) - 1
        results = map(self.run_map, range(len(self.texts)))
        for stage in range(last + 1):
            if stage:
                merge_number_kinds(self.outputs)
                total = self.stages[stage - 1].total_order
                boundaries = choose_boundaries(self.outputs, self.reduces) if total else None
                reads = repeat(boundaries), repeat(stage)
                results = map(self.run_reduce, range(self.reduces), *reads)
            if stage == last:
                yield from map(content_of, map(succeeded, results))
            else:
                self.outputs = list(map(succeeded, results))


def succeeded(result: TaskResult) -> TaskOutput:
    """Return the result of a task that has to succeed."""
    assert isinstance(result, TaskOutput), result
    return result


@contextmanager
def tiny_budget() -> Iterator[None]:
    """Make every task spill after a few pairs, and merge two runs at a time."""
    tiny = Budget(collect_bytes=150, sort_bytes=150, merge_bytes=1)
    with patch.object(Budget, "of", lambda memory_bytes: tiny):
        yield


@contextmanager
def nothing() -> Iterator[None]:
    """Change nothing."""
    yield


def content_of(output: TaskOutput) -> bytes:
    """Return the object of an output."""
    assert output.object is not None
    return storage_for(output.object.uri).read(output.object.uri)


def emitting(tasks: Sequence[Sequence[Pair]]) -> tuple[list[str], Callable[..., Iterable[Pair]]]:
    """Return the texts and the map of a job whose map task i emits exactly `tasks[i]`.

    Every line of a text is a few pairs, by number.
    """
    texts = []
    for number, pairs in enumerate(tasks):
        lines = [f"{number} {i} {min(i + 3, len(pairs))}" for i in range(0, len(pairs), 3)]
        texts.append("\n".join(lines) or "-1 0 0")

    def user_map(key: Any, value: str) -> Iterable[Pair]:
        task, start, end = map(int, value.split())
        if task >= 0:
            yield from tasks[task][start:end]

    return texts, user_map


def text_spec(**changes: Any) -> JobSpec:
    """Return a spec of text in and text out."""
    defaults: Mapping[str, Any] = {
        "input_format": "text",
        "output_format": "text",
    }
    return spec_of(**{**defaults, **changes})
