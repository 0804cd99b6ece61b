"""Server, channels and status table together: token, TLS pin, health, reflection, errors, drain."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from mrcore import errors
from mrcore.errors import MrcoreError
from mrcore.rpc import guard
from mrcore.rpc import server as rpc_server
from mrcore.rpc.channel import connect, connect_aio
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.server import RpcServer
from mrcore.rpc.status import CODES, abort, code_of, error_from
from mrcore.rpc.v1 import worker_service_pb2, worker_service_pb2_grpc
from tests.support.rpc_serving import SERVICE, accepting, call, health_stub, serving


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
                assert "not a message of this call" in (caught.value.details() or "")

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
            second = RpcServer(accepting("x"))
            with pytest.raises(errors.UsageError, match="cannot be listened on"):
                second.bind("127.0.0.1", int(credentials.address.rpartition(":")[2]), None)
            await second.drain(0)

    asyncio.run(check())


def test_calls_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_CALLS", 1)

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
