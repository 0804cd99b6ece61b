"""The services over a real shell: answers rest on what is durable, and defects are reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, cast
from unittest.mock import patch

import grpc
import msgspec
import pytest

from mrcore.errors import JobEndedError
from mrcore.master.core.events import CancelAsked, DrainAsked, Event
from mrcore.master.core.facts import CommitBegun, JobSubmitted, TaskWon
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.job_service import JobService, _standing
from mrcore.master.shell.leader import Cluster
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.masters import Masters
from mrcore.master.shell.onlookers import Onlookers
from mrcore.master.shell.plans import Plans
from mrcore.master.shell.submissions import Submissions
from mrcore.master.shell.worker_service import WorkerService
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import Piece, Split, TaskOutput
from mrcore.rpc.convert import job_spec_to_proto
from mrcore.rpc.v1 import job_pb2
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.rpc.v1.worker_service_pb2 import HeldAttempt, SynchronizeRequest
from mrcore.storage.memory import MemoryStorage
from mrcore.util.clock import SYSTEM
from tests.support.fake_context import CONTEXT, AbortedError
from tests.support.fake_worker import make_spec
from tests.support.journals import job
from tests.support.master_shell import STATE, Gate, Idle, submitted, take_over, turns

SPEC = make_spec("mem://space/in", "mem://space/out", "0" * 64)


@dataclass
class MasterInProcess:
    """A master without a network."""

    shell: Shell
    plans: Plans
    jobs: JobService
    workers: WorkerService

    async def seen(self, event: Event, look: Callable[[Machine], bool]) -> None:
        """Have an event stepped, durable or not, and wait until it shows."""
        await self.shell.send(event)
        async with asyncio.timeout(20):
            while not look(self.shell.machine):  # noqa: ASYNC110 - nobody tells of a step
                await asyncio.sleep(0)


class NoSubmissions:
    """Case of a request that was accepted before; something else happens meanwhile."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._meanwhile = meanwhile

    async def submit(self, *given: object) -> str:
        """Return the job that there is."""
        del given
        await self._meanwhile()
        return "job-a"


def run(act: Callable[[MasterInProcess], Awaitable[None]], gate: Gate | None = None) -> None:
    """Let a master run over a store in memory while `act` does."""

    async def main() -> None:
        from mrcore.storage.faulty import FaultyStorage, script

        storage = MemoryStorage()
        machine, journal = take_over(storage)
        shell = Shell(machine, journal, SYSTEM)
        plans, onlookers = Plans(storage, STATE), Onlookers(SYSTEM)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            assigner = Assigner(machine, plans, "c1", STATE)
            jobs = JobService(
                shell,
                cast("Submissions", None),
                draining=asyncio.Event(),
                group=group,
                storage=storage,
                state_uri=STATE,
                clock=SYSTEM,
                fleet=FleetStatus(),
                masters=cast("Masters", None),
                notes={},
                onlookers=onlookers,
                assigner=assigner,
            )
            workers = WorkerService(shell, assigner, Cluster("c1", "nonce"), onlookers)
            running = group.create_task(shell.run(Idle()))
            house = MasterInProcess(shell, plans, jobs, workers)
            for job_id in ("job-a", "job-b"):
                plans._splits[job_id] = (Split(()),)
                await shell.settle(submitted(job_id))
            if gate is not None:
                journal._storage = FaultyStorage(storage, script({}), hook=gate)
            try:
                await act(house)
            finally:
                running.cancel()
        shell.close()

    asyncio.run(main())


def cancelled(machine: Machine) -> bool:
    job = machine.cluster.job("job-a")
    return job is not None and job.state.final


async def held_back(call: Awaitable[Any], gate: Gate) -> Any:
    """Assert that a call answers only once the journal has been written; return its answer."""
    calling = asyncio.ensure_future(call)
    await asyncio.to_thread(gate.reached.wait, 20)
    await turns()
    assert not calling.done()
    gate.opened.set()
    return await calling


