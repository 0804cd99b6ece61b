"""A connection that was closed: a thread that still calls gets an error of ours."""

from __future__ import annotations

import pytest

from mrcore.client.connection import Connection
from mrcore.errors import ClusterUnreachableError
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.v1 import job_service_pb2, job_service_pb2_grpc


def test_a_call_on_a_closed_connection_is_an_error_of_ours() -> None:
    connection = Connection(Credentials(address="127.0.0.1:1", token="t"))
    stub = job_service_pb2_grpc.JobServiceStub(connection.channel)
    connection.close()
    request = job_service_pb2.ListRequest()
    with pytest.raises(ClusterUnreachableError, match=r"127\.0\.0\.1:1 was closed"):
        connection.call(lambda: stub.List(request, timeout=1.0))
