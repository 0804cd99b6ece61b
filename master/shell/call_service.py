"""The gRPC service for calls: sessions, the calls in them, and their objects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from mrcore.errors import (
    JobEndedError,
    NotFoundError,
    UnavailableError,
    UnknownJobError,
    UsageError,
)
from mrcore.master.core import views
from mrcore.master.core.durable_calls import output_of
from mrcore.master.core.events import CallsDone, CallsUnwanted, CloseAsked
from mrcore.master.core.records import JobRecord
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.calls import Context, answering, streaming
from mrcore.master.shell.job_messages import note_with_fleet
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.objects import Objects
from mrcore.master.shell.sessions import Sessions, Watch
from mrcore.model.calls import CALL_STAGE
from mrcore.model.job import JobState
from mrcore.model.stages import Result
from mrcore.model.task import TaskOutput
from mrcore.rpc.bounds import check_count, check_job_id, check_request_id, check_sha256
from mrcore.rpc.convert import failure_to_proto, job_spec_from_proto
from mrcore.rpc.convert_calls import MAX_CALLS, call_from_proto, call_ref_from_proto
from mrcore.rpc.server import RpcServer
from mrcore.rpc.v1 import call_service_pb2 as pb
from mrcore.rpc.v1 import call_service_pb2_grpc

WATCH_SECONDS: Final = 1.0
"""Longest pause of a watch between two looks at what calls wait for."""
MESSAGE_BYTES: Final = 4 * 2**20
"""Values that go into one message of a watch; what does not fit goes with the next."""


class CallService(call_service_pb2_grpc.CallServiceServicer):
    """Calls of clients that call functions."""

    def __init__(
        self,
        shell: Shell,
        sessions: Sessions,
        objects: Objects,
        fleet: FleetStatus,
        draining: asyncio.Event,
    ) -> None:
        self._shell = shell
        self._fleet = fleet
        self._sessions = sessions
        self._objects = objects
        self._draining = draining

    @answering
    async def OpenSession(  # noqa: N802 - named by the proto
        self, request: pb.OpenSessionRequest, context: Context
    ) -> pb.OpenSessionResponse:
        """Start a session, once for each request id."""
        del context
        self._check_staying()
        request_id = check_request_id(request.request_id)
        spec = job_spec_from_proto(request.spec)
        if spec.session is None:
            raise UsageError("The description of a session has `calls` set. Use Submit for a job.")
        return pb.OpenSessionResponse(session_id=await self._sessions.open(request_id, spec))

    @answering
    async def AddCalls(  # noqa: N802 - named by the proto
        self, request: pb.AddCallsRequest, context: Context
    ) -> pb.AddCallsResponse:
        """Add calls to a session."""
        del context
        self._check_staying()
        session_id = check_job_id(request.session_id)
        check_count(len(request.calls), "the number of calls in a message", MAX_CALLS)
        calls = tuple(map(call_from_proto, request.calls))
        await self._objects.check({sha256 for call in calls for sha256 in call.stored})
        return pb.AddCallsResponse(calls=await self._sessions.add(session_id, request.first, calls))

    @streaming
    async def WatchCalls(  # noqa: N802 - named by the proto
        self, request: pb.WatchCallsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchCallsResponse, None]:
        """Send what calls have ended with, until the session has ended."""
        del context
        session_id = check_job_id(request.session_id)
        watch = await self._sessions.watch(session_id)
        try:
            async for response in self._watched(session_id, watch):
                yield response
        finally:
            self._sessions.leave(session_id, watch)

    async def _watched(self, session_id: str, watch: Watch) -> AsyncIterator[pb.WatchCallsResponse]:
        note, first = "", True
        while True:
            watch.woken.clear()
            while watch.ended:
                response = self._ends(session_id, watch)
                if any(end.released for end in response.ended):
                    await self._shell.flushed()  # ends are durable, and releases may not be yet
                yield response
            if self._draining.is_set():
                raise UnavailableError("The master is ending. Watch the session again soon.")
            if not await self._sessions.check_live(session_id):
                return
            now = self._note(session_id)
            started = self._sessions.started(session_id, watch)
            if now != note or started or first:
                # The first message without ends shows that the master answers.
                note, first = now, False
                yield pb.WatchCallsResponse(note=note, started=started)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await watch.woken.wait()

    def _note(self, session_id: str) -> str:
        """Return why the calls of a session wait; empty where none does, or some run."""
        machine = self._shell.machine
        note = views.session_note(machine.cluster, session_id)
        return note_with_fleet(machine, self._fleet, session_id, note) if note else ""

    def _ends(self, session_id: str, watch: Watch) -> pb.WatchCallsResponse:
        """Return the next ends that fit into a message."""
        response = pb.WatchCallsResponse(started=self._sessions.started(session_id, watch))
        record = self._shell.machine.cluster.job(session_id)
        size = 0
        while watch.ended and size < MESSAGE_BYTES:
            index = watch.ended.popleft()
            ended = None if record is None else _ended_call(record, index)
            if ended is not None:  # else its session has ended since
                response.ended.append(ended)
                size += ended.ByteSize()
        return response

    @answering
    async def CancelCalls(  # noqa: N802 - named by the proto
        self, request: pb.CancelCallsRequest, context: Context
    ) -> pb.CancelCallsResponse:
        """Cancel calls that have not ended."""
        del context
        session_id = await self._known(request.session_id)
        await self._shell.settle(CallsUnwanted(session_id, tuple(request.indexes)))
        return pb.CancelCallsResponse()

    @answering
    async def ReleaseCalls(  # noqa: N802 - named by the proto
        self, request: pb.ReleaseCallsRequest, context: Context
    ) -> pb.ReleaseCallsResponse:
        """Forget calls that have ended."""
        del context
        session_id = await self._known(request.session_id)
        await self._shell.settle(CallsDone(session_id, tuple(request.indexes)))
        return pb.ReleaseCallsResponse()

    @answering
    async def CloseSession(  # noqa: N802 - named by the proto
        self, request: pb.CloseSessionRequest, context: Context
    ) -> pb.CloseSessionResponse:
        """Close a session."""
        del context
        session_id = await self._known(request.session_id)
        message = "Its client has closed it." if request.cancel else ""
        await self._shell.settle(CloseAsked(session_id, message))
        return pb.CloseSessionResponse()

    @answering
    async def PutObject(  # noqa: N802 - named by the proto
        self, request_iterator: AsyncIterator[pb.PutObjectRequest], context: Context
    ) -> pb.PutObjectResponse:
        """Store an object."""
        del context
        self._check_staying()
        first = await anext(request_iterator, None)
        if first is None:
            raise UsageError("The stream is empty. Send the SHA-256 of the object first.")
        sha256 = check_sha256(first.sha256, "the object")

        async def chunks() -> AsyncIterator[bytes]:
            if first.data:
                yield first.data
            async for request in request_iterator:
                if request.data:
                    yield request.data

        return pb.PutObjectResponse(uri=await self._objects.put(sha256, chunks()))

    @streaming
    async def ReadObject(  # noqa: N802 - named by the proto
        self, request: pb.ReadObjectRequest, context: Context
    ) -> AsyncGenerator[pb.ReadObjectResponse, None]:
        """Send a stored object, the value of a call, or a result of a job."""
        del context
        match request.WhichOneof("object"):
            case "sha256":
                sha256 = check_sha256(request.sha256, "the object")
                chunks = self._objects.read_stored(sha256)
            case "call":
                chunks = self._value(await self._call_output(request.call))
            case "result":
                chunks = self._value(await self._result_output(request.result))
            case None:
                raise UsageError("The request lacks a name. Set one of its fields.")
        async for data in chunks:
            yield pb.ReadObjectResponse(data=data)

    @answering
    async def ReleaseResults(  # noqa: N802 - named by the proto
        self, request: pb.ReleaseResultsRequest, context: Context
    ) -> pb.ReleaseResultsResponse:
        """Delete the results of a job that has ended."""
        del context
        job_id = check_job_id(request.job_id)
        state = await self._shell.read(lambda machine: _state_of(machine.cluster.job(job_id)))
        if state is None:
            raise UnknownJobError(f"No job {job_id} is known here: `mrcore jobs` lists them.")
        if not state.final:
            raise JobEndedError(f"Job {job_id} has not ended. Release its results once it has.")
        await asyncio.to_thread(self._objects.delete_results, job_id)
        return pb.ReleaseResultsResponse()

    async def _call_output(self, ref: pb.CallRef) -> TaskOutput:
        call = call_ref_from_proto(ref)
        output = await self._shell.read(
            lambda machine: output_of(machine.cluster.durable.jobs, call)
        )
        if output is None:
            raise NotFoundError(
                f"Call {call.index} of {call.job_id} has no value here: it has not ended, has "
                "failed, or was released."
            )
        return output

    async def _result_output(self, ref: pb.ResultRef) -> TaskOutput:
        job_id = check_job_id(ref.job_id)
        output = await self._shell.read(
            lambda machine: _result_of(machine.cluster.job(job_id), ref.index)
        )
        if output is None:
            raise NotFoundError(f"Job {job_id} has no result {ref.index} here.")
        return output

    async def _value(self, output: TaskOutput) -> AsyncIterator[bytes]:
        if output.object is None:
            yield output.result
            return
        async for data in self._objects.read(output.object.uri, output.object.generation):
            yield data

    async def _known(self, session_id: str) -> str:
        """Return the id of a session that has not ended; raise UnknownJobError for any other."""
        return (await self._sessions.session(check_job_id(session_id))).job_id

    def _check_staying(self) -> None:
        if self._draining.is_set():
            raise UnavailableError("The master is ending. Try again soon.")


def add_call_service(server: RpcServer, service: CallService) -> None:
    """Have a server answer the calls of the service."""
    call_service_pb2_grpc.add_CallServiceServicer_to_server(service, server.grpc_server)


def _state_of(record: JobRecord | None) -> JobState | None:
    """Return the state of a job; None where it is a session, or not known."""
    return None if record is None or record.calls is not None else record.state


def _result_of(record: JobRecord | None, index: int) -> TaskOutput | None:
    """Return a result of a job that has succeeded, of the stage that writes results."""
    if record is None or record.calls is not None:
        return None
    for stage in record.stages:
        if isinstance(stage.plan.writes, Result) and index < len(stage.tasks):
            return stage.tasks[index].output
    return None


def _ended_call(record: JobRecord, index: int) -> pb.EndedCall | None:
    """Return what a call has ended with; None where its session has ended, too."""
    calls = record.calls
    if calls is None or record.state.final:
        return None
    if index not in calls.ended:
        return pb.EndedCall(index=index, released=True)
    failure = calls.ended[index]
    if failure is not None:
        return pb.EndedCall(
            index=index,
            failure=failure_to_proto(failure.failure),
            printed=failure.failure.printed,
            cancelled=failure.cancelled,
        )
    output = record.stages[CALL_STAGE].tasks[index].output
    assert output is not None, f"call {index} of {record.job_id} has ended with a value"
    if output.object is not None:
        return pb.EndedCall(
            index=index, value_bytes=output.object.size_bytes, printed=output.printed
        )
    return pb.EndedCall(index=index, value=output.result, printed=output.printed)
