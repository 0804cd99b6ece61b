"""What listens at an address and is no master: told as such, before any credentials matter."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from mrcore.errors import ClusterUnreachableError
from mrcore.rpc import credentials
from mrcore.rpc.credentials import find_credentials

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


def test_another_server_of_grpc_is_no_master(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with ThreadPoolExecutor() as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with pytest.raises(ClusterUnreachableError, match="what listens there is no master"):
            find_credentials(f"127.0.0.1:{port}")
        server.stop(None).wait()
