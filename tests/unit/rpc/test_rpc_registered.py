"""Names of methods that nobody has: they stop no server, and reach none of our code."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import grpc.aio
import pytest

from mrcore.rpc import registered
from mrcore.rpc.channel import connect_aio
from mrcore.rpc.cluster import parse_address
from mrcore.rpc.roles import ABSENT
from tests.support import http2
from tests.support.rpc_serving import call, serving
from tests.support.strangers import LIST


@pytest.mark.parametrize("name", [b"L\x98st", b"\xff\xfe", b"L\x00st", b"Nothing", b"\xc3\xa9"])
def test_a_name_that_is_no_method_does_not_stop_a_server(name: bytes) -> None:
    headers = http2.request(LIST)
    length = bytes([len(LIST)])
    path = LIST.encode().replace(b"List", name)
    headers = headers.replace(length + LIST.encode(), bytes([len(path)]) + path)

    async def check() -> None:
        async with serving() as (_, credentials):
            host, port = parse_address(credentials.address)
            frames = b"".join(
                http2.frame(http2.HEADERS, http2.END_HEADERS, stream, headers)
                for stream in (1, 3, 5)
            )
            with socket.create_connection((host, port), timeout=10) as stranger:
                stranger.sendall(http2.greeting() + frames)
                for _ in range(5):
                    assert await call(credentials) == 7
            assert await call(credentials) == 7

    asyncio.run(check())


def test_a_tool_that_tries_newer_reflection_first_is_told_at_once() -> None:
    async def check() -> None:
        async with serving() as (_, credentials), connect_aio(credentials) as channel:
            (name,) = ABSENT
            ask: Any = channel.unary_unary(name)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(b"", timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(check())


def test_a_grpc_without_an_inner_part_serves_all_the_same_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts = (*registered.INNER_PARTS, "AioServer._renamed")
    monkeypatch.setattr(registered, "INNER_PARTS", parts)

    async def check() -> None:
        async with serving() as (_, credentials):
            assert await call(credentials) == 7

    asyncio.run(check())
    (record,) = [one for one in caplog.records if one.name == registered.__name__]
    assert "has no AioServer._renamed" in record.getMessage()


def test_the_grpc_of_the_tests_has_all_inner_parts() -> None:
    assert registered.missing_parts() == []
