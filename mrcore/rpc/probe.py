"""Ask whether a master answers, and whether it is the one that it should be."""

from __future__ import annotations

import grpc  # noqa: TID251 - the border to gRPC

from mrcore.config import Credentials
from mrcore.errors import MrcoreError
from mrcore.rpc.channel import connect_aio
from mrcore.rpc.v1 import job_service_pb2, job_service_pb2_grpc


async def answers(credentials: Credentials, timeout_seconds: float) -> bool:
    """Tell whether the master of these credentials answers and accepts its token.

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