def test_what_submit_answers_is_durable() -> None:
    gate = Gate()

    async def act(house: MasterInProcess) -> None:
        async def meanwhile() -> None:
            await house.seen(CancelAsked("job-a", "enough"), cancelled)

        house.jobs._submissions = cast("Submissions", NoSubmissions(meanwhile))
        request = pb.SubmitRequest(request_id="r", spec=job_spec_to_proto(SPEC))
        answer = await held_back(house.jobs.Submit(request, CONTEXT), gate)
        assert answer.job.state == job_pb2.JOB_STATE_CANCELLED

    run(act, gate)


def test_what_cancel_and_drain_answer_is_durable() -> None:
    async def after(house: MasterInProcess, call: Callable[[], Awaitable[Any]], gate: Gate) -> Any:
        """Call while the machine goes on after the step that the call waits for."""
        settle = house.shell.settle

        async def settle_and_go_on(event: Event) -> None:
            await settle(event)
            gate.opened.clear()
            gate.reached.clear()
            await house.seen(
                submitted("job-c"), lambda machine: machine.cluster.job("job-c") is not None
            )

        with patch.object(house.shell, "settle", settle_and_go_on):
            gate.opened.set()
            calling = asyncio.ensure_future(call())
            async with asyncio.timeout(20):
                while house.shell.machine.cluster.job("job-c") is None:  # noqa: ASYNC110 - as in `seen`
                    await asyncio.sleep(0)
            return await held_back(calling, gate)

    async def act(house: MasterInProcess) -> None:
        cancel = pb.CancelRequest(job_id="job-a")
        answer = await after(house, lambda: house.jobs.Cancel(cancel, CONTEXT), cancelling)
        assert answer.job.state == job_pb2.JOB_STATE_CANCELLED

    async def act_drain(house: MasterInProcess) -> None:
        draining.opened.set()  # the first attempt of a worker waits for a fact
        await house.workers.Synchronize(request_of(1), CONTEXT)
        drain = pb.DrainWorkerRequest(worker_id="w1")
        answer = await after(house, lambda: house.jobs.DrainWorker(drain, CONTEXT), draining)
        assert answer.worker.draining

    cancelling, draining = Gate(), Gate()
    run(act, cancelling)
    run(act_drain, draining)


def test_why_a_job_cannot_be_resumed_is_durable() -> None:
    gate = Gate()

    async def act(house: MasterInProcess) -> None:
        await house.seen(CancelAsked("job-a", "enough"), cancelled)
        request = pb.ResumeRequest(request_id="r", job_id="job-a")
        with pytest.raises(AbortedError, match="job-a is being cleaned up"):
            await held_back(house.jobs.Resume(request, CONTEXT), gate)

    run(act, gate)


def test_a_job_that_another_has_finished_is_not_resumed() -> None:
    machine = Machine(Limits(), Random(0))
    submitted_again, *others = job("new", JobState.SUCCEEDED)
    assert isinstance(submitted_again, JobSubmitted)
    again = msgspec.structs.replace(submitted_again, resumes=("old",))
    for fact in (*job("old", JobState.FAILED), again, *others):
        machine.apply(fact)
    request = machine.cluster.durable.jobs["new"].request_id
    with pytest.raises(JobEndedError, match=r"new went on with it, and has succeeded\.$"):
        _standing(machine, "old", "another request")
    assert _standing(machine, "old", request)[0] is JobState.FAILED, "its answer was lost"


def test_a_watch_goes_on_until_it_has_sent_the_end() -> None:
    gate = Gate()

    async def act(house: MasterInProcess) -> None:
        states: list[int] = []
        watch = house.jobs.Watch(pb.WatchRequest(job_id="job-a"), CONTEXT)
        # Looked at before the end, sent after it: what is sent is not the last word.
        await house.seen(
            submitted("job-c"), lambda machine: machine.cluster.job("job-c") is not None
        )
        first = asyncio.ensure_future(anext(watch))
        await asyncio.to_thread(gate.reached.wait, 20)
        await turns()
        await house.seen(CancelAsked("job-a", "enough"), cancelled)
        assert not first.done()
        gate.opened.set()
        states = [(await first).job.state, *[answer.job.state async for answer in watch]]
        assert states == [job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELLED]

    run(act, gate)


