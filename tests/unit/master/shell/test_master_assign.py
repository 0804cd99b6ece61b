"""Work as it is sent to workers: of the content that the attempt is to read, and no other."""

from __future__ import annotations

import msgspec
import pytest

from mrcore.errors import UnavailableError, UsageError
from mrcore.master.core.commands import Reply
from mrcore.master.core.events import CancelAsked, CleanedUp, Event, Synced, WinnerMissing
from mrcore.master.core.limits import Limits
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.plans import Plans
from mrcore.master.shell.task_messages import task_message
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.remains import TaskAtHand
from mrcore.model.stages import Part, Run, Runs, Splits, StagePlan
from mrcore.model.task import BlockKey, RunInput, Split, TaskOutput, TaskRef, TaskWork
from mrcore.rpc import views
from mrcore.rpc.convert_task import work_from_proto
from mrcore.rpc.v1.job_service_pb2 import GetTaskRequest
from mrcore.rpc.v1.worker_service_pb2 import SynchronizeRequest, SynchronizeResponse
from mrcore.shuffle.ranges import choose_boundaries, run_input
from mrcore.storage.base import ObjectInfo
from mrcore.storage.memory import MemoryStorage
from tests.support.machine_cluster import Cluster
from tests.support.specs import one_input

MAPS, REDUCES = 2, 3


class Office:
    """A machine with one worker, and who tells that worker what to do."""

    def __init__(self, *, total_order: bool = False, joined: bool = False) -> None:
        self._cluster = Cluster(Limits(prefetch_per_slot_max=0), workers=1)
        run = Run(total_order=total_order)
        groups = [(0,), (1,)] if joined else [()]
        writers = [StagePlan(MAPS, Splits(read), run) for read in groups]
        reader = StagePlan(REDUCES, Runs(tuple(range(len(writers)))), Part())
        self._cluster.submit("j", MAPS, REDUCES, stages=(*writers, reader))
        self.machine = self._cluster.machine
        plans = Plans(MemoryStorage(), "mem://state")
        plans._splits["j"] = tuple(Split((), n % len(groups)) for n in range(MAPS * len(groups)))
        self.assigner = Assigner(self.machine, plans, "c1", "mem://state")
        self.reply = Reply("w0", 1, 0, ())
        self._event = Synced("w0", 1, 0, 1, slots=REDUCES)
        job = self.machine.cluster.job("j")
        assert job is not None
        self.job = job
        self._total_order = total_order

    def step(self, event: Event) -> None:
        """Step an event; note the answer to the worker."""
        self._cluster.now += 0.01
        for command in self.machine.step(event, self._cluster.now).commands:
            if isinstance(command, Reply):
                self.reply = command

    def sync(self, content: int | None = None) -> None:
        """Synchronise the worker; with `content` its map tasks have finished with that."""
        held = tuple(
            HeldAttempt(
                wanted.attempt, AttemptState.FINISHED, result=self._output(wanted.attempt, content)
            )
            for wanted in self.reply.wanted
            if content is not None and self.job.readers(wanted.attempt.task.stage)
        )
        sequence = self.reply.sequence + 1
        self._event = Synced("w0", 1, sequence, 1, slots=REDUCES, held=held)
        self.step(self._event)

    def _output(self, attempt: AttemptId, content: int) -> TaskOutput:
        """Return a run whose sections, or blocks, and digest depend on its content."""
        number = content + 1
        blocks = tuple(BlockKey(bytes([n * number]), 10 * number, 1) for n in range(1, 7))
        return TaskOutput(
            object=ObjectInfo(f"mem://runs/{attempt}", 60 * number, str(attempt.number)),
            digest=bytes([number]),
            section_bytes=() if self._total_order else (10 * number, 20 * number, 30 * number),
            blocks=blocks if self._total_order else (),
            elapsed_seconds=1.0,
        )

    def map_again(self, content: int) -> None:
        """Lose the first map's output, and make it again; then all reduces are given out."""
        winner = self.job.stages[0].tasks[0].winner
        assert winner is not None
        self.step(WinnerMissing(AttemptId(TaskId("j", 0, 0), winner)))
        self.sync()
        self.sync(content)
        self.sync()

    def response(self, reply: Reply, *known: str) -> SynchronizeResponse:
        """Return the message of an answer, for a worker that holds nothing."""
        request = SynchronizeRequest(known_jobs=known)
        response, broken = self.assigner.response(request, Synced("w0", 1, 0, 1, slots=1), reply)
        assert broken == []
        return response

    def expected(self, index: int) -> TaskWork:
        """Return the work of a reduce task, made anew from the current winners."""
        outputs = [
            (TaskRef(number, n), task.output)
            for number, stage in enumerate(self.job.stages[:-1])
            for n, task in enumerate(stage.tasks)
            if task.output is not None
        ]
        boundaries = None
        if self._total_order:
            boundaries = choose_boundaries([output for _, output in outputs], REDUCES)
        return TaskWork(run_input(outputs, REDUCES, index, boundaries))


