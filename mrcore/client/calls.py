"""`CallClient`: each question about calls and their objects to a master as one method.

Every method blocks and raises only `mrcore.errors`. All but `add` are repeated while the master
restarts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mrcore.client.connection import CALL_SECONDS, Connection, Pause
from mrcore.model.calls import CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.job import JobSpec
from mrcore.rpc import convert
from mrcore.rpc.convert_calls import call_to_proto
from mrcore.rpc.v1 import call_service_pb2 as pb
from mrcore.rpc.v1 import call_service_pb2_grpc

SEND_SECONDS: Final = 60.0
"""Deadline of a call that carries many bytes."""
READ_SECONDS: Final = 600.0
"""Deadline for one object."""
PART_BYTES: Final = 1 << 20
"""Bytes of an object in one message."""


class CallClient:
    """The call service of a master, on a connection that others may share."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def _stub(self) -> call_service_pb2_grpc.CallServiceStub:
        return self.connection.stub(call_service_pb2_grpc.CallServiceStub)

    def open(self, request_id: str, spec: JobSpec) -> str:
        """Start a session and return its id; repeat with the same `request_id` at will."""
        request = pb.OpenSessionRequest(request_id=request_id, spec=convert.job_spec_to_proto(spec))
        return self.connection.call(
            lambda: self._stub.OpenSession(request, timeout=CALL_SECONDS),
            self.connection.retry_seconds,
        ).session_id

    def add(self, session_id: str, first: int, calls: Sequence[CallPlan]) -> None:
        """Add calls, in one try; those that the session has already are left out.

        A repeat is left to the caller, who can make room where the master is at a limit. Raises
        LimitError there, ClusterUnreachableError and UnavailableError where nobody answers.
        """
        request = pb.AddCallsRequest(
            session_id=session_id, first=first, calls=[call_to_proto(call) for call in calls]
        )
        self.connection.call(
            lambda: self._stub.AddCalls(request, timeout=SEND_SECONDS), retry_seconds=0.0
        )

    def watch(self, session_id: str, pause: Pause) -> Iterator[pb.WatchCallsResponse]:
        """Yield what happens to the calls of a session, as `Connection.stream` does."""
        request = pb.WatchCallsRequest(session_id=session_id)
        return self.connection.stream(
            lambda: self._stub.WatchCalls(request), pause, f"watch of {session_id}"
        )

    def cancel(self, session_id: str, indexes: Sequence[int]) -> None:
        """Cancel calls that have not ended."""
        request = pb.CancelCallsRequest(session_id=session_id, indexes=indexes)
        self.connection.call(lambda: self._stub.CancelCalls(request, timeout=CALL_SECONDS))

    def release(self, session_id: str, indexes: Sequence[int]) -> None:
        """Forget calls that have ended, with their values."""
        request = pb.ReleaseCallsRequest(session_id=session_id, indexes=indexes)
        self.connection.call(
            lambda: self._stub.ReleaseCalls(request, timeout=CALL_SECONDS),
            self.connection.retry_seconds,
        )

    def close(self, session_id: str, *, cancel: bool, retry_seconds: float = CALL_SECONDS) -> None:
        """Close a session; with `cancel` its calls are cancelled, and all values released."""
        request = pb.CloseSessionRequest(session_id=session_id, cancel=cancel)
        self.connection.call(
            lambda: self._stub.CloseSession(request, timeout=CALL_SECONDS), retry_seconds
        )

    def put(self, sha256: str, data: bytes) -> str:
        """Store an object under the SHA-256 of its content, and return its place."""

        def parts() -> Iterator[pb.PutObjectRequest]:
            yield pb.PutObjectRequest(sha256=sha256, data=data[:PART_BYTES])
            for start in range(PART_BYTES, len(data), PART_BYTES):
                yield pb.PutObjectRequest(data=data[start : start + PART_BYTES])

        return self.connection.call(
            lambda: self._stub.PutObject(parts(), timeout=READ_SECONDS),
            self.connection.retry_seconds,
        ).uri

    def read_value(self, call: TaskId) -> bytes:
        """Return the value of a call that is an object; raise NotFoundError where it is gone."""
        ref = pb.CallRef(session_id=call.job_id, index=call.index)
        return self._read(pb.ReadObjectRequest(call=ref))

    def read_object(self, sha256: str) -> bytes:
        """Return a stored object; raise NotFoundError where it is gone."""
        return self._read(pb.ReadObjectRequest(sha256=sha256))

    def read_result(self, job_id: str, index: int) -> bytes:
        """Return what a task of a job has left for the caller; raise NotFoundError."""
        ref = pb.ResultRef(job_id=job_id, index=index)
        return self._read(pb.ReadObjectRequest(result=ref))

    def release_results(self, job_id: str) -> None:
        """Delete what the tasks of a job that has ended have left; raise JobEndedError before."""
        request = pb.ReleaseResultsRequest(job_id=job_id)
        self.connection.call(
            lambda: self._stub.ReleaseResults(request, timeout=CALL_SECONDS),
            self.connection.retry_seconds,
        )

    def _read(self, request: pb.ReadObjectRequest) -> bytes:
        def read() -> bytes:
            answers = self._stub.ReadObject(request, timeout=READ_SECONDS)
            return b"".join(answer.data for answer in answers)

        return self.connection.call(read, self.connection.retry_seconds)