def request_of(sequence: int, *held: HeldAttempt, nonce: str = "nonce") -> SynchronizeRequest:
    return SynchronizeRequest(
        worker_id="w1", session=1, sequence=sequence, slots=2, store_nonce=nonce, held=held
    )


def test_a_defect_in_the_work_of_one_job_fails_it_and_no_other() -> None:
    async def act(house: MasterInProcess) -> None:
        house.plans.forget("job-a")  # what a defect of ours might do
        answer = await house.workers.Synchronize(request_of(1), CONTEXT)
        assert [one.attempt.job_id for one in answer.wanted] == ["job-b"]
        request = pb.GetRequest(job_id="job-a")
        async with asyncio.timeout(20):
            while not cancelled(house.shell.machine):  # noqa: ASYNC110 - nobody tells of a step
                await asyncio.sleep(0)
        job = (await house.jobs.Get(request, CONTEXT)).job
        assert job.state == job_pb2.JOB_STATE_FAILED
        assert "could not give out the job's tasks (KeyError('job-a'))" in job.message
        assert not house.shell.machine.cluster.job("job-b").state.final  # type: ignore[union-attr]

    run(act)


@pytest.mark.parametrize(("megabytes", "given_out"), [(23, True), (25, False)])
def test_a_task_whose_work_is_too_long_to_be_told_fails_its_job(
    megabytes: int, given_out: bool
) -> None:
    """The limit is 24 MiB, and an answer holds no more attempts once it holds 16."""
    name = "x" * (1 << 20)
    split = Split((Piece(name, "in", 0, 1, 1, "1"),) * megabytes)

    async def act(house: MasterInProcess) -> None:
        house.plans._splits["job-a"] = (split,)
        answer = await house.workers.Synchronize(request_of(1), CONTEXT)
        assert [one.attempt.job_id for one in answer.wanted] == ["job-a" if given_out else "job-b"]
        if given_out:
            return
        async with asyncio.timeout(20):
            while not cancelled(house.shell.machine):  # noqa: ASYNC110 - nobody tells of a step
                await asyncio.sleep(0)
        job = (await house.jobs.Get(pb.GetRequest(job_id="job-a"), CONTEXT)).job
        assert job.state == job_pb2.JOB_STATE_FAILED
        assert "one of its map tasks reads takes 26,2" in job.message
        assert "25,165,824 is the limit. Give fewer and larger files" in job.message

    run(act)


def test_a_defect_in_what_a_worker_says_fails_the_jobs_that_it_speaks_of() -> None:
    async def act(house: MasterInProcess) -> None:
        answer = await house.workers.Synchronize(request_of(1), CONTEXT)
        held = HeldAttempt(state=HeldAttempt.STATE_RUNNING, attempt=answer.wanted[0].attempt)
        assert held.attempt.job_id == "job-a"
        with (
            patch(
                "mrcore.master.shell.worker_service.synced_from_proto",
                side_effect=ZeroDivisionError("oops"),
            ),
            pytest.raises(AbortedError, match=r"The master failed on this call .*oops") as caught,
        ):
            await house.workers.Synchronize(request_of(2, held), CONTEXT)
        assert caught.value.code is grpc.StatusCode.INTERNAL
        await house.shell.settle(DrainAsked("nobody"))
        job = house.shell.machine.cluster.job("job-a")
        assert job is not None
        assert job.state.value == "failed"
        assert "oops" in job.message
        assert not house.shell.machine.cluster.job("job-b").state.final  # type: ignore[union-attr]

    run(act)


