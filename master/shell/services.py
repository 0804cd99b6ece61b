"""The two gRPC services of a master: thin; what they say is in the machine and its views."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import grpc.aio  # noqa: TID251 - a servicer speaks gRPC
import msgspec

from mrcore.errors import (
    DefectError,
    JobEndedError,
    MrcoreError,
    UnavailableError,
    UnknownJobError,
    UnknownWorkerError,
    UsageError,
)
from mrcore.master.core import views
from mrcore.master.core.commands import Superseded
from mrcore.master.core.events import CancelAsked, DrainAsked, JobBroken
from mrcore.master.core.machine import Machine
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.attempt_logs import read_logs
from mrcore.master.shell.convert import check_stage, synced_from_proto
from mrcore.master.shell.job_notes import JobNotes
from mrcore.master.shell.leader import Cluster
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.submissions import Submissions
from mrcore.rpc.channel import MAX_MESSAGE_BYTES
from mrcore.rpc.convert import (
    check_job_id,
    job_spec_from_proto,
    seconds_within,
    text_within,
)
from mrcore.rpc.enums import TASK_STATES
from mrcore.rpc.status import abort
from mrcore.rpc.v1 import job_pb2, job_service_pb2_grpc, worker_service_pb2_grpc
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.rpc.v1.worker_service_pb2 import SynchronizeRequest, SynchronizeResponse
from mrcore.rpc.views import fleet_to_proto, job_to_proto, task_to_proto, worker_to_proto
from mrcore.storage.base import Storage
from mrcore.util.clock import Clock
from mrcore.util.texts import printable

log = logging.getLogger("mrcore.master")

SERVICES: Final = ("mrcore.rpc.v1.JobService", "mrcore.rpc.v1.WorkerService")
MAX_REQUEST_ID: Final = 200
MAX_REASON: Final = 1_000
JOBS_PAGE: Final = (100, 1_000)
TASKS_PAGE: Final = (1_000, 10_000)
"""Entries of a page: by default, and at most."""
PAGE_BYTES_MAX: Final = 32 * 2**20
WATCH_SECONDS: Final = 0.2
_FINAL: Final = (
    job_pb2.JOB_STATE_SUCCEEDED,
    job_pb2.JOB_STATE_FAILED,
    job_pb2.JOB_STATE_CANCELLED,
)


class Sized(Protocol):
    """A message that knows its size on the wire."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Return the bytes of the message."""
        ...


Context = grpc.aio.ServicerContext[Any, Any]
_Request = TypeVar("_Request")
_Response = TypeVar("_Response", bound=Sized)
_Self = TypeVar("_Self")


def _answering(
    method: Callable[[_Self, _Request, Context], Awaitable[_Response]],
) -> Callable[[_Self, _Request, Context], Awaitable[_Response]]:
    """Turn errors into gRPC's, at the one place where they leave."""

    async def answer(self: _Self, request: _Request, context: Context) -> _Response:
        try:
            response = await method(self, request, context)
            _check_size(response)
            return response
        except MrcoreError as error:
            await abort(context, error)
        except Exception as error:
            log.exception("a call has met a defect")
            await abort(context, _defect(error))

    answer.__doc__ = method.__doc__
    return answer


def _check_size(response: Sized) -> None:
    """Raise UsageError for an answer that no caller could receive."""
    size = response.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise UsageError(
            f"The answer takes {size:,} bytes, and {MAX_MESSAGE_BYTES:,} is the limit. Ask for a "
            "smaller page, or for one job."
        )


def _defect(error: Exception) -> DefectError:
    return DefectError(f"The master failed on this call ({error!r}): its log says where.")


class WorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """What workers call."""

    def __init__(self, shell: Shell, assigner: Assigner, cluster: Cluster) -> None:
        self._shell = shell
        self._assigner = assigner
        self._cluster = cluster

    @_answering
    async def Synchronize(  # noqa: N802 - named by the proto
        self, request: SynchronizeRequest, context: Context
    ) -> SynchronizeResponse:
        """Report to the machine what a worker holds; answer what it should hold."""
        del context
        try:
            return await self._synchronize(request)
        except MrcoreError:
            raise
        except Exception as error:
            # The worker will say the same again, and again: its jobs must not wait for ever.
            for job_id in {held.attempt.job_id: None for held in request.held}:
                await self._shell.send(JobBroken(job_id, str(_defect(error))))
            raise

    async def _synchronize(self, request: SynchronizeRequest) -> SynchronizeResponse:
        if request.cluster_id not in ("", self._cluster.cluster_id):
            # It held work of another state: our id empties it, and then it comes again.
            return self._assigner.empty_response(request.sequence)
        event = synced_from_proto(request, self._cluster.nonce)
        answer = await self._shell.synchronize(event)
        if isinstance(answer, Superseded):
            response = self._assigner.empty_response(request.sequence)
            response.exceed_session = answer.exceed_session
            return response
        response, broken = self._assigner.response(request, event, answer)
        for one in broken:
            await self._shell.send(one)
        return response


