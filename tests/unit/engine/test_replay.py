"""Replay of one task from what a failed job has left in the store."""

from __future__ import annotations

import pdb
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec
import pytest

from mrcore.engine import replay
from mrcore.engine.replay import TaskGoneError, _stage_number, from_plan, from_remains
from mrcore.errors import DataError, UsageError
from mrcore.model import object_names, remains
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, JobState
from mrcore.model.remains import Remains, StageRemains, TaskAtHand, TaskRemains
from mrcore.model.stages import stage_names, stage_plans, stages_of
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskSpec, TaskWork
from mrcore.plugin.bundle import build_bundle
from mrcore.plugin.loader import load_bundle
from mrcore.plugin.precheck import plugin_of
from mrcore.storage.registry import storage_for, uri_of_path
from mrcore.tasks import plan
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.run import run_task
from tests.support.specs import spec_for

JOB = "wc-20260101-000000-abcdef"
PLUGIN = """
def map(key, value):
    for word in value.split():
        yield word, 1

def reduce(key, values):
    if key == "bad":
        raise ValueError("no bad")
    return sum(values)
"""
REDUCES = 2


class FailedJob:
    """A job whose maps are done, and whose reduce for the key `bad` has failed."""

    def __init__(self, folder: Path, *, total_order: bool = False, has_output: bool = True) -> None:
        self.folder = folder
        (folder / "wc.py").write_text(PLUGIN)
        (folder / "in").mkdir()
        (folder / "in/a").write_text("a b\n")
        (folder / "in/b").write_text("b bad\n")
        self.state_uri = uri_of_path(folder / "state")
        bundle = build_bundle("wc.py", (), folder)
        functions = load_bundle(bundle.data, folder / "plugin")
        self.spec = msgspec.structs.replace(
            spec_for(folder, "in"),
            plugin=plugin_of(bundle, functions.described()),
            reduces=REDUCES,
            map_tasks=2,
            total_order=total_order,
        )
        if not has_output:
            self.spec = msgspec.structs.replace(self.spec, output_uri="")
            self.spec = object_names.with_temp(self.spec, self.state_uri)
        self.plan = plan.make_plan(self.spec, 1)
        self.write(object_names.plan_uri(self.state_uri, JOB), plan.encode(self.plan))
        self.write(object_names.plugin_uri(self.state_uri, bundle.sha256), bundle.data)
        maps = []
        for index, split in enumerate(self.plan.splits):
            number = AttemptNumber(1, index + 1)
            task = TaskSpec(
                attempt=AttemptId(TaskId(JOB, 0, index), number),
                job=self.spec,
                state_uri=self.state_uri,
                work=TaskWork(split, REDUCES),
            )
            output = run_task(task, functions, folder / "scratch", NoProgress())
            assert isinstance(output, TaskOutput)
            maps.append(TaskRemains(winner=number, worker_id="w", output=output))
        failure = TaskFailure(kind=FailureKind.USER, message="no bad")
        failed = TaskRemains(failed=(AttemptNumber(1, 9),), last_failure=failure)
        plans = stage_plans(stages_of(self.spec), self.plan.splits_by_group, REDUCES)
        self.left = Remains(
            job_id=JOB,
            spec=self.spec,
            state=JobState.FAILED,
            message="reduce failed",
            input_bytes=9,
            stages=tuple(
                StageRemains(each, name, tuple(tasks))
                for each, name, tasks in zip(
                    plans,
                    stage_names(each.reads for each in plans),
                    [maps, [failed] * REDUCES],
                    strict=True,
                )
            ),
        )
        self.write_remains()

    def write(self, uri: str, content: bytes) -> None:
        with storage_for(uri).open_write(uri) as writer:
            writer.write(content)
            writer.commit()

    def write_remains(self) -> None:
        self.write(object_names.remains_uri(self.state_uri, JOB), remains.encode(self.left))

    def task(self, stage: str, index: int) -> TaskAtHand:
        found = from_remains(self.state_uri, JOB, stage, index)
        assert found is not None
        return found

    def run(self, stage: str, index: int) -> TaskOutput | TaskFailure:
        number = ("map", "reduce").index(stage)
        return replay.replay(self.task(stage, index), JOB, number, index)

    def files(self) -> dict[str, bytes]:
        """Return all that lies in the output and the state."""
        found = [*(self.folder / "out").rglob("*"), *(self.folder / "state").rglob("*")]
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    def of_bad(self) -> int:
        """Return the reduce task that has the key `bad`."""
        failing = [n for n in range(REDUCES) if isinstance(self.run("reduce", n), TaskFailure)]
        assert len(failing) == 1
        return failing[0]


@pytest.fixture
def job(tmp_path: Path) -> FailedJob:
    return FailedJob(tmp_path)


@pytest.mark.parametrize("total_order", [False, True])
def test_each_task_gets_exactly_what_it_has_read(tmp_path: Path, total_order: bool) -> None:
    job = FailedJob(tmp_path, total_order=total_order)
    before = job.files()
    bad = job.of_bad()
    failure = job.run("reduce", bad)
    assert isinstance(failure, TaskFailure)
    assert "ValueError: no bad" in failure.message
    assert f'File "{tmp_path / "wc.py"}", line 8, in reduce' in failure.traceback
    other = job.run("reduce", 1 - bad)
    assert isinstance(other, TaskOutput)
    for index, task in enumerate(job.left.stages[0].tasks):
        again = job.run("map", index)
        assert isinstance(again, TaskOutput)
        assert task.output is not None
        assert (again.digest, again.records_in) == (task.output.digest, task.output.records_in)
    assert job.files() == before


