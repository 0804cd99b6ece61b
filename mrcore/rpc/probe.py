"""Ask whether a master answers, and whether it is the one that it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc  # noqa: TID251 - the border to gRPC
from grpc_health.v1 import health_pb2

from mrcore.errors import MrcoreError
from mrcore.rpc.channel import connect, connect_aio, connect_to_anybody
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.tokens import RoleToken
from mrcore.rpc.v1 import job_service_pb2, job_service_pb2_grpc


async def answers(credentials: Credentials, timeout_seconds: float) -> bool:
    """Return whether the master of these credentials answers and accepts its token.

    The health service would not do: it is open, and any cluster's master may live there now.
    """
    try:
        async with connect_aio(credentials) as channel:
            stub = job_service_pb2_grpc.JobServiceStub(channel)
            request = job_service_pb2.ListRequest(page_size=1)
            await stub.List(request, timeout=timeout_seconds)
    except (grpc.RpcError, MrcoreError):
        return False
    return True


class LeaderProbe:
    """Repeated question whether a master answers as a leader, over one connection.

    It blocks, and is for one thread.
    """

    def __init__(self, timeout_seconds: float, read_own: Callable[[], RoleToken | None]) -> None:
        """Ask with the token that `read_own` returns; it is read again where it is refused."""
        self._timeout_seconds = timeout_seconds
        self._read_own = read_own
        self._own: RoleToken | None = None
        self._credentials: Credentials | None = None
        self._channel: grpc.Channel | None = None

    def __call__(self, credentials: Credentials) -> bool:
        """Return whether the master of these credentials answers, with all that it knows durable.

        A standby refuses the call, so it does not. The token is not asked of the credentials.
        Raises StorageError where it cannot be read.
        """
        if self._own is not None:
            code = self._ask(credentials.of(self._own))
            if code is not grpc.StatusCode.UNAUTHENTICATED:
                return code is grpc.StatusCode.OK
        former, self._own = self._own, self._read_own()
        if self._own in (None, former):
            return False
        code = self._ask(credentials.of(self._own))
        return code is grpc.StatusCode.OK

    def _ask(self, credentials: Credentials) -> grpc.StatusCode | None:
        """Return the code with which a call ends; None where there cannot be one."""
        request = job_service_pb2.ListRequest(page_size=1)
        try:
            if self._channel is None or credentials != self._credentials:
                self.close()
                self._channel, self._credentials = connect(credentials), credentials
            stub = job_service_pb2_grpc.JobServiceStub(self._channel)
            stub.List(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            self.close()  # the next try does not wait for a back-off of gRPC
            return cast("grpc.Call", error).code()
        except MrcoreError:
            self.close()
            return None
        return grpc.StatusCode.OK

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def serves_jobs(address: str, timeout_seconds: float) -> bool:
    """Return whether a master answers at an address; the health service needs no token.

    A master with TLS shows its certificate, which is taken as it is: nothing else is said.
    """
    name = job_service_pb2.DESCRIPTOR.services_by_name["JobService"].full_name
    request = health_pb2.HealthCheckRequest(service=name)
    for tls in (False, True):
        try:
            with connect_to_anybody(address, tls=tls) as channel:
                check: Callable[..., object] = channel.unary_unary(
                    "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest.SerializeToString
                )
                check(request, timeout=timeout_seconds)
        except (grpc.RpcError, MrcoreError):
            continue
        return True
    return False
