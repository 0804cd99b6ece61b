"""Listeners at an address that are not a master: reported before any credentials matter."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import msgspec
import pytest

from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.rpc import credentials
from mrcore.rpc.cluster import Credentials, Leader, loopback_file, save_credentials
from mrcore.rpc.credentials import find_credentials
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import RoleToken
from tests.support.fake_clock import FakeClock

Answer = Callable[[socket.socket], object]


@contextlib.contextmanager
def listening(answer: Answer) -> Iterator[str]:
    """Accept connections on loopback, greet each by `answer`, and yield the address."""
    taken: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # shut down: the end
            while True:
                taken.append(server.accept()[0])
                answer(taken[-1])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def silent(connection: socket.socket) -> None:
    """Accept, as a tunnel to nowhere does, and no more."""


def web(connection: socket.socket) -> None:
    """Speak as a web server."""
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (silent, "timed out"),
        (socket.socket.close, "what listens there does not speak gRPC"),
        (web, "what listens there does not speak gRPC"),
    ],
)
def test_who_accepts_and_does_not_greet_is_no_master(
    answer: Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_GREETING_SECONDS", 0.2)
    with (
        listening(answer) as address,
        pytest.raises(ClusterUnreachableError, match=rf"No master answers at {address} \({reason}"),
    ):
        find_credentials(address, reach_seconds=0.0)


class StartingClock(FakeClock):
    """A clock that lets a master take its next step whenever somebody waits."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self._steps = list(steps)

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        super().sleep(seconds)
        if self._steps:
            self._steps.pop(0)()


def greets(client: socket.socket) -> None:
    """Send what a server of HTTP/2 sends first."""
    client.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))


def test_credentials_that_come_just_after_the_answer_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with listening(greets) as address:
        written = Credentials(address=address, token="t")
        path = loopback_file(int(address.rpartition(":")[2]))
        clock = StartingClock(lambda: None, lambda: save_credentials(written, path))
        assert find_credentials(address, clock=clock) == written


def test_the_first_master_of_a_file_that_answers_is_taken(tmp_path: Path) -> None:
    file = str(tmp_path / "file.json")
    gone = "127.0.0.1:1"
    with listening(greets) as address:
        named = Credentials(address=gone, token="t", masters=(gone, address))
        save_credentials(named, Path(file))
        found = find_credentials(None, None, file, clock=FakeClock())
        assert found == msgspec.structs.replace(named, address=address)
        # Where nobody is looked for, the caller tries them in turn.
        assert find_credentials(None, None, file, reach_seconds=None) == named
        # An address that is given counts alone.
        assert find_credentials(address, None, file).masters == ()
    clock = FakeClock()
    with pytest.raises(
        ClusterUnreachableError, match=rf"No master answers at {gone} or {address}: is `mrcore"
    ):
        find_credentials(None, None, file, clock=clock)
    assert 4 < sum(clock.slept) < 6


def test_credentials_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with listening(greets) as address:
        path = loopback_file(int(address.rpartition(":")[2]))
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        with pytest.raises(UsageError, match=f"^{path} is not a credentials file"):
            find_credentials(address, clock=FakeClock())


def test_a_master_that_was_not_looked_for_is_not_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"^No master of yours at 127\.0\.0\.1:1 has left"):
        find_credentials("127.0.0.1:1", reach_seconds=None)


def write_leader(folder: Path, address: str) -> None:
    """Write the state of a cluster that is led at this address."""
    (folder / "tokens").mkdir(exist_ok=True)
    own = RoleToken(role=Role.USER, token="t", created_at=0.0)
    (folder / "tokens/user.json").write_bytes(msgspec.json.encode(own))
    leader = Leader(cluster_id="c", epoch=1, address=address)
    (folder / "leader.json").write_bytes(msgspec.json.encode(leader))


@contextlib.contextmanager
def dead_leader(folder: Path, records_age: float) -> Iterator[FakeClock]:
    """Write the state of a leader that does not answer, and of a standby; yield a clock."""
    clock = FakeClock()
    (folder / "masters").mkdir()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        leader = f"127.0.0.1:{nobody.getsockname()[1]}"
        write_leader(folder, leader)
        for name, address, age in (("a", leader, 3.0), ("b", "127.0.0.1:1", records_age)):
            record = folder / "masters" / name
            record.write_bytes(msgspec.json.encode({"address": address}))
            os.utime(record, (clock.wall() - age,) * 2)
        yield clock


def test_a_leader_that_comes_just_now_is_found(tmp_path: Path) -> None:
    with dead_leader(tmp_path, 1e6), listening(greets) as address:
        clock = StartingClock(lambda: None, lambda: write_leader(tmp_path, address))
        found = find_credentials(None, f"file://{tmp_path}", clock=clock)
        assert (found.address, found.token) == (address, "t")


def test_a_standby_that_lives_has_time_to_take_over(tmp_path: Path) -> None:
    with dead_leader(tmp_path, 3.0), listening(greets) as address:
        waits: list[Callable[[], object]] = [lambda: None] * 30
        clock = StartingClock(*waits, lambda: write_leader(tmp_path, address))
        assert find_credentials(None, f"file://{tmp_path}", clock=clock).address == address


@pytest.mark.parametrize(("records_age", "seconds"), [(3.0, 20.0), (60.0, 5.0)])
def test_a_leader_that_nobody_replaces_is_not_waited_for_any_longer(
    tmp_path: Path, records_age: float, seconds: float
) -> None:
    with dead_leader(tmp_path, records_age) as clock:
        with pytest.raises(ClusterUnreachableError, match="No master answers at"):
            find_credentials(None, f"file://{tmp_path}", clock=clock)
        assert seconds - 1 <= sum(clock.slept) <= seconds


def test_another_server_of_grpc_is_no_master(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with ThreadPoolExecutor() as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with pytest.raises(ClusterUnreachableError, match="what listens there is not a master"):
            find_credentials(f"127.0.0.1:{port}")
        server.stop(None).wait()
