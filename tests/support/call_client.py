"""A client of calls that a test drives by hand: the stubs of `CallService`, and no pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from mrcore.model.calls import CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.job import JobSpec, Session
from mrcore.rpc.channel import connect
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.convert import job_spec_to_proto
from mrcore.rpc.convert_calls import call_to_proto
from mrcore.rpc.v1 import call_service_pb2 as pb
from mrcore.rpc.v1.call_service_pb2_grpc import CallServiceStub
from tests.support.fake_worker import CALL_SECONDS, VERSIONS
from tests.support.specs import call_spec

FUNCTION = b"a pickled function"
FUNCTION_SHA = hashlib.sha256(FUNCTION).hexdigest()


def session_spec(*, retries: int = 0, keep: bool = False, **changes: object) -> JobSpec:
    """Return the description of a session."""
    session = Session(retries=retries, keep=keep)
    return call_spec("calls", session, versions=VERSIONS, **changes)


def call_of(number: int, needs: Sequence[TaskId] = ()) -> CallPlan:
    """Return a call whose argument is a number."""
    return CallPlan(FUNCTION_SHA, str(number).encode(), needs=tuple(needs))


class CallClient:
    """Calls `CallService`."""

    def __init__(self, credentials: Credentials) -> None:
        self._channel = connect(credentials)
        self.stub = CallServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def open(self, request_id: str = "s1", **options: object) -> str:
        """Store the function, and return the id of a new session."""
        self.put(FUNCTION)
        request = pb.OpenSessionRequest(
            request_id=request_id,
            spec=job_spec_to_proto(session_spec(**options)),  # type: ignore[arg-type]
        )
        return str(self.stub.OpenSession(request, timeout=CALL_SECONDS).session_id)

    def add(self, session_id: str, first: int, calls: Sequence[CallPlan]) -> int:
        request = pb.AddCallsRequest(
            session_id=session_id, first=first, calls=map(call_to_proto, calls)
        )
        return int(self.stub.AddCalls(request, timeout=CALL_SECONDS).calls)

    def cancel(self, session_id: str, *indexes: int) -> None:
        request = pb.CancelCallsRequest(session_id=session_id, indexes=indexes)
        self.stub.CancelCalls(request, timeout=CALL_SECONDS)

    def release(self, session_id: str, *indexes: int) -> None:
        request = pb.ReleaseCallsRequest(session_id=session_id, indexes=indexes)
        self.stub.ReleaseCalls(request, timeout=CALL_SECONDS)

    def close(self, session_id: str, *, cancel: bool = False) -> None:
        request = pb.CloseSessionRequest(session_id=session_id, cancel=cancel)
        self.stub.CloseSession(request, timeout=CALL_SECONDS)

    def watch(self, session_id: str) -> Iterator[pb.EndedCall]:
        """Yield the ends of calls as they come, until the session has ended."""
        request = pb.WatchCallsRequest(session_id=session_id)
        for response in self.stub.WatchCalls(request, timeout=CALL_SECONDS):
            yield from response.ended

    def put(self, content: bytes, sha256: str = "") -> str:
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        half = len(content) // 2
        parts = [pb.PutObjectRequest(sha256=sha256, data=content[:half])]
        parts.append(pb.PutObjectRequest(data=content[half:]))
        return str(self.stub.PutObject(iter(parts), timeout=CALL_SECONDS).uri)

    def read(self, **what: object) -> bytes:
        request = pb.ReadObjectRequest(**what)  # type: ignore[arg-type]
        return b"".join(part.data for part in self.stub.ReadObject(request, timeout=CALL_SECONDS))


def ref(session_id: str, index: int) -> pb.CallRef:
    """Return the message that names a call."""
    return pb.CallRef(session_id=session_id, index=index)
