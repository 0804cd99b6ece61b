"""The health service: for those with the token, and within bounds for strangers."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from mrcore.rpc import health
from mrcore.rpc.channel import connect_aio
from tests.support import http2
from tests.support.rpc_serving import SERVICE, call, health_stub, serving


def test_a_health_watch_sees_the_drain_with_the_token_and_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    serving_status = health_pb2.HealthCheckResponse.SERVING

    async def read(watch: Any) -> Any:
        return await watch.read()

    async def check() -> None:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        parked, go = asyncio.Event(), asyncio.Event()

        async def park(context: object) -> None:
            parked.set()
            await go.wait()

        async with (
            serving(park) as (server, credentials),
            connect_aio(credentials) as ours,
            grpc.aio.insecure_channel(credentials.address) as strange,
        ):
            watches = [health_stub(channel).Watch(request) for channel in (ours, strange)]
            for watch in watches:
                assert (await watch.read()).status == serving_status
            # A call that goes on keeps the server from closing, and readers wait already: gRPC
            # drops an unread message once the end of its call or of its connection has come.
            call_that_goes_on = asyncio.ensure_future(call(credentials))
            await parked.wait()
            second = [asyncio.ensure_future(read(watch)) for watch in watches]
            drained = asyncio.ensure_future(server.drain(60))
            async with asyncio.timeout(10):  # a watch that is not woken takes the whole grace
                for watch, reading in zip(watches, second, strict=True):
                    assert (await reading).status == health_pb2.HealthCheckResponse.NOT_SERVING
                    assert await watch.read() is grpc.aio.EOF
                    assert await watch.code() is grpc.StatusCode.OK
                go.set()
                assert await call_that_goes_on == 7
                await drained

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