def test_the_task_brings_how_it_has_failed(job: FailedJob) -> None:
    at = job.task("reduce", 0)
    assert at.failed == (AttemptNumber(1, 9),)
    assert at.last_failure is not None
    assert at.last_failure.message == "no bad"


def test_mended_code_runs_in_place_of_the_jobs(job: FailedJob) -> None:
    (job.folder / "mended.py").write_text(PLUGIN.replace('raise ValueError("no bad")', "return -1"))
    mended = build_bundle("mended.py", (), job.folder)
    bad = job.of_bad()
    result = replay.replay(job.task("reduce", bad), JOB, 1, bad, mended=mended)
    assert isinstance(result, TaskOutput)
    (job.folder / "other.py").write_text("def map(key, value):\n    yield key, value\n")
    other = build_bundle("other.py", (), job.folder)
    at = msgspec.structs.replace(job.task("map", 0), spec=two_steps(job))
    with pytest.raises(UsageError, match="does not have the steps of"):
        replay.replay(at, JOB, 0, 0, mended=other)


def two_steps(job: FailedJob) -> JobSpec:
    plugin = msgspec.structs.replace(job.spec.plugin, steps=job.spec.plugin.steps * 2)
    return msgspec.structs.replace(job.spec, plugin=plugin)


def test_the_debugger_opens_where_the_users_code_raised(
    job: FailedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = job.of_bad()
    opened: list[str] = []

    def open_debugger(trace: TracebackType) -> None:
        opened.append(traceback.extract_tb(trace)[-1].name)

    monkeypatch.setattr(pdb, "post_mortem", open_debugger)
    result = replay.replay(job.task("reduce", bad), JOB, 1, bad, post_mortem=True)
    assert isinstance(result, TaskFailure)
    assert opened == ["reduce"]


def remove_run(job: FailedJob) -> None:
    output = job.left.stages[0].tasks[1].output
    assert output is not None
    assert output.object is not None
    storage_for(output.object.uri).delete(output.object.uri)


def remove_input(job: FailedJob) -> None:
    (job.folder / "in/b").unlink()


@pytest.mark.parametrize(
    ("remove", "stage", "index", "said"),
    [(remove_run, "reduce", 0, "map-00001"), (remove_input, "map", 1, "in/b")],
)
def test_what_is_gone_is_said_in_a_sentence(
    job: FailedJob, remove: Callable[[FailedJob], None], stage: str, index: int, said: str
) -> None:
    remove(job)
    failure = job.run(stage, index)
    assert isinstance(failure, TaskFailure)
    assert failure.kind is not FailureKind.USER
    assert said in failure.message


def test_a_task_without_its_runs_cannot_be_replayed(job: FailedJob) -> None:
    maps = job.left.stages[0]
    tasks = (maps.tasks[0], TaskRemains(), *maps.tasks[2:])
    open_maps = msgspec.structs.replace(maps, tasks=tasks)
    job.left = msgspec.structs.replace(job.left, stages=(open_maps, job.left.stages[1]))
    job.write_remains()
    with pytest.raises(TaskGoneError, match="the run of map-00001, which had no result"):
        job.task("reduce", 0)
    with pytest.raises(UsageError, match="is not a task of"):
        job.task("map", len(tasks))
    with pytest.raises(UsageError, match=r"Its stages are map with 1 task, counted from 0\."):
        _stage_number("j", {"map": 1}, "reduce", 0)


def test_a_job_that_succeeded_has_its_splits_left(job: FailedJob) -> None:
    assert from_remains(job.state_uri, "wc-20260101-000000-other", "map", 0) is None
    at = from_plan(job.state_uri, JOB, job.spec, "map", 1)
    result = replay.replay(at, JOB, 0, 1)
    assert isinstance(result, TaskOutput)
    with pytest.raises(TaskGoneError, match="removed when it succeeded"):
        from_plan(job.state_uri, JOB, job.spec, "reduce", 0)


def test_remains_of_another_version_are_refused(job: FailedJob) -> None:
    uri = object_names.remains_uri(job.state_uri, JOB)
    later = msgspec.structs.replace(job.left, format=remains.FORMAT + 1)
    for content in (remains.encode(later), remains.encode(job.left)[:-5], b"\xc1"):
        job.write(uri, content)
        with pytest.raises(DataError, match="The remains of the job"):
            job.task("map", 0)


def test_a_job_without_an_output_can_be_replayed(tmp_path: Path) -> None:
    """Its runs lie in the state, and its tasks leave results there: not those of a replay."""
    job = FailedJob(tmp_path, has_output=False)
    before = job.files()
    index = job.of_bad()
    failure = job.run("reduce", index)
    assert isinstance(failure, TaskFailure)
    assert failure.message == "reduce raised ValueError: no bad, for the key 'bad'"
    other = job.run("reduce", 1 - index)
    assert isinstance(other, TaskOutput)
    assert job.files() == before
