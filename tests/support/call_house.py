"""A call service in the test's own process, which runs calls at once and can be hurt.

It keeps the contract of `call_service.proto`, so a test sees what a client sends and survives. The
integration tests run the same client on real daemons.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

from mrcore.calls import payload
from mrcore.calls.exceptions import dump_exception
from mrcore.calls.references import Need, Reference
from mrcore.client.calls import CallClient
from mrcore.client.connection import Connection
from mrcore.cluster.calling import Caller
from mrcore.cluster.calls import Calls
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.mapping import Mapping, MapResult
from mrcore.cluster.options import CallOptions
from mrcore.errors import LimitError, MrcoreError, NotFoundError
from mrcore.model.task import MAX_RESULT_BYTES
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.status import DOMAIN, code_of
from mrcore.rpc.v1 import call_service_pb2 as pb
from mrcore.rpc.v1 import call_service_pb2_grpc, failure_pb2


@dataclass(eq=False)
class Watched:
    """One watch: the calls that it has sent, and those that were released before that."""

    sent: set[int] = field(default_factory=set)
    released: list[int] = field(default_factory=list)


@dataclass
class Kept:
    """One session: its calls that were neither released nor are waiting."""

    spec: Any
    calls: int = 0
    ended: dict[int, pb.EndedCall] = field(default_factory=dict)
    values: dict[int, bytes] = field(default_factory=dict)
    watches: list[Watched] = field(default_factory=list)
    closed: bool = False


class CallHouse(call_service_pb2_grpc.CallServiceServicer):
    """Sessions, calls and objects in memory. Calls end as soon as `hold` is not set."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sessions: dict[str, Kept] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.ran: Counter[tuple[str, int]] = Counter()
        self.waiting: list[tuple[str, int, pb.Call]] = []
        self.hold = False
        self.limited = 0
        """Calls of AddCalls that are refused because the master is at a limit."""
        self.refused_functions: set[str] = set()
        self.printed = b""
        self.break_streams = 0
        """Number of times that all streams were broken."""
        self._server = grpc.server(futures.ThreadPoolExecutor(24))
        call_service_pb2_grpc.add_CallServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def client(self) -> CallClient:
        """Return a client of this service."""
        credentials = Credentials(address=f"127.0.0.1:{self.port}", token="any")
        return CallClient(Connection(credentials, retry_seconds=5.0))

    def stop(self) -> None:
        """End all streams and the server."""
        with self.changed:
            for kept in self.sessions.values():
                kept.closed = True
            self.changed.notify_all()
        self._server.stop(0.5).wait()

    def let_go(self) -> None:
        """Run what was held."""
        with self.changed:
            self.hold = False
            self._run_waiting()

    def live(self) -> int:
        """Return the number of calls whose ends are kept here."""
        with self.changed:
            return sum(len(kept.ended) for kept in self.sessions.values())

    def calls(self) -> int:
        """Return the number of calls that were added."""
        with self.changed:
            return sum(kept.calls for kept in self.sessions.values())

    def cut(self) -> None:
        """Break all streams, as a master does that dies."""
        with self.changed:
            self.break_streams += 1
            self.changed.notify_all()

    def OpenSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.changed:
            self.sessions.setdefault(request.request_id[:20], Kept(request.spec))
            self.requests["open"] += 1
        return pb.OpenSessionResponse(session_id=request.request_id[:20])

    def AddCalls(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.changed:
            self.requests["add"] += 1
            if self.limited:
                self.limited -= 1
                _abort(context, LimitError("The master is at a limit."))
            if any(call.function in self.refused_functions for call in request.calls):
                _abort(context, NotFoundError("it is not stored"))
            kept = self.sessions[request.session_id]
            assert request.first <= kept.calls, "a call before these is missing"
            for number, call in enumerate(request.calls, request.first):
                if number < kept.calls:
                    continue
                kept.calls = number + 1
                self.waiting.append((request.session_id, number, call))
            if not self.hold:
                self._run_waiting()
        return pb.AddCallsResponse(calls=kept.calls)

    def _run_waiting(self) -> None:
        for session_id, number, call in self.waiting:
            self.sessions[session_id].ended[number] = self._run(session_id, number, call)
        self.waiting.clear()
        self.changed.notify_all()

    def _run(self, session_id: str, number: int, call: pb.Call) -> pb.EndedCall:
        self.ran[session_id, number] += 1

        def resolve(reference: Reference) -> Any:
            if isinstance(reference, Need):
                need = call.needs[reference.number]
                kept = self.sessions[need.session_id]
                end = kept.ended[need.index]
                data = kept.values.get(need.index, end.value)
            else:
                data = self.objects[reference.sha256]
            return payload.load_value(data)

        ended = pb.EndedCall(index=number, printed=self.printed)
        try:
            function = payload.load_function(self.objects[call.function])
            data = call.arguments or self.objects[call.arguments_object]
            arguments, keywords = payload.load_arguments(data, resolve)
            if call.each:
                value = self._each(function, arguments, keywords)
            else:
                value = payload.dump_value(function(*arguments, **keywords))
        except Exception as error:  # noqa: BLE001 - as a worker does
            ended.failure.CopyFrom(
                failure_pb2.Failure(
                    message=f"{type(error).__name__}: {error}",
                    traceback="in a worker",
                    exception=dump_exception(error),
                )
            )
            return ended
        if len(value) > MAX_RESULT_BYTES:
            self.sessions[session_id].values[number] = value
            ended.value_bytes = len(value)
        else:
            ended.value = value
        return ended

    def _each(self, function: Any, items: Any, keywords: Any) -> bytes:
        values: list[Any] = []
        failures: dict[int, payload.ItemFailure] = {}
        for number, item in enumerate(items):
            try:
                values.append(function(*item, **keywords))
            except Exception as error:  # noqa: BLE001 - as a worker does
                values.append(None)
                failures[number] = payload.ItemFailure(str(error), "", dump_exception(error))
        return payload.dump_outcomes(payload.Outcomes(values, failures))

    def WatchCalls(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        began = self.break_streams
        with self.changed:
            kept = self.sessions[request.session_id]
            waiting = {
                number for session, number, _ in self.waiting if session == request.session_id
            }
            watched = Watched(released=[*{*range(kept.calls)} - waiting - kept.ended.keys()])
            kept.watches.append(watched)
        while True:
            with self.changed:
                news = [end for n, end in kept.ended.items() if n not in watched.sent]
                news += [pb.EndedCall(index=n, released=True) for n in watched.released]
                if not news and not kept.closed and self.break_streams == began:
                    self.changed.wait(5.0)
                    continue
                if self.break_streams != began:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
                watched.released.clear()
                watched.sent.update(end.index for end in news if not end.released)
            if news:
                yield pb.WatchCallsResponse(ended=news, started=[end.index for end in news])
            elif kept.closed:
                return

    def CancelCalls(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.changed:
            self.requests["cancel"] += len(request.indexes)
            left = []
            for session_id, number, call in self.waiting:
                if session_id == request.session_id and number in request.indexes:
                    end = pb.EndedCall(index=number, cancelled=True)
                    self.sessions[session_id].ended[number] = end
                else:
                    left.append((session_id, number, call))
            self.waiting = left
            self.changed.notify_all()
        return pb.CancelCallsResponse()

    def ReleaseCalls(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.changed:
            self.requests["release"] += 1
            kept = self.sessions[request.session_id]
            for number in request.indexes:
                was_there = kept.ended.pop(number, None) is not None
                kept.values.pop(number, None)
                for watched in kept.watches if was_there else ():
                    if number in watched.sent:
                        watched.sent.discard(number)
                    else:
                        watched.released.append(number)
            self.changed.notify_all()
        return pb.ReleaseCallsResponse()

    def CloseSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.changed:
            self.requests["close"] += 1
            self.sessions[request.session_id].closed = True
            self.changed.notify_all()
        return pb.CloseSessionResponse()

    def PutObject(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        parts = list(request_iterator)
        data = b"".join(part.data for part in parts)
        with self.changed:
            self.requests["put"] += 1
            if data:  # without any, the object that is here is kept for longer
                self.objects[parts[0].sha256] = data
        return pb.PutObjectResponse(uri="mem://x")

    def ReadObject(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self.requests["read"] += 1
        if request.HasField("call"):
            data = self.sessions[request.call.session_id].values.get(request.call.index)
        else:
            data = self.objects.get(request.sha256)
        if data is None:
            _abort(context, NotFoundError("it is gone"))
        yield pb.ReadObjectResponse(data=data)

    def ReleaseResults(self, request: Any, context: Any) -> Any:  # noqa: N802
        _abort(context, NotFoundError(f"No job {request.job_id} is here."))


OPTIONS: Final = CallOptions()


class Desk:
    """A caller, and the service that it calls."""

    def __init__(self) -> None:
        self.house = CallHouse()
        self.shown: list[bytes] = []
        self.calls = Calls(self.house.client(), show=self.shown.append)
        self.caller = Caller(self.calls)

    def call(self, function: Any, *arguments: Any, **keywords: Any) -> CallFuture[Any]:
        return self.caller.call(function, arguments, keywords, OPTIONS)

    def map(self, function: Any, *iterables: Any, **options: Any) -> MapResult[Any]:
        mapping = Mapping(
            calls=self.calls,
            options=OPTIONS,
            function=function,
            slots=options.pop("slots", lambda: 2),
            chunksize=options.pop("chunksize", "auto"),
        )
        options.setdefault("errors", "raise")
        return MapResult(mapping, iterables, name="map", progress=False, **options)


def _abort(context: Any, error: MrcoreError) -> NoReturn:
    """End the call with an error of mrcore, as the server of a master does."""
    status = status_pb2.Status(code=code_of(error).value[0], message=str(error))
    detail = status.details.add()
    detail.Pack(error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=DOMAIN))
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code_of(error), str(error))
    raise AssertionError("abort raises")