def works(response: SynchronizeResponse) -> dict[int, object]:
    return {one.attempt.index: work_from_proto(one) for one in response.wanted}


@pytest.mark.parametrize("total_order", [False, True])
def test_reduces_are_told_of_the_content_that_is_current(total_order: bool) -> None:
    office = Office(total_order=total_order)
    office.sync()
    office.sync(0)
    office.sync()
    first = works(office.response(office.reply))
    assert first == {index: office.expected(index) for index in range(REDUCES)}
    office.map_again(content=1)
    assert office.job.stages[-1].version == 1
    second = works(office.response(office.reply))
    assert second == {index: office.expected(index) for index in range(REDUCES)}
    assert all(first[index] != second[index] for index in range(REDUCES))


def test_each_of_two_stages_maps_the_splits_of_its_input_group() -> None:
    office = Office(joined=True)
    groups: dict[int, list[int]] = {0: [], 1: []}
    for content in (None, 0):
        office.sync(content)
        for wanted in office.response(office.reply).wanted:
            work = work_from_proto(wanted)
            assert isinstance(work, TaskWork)
            assert isinstance(work.read, Split)
            groups[wanted.attempt.stage].append(work.read.group)
    assert groups == {0: [0] * MAPS, 1: [1] * MAPS}


@pytest.mark.parametrize("total_order", [False, True])
def test_a_stage_that_reads_two_gets_slices_of_both(total_order: bool) -> None:
    office = Office(total_order=total_order, joined=True)
    for content in (None, 0, 1):  # one worker of three slots: the second round has the fourth map
        office.sync(content)
    office.sync()
    found = works(office.response(office.reply))
    assert found == {index: office.expected(index) for index in range(REDUCES)}
    everything = [work for work in found.values() if isinstance(work, TaskWork)]
    runs = {
        slice_.run
        for work in everything
        if isinstance(work.read, RunInput)
        for slice_ in work.read.slices
    }
    assert runs == {TaskRef(stage, n) for stage in (0, 1) for n in range(MAPS)}
    office.map_again(content=2)
    again = works(office.response(office.reply))
    assert again == {index: office.expected(index) for index in range(REDUCES)}
    assert all(found[index] != again[index] for index in range(REDUCES))


def test_a_reply_from_before_a_change_of_content_carries_no_reduce() -> None:
    office = Office()
    office.sync()
    office.sync(0)
    office.sync()
    overtaken = office.reply
    assert [wanted.inputs_version for wanted in overtaken.wanted] == [0, 0, 0]
    office.map_again(content=1)
    assert works(office.response(overtaken)) == {}


def test_a_job_is_described_once_and_not_to_a_worker_that_knows_it() -> None:
    office = Office()
    office.sync()
    assert len(office.reply.wanted) == MAPS
    told = office.response(office.reply)
    assert [job.job_id for job in told.jobs] == ["j"]
    assert len(told.wanted) == MAPS
    again = office.response(office.reply, "j")
    assert list(again.jobs) == []
    assert len(again.wanted) == MAPS


def asked(house: Office, stage: str, index: int) -> TaskAtHand:
    house.job.spec = msgspec.structs.replace(house.job.spec, inputs=one_input("mem://in"))
    request = GetTaskRequest(job_id="j", stage=stage, index=index)
    answer = task_message(house.machine, house.assigner, "mem://state", request)
    return views.task_at_hand(answer)


def test_a_task_is_described_as_a_worker_gets_it() -> None:
    house = Office()
    house.sync()
    at = asked(house, "map", 1)
    assert at.work == TaskWork(Split((), 0), REDUCES)
    assert (at.state_uri, at.job_state, at.missing) == ("mem://state", JobState.RUNNING, "")
    missing = asked(house, "reduce", 0)
    assert missing.work is None
    assert "have not all got a result" in missing.missing
    house.sync(1)
    work = asked(house, "reduce", 2).work
    assert work is not None
    assert isinstance(work.read, RunInput)
    assert {one.run for one in work.read.slices} == {TaskRef(0, 0), TaskRef(0, 1)}
    for stage, index in (("map", MAPS), ("", 0), ("other", 0)):
        with pytest.raises(UsageError):
            asked(house, stage, index)


def test_a_task_is_not_described_while_the_remains_are_stored() -> None:
    house = Office()
    house.step(CancelAsked("j", "enough"))
    with pytest.raises(UnavailableError):
        asked(house, "map", 0)
    house.step(CleanedUp("j"))
    at = asked(house, "map", 0)
    assert (at.work, at.job_state) == (None, JobState.CANCELLED)


def test_the_description_of_a_job_is_kept_while_it_lives() -> None:
    office = Office()
    office.sync()
    office.response(office.reply)
    assert list(office.assigner._specs) == ["j"]
    office.step(CancelAsked("j", "enough"))
    office._cluster.submit("k", 1, 1)
    office.assigner._plans._splits["k"] = (Split(()),)
    office.sync()
    office.response(office.reply)
    assert list(office.assigner._specs) == ["k"]
