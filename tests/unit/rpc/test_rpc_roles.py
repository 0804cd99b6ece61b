"""The table of what each role may call, and the guard that obeys it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mrcore.errors import NotAllowedError, UsageError
from mrcore.rpc.channel import connect_aio
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.roles import METHODS, USERS, WORKERS, Role
from mrcore.rpc.server import RpcServer
from mrcore.rpc.status import error_from
from mrcore.rpc.tokens import Accepted, TokenTable, hash_of
from mrcore.rpc.v1 import (
    job_service_pb2,
    job_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from tests.support.fake_clock import FakeClock
from tests.support.rpc_serving import Handler, Scripted, nothing

TOKENS = {Role.USER: "of-a-user", Role.WORKER: "of-a-worker"}


def declared() -> Iterator[str]:
    for path in sorted(Path("proto").rglob("*.proto")):
        name = str(path.relative_to("proto").with_suffix("")).replace("/", ".")
        module = importlib.import_module(f"{name}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}"


def test_the_table_has_every_method_of_the_protos_and_no_other() -> None:
    ours = {name for name in METHODS if name.startswith("/mrcore.")}
    assert ours == set(declared())


def test_a_worker_may_synchronise_and_nothing_else_of_ours() -> None:
    for name, roles in METHODS.items():
        if name.startswith("/mrcore."):
            assert roles == (WORKERS if "/mrcore.rpc.v1.WorkerService/" in name else USERS)


class Jobs(job_service_pb2_grpc.JobServiceServicer):
    """Counts what gets through."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls = 0

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802 - named by the proto
        self.calls += 1
        return job_service_pb2.ListResponse()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for _ in range(5):
            self.clock.now += 3.0
            yield job_service_pb2.WatchResponse()


class Site:
    """A server with both services, and callers of both roles."""

    def __init__(self, act: Handler = nothing) -> None:
        self.service = Scripted(act)
        self.clock = FakeClock(1_000.0)
        self.jobs = Jobs(self.clock)  # type: ignore[abstract] # the rest is not called
        self.tokens = TokenTable(
            [Accepted(hash_of(token), role) for role, token in TOKENS.items()], self.clock
        )

    async def __aenter__(self) -> Site:
        self.server = RpcServer(self.tokens)
        grpc_server = self.server.grpc_server
        job_service_pb2_grpc.add_JobServiceServicer_to_server(self.jobs, grpc_server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self.service, grpc_server)
        self.address = f"127.0.0.1:{self.server.bind('127.0.0.1', 0, None)}"
        await self.server.start(())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.drain(0.1)

    def caller(self, token: str) -> grpc.aio.Channel:
        return connect_aio(Credentials(address=self.address, token=token))


async def listing(channel: grpc.aio.Channel) -> Any:
    stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
    return await stub.List(job_service_pb2.ListRequest(), timeout=10)


async def synchronising(channel: grpc.aio.Channel) -> Any:
    stub: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
    return await stub.Synchronize(worker_service_pb2.SynchronizeRequest(), timeout=10)


def test_each_role_does_its_own_and_is_told_what_it_lacks() -> None:
    async def check() -> None:
        async with (
            Site() as site,
            site.caller(TOKENS[Role.USER]) as user,
            site.caller(TOKENS[Role.WORKER]) as worker,
        ):
            await listing(user)
            await synchronising(worker)
            for call, sentence in (
                (
                    listing(worker),
                    "The token of a worker does not allow List. Use the credentials of a user.",
                ),
                (
                    synchronising(user),
                    "The token of a user does not allow Synchronize. "
                    "Use the credentials of a worker.",
                ),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
                error = error_from(caught.value, "here")
                assert type(error) is NotAllowedError
                assert str(error) == sentence
            assert site.jobs.calls == 1

    asyncio.run(check())


def test_a_worker_cannot_ask_the_service_to_describe_itself() -> None:
    async def check() -> None:
        async with Site() as site, site.caller(TOKENS[Role.WORKER]) as worker:
            ask: Any = worker.stream_stream(
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
            )
            token = ("authorization", f"Bearer {TOKENS[Role.WORKER]}")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(iter([b""]), metadata=(token,)).read()
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(check())


def test_a_method_that_is_not_in_the_table_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with Site() as site, site.caller(TOKENS[Role.USER]) as user:
            monkeypatch.delitem(METHODS, "/mrcore.rpc.v1.JobService/List")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await listing(user)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert site.jobs.calls == 0

    asyncio.run(check())


def test_a_token_that_has_expired_is_refused_and_ends_its_streams() -> None:
    async def check() -> None:
        async with Site() as site, site.caller("short") as caller:
            short = Accepted(hash_of("short"), Role.USER, expires_at=1_010.0)
            site.tokens.replace([short])
            await listing(caller)
            stub: Any = job_service_pb2_grpc.JobServiceStub(caller)
            watch = stub.Watch(job_service_pb2.WatchRequest(), timeout=10)
            for _ in range(3):  # at 1003, 1006 and 1009
                await watch.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch.read()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await listing(caller)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert type(error_from(caught.value, "here")) is UsageError

    asyncio.run(check())


def test_a_parked_call_of_a_worker_gets_no_work_once_its_token_is_gone() -> None:
    async def check() -> None:
        async def revoke(context: object) -> None:
            site.tokens.replace([])

        site = Site(revoke)
        async with site, site.caller(TOKENS[Role.WORKER]) as worker:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await synchronising(worker)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(check())