class JobService(job_service_pb2_grpc.JobServiceServicer):
    """What people and programs call."""

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
        notes: JobNotes,
    ) -> None:
        self._shell = shell
        self._fleet = fleet
        self._notes = notes
        self._submissions = submissions
        self._draining = draining
        self._group = group
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock

    @_answering
    async def Submit(  # noqa: N802 - named by the proto
        self, request: pb.SubmitRequest, context: Context
    ) -> pb.SubmitResponse:
        """Check, plan and start a job, once for each request id."""
        del context
        request_id = text_within(
            request.request_id, "the request_id", MAX_REQUEST_ID, required=True
        )
        if self._draining.is_set():
            raise UnavailableError("The master is ending. Submit the job again soon.")
        if self._fleet.ending:
            raise UnavailableError("The cluster deletes itself, as it was idle. Bring it up again.")
        spec = job_spec_from_proto(request.spec)
        job_id = await self._submissions.submit(
            self._group, request_id, spec, request.plugin_bundle
        )
        job = await self._shell.read(lambda machine: self._job(machine, job_id))
        return pb.SubmitResponse(job=job)

    @_answering
    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:  # noqa: N802
        """Return one job."""
        del context
        job_id = check_job_id(request.job_id)
        return pb.GetResponse(
            job=await self._shell.read(lambda machine: self._job(machine, job_id, counters=True))
        )

    @_answering
    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:  # noqa: N802
        """Return the jobs, newest first, from the one before the page token on."""
        del context
        size = _page_size(request.page_size, JOBS_PAGE)
        before = check_job_id(request.page_token) if request.page_token else None
        return await self._shell.read(lambda machine: self._jobs_page(machine, size, before))

    @_answering
    async def Cancel(  # noqa: N802 - named by the proto
        self, request: pb.CancelRequest, context: Context
    ) -> pb.CancelResponse:
        """Stop a job."""
        del context
        job_id = check_job_id(request.job_id)
        job = await self._shell.read(lambda machine: self._job(machine, job_id))
        if job.state in (job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_WAITING):
            reason = printable(request.reason, MAX_REASON)
            await self._shell.settle(CancelAsked(job_id, reason, self._clock.wall()))
            job = await self._shell.read(lambda machine: self._job(machine, job_id))
        if job.state == job_pb2.JOB_STATE_COMMITTING:
            note = self._notes.get(job_id)
            raise JobEndedError(views.why_not_cancelled(job_id, job.spec.output_uri, note))
        if job.state in (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED):
            raise JobEndedError(f"Job {job_id} has ended already: there is nothing to cancel.")
        return pb.CancelResponse(job=job)

    async def Watch(  # noqa: N802 - named by the proto
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        """Send the job whenever it changed, until it has ended; counters come with the last one."""
        try:
            job_id = check_job_id(request.job_id)
            interval = seconds_within(
                request.interval_seconds or WATCH_SECONDS, "the interval", 0.01, 3_600.0
            )
            last = b""
            while not self._draining.is_set():
                job = await self._shell.read(
                    lambda machine: self._job(machine, job_id, counters=self._final(job_id))
                )
                _check_size(job)
                content = job.SerializeToString(deterministic=True)
                if content != last:
                    last = content
                    yield pb.WatchResponse(job=job)
                # As sent, not as it is by now: the last answer of a watch shows the end.
                if job.state in _FINAL:
                    return
                await self._wait_for_change(job_id, interval)
        except MrcoreError as error:
            await abort(context, error)
        except Exception as error:
            log.exception("a call has met a defect")
            await abort(context, _defect(error))

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

    @_answering
    async def ListTasks(  # noqa: N802 - named by the proto
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """Return a page of the tasks of a job."""
        del context
        check_job_id(request.job_id)
        TASK_STATES.optional_from_proto(request.state)
        return await self._shell.read(lambda machine: _tasks_page(machine, request))

    @_answering
    async def ListWorkers(  # noqa: N802 - named by the proto
        self, request: pb.ListWorkersRequest, context: Context
    ) -> pb.ListWorkersResponse:
        """Return the workers, by id."""
        del request, context
        now = self._clock.monotonic()
        workers = await self._shell.read(lambda machine: views.worker_views(machine.cluster, now))
        return pb.ListWorkersResponse(workers=[worker_to_proto(view) for view in workers])

    @_answering
    async def GetFleet(  # noqa: N802 - named by the proto
        self, request: pb.GetFleetRequest, context: Context
    ) -> pb.GetFleetResponse:
        """Return the fleet, where there is one."""
        del request, context
        view = self._fleet.view
        return pb.GetFleetResponse(fleet=None if view is None else fleet_to_proto(view))

    @_answering
    async def DrainWorker(  # noqa: N802 - named by the proto
        self, request: pb.DrainWorkerRequest, context: Context
    ) -> pb.DrainWorkerResponse:
        """Ask a worker to finish and leave."""
        del context
        worker_id = text_within(request.worker_id, "the worker's id", 200, required=True)
        now = self._clock.monotonic()
        _worker(self._shell.machine, worker_id, now)
        await self._shell.settle(DrainAsked(worker_id))
        worker = await self._shell.read(lambda machine: _worker(machine, worker_id, now))
        return pb.DrainWorkerResponse(worker=worker)

    @_answering
    async def ReadLog(  # noqa: N802 - named by the proto
        self, request: pb.ReadLogRequest, context: Context
    ) -> pb.ReadLogResponse:
        """Return what attempts of a job printed."""
        del context
        job_id = check_job_id(request.job_id)
        job = await self._shell.read(lambda machine: self._job(machine, job_id))
        check_stage(request.stage, [stage.name for stage in job.stages])
        return await asyncio.to_thread(read_logs, self._storage, self._state_uri, request, job_id)

    def _job(self, machine: Machine, job_id: str, *, counters: bool = False) -> job_pb2.Job:
        record = machine.cluster.job(job_id)
        view = views.job_view(machine.cluster, job_id, counters=counters)
        if record is None or view is None:
            raise UnknownJobError(f"No job {job_id} is known here: `mrcore jobs` lists them.")
        note = view.note
        if not view.state.final:
            # What the fleet says of workers that are missing says more than that there are none.
            nobody = self._fleet.note and note == views.nobody_note(machine.cluster)
            rest = "" if nobody else note
            notes = (self._notes.get(job_id), self._fleet.note, rest)
            note = "; ".join(filter(None, notes))
        view = msgspec.structs.replace(view, note=note, cost=self._fleet.cost(job_id))
        return job_to_proto(view, record.spec)

    def _jobs_page(self, machine: Machine, size: int, before: str | None) -> pb.ListResponse:
        """Return the jobs older than `before`; ids are in the order of submission."""
        response = pb.ListResponse()
        ids = list(machine.cluster.durable.jobs)
        if before is not None:
            # A job forgotten since had only forgotten ones before it.
            ids = ids[: ids.index(before)] if before in machine.cluster.durable.jobs else []
        left = PAGE_BYTES_MAX
        for job_id in reversed(ids):
            if len(response.jobs) == size or left <= 0:
                response.next_page_token = response.jobs[-1].job_id
                break
            response.jobs.append(self._job(machine, job_id))
            left -= response.jobs[-1].ByteSize()
        return response


def _worker(machine: Machine, worker_id: str, now: float) -> job_pb2.Worker:
    for view in views.worker_views(machine.cluster, now):
        if view.worker_id == worker_id:
            return worker_to_proto(view)
    raise UnknownWorkerError(
        f"No worker {printable(worker_id, 100)!r} is known here: `mrcore workers` lists them."
    )


def _page_size(asked: int, bounds: tuple[int, int]) -> int:
    default, most = bounds
    return min(asked or default, most)


def _tasks_page(machine: Machine, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
    """Return the tasks from the position in the page token on; it counts all tasks of the job."""
    job = machine.cluster.job(request.job_id)
    if job is None:
        raise UnknownJobError(f"No job {request.job_id} is known here: `mrcore jobs` lists them.")
    check_stage(request.stage, [stage.name for stage in job.stages])
    token = request.page_token or "0"
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise UsageError("The page_token is not one that this master gave.")
    size = _page_size(request.page_size, TASKS_PAGE)
    state = TASK_STATES.optional_from_proto(request.state)
    response = pb.ListTasksResponse()
    left = PAGE_BYTES_MAX
    for position, view in views.task_views(
        machine.cluster, request.job_id, int(token), request.stage, state
    ):
        if len(response.tasks) == size or left <= 0:
            response.next_page_token = str(position)
            break
        response.tasks.append(task_to_proto(view))
        left -= response.tasks[-1].ByteSize()
    return response
