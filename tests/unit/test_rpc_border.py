"""Server, channels and status table together: token, TLS pin, health, reflection, errors, drain."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from mrcore import errors
from mrcore.config import Credentials
from mrcore.errors import MrcoreError
from mrcore.rpc import health
from mrcore.rpc import server as rpc_server
from mrcore.rpc.channel import connect, connect_aio, fingerprint_of
from mrcore.rpc.server import RpcServer, TlsKey
from mrcore.rpc.status import CODES, abort, code_of, error_from
from mrcore.rpc.v1 import worker_service_pb2, worker_service_pb2_grpc
from tests import http2

SERVICE = "mrcore.rpc.v1.WorkerService"
Handler = Callable[[grpc.aio.ServicerContext[Any, Any]], Awaitable[None]]


class Scripted(worker_service_pb2_grpc.WorkerServiceServicer):
    """Does what the test says, then echoes the sequence."""

    def __init__(self, act: Handler) -> None:
        self.act = act

    async def Synchronize(  # noqa: N802 - named by the proto
        self,
        request: worker_service_pb2.SynchronizeRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> worker_service_pb2.SynchronizeResponse:
        await self.act(context)
        return worker_service_pb2.SynchronizeResponse(sequence=request.sequence)


async def nothing(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    del context


@contextlib.asynccontextmanager
async def serving(
    act: Handler = nothing, tls: TlsKey | None = None
) -> AsyncIterator[tuple[RpcServer, Credentials]]:
    server = RpcServer("secret")
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(Scripted(act), server.grpc_server)
    port = server.bind("127.0.0.1", 0, tls)
    await server.start((SERVICE,))
    certificate = tls.certificate if tls else ""
    try:
        yield (
            server,
            Credentials(
                address=f"127.0.0.1:{port}",
                token="secret",
                certificate=certificate,
                fingerprint=fingerprint_of(certificate) if certificate else "",
            ),
        )
    finally:
        await server.drain(0.1)


async def call(credentials: Credentials, sequence: int = 7) -> int:
    async with connect_aio(credentials) as channel:
        stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        request = worker_service_pb2.SynchronizeRequest(sequence=sequence)
        answer = await stub.Synchronize(request, timeout=10)
        return answer.sequence


async def failing_call(credentials: Credentials) -> MrcoreError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(credentials)
    return error_from(caught.value, credentials.address)


def with_(credentials: Credentials, **changes: str) -> Credentials:
    return msgspec.structs.replace(credentials, **changes)


def test_the_token_opens_and_nothing_else_does() -> None:
    async def check() -> None:
        async with serving() as (_, credentials):
            assert await call(credentials) == 7
            for wrong in ("", "secre", "secret2", "Secret"):
                error = await failing_call(with_(credentials, token=wrong))
                assert type(error) is errors.UsageError
                assert "does not accept this token" in str(error)

    asyncio.run(check())


def test_blocking_channels_carry_the_token_too() -> None:
    def blocking(credentials: Credentials) -> int:
        with connect(credentials) as channel:
            stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
            request = worker_service_pb2.SynchronizeRequest(sequence=3)
            return stub.Synchronize(request, timeout=10).sequence

    async def check() -> None:
        async with serving() as (_, credentials):
            assert await asyncio.to_thread(blocking, credentials) == 3
            with pytest.raises(grpc.RpcError) as caught:
                await asyncio.to_thread(blocking, with_(credentials, token="no"))
            assert "token" in str(error_from(caught.value, "there"))

    asyncio.run(check())


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_it_was_raised(kind: type[MrcoreError]) -> None:
    async def raises(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await abort(context, kind("The “thing” is broken: mend it."))

    async def check() -> None:
        async with serving(raises) as (_, credentials):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(credentials)
            assert caught.value.code() is CODES[kind]
            error = error_from(caught.value, credentials.address)
            assert type(error) is kind
            assert str(error) == "The “thing” is broken: mend it."

    asyncio.run(check())


def test_the_table_names_every_error_of_the_tree() -> None:
    def tree(kind: type[MrcoreError]) -> set[type[MrcoreError]]:
        return {kind}.union(*(tree(child) for child in kind.__subclasses__()))

    ours = {kind for kind in tree(MrcoreError) if kind.__module__ == "mrcore.errors"}
    assert set(CODES) == ours


def test_bytes_that_are_no_message_are_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with serving() as (_, credentials), connect_aio(credentials) as channel:
            # A field of a wire type that there is not, one that ends too early, text not UTF-8.
            for garbage in (b"\xff" * 10, b"\x12\xff\x01", b"\x12\x02\xff\xfe"):
                call = channel.unary_unary(
                    f"/{SERVICE}/Synchronize",
                    request_serializer=lambda content: content,
                    response_deserializer=lambda content: content,
                )
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(garbage, timeout=10)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "no message of this call" in (caught.value.details() or "")

    asyncio.run(check())
    assert not caplog.records


def test_an_error_of_another_module_travels_as_its_nearest_parent() -> None:
    class OddError(errors.OutputError):
        pass

    async def raises(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await abort(context, OddError("odd"))

    async def check() -> None:
        async with serving(raises) as (_, credentials):
            assert type(await failing_call(credentials)) is errors.OutputError

    assert code_of(OddError("odd")) is grpc.StatusCode.FAILED_PRECONDITION
    asyncio.run(check())


def test_a_long_sentence_still_arrives() -> None:
    async def raises(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await abort(context, errors.InputError("ü" * 100_000))

    async def check() -> None:
        async with serving(raises) as (_, credentials):
            error = await failing_call(credentials)
            assert type(error) is errors.InputError
            assert str(error) == "ü" * 999 + "…"

    asyncio.run(check())


def test_a_master_that_is_gone_is_unreachable() -> None:
    async def check() -> None:
        async with serving() as (_, credentials):
            pass
        error = await failing_call(credentials)
        assert type(error) is errors.ClusterUnreachableError
        assert credentials.address in str(error)

    asyncio.run(check())


def test_health_needs_no_token_and_tells_of_the_drain() -> None:
    async def status(credentials: Credentials) -> int:
        async with grpc.aio.insecure_channel(credentials.address) as channel:
            check = health_stub(channel).Check
            return int((await check(health_pb2.HealthCheckRequest(service=SERVICE))).status)

    async def check() -> None:
        parked = asyncio.Event()

        async def park(context: grpc.aio.ServicerContext[Any, Any]) -> None:
            del context
            parked.set()
            await server.draining.wait()

        async with serving(park) as (server, credentials):
            assert await status(credentials) == health_pb2.HealthCheckResponse.SERVING
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(call(credentials))
                await parked.wait()
                # The grace is long: only a parked call that is woken lets this end in time.
                async with asyncio.timeout(10):
                    await server.drain(60)
            assert waiting.result() == 7

    asyncio.run(check())


def test_reflection_shows_the_service_to_who_has_the_token() -> None:
    async def services(credentials: Credentials, token: str) -> set[str]:
        async with grpc.aio.insecure_channel(credentials.address) as channel:
            ask = channel.stream_stream(
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            call = ask(iter([request]), metadata=(("authorization", f"Bearer {token}"),))
            return {
                one.name async for answer in call for one in answer.list_services_response.service
            }

    async def check() -> None:
        async with serving() as (_, credentials):
            assert SERVICE in await services(credentials, "secret")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await services(credentials, "guess")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(check())


def test_two_servers_cannot_share_a_port() -> None:
    async def check() -> None:
        async with serving() as (_, credentials):
            second = RpcServer("x")
            with pytest.raises(errors.UsageError, match="cannot be listened on"):
                second.bind("127.0.0.1", int(credentials.address.rpartition(":")[2]), None)
            await second.drain(0)

    asyncio.run(check())


def health_stub(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def test_a_health_watch_sees_the_drain_with_the_token_and_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    serving_status = health_pb2.HealthCheckResponse.SERVING

    async def check() -> None:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        async with (
            serving() as (server, credentials),
            connect_aio(credentials) as ours,
            grpc.aio.insecure_channel(credentials.address) as strange,
        ):
            watches = [health_stub(channel).Watch(request) for channel in (ours, strange)]
            for watch in watches:
                assert (await watch.read()).status == serving_status
            async with asyncio.timeout(10):
                await server.drain(60)  # a watch that is not woken would take the whole grace
            for watch in watches:
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                assert await watch.read() is grpc.aio.EOF
                assert await watch.code() is grpc.StatusCode.OK

    asyncio.run(check())
    assert not caplog.records


def test_who_has_the_token_learns_of_unknown_services() -> None:
    async def check() -> None:
        request = health_pb2.HealthCheckRequest(service="mrcore.rpc.v1.JobServise")
        async with serving() as (_, credentials), connect_aio(credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health_stub(channel).Check(request)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            watch = health_stub(channel).Watch(request)
            answer = await watch.read()
            assert answer.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            watch.cancel()

    asyncio.run(check())


def test_watches_of_strangers_are_bounded_and_the_oldest_makes_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "MAX_STRANGERS", 3)

    async def check() -> None:
        request = health_pb2.HealthCheckRequest()
        async with (
            serving() as (_, credentials),
            grpc.aio.insecure_channel(credentials.address) as channel,
        ):
            watches = []
            for _ in range(5):
                watches.append(health_stub(channel).Watch(request))
                await watches[-1].read()
            for old in watches[:2]:
                assert await old.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not any(watch.done() for watch in watches[2:])
            # A probe is answered however many watches there are.
            await health_stub(channel).Check(request)
            assert await call(credentials) == 7

    asyncio.run(check())
    assert not caplog.records


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_a_stranger_that_takes_no_answer_leaves_no_line_in_the_log(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "MAX_STRANGERS", 1)
    no_window = (0).to_bytes(4, "big")

    async def check() -> None:
        async with serving() as (_, credentials):
            host, _, port = credentials.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(http2.greeting(http2.INITIAL_WINDOW + no_window))
            request = http2.request(f"/grpc.health.v1.Health/{method}")
            writer.write(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, request))
            writer.write(http2.frame(http2.HEADERS, http2.END_HEADERS, 3, request))
            async with asyncio.timeout(10):
                while await http2.read_frame(reader) != (http2.HEADERS, 3):
                    pass
            async with grpc.aio.insecure_channel(credentials.address) as channel:
                await health_stub(channel).Check(health_pb2.HealthCheckRequest())
                writer.close()
                await health_stub(channel).Check(health_pb2.HealthCheckRequest())

    asyncio.run(check())
    assert not caplog.records


def test_a_check_whose_answer_is_not_taken_makes_room_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MAX_STRANGERS", 2)
    monkeypatch.setattr(health, "STRANGER_SECONDS", 0.01)

    async def check() -> None:
        async with (
            serving() as (server, credentials),
            grpc.aio.insecure_channel(credentials.address) as channel,
        ):
            watch = health_stub(channel).Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            host, _, port = credentials.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(http2.greeting(http2.INITIAL_WINDOW + (0).to_bytes(4, "big")))
            request = http2.request("/grpc.health.v1.Health/Check")
            writer.write(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, request))
            async with asyncio.timeout(10):
                while await http2.read_frame(reader) != (http2.HEADERS, 1):
                    pass
                while len(server._health._strangers) > 1:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0)
            await health_stub(channel).Check(health_pb2.HealthCheckRequest())
            await call(credentials)
            assert not watch.done()
            writer.close()

    asyncio.run(check())


def test_calls_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_server, "MAX_CALLS", 1)

    async def check() -> None:
        parked, go_on = asyncio.Event(), asyncio.Event()

        async def park(context: grpc.aio.ServicerContext[Any, Any]) -> None:
            del context
            parked.set()
            await go_on.wait()

        async with serving(park) as (_, credentials):
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(call(credentials))
                await parked.wait()
                assert type(await failing_call(credentials)) is errors.UnavailableError
                go_on.set()
            assert waiting.result() == 7
            assert await call(credentials) == 7, "the call that has ended counts no longer"

    asyncio.run(check())


def test_connections_leave_descriptors_to_the_rest_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for soft, expected in ((1024, 768), (100, 1), (1 << 20, 16_384), (-1, 16_384)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert rpc_server.max_connections() == expected
