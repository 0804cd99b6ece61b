"""A server of this process, and its credentials."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2_grpc

from mrcore.rpc.certificates import TlsKey
from mrcore.rpc.channel import connect_aio, fingerprint_of
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.roles import Role
from mrcore.rpc.server import RpcServer
from mrcore.rpc.tokens import Accepted, TokenTable, hash_of
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


def accepting(token: str, *roles: Role) -> TokenTable:
    """Return the tokens of a server that has one, for these roles or for all."""
    return TokenTable(Accepted(hash_of(token), role) for role in roles or Role)


async def nothing(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    del context


@contextlib.asynccontextmanager
async def serving(
    act: Handler = nothing, tls: TlsKey | None = None, *, mutual: bool = False
) -> AsyncIterator[tuple[RpcServer, Credentials]]:
    server = RpcServer(accepting("secret"))
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(Scripted(act), server.grpc_server)
    port = server.bind("127.0.0.1", 0, tls, mutual=mutual)
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


def health_stub(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)
