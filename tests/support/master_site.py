"""A folder with a state, two inputs and an output, for tests of the master."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mrcore.errors import MrcoreError
from mrcore.model.job import JobSpec
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.credentials import state_credentials
from mrcore.rpc.roles import Role
from mrcore.rpc.status import error_from
from tests.support.daemons import Daemon, start_master
from tests.support.fake_worker import make_spec

BUNDLE = b"the plugin's bundle"
SHA256 = hashlib.sha256(BUNDLE).hexdigest()


class MasterSite:
    """A folder with a state, two inputs and an output, and the masters that led it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_uri = f"file://{folder}/state"
        self.out = folder / "out"
        (folder / "in").mkdir()
        for name in ("a", "b"):
            (folder / "in" / name).write_text(f"{name}\n{name}\n")

    def spec(self, **changes: object) -> JobSpec:
        return make_spec(f"file://{self.folder}/in/", f"file://{self.out}", SHA256, **changes)

    def credentials(self, role: Role = Role.USER) -> Credentials:
        return state_credentials(self.state_uri, role)

    def master(
        self, *arguments: str, listen: str = "127.0.0.1:0", wait: bool = True
    ) -> contextlib.AbstractContextManager[Daemon]:
        return start_master(self.folder, self.state_uri, *arguments, listen=listen, wait=wait)


@contextlib.contextmanager
def refused(kind: type[MrcoreError], words: str) -> Iterator[None]:
    """Expect a call to fail with this error, as the client sees it."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error = error_from(caught.value, "the master")
    assert type(error) is kind, error
    assert words in str(error)


def free_port() -> int:
    """Return a port that nobody has just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