def test_a_defect_in_a_call_of_a_client_is_told_and_harms_no_job() -> None:
    async def act(house: MasterInProcess) -> None:
        with patch("mrcore.master.core.views.job_view", side_effect=ZeroDivisionError("oops")):
            for call in (
                house.jobs.Get(pb.GetRequest(job_id="job-a"), CONTEXT),
                anext(house.jobs.Watch(pb.WatchRequest(job_id="job-a"), CONTEXT)),
            ):
                with pytest.raises(AbortedError, match="oops") as caught:
                    await call
                assert caught.value.code is grpc.StatusCode.INTERNAL
        job = (await house.jobs.Get(pb.GetRequest(job_id="job-a"), CONTEXT)).job
        assert job.state == job_pb2.JOB_STATE_RUNNING

    run(act)


def test_counters_are_sent_only_where_they_are_asked_for() -> None:
    async def act(house: MasterInProcess) -> None:
        answer = await house.workers.Synchronize(request_of(1), CONTEXT)
        done = HeldAttempt(state=HeldAttempt.STATE_FINISHED, attempt=answer.wanted[0].attempt)
        done.output.counters["seen"] = 4
        await house.workers.Synchronize(request_of(2, done), CONTEXT)
        watch = house.jobs.Watch(pb.WatchRequest(job_id="job-a"), CONTEXT)
        assert not (await anext(watch)).job.counters
        assert not [
            job for job in (await house.jobs.List(pb.ListRequest(), CONTEXT)).jobs if job.counters
        ]
        job = (await house.jobs.Get(pb.GetRequest(job_id="job-a"), CONTEXT)).job
        assert dict(job.counters) == {"seen": 4}
        await house.shell.settle(CancelAsked("job-a", "enough"))
        *_, last = [answer.job async for answer in watch]
        assert last.state == job_pb2.JOB_STATE_CANCELLED
        assert dict(last.counters) == {"seen": 4}

    run(act)


def test_an_answer_that_no_caller_could_receive_is_a_sentence() -> None:
    async def act(house: MasterInProcess) -> None:
        huge = job_pb2.Job(message="x" * (64 * 2**20))
        with patch("mrcore.master.shell.job_messages.job_to_proto", return_value=huge):
            for call in (
                house.jobs.Get(pb.GetRequest(job_id="job-a"), CONTEXT),
                anext(house.jobs.Watch(pb.WatchRequest(job_id="job-a"), CONTEXT)),
            ):
                with pytest.raises(AbortedError, match="67,108,864 is the limit") as caught:
                    await call
                assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT

    run(act)


def test_a_commit_that_waits_is_shown_and_says_what_would_end_it() -> None:
    async def act(house: MasterInProcess) -> None:
        notes = house.jobs._notes
        notes["job-a"] = "could not publish the output; trying again: No space is left."
        job = (await house.jobs.Get(pb.GetRequest(job_id="job-a"), CONTEXT)).job
        assert job.note.startswith(notes["job-a"])
        for task in (TaskId("job-a", 0, 0), TaskId("job-a", 1, 0)):
            attempt = AttemptId(task, AttemptNumber(1, 1))
            won = TaskWon(attempt=attempt, worker_id="w1", output=TaskOutput())
            house.shell.machine.apply(won)
        house.shell.machine.apply(CommitBegun(job_id="job-a", plan=CommitPlan()))
        with pytest.raises(AbortedError, match=r"No space is left\..*gc \S+ --release`"):
            await house.jobs.Cancel(pb.CancelRequest(job_id="job-a"), CONTEXT)
        notes.clear()
        with pytest.raises(AbortedError, match=r"can no longer be cancelled\.$"):
            await house.jobs.Cancel(pb.CancelRequest(job_id="job-a"), CONTEXT)

    run(act)


def test_a_worker_of_another_cluster_is_not_heard() -> None:
    async def act(house: MasterInProcess) -> None:
        stranger = request_of(1)
        stranger.cluster_id = "another"
        answer = await house.workers.Synchronize(stranger, CONTEXT)
        assert (answer.cluster_id, list(answer.wanted), answer.sequence) == ("c1", [], 1)
        assert house.shell.machine.cluster.sorted_workers() == []
        ours = request_of(2)
        ours.cluster_id = "c1"
        assert (await house.workers.Synchronize(ours, CONTEXT)).wanted

    run(act)
