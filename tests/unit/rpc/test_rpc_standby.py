"""A standby's server refuses calls and names the leader, and callers go on from there."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2

from mrcore.errors import ClusterUnreachableError
from mrcore.rpc.channel import connect_aio
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.masters import ADDRESSES_MAX, LEADER_KEY, MASTERS_KEY, KnownMasters
from mrcore.rpc.server import RpcServer
from mrcore.rpc.status import error_from
from mrcore.rpc.tokens import TokenTable
from mrcore.rpc.v1 import worker_service_pb2, worker_service_pb2_grpc
from tests.support.rpc_serving import SERVICE, Scripted, accepting, call, health_stub, nothing

A = Credentials(address="a:1", token="t", state_uri="mem://s")


def at(address: str) -> Credentials:
    return msgspec.structs.replace(A, address=address)


async def refusal(credentials: Credentials) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(credentials)
    return caught.value


def test_a_standby_names_the_leader_and_then_serves() -> None:
    states = health_pb2.HealthCheckResponse

    async def check() -> None:
        tokens = TokenTable()
        server = RpcServer(tokens)
        port = server.bind("127.0.0.1", 0, None)
        ours = Credentials(address=f"127.0.0.1:{port}", token="secret")
        wrong = msgspec.structs.replace(ours, token="guess")
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        await server.stand_by((SERVICE,), "")
        # Nobody leads yet, so the token is not known either: trying again may help.
        error = await refusal(ours)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert LEADER_KEY not in dict(error.trailing_metadata() or ())
        tokens.replace(accepting("secret"))
        server.name_leader("h:7")
        error = await refusal(ours)
        assert dict(error.trailing_metadata() or ())[LEADER_KEY] == "h:7"
        problem = error_from(error, "here")
        assert type(problem) is ClusterUnreachableError
        assert str(problem).endswith("The leader is at h:7.")
        # The leader may have made this token since, so it is not called wrong.
        error = await refusal(wrong)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "h:7" not in str(error)
        assert LEADER_KEY not in dict(error.trailing_metadata() or ())
        async with connect_aio(ours) as channel:
            watch: Any = health_stub(channel).Watch(request)
            assert (await watch.read()).status == states.NOT_SERVING
            service = Scripted(nothing)
            worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(service, server.grpc_server)
            await server.start((SERVICE,))
            assert (await watch.read()).status == states.SERVING
            assert await call(ours) == 7
            watch.cancel()
        assert (await refusal(wrong)).code() is grpc.StatusCode.UNAUTHENTICATED
        await server.drain(0.1)

    asyncio.run(check())


def test_replies_name_the_masters_where_there_are_several() -> None:
    async def check() -> None:
        server = RpcServer(accepting("secret"))
        service = Scripted(nothing)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(service, server.grpc_server)
        port = server.bind("127.0.0.1", 0, None)
        await server.start((SERVICE,))
        ours = Credentials(address=f"127.0.0.1:{port}", token="secret")
        known = KnownMasters()
        for named, learned in (
            (["a:1"], ()),
            (["a:1", "b:2"], ("a:1", "b:2")),
            ([f"h{n}:1" for n in range(99)], tuple(f"h{n}:1" for n in range(ADDRESSES_MAX))),
        ):
            server.name_masters(named)
            async with connect_aio(ours) as channel:
                stub: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
                reply = stub.Synchronize(worker_service_pb2.SynchronizeRequest(sequence=7))
                await reply
                known.learn(await reply.trailing_metadata())
            assert known.addresses == learned
        await server.drain(0.1)

    asyncio.run(check())


def test_a_caller_tries_the_named_leader_then_what_is_news_then_the_others() -> None:
    known = KnownMasters()
    assert known.choose(A, None) == A
    known.learn([(MASTERS_KEY, "a:1,b:2,c:3"), ("other", b"x")])
    assert known.choose(A, A) == at("b:2")
    known.learn([(LEADER_KEY, "c:3")])
    assert known.choose(at("b:2"), A) == at("c:3")
    assert known.choose(at("c:3"), A) == at("a:1")  # what was found is not news
    assert known.choose(at("c:3"), at("d:4")) == at("d:4")
    assert known.choose(at("d:4"), at("d:4")) == at("a:1")


def test_a_caller_tries_the_masters_of_its_file_before_any_reply() -> None:
    known = KnownMasters()
    named = msgspec.structs.replace(A, masters=("a:1", "b:2"))
    second = known.choose(named, named)
    assert second == msgspec.structs.replace(named, address="b:2")
    known.learn([(MASTERS_KEY, "b:2,c:3")])
    third = known.choose(second, named)
    assert third.address == "c:3"
    assert known.choose(third, named) == named


def test_a_leader_that_names_itself_and_garbage_lead_nowhere() -> None:
    known = KnownMasters()
    known.learn([(LEADER_KEY, "a:1"), (MASTERS_KEY, "a:1,,no port:x,b:2,b:99999")])
    assert known.addresses == ("a:1", "b:2")
    assert known.choose(A, None) == at("b:2")
    known.learn([(LEADER_KEY, "not an address")])
    assert known.choose(at("b:2"), None) == A


def test_a_server_that_has_yet_to_read_its_tokens_refuses_nobody_for_good() -> None:
    async def check() -> None:
        server = RpcServer(TokenTable())
        service = Scripted(nothing)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(service, server.grpc_server)
        port = server.bind("127.0.0.1", 0, None)
        await server.start((SERVICE,))
        error = await refusal(at(f"127.0.0.1:{port}"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await server.drain(0.1)

    asyncio.run(check())
