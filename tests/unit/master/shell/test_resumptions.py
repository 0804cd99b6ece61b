"""Choice of what a job keeps that goes on with a former one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from mrcore.errors import JobEndedError, UnknownJobError, UsageError
from mrcore.master.shell.resumptions import Resumption, resumption
from mrcore.model import object_names
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, JobState, Plugin, StepFlags
from mrcore.model.remains import Remains, StageRemains, TaskRemains, encode
from mrcore.model.stages import stage_names, stage_plans, stages_of
from mrcore.model.task import StoredBadRecords, TaskOutput
from mrcore.rpc.convert_resume import Wanted, values_of, wanted_from_proto, wanted_to_proto
from mrcore.tasks import plan
from tests.support import stores
from tests.support.specs import VERSIONS, job_spec, one_input
from tests.support.stores import Place, memory_place

JOB = "old-1"
STEPS = (StepFlags(has_reduce=True),)
OTHER = Plugin(sha256="1" * 64, name="mended", steps=STEPS)


@dataclass
class FormerJob:
    """A job of two maps and two reduces that failed after three of these tasks."""

    place: Place
    spec: JobSpec
    done: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0), (0, 1), (1, 0)])
    """Tasks with a result, by stage and index."""
    resumes: tuple[str, ...] = ()
    owner: str = JOB
    """Job that has written the results."""
    has_lists: bool = False
    """Whether each result has a stored list of bad records."""

    def store(self) -> None:
        """Store the remains, the plan and the temporaries."""
        number = iter(range(1, 100))
        plans = stage_plans(stages_of(self.spec), {0: 2}, 2)
        names = stage_names(each.reads for each in plans)
        stages = tuple(
            StageRemains(
                each, name, tuple(self._task(stage, at, next(number)) for at in range(each.tasks))
            )
            for stage, (each, name) in enumerate(zip(plans, names, strict=True))
        )
        left = Remains(
            job_id=JOB,
            spec=self.spec,
            state=JobState.FAILED,
            message="it failed",
            input_bytes=9,
            resumes=self.resumes,
            stages=stages,
        )
        self.place.write(f"state/jobs/{JOB}/remains", encode(left))
        planned = plan.Plan(splits=(), reduces=2, input_bytes=9)
        self.place.write(f"state/jobs/{JOB}/plan", plan.encode(planned))

    def _task(self, stage: int, index: int, n: int) -> TaskRemains:
        number = AttemptNumber(1, n)
        if (stage, index) not in self.done:
            return TaskRemains(failed=(number,))
        attempt = AttemptId(TaskId(self.owner, stage, index), number)
        name = object_names.staged_part_uri if stage else object_names.run_uri
        info = self.place.create(self.place_of(name(self.spec, attempt)), b"content")
        output = TaskOutput(object=info)
        if self.has_lists:
            uri = object_names.staged_bad_records_uri(self.spec, attempt)
            listed = self.place.create(self.place_of(uri), b"{}")
            stored = StoredBadRecords(20, "a cause", listed)
            output = TaskOutput(object=info, stored_bad_records=stored)
        return TaskRemains(winner=number, worker_id="w", output=output)

    def place_of(self, uri: str) -> str:
        return uri.removeprefix(f"{self.place.base_uri}/")

    def remove(self, name: str) -> None:
        """Remove the only temporary that has `name` in it."""
        [found] = [each for each in self.place.names() if name in each]
        self.place.storage.delete(self.place.uri(found))

    def resumed(self, state: JobState | None = JobState.FAILED, **wanted: Any) -> Resumption:
        asked = Wanted(job_id=JOB, **wanted)
        return resumption(self.place.storage, self.place.uri("state"), asked, state)

    def kept(self, **wanted: Any) -> list[tuple[int, int]]:
        return [(each.stage, each.index) for each in self.resumed(**wanted).kept]


@pytest.fixture
def job() -> Iterator[FormerJob]:
    place = memory_place()
    spec = job_spec(
        "old",
        steps=STEPS,
        inputs=one_input(place.uri("in")),
        output_uri=place.uri("out"),
        after=("other-1",),
        reduces=2,
    )
    with stores.registered(place):
        yield FormerJob(place, spec)


def test_the_same_code_keeps_all_that_is_there(job: FormerJob) -> None:
    job.store()
    found = job.resumed()
    assert [(each.stage, each.index) for each in found.kept] == job.done
    assert found.plan is not None
    assert found.resumes == (JOB,)
    assert found.spec == msgspec.structs.replace(job.spec, after=())
    assert found.notes == ("2 of 2 map tasks are kept.", "1 of 2 reduce tasks is kept.")


def test_what_is_gone_is_not_kept_and_neither_is_what_has_read_it(job: FormerJob) -> None:
    job.store()
    job.remove("map-00001")
    found = job.resumed()
    assert [(each.stage, each.index) for each in found.kept] == [(0, 0)]
    assert found.notes == (
        "1 of 2 map tasks is kept.",
        "1 map result is not kept, since its object is not there any more.",
        "1 reduce result is not kept, since tasks run again whose runs are read there.",
    )


def test_a_result_is_not_kept_without_its_list_of_bad_records(job: FormerJob) -> None:
    job.has_lists = True
    job.store()
    assert job.kept() == job.done
    job.remove("bad-reduce-00000")
    assert job.kept() == [(0, 0), (0, 1)]
    job.remove("bad-map-00001")
    assert job.kept() == [(0, 0)]


def test_an_object_of_another_generation_is_not_the_result(job: FormerJob) -> None:
    job.store()
    [part] = [name for name in job.place.names() if "part-" in name]
    job.place.put(part, b"of somebody else")
    assert job.kept() == [(0, 0), (0, 1)]


def test_other_code_keeps_the_stages_that_the_user_names(job: FormerJob) -> None:
    job.store()
    changed: dict[str, Any] = {"plugin": OTHER, "versions": VERSIONS}
    anew = job.resumed(**changed)
    assert (anew.kept, anew.plan) == ((), None)
    assert "2 map results are not kept, since the former code made them" in anew.notes[0]
    assert job.kept(**changed, keep_results=("map",)) == [(0, 0), (0, 1)]
    assert job.kept(**changed, keep_results=("all",)) == job.done
    assert job.kept(**changed, keep_results=("reduce",)) == []
    assert job.resumed(**changed).spec.plugin == OTHER
    same = msgspec.structs.replace(OTHER, sha256=job.spec.plugin.sha256)
    assert job.kept(plugin=same, versions=VERSIONS) == job.done


def test_code_that_does_not_fit_is_refused(job: FormerJob) -> None:
    job.store()
    two = msgspec.structs.replace(OTHER, steps=STEPS * 2)
    with pytest.raises(UsageError, match="does not have the steps"):
        job.resumed(plugin=two, versions=VERSIONS)
    sorting = msgspec.structs.replace(OTHER, steps=(StepFlags(has_reduce=True, has_sort_key=True),))
    with pytest.raises(UsageError, match="has other functions"):
        job.resumed(plugin=sorting, versions=VERSIONS, keep_results=("map",))
    assert job.kept(plugin=sorting, versions=VERSIONS) == []
    with pytest.raises(UsageError, match="no stage 'mop'"):
        job.resumed(plugin=OTHER, versions=VERSIONS, keep_results=("mop",))


@pytest.mark.parametrize("complete", [False, True])
def test_a_total_order_is_kept_as_a_whole(job: FormerJob, complete: bool) -> None:
    job.spec = msgspec.structs.replace(job.spec, total_order=True)
    job.done += [(1, 1)] * complete
    job.store()
    assert job.kept() == (job.done if complete else [(0, 0), (0, 1)])


def test_results_of_the_job_before_the_former_one_are_kept(job: FormerJob) -> None:
    job.owner, job.resumes = "older-1", ("older-1",)
    job.store()
    found = job.resumed()
    assert len(found.kept) == 3
    assert found.resumes == ("older-1", JOB)


def test_without_its_plan_all_runs_again(job: FormerJob) -> None:
    job.store()
    job.remove("/plan")
    found = job.resumed()
    assert (found.kept, found.plan) == ((), None)
    assert found.notes == ("The plan of the job is gone, so all of its tasks run again.",)


def test_a_job_without_remains_cannot_go_on(job: FormerJob) -> None:
    for state, said in (
        (JobState.RUNNING, "has not ended"),
        (JobState.SUCCEEDED, "has succeeded"),
        (JobState.FAILED, "has left nothing to go on with"),
    ):
        with pytest.raises(JobEndedError, match=said):
            job.resumed(state)
    with pytest.raises(UnknownJobError):
        job.resumed(None)
    job.store()
    assert job.resumed(None).kept  # its master has forgotten it, and the state has not
    job.spec = msgspec.structs.replace(job.spec, output_uri="", temp_uri="file:///t")
    job.store()
    with pytest.raises(JobEndedError, match="its results were for the program that ran it"):
        job.resumed(None)


def test_a_request_travels(job: FormerJob) -> None:
    changes = values_of({"max_bad_records": 3, "task_timeout": 2.0, "priority": 0, "memory": 0})
    wanted = Wanted(
        job_id=JOB,
        plugin=OTHER,
        versions=VERSIONS,
        keep_results=("map", "all"),
        changes=changes,
    )
    message = wanted_to_proto(wanted, "r", b"bundle")
    assert wanted_from_proto(message) == wanted
    assert (message.request_id, message.plugin_bundle) == ("r", b"bundle")
    job.store()
    spec = job.resumed(changes=changes).spec
    assert (spec.max_bad_records, spec.task_timeout_seconds) == (3, 2.0)
    with pytest.raises(UsageError, match="cannot change 'reduces'"):
        values_of({"reduces": 3})
    message.changed.append("reduces")
    with pytest.raises(UsageError, match="cannot change 'reduces'"):
        wanted_from_proto(message)
