"""The gRPC service for clients: thin, since answers come from the machine and its views."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from mrcore.errors import JobEndedError, UnavailableError, UsageError
from mrcore.master.core import views
from mrcore.master.core.ended import leaves_remains
from mrcore.master.core.events import CancelAsked, DrainAsked
from mrcore.master.core.machine import Machine
from mrcore.master.core.records import JobRecord
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.attempt_logs import read_logs
from mrcore.master.shell.calls import Context, answering, check_size, streaming
from mrcore.master.shell.convert import check_stage
from mrcore.master.shell.job_messages import JobMessages, tasks_page, worker_message
from mrcore.master.shell.job_notes import JobNotes
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.masters import Masters
from mrcore.master.shell.onlookers import Onlookers
from mrcore.master.shell.resumptions import resumption
from mrcore.master.shell.submissions import Submissions
from mrcore.master.shell.task_messages import task_message
from mrcore.model.job import JobState
from mrcore.rpc.bounds import check_job_id, check_request_id, seconds_within, text_within
from mrcore.rpc.convert import job_spec_from_proto
from mrcore.rpc.convert_resume import wanted_from_proto
from mrcore.rpc.enums import TASK_STATES
from mrcore.rpc.v1 import job_pb2, job_service_pb2_grpc
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.rpc.views import fleet_to_proto, master_to_proto, worker_to_proto
from mrcore.storage.base import Storage
from mrcore.util.clock import Clock
from mrcore.util.texts import printable

MAX_REASON: Final = 1_000
WATCH_SECONDS: Final = 0.2
_FINAL: Final = (
    job_pb2.JOB_STATE_SUCCEEDED,
    job_pb2.JOB_STATE_FAILED,
    job_pb2.JOB_STATE_CANCELLED,
)


class JobService(job_service_pb2_grpc.JobServiceServicer):
    """Calls of people and programs."""

    def __init__(
        self,
        shell: Shell,
        submissions: Submissions,
        *,
        draining: asyncio.Event,
        group: asyncio.TaskGroup,
        storage: Storage,
        state_uri: str,
        clock: Clock,
        fleet: FleetStatus,
        masters: Masters,
        notes: JobNotes,
        onlookers: Onlookers,
        assigner: Assigner,
    ) -> None:
        self._shell = shell
        self._fleet = fleet
        self._masters = masters
        self._notes = notes
        self._onlookers = onlookers
        self._assigner = assigner
        self._messages = JobMessages(fleet, notes)
        self._submissions = submissions
        self._draining = draining
        self._group = group
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock

    @answering
    async def Submit(  # noqa: N802 - named by the proto
        self, request: pb.SubmitRequest, context: Context
    ) -> pb.SubmitResponse:
        """Check, plan and start a job, once for each request id."""
        del context
        request_id = check_request_id(request.request_id)
        self._check_takes_jobs()
        spec = job_spec_from_proto(request.spec)
        if spec.session is not None:
            raise UsageError("A job of calls is a session. Start it with CallService.OpenSession.")
        job_id = await self._submissions.submit(
            self._group, request_id, spec, request.plugin_bundle
        )
        job = await self._shell.read(lambda machine: self._messages.job(machine, job_id))
        return pb.SubmitResponse(job=job)

    @answering
    async def Resume(  # noqa: N802 - named by the proto
        self, request: pb.ResumeRequest, context: Context
    ) -> pb.ResumeResponse:
        """Go on with a job that failed or was cancelled, once for each request id."""
        del context
        request_id = check_request_id(request.request_id)
        self._check_takes_jobs()
        wanted = wanted_from_proto(request)
        state, is_untidy = await self._shell.read(
            lambda machine: _standing(machine, wanted.job_id, request_id)
        )
        if is_untidy:
            raise UnavailableError(f"{wanted.job_id} is being cleaned up. Try again soon.")
        former = await asyncio.to_thread(resumption, self._storage, self._state_uri, wanted, state)
        job_id = await self._submissions.submit(
            self._group, request_id, former.spec, request.plugin_bundle, former
        )
        job = await self._shell.read(lambda machine: self._messages.job(machine, job_id))
        return pb.ResumeResponse(job=job, notes=former.notes)

    def _check_takes_jobs(self) -> None:
        if self._draining.is_set():
            raise UnavailableError("The master is ending. Submit the job again soon.")
        if self._fleet.ending:
            raise UnavailableError("The cluster deletes itself, as it was idle. Bring it up again.")

    @answering
    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:  # noqa: N802
        """Return one job."""
        del context
        job_id = check_job_id(request.job_id)
        return pb.GetResponse(
            job=await self._shell.read(
                lambda machine: self._messages.job(machine, job_id, counters=True)
            )
        )

    @answering
    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:  # noqa: N802
        """Return the jobs, newest first, from the one before the page token on."""
        del context
        before = check_job_id(request.page_token) if request.page_token else None
        return await self._shell.read(
            lambda machine: self._messages.jobs_page(machine, request.page_size, before)
        )

    @answering
    async def Cancel(  # noqa: N802 - named by the proto
        self, request: pb.CancelRequest, context: Context
    ) -> pb.CancelResponse:
        """Stop a job."""
        del context
        job_id = check_job_id(request.job_id)
        job = await self._shell.read(lambda machine: self._messages.job(machine, job_id))
        if job.state in (job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_WAITING):
            reason = printable(request.reason, MAX_REASON)
            await self._shell.settle(CancelAsked(job_id, reason, self._clock.wall()))
            job = await self._shell.read(lambda machine: self._messages.job(machine, job_id))
        if job.state == job_pb2.JOB_STATE_COMMITTING:
            note = self._notes.get(job_id)
            raise JobEndedError(views.why_not_cancelled(job_id, job.spec.output_uri, note))
        if job.state in (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED):
            raise JobEndedError(f"Job {job_id} has ended already: there is nothing to cancel.")
        return pb.CancelResponse(job=job)

    @streaming
    async def Watch(  # noqa: N802 - named by the proto
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        """Send the job whenever it changed, until it has ended; counters come with the last one."""
        del context
        job_id = check_job_id(request.job_id)
        interval = seconds_within(
            request.interval_seconds or WATCH_SECONDS, "the interval", 0.01, 3_600.0
        )
        last = b""
        while not self._draining.is_set():
            self._onlookers.watch(job_id)
            job = await self._shell.read(
                lambda machine: self._messages.job(machine, job_id, counters=self._final(job_id))
            )
            check_size(job)
            content = job.SerializeToString(deterministic=True)
            if content != last:
                last = content
                yield pb.WatchResponse(job=job)
            # As sent, not as it is by now: the last answer of a watch shows the end.
            if job.state in _FINAL:
                return
            await self._wait_for_change(job_id, interval)

    def _final(self, job_id: str) -> bool:
        job = self._shell.machine.cluster.job(job_id)
        return job is None or job.state.final

    async def _wait_for_change(self, job_id: str, interval: float) -> None:
        """Wait for the interval, or less where the job ends or the master does."""
        end = self._clock.monotonic() + interval
        while not self._final(job_id) and not self._draining.is_set():
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            await self._shell.job_ended(min(left, WATCH_SECONDS))

    @answering
    async def ListTasks(  # noqa: N802 - named by the proto
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """Return a page of the tasks of a job."""
        del context
        self._onlookers.watch(check_job_id(request.job_id))
        TASK_STATES.optional_from_proto(request.state)
        return await self._shell.read(lambda machine: tasks_page(machine, request))

    @answering
    async def GetTask(  # noqa: N802 - named by the proto
        self, request: pb.GetTaskRequest, context: Context
    ) -> pb.GetTaskResponse:
        """Return what a task reads."""
        del context
        check_job_id(request.job_id)
        response = await self._shell.read(
            lambda machine: task_message(machine, self._assigner, self._state_uri, request)
        )
        check_size(response)
        return response

    @answering
    async def ListWorkers(  # noqa: N802 - named by the proto
        self, request: pb.ListWorkersRequest, context: Context
    ) -> pb.ListWorkersResponse:
        """Return the workers, by id."""
        del request, context
        now = self._clock.monotonic()
        workers = await self._shell.read(lambda machine: views.worker_views(machine.cluster, now))
        return pb.ListWorkersResponse(workers=[worker_to_proto(view) for view in workers])

    @answering
    async def ListMasters(  # noqa: N802 - named by the proto
        self, request: pb.ListMastersRequest, context: Context
    ) -> pb.ListMastersResponse:
        """Return the masters, the leader first."""
        del request, context
        views = await self._masters.views()
        return pb.ListMastersResponse(masters=[master_to_proto(view) for view in views])

    @answering
    async def GetFleet(  # noqa: N802 - named by the proto
        self, request: pb.GetFleetRequest, context: Context
    ) -> pb.GetFleetResponse:
        """Return the fleet, where there is one."""
        del request, context
        view = self._fleet.view
        return pb.GetFleetResponse(fleet=None if view is None else fleet_to_proto(view))

    @answering
    async def DrainWorker(  # noqa: N802 - named by the proto
        self, request: pb.DrainWorkerRequest, context: Context
    ) -> pb.DrainWorkerResponse:
        """Ask a worker to finish and leave."""
        del context
        worker_id = text_within(request.worker_id, "the worker's id", 200, required=True)
        now = self._clock.monotonic()
        worker_message(self._shell.machine, worker_id, now)
        await self._shell.settle(DrainAsked(worker_id))
        worker = await self._shell.read(lambda machine: worker_message(machine, worker_id, now))
        return pb.DrainWorkerResponse(worker=worker)

    @answering
    async def ReadLog(  # noqa: N802 - named by the proto
        self, request: pb.ReadLogRequest, context: Context
    ) -> pb.ReadLogResponse:
        """Return what attempts of a job printed."""
        del context
        job_id = check_job_id(request.job_id)
        job = await self._shell.read(lambda machine: self._messages.job(machine, job_id))
        names = [stage.name for stage in job.stages]
        check_stage(request.stage, names)
        if request.follow and job.state not in _FINAL:
            stage = names.index(request.stage) if request.stage else None
            self._onlookers.follow(job_id, stage, request.index)
        return await asyncio.to_thread(read_logs, self._storage, self._state_uri, request, job_id)


def _standing(machine: Machine, job_id: str, request_id: str) -> tuple[JobState | None, bool]:
    """Return the state of a job, where it is known, and whether its clean-up is still to come.

    Raises JobEndedError for one that another job has finished, unless that is the job of this
    request, whose answer was lost.
    """
    durable = machine.cluster.durable
    record = durable.jobs.get(job_id)
    if record is None:
        return None, False
    if record.continued and request_id not in durable.requests:
        by = (job.job_id for job in durable.jobs.values() if _has_finished(job, job_id))
        raise JobEndedError(
            f"Job {job_id} has nothing left to go on with: {next(by, 'another job')} went on with "
            "it, and has succeeded."
        )
    return record.state, leaves_remains(record)


def _has_finished(job: JobRecord, job_id: str) -> bool:
    return job_id in job.resumes and job.state is JobState.SUCCEEDED
