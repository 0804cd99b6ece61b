"""Server, channels and status table together: token, TLS pin, health, reflection, errors, drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from mrcore import errors
from mrcore.config import Credentials
from mrcore.errors import MrcoreError
from mrcore.rpc.channel import connect, connect_aio, fingerprint_of
from mrcore.rpc.server import RpcServer, TlsKey
from mrcore.rpc.status import CODES, abort, code_of, error_from
from mrcore.rpc.v1 import worker_service_pb2, worker_service_pb2_grpc

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
    async def health(credentials: Credentials) -> int:
        async with grpc.aio.insecure_channel(credentials.address) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            answer = await check(health_pb2.HealthCheckRequest(service=SERVICE))
            return int(answer.status)

    async def check() -> None:
        parked = asyncio.Event()

        async def park(context: grpc.aio.ServicerContext[Any, Any]) -> None:
            del context
            parked.set()
            await server.draining.wait()

        async with serving(park) as (server, credentials):
            assert await health(credentials) == health_pb2.HealthCheckResponse.SERVING
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
