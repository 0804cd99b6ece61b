"""`MasterClient`: each question to a cluster's master as one method.

Every call blocks, is repeated while the master restarts (submission and reads are idempotent), and
raises only `mrcore.errors`.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar, Unpack

import grpc  # noqa: TID251 - a client speaks gRPC
from google.protobuf.message import Message

from mrcore.client.arguments import JobInputs, JobOptions, cluster_names, make_request
from mrcore.client.connection import CALL_SECONDS, RETRY_SECONDS, Connection
from mrcore.client.request import before_tasks, folder_uri, load_plugin, prepare
from mrcore.client.resuming import Asked, Resumed, ask
from mrcore.errors import UsageError
from mrcore.model.job import JobSpec, TaskState
from mrcore.model.master import MasterView
from mrcore.model.remains import TaskAtHand
from mrcore.model.snapshots import AttemptLog, FleetView, JobView, TaskView, WorkerView
from mrcore.plugin import nesting
from mrcore.rpc import convert, views
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.convert_resume import wanted_to_proto
from mrcore.rpc.credentials import find_credentials
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.rpc.v1 import job_service_pb2_grpc
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.texts import text_of

SUBMIT_SECONDS: Final = 600.0
"""Deadline of one Submit: the master lists and cuts the input in it."""

_Message = TypeVar("_Message", bound=Message)
_Kind = TypeVar("_Kind", bound=enum.StrEnum)


def _request(kind: Callable[..., _Message], **fields: object) -> _Message:
    """Return a message; raise UsageError for a value of the wrong type."""
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={text_of(value, repr)[:100]}" for name, value in fields.items())
        raise UsageError(
            f"A master cannot be asked for {given}: ids are texts, numbers are whole ({error})."
        ) from None


def _one_of(kind: type[_Kind], value: object) -> _Kind | None:
    """Return a member by itself or by its text; raise UsageError for anything else."""
    try:
        return None if value is None else kind(str(value))
    except ValueError:
        known = ", ".join(kind)
        raise UsageError(f"{text_of(value, repr)[:100]} is not one of {known}.") from None


def new_request_id() -> str:
    """Return an id that makes repeats of one submission recognisable."""
    return uuid.uuid4().hex


class MasterClient:
    """A connection to one master; close it, or use it as a context manager."""

    def __init__(
        self,
        master: str | Credentials | None = None,
        *,
        state: str | os.PathLike[str] | None = None,
        credentials: str | os.PathLike[str] | None = None,
        find: Callable[[], Credentials] | None = None,
        retry_seconds: float = RETRY_SECONDS,
        clock: Clock = SYSTEM,
    ) -> None:
        """Connect to the master at an address, to the leader of a state, or by a credentials file.

        `find` is asked who leads when nobody answers: the next master may be elsewhere. Raises
        ClusterUnreachableError where no master answers, UsageError where it cannot be called.
        """
        if isinstance(master, Credentials):
            found = master
        else:
            address, place, file = cluster_names(master, state, credentials)
            uri = None if place is None else folder_uri(place, Path.cwd())
            found = find_credentials(address, uri, file, clock=clock)
            find = find or functools.partial(
                find_credentials, address, uri, file, reach_seconds=None
            )
        self.connection = Connection(found, find=find, retry_seconds=retry_seconds, clock=clock)

    @property
    def credentials(self) -> Credentials:
        """Return how the master is called that leads, as far as is known."""
        return self.connection.credentials

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a watch in another thread ends with an error."""
        self.connection.close()

    @property
    def _stub(self) -> job_service_pb2_grpc.JobServiceStub:
        return self.connection.stub(job_service_pb2_grpc.JobServiceStub)

    def submit(self, spec: JobSpec, bundle: bytes, request_id: str | None = None) -> JobView:
        """Start a job and return it as accepted; repeat with the same `request_id` at will.

        Raises UsageError and its children for what cannot work, before any task runs.
        """
        nesting.check_allowed()
        if not isinstance(spec, JobSpec) or not isinstance(bundle, bytes):
            raise UsageError("MasterClient.submit takes a JobSpec and a bundle. Use mrcore.run.")
        request = pb.SubmitRequest(
            request_id=request_id or new_request_id(),
            spec=convert.job_spec_to_proto(spec),
            plugin_bundle=bundle,
        )
        answer = self.connection.call(
            lambda: self._stub.Submit(request, timeout=SUBMIT_SECONDS), 10.0
        )
        return views.job_view(answer.job)

    def submit_job(
        self,
        plugin: str | os.PathLike[str] | None = None,
        *,
        inputs: JobInputs,
        output: str | os.PathLike[str],
        **options: Unpack[JobOptions],
    ) -> JobView:
        """Start a job, given as to `mrcore.run`, and return it as accepted.

        It can be waited for by another one (`after=`). Raises UsageError and its children for what
        cannot work, before any task runs.
        """
        nesting.check_allowed()
        request = make_request(plugin, inputs, output, **options)
        prepared = load_plugin(prepare(request, look=False))
        with before_tasks():
            return self.submit(prepared.spec, prepared.bundle.data)

    def resume(self, asked: Asked | str, request_id: str | None = None) -> Resumed:
        """Go on with a job that failed or was cancelled, as a job of its own.

        `asked` is a job's id, or what `mrcore.client.resuming.ask` returns. Raises UnknownJobError,
        JobEndedError where there is nothing to go on with, and UsageError for code that differs.
        """
        nesting.check_allowed()
        asked = ask(asked, cwd=Path.cwd()) if isinstance(asked, str) else asked
        request = wanted_to_proto(asked.wanted, request_id or new_request_id(), asked.bundle)
        answer = self.connection.call(
            lambda: self._stub.Resume(request, timeout=SUBMIT_SECONDS), 10.0
        )
        return Resumed(views.job_view(answer.job), tuple(answer.notes))

    def get(self, job_id: str) -> JobView:
        """Return the job as it stands; raise UnknownJobError."""
        request = _request(pb.GetRequest, job_id=job_id)
        answer = self.connection.call(lambda: self._stub.Get(request, timeout=CALL_SECONDS))
        return views.job_view(answer.job)

    def list(self) -> Iterator[JobView]:
        """Yield all jobs that the cluster knows, newest first."""
        token = ""
        while True:
            request = pb.ListRequest(page_token=token)
            answer = self.connection.call(functools.partial(self._list_page, request))
            yield from (views.job_view(job) for job in answer.jobs)
            token = answer.next_page_token
            if not token:
                return

    def cancel(self, job_id: str, reason: str = "") -> JobView:
        """Stop a job; return it as it stands.

        Raises UnknownJobError, or UsageError for a job that has ended or is being committed.
        """
        request = _request(pb.CancelRequest, job_id=job_id, reason=reason)
        answer = self.connection.call(lambda: self._stub.Cancel(request, timeout=CALL_SECONDS))
        return views.job_view(answer.job)

    def watch(self, job_id: str, interval_seconds: float = 0.2) -> Iterator[JobView]:
        """Yield the job now, and when it has changed since `interval_seconds`; the last is final.

        Survives restarts of the master: while it is away the watch is tried again, and only
        `retry_seconds` without an answer raise ClusterUnreachableError.
        """
        request = _request(pb.WatchRequest, job_id=job_id, interval_seconds=interval_seconds)
        pause = self.connection.pause()
        while True:
            answers = self.connection.stream(
                lambda: self._stub.Watch(request), pause, f"watch of {job_id}"
            )
            with contextlib.closing(answers):
                for answer in answers:
                    job = views.job_view(answer.job)
                    yield job
                    if job.state.final:
                        return

    def tasks(
        self, job_id: str, stage: str = "", state: TaskState | None = None
    ) -> Iterator[TaskView]:
        """Yield the tasks of a job by stage and index, or those of one stage, given its name."""
        token = ""
        while True:
            request = _request(
                pb.ListTasksRequest,
                job_id=job_id,
                stage=stage,
                state=views.task_state_number(_one_of(TaskState, state)),
                page_token=token,
            )
            answer = self.connection.call(functools.partial(self._tasks_page, request))
            yield from (views.task_view(task) for task in answer.tasks)
            token = answer.next_page_token
            if not token:
                return

    def get_task(self, job_id: str, stage: str, index: int) -> TaskAtHand:
        """Return what a task reads, to run it elsewhere; nothing of it once the job has ended.

        Raises UnknownJobError, and UsageError for a task that the job does not have.
        """
        request = _request(pb.GetTaskRequest, job_id=job_id, stage=stage, index=index)
        answer = self.connection.call(lambda: self._stub.GetTask(request, timeout=CALL_SECONDS))
        return views.task_at_hand(answer)

    def _list_page(self, request: pb.ListRequest) -> pb.ListResponse:
        return self._stub.List(request, timeout=CALL_SECONDS)

    def _tasks_page(self, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        return self._stub.ListTasks(request, timeout=CALL_SECONDS)

    def workers(self) -> tuple[WorkerView, ...]:
        """Return the workers by id."""
        request = pb.ListWorkersRequest()
        answer = self.connection.call(lambda: self._stub.ListWorkers(request, timeout=CALL_SECONDS))
        return tuple(views.worker_view(worker) for worker in answer.workers)

    def masters(self) -> tuple[MasterView, ...]:
        """Return the masters, the leader first."""
        request = pb.ListMastersRequest()
        answer = self.connection.call(lambda: self._stub.ListMasters(request, timeout=CALL_SECONDS))
        return tuple(views.master_view(master) for master in answer.masters)

    def fleet(self) -> FleetView | None:
        """Return the machines that the master makes and deletes; None where it has none."""
        request = pb.GetFleetRequest()
        answer = self.connection.call(lambda: self._fleet_answer(request))
        if answer is None or not answer.HasField("fleet"):
            return None
        return views.fleet_view(answer.fleet)

    def _fleet_answer(self, request: pb.GetFleetRequest) -> pb.GetFleetResponse | None:
        """Make the call; return None from a master of a version without it."""
        try:
            return self._stub.GetFleet(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise

    def drain(self, worker_id: str) -> WorkerView:
        """Ask a worker to finish what it has and leave; raise UsageError for an unknown one."""
        request = _request(pb.DrainWorkerRequest, worker_id=worker_id)
        answer = self.connection.call(lambda: self._stub.DrainWorker(request, timeout=CALL_SECONDS))
        return views.worker_view(answer.worker)

    def read_log(
        self,
        job_id: str,
        *,
        stage: str = "",
        index: int = 0,
        attempt: str = "",
        tail_bytes: int = 0,
        follow: bool = False,
    ) -> tuple[AttemptLog, ...]:
        """Return what attempts printed, oldest first; those of all tasks where no stage is named.

        `tail_bytes` bounds each log from its end; 0 is 64 KiB. With `follow`, running attempts
        store what they have printed every second or so, for 10 s from the last such call.
        """
        request = _request(
            pb.ReadLogRequest,
            job_id=job_id,
            stage=stage,
            index=index,
            attempt=attempt,
            tail_bytes=tail_bytes,
            follow=follow,
        )
        answer = self.connection.call(lambda: self._stub.ReadLog(request, timeout=CALL_SECONDS))
        return tuple(views.attempt_log(log) for log in answer.logs)
