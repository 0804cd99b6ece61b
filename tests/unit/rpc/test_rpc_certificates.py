"""Mutual TLS: certificates that masters issue to callers, and want to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from cryptography import x509

from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.model import object_names
from mrcore.rpc.certificates import TlsKey, is_issued_by, issue_certificate, make_certificate
from mrcore.rpc.channel import connect
from mrcore.rpc.cluster import Credentials, Leader, save_credentials
from mrcore.rpc.credentials import find_credentials
from mrcore.rpc.probe import LeaderProbe, answers, serves_jobs
from mrcore.rpc.roles import Role
from mrcore.rpc.status import error_from
from mrcore.rpc.tokens import RoleToken
from mrcore.rpc.v1 import job_service_pb2, job_service_pb2_grpc
from mrcore.util.clock import SYSTEM
from tests.support.fake_clock import FakeClock
from tests.support.rpc_serving import call, serving


class Jobs(job_service_pb2_grpc.JobServiceServicer):
    """Lists no jobs."""

    async def List(  # noqa: N802 - named by the proto
        self,
        request: job_service_pb2.ListRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> job_service_pb2.ListResponse:
        return job_service_pb2.ListResponse()


class House:
    """A master that wants certificates, and the calls that it has seen."""

    def __init__(self) -> None:
        self.key = make_certificate(SYSTEM.wall())
        self.calls = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Credentials]:
        """Serve, and yield credentials that have the token, and a certificate."""

        async def count(context: grpc.aio.ServicerContext[Any, Any]) -> None:
            del context
            self.calls += 1

        async with serving(count, self.key, mutual=True) as (server, bare):
            jobs = Jobs()  # type: ignore[abstract] # the rest is not called
            job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs, server.grpc_server)
            own = issue_certificate(self.key, "mrcore-user")
            yield msgspec.structs.replace(bare, client_key=own)


def list_jobs(credentials: Credentials) -> None:
    """Make a blocking call."""
    with connect(credentials) as channel:
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        stub.List(job_service_pb2.ListRequest(), timeout=10)


def probing(credentials: Credentials) -> bool:
    """Return whether a standby that reads these tokens sees that the master answers."""
    own = RoleToken(
        role=Role.USER,
        token=credentials.token,
        created_at=0.0,
        client_key=credentials.client_key,
    )
    probe = LeaderProbe(10.0, lambda: own)
    try:
        return probe(msgspec.structs.replace(credentials, token="", client_key=None))
    finally:
        probe.close()


def test_a_caller_with_a_certificate_of_the_cluster_is_answered() -> None:
    async def check() -> None:
        house = House()
        async with house.open() as credentials:
            assert await call(credentials) == 7
            await asyncio.to_thread(list_jobs, credentials)
            assert await answers(credentials, 10.0)
            assert await asyncio.to_thread(probing, credentials)
            assert house.calls == 1
            # It stands beside the token, and does not replace it.
            wrong = msgspec.structs.replace(credentials, token="wrong")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(wrong)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(check())


def other_cluster() -> TlsKey:
    return issue_certificate(make_certificate(SYSTEM.wall()), "mrcore-user")


@pytest.mark.parametrize("shown", [lambda: None, other_cluster], ids=["none", "other"])
def test_a_token_alone_does_not_let_in(shown: Any) -> None:
    async def check() -> None:
        house = House()
        async with house.open() as credentials:
            stranger = msgspec.structs.replace(credentials, client_key=shown())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(stranger)
            error = error_from(caught.value, stranger.address)
            assert type(error) is ClusterUnreachableError
            assert "a client certificate. Use --state URI, or --credentials" in str(error)
            with pytest.raises(grpc.RpcError) as refused:
                await asyncio.to_thread(list_jobs, stranger)
            assert str(error_from(refused.value, stranger.address)) == str(error)
            assert not await answers(stranger, 10.0)
            assert not await asyncio.to_thread(probing, stranger)
            assert not await asyncio.to_thread(serves_jobs, stranger.address, 10.0)
            assert house.calls == 0

    asyncio.run(check())


def test_credentials_without_a_certificate_are_refused_before_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    state_uri = f"file://{tmp_path}/state"

    def write(uri: str, content: msgspec.Struct) -> None:
        path = Path(uri.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(content))

    def find(credentials: Credentials, *, by_address: bool, by_state: bool) -> Credentials:
        leader = Leader(
            cluster_id="c",
            epoch=1,
            address=credentials.address,
            fingerprint=credentials.fingerprint,
            certificate=credentials.certificate,
        )
        own = RoleToken(
            role=Role.USER, token="secret", created_at=0.0, client_key=credentials.client_key
        )
        write(object_names.leader_uri(state_uri), leader)
        write(object_names.token_uri(state_uri, Role.USER), own)
        save_credentials(credentials, tmp_path / "file.json")
        return find_credentials(
            credentials.address if by_address else None,
            state_uri if by_state else None,
            None if by_state else str(tmp_path / "file.json"),
        )

    async def check() -> None:
        async with House().open() as credentials:
            bare = msgspec.structs.replace(credentials, client_key=None)
            for by_address in (False, True):
                for by_state in (False, True):
                    how = {"by_address": by_address, "by_state": by_state}
                    found = await asyncio.to_thread(find, credentials, **how)
                    assert found.client_key == credentials.client_key
                    with pytest.raises(UsageError, match=r"wants a client certificate\. Give"):
                        await asyncio.to_thread(find, bare, **how)
            # Nobody has left credentials for this port.
            with pytest.raises(UsageError, match="is not one of yours, or has not left"):
                await asyncio.to_thread(find_credentials, credentials.address, clock=FakeClock())

    asyncio.run(check())


def test_a_certificate_ends_with_that_of_its_issuer_and_can_issue_none() -> None:
    issuer = make_certificate(1.8e9)
    own = issue_certificate(issuer, "mrcore-worker")
    found, authority = (
        x509.load_pem_x509_certificate(one.certificate.encode()) for one in (own, issuer)
    )
    assert found.not_valid_after_utc == authority.not_valid_after_utc
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert is_issued_by(own, issuer)
    assert not is_issued_by(own, make_certificate(1.8e9))
    assert not is_issued_by(TlsKey("", "no certificate"), issuer)


def test_a_certificate_is_not_asked_of_callers_of_plain_tls() -> None:
    async def check() -> None:
        key = make_certificate(SYSTEM.wall())
        async with serving(tls=key) as (_, credentials):
            assert await call(credentials) == 7
            own = issue_certificate(key, "mrcore-user")
            assert await call(msgspec.structs.replace(credentials, client_key=own)) == 7

    asyncio.run(check())
