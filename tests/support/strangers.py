"""Strangers that speak HTTP/2 badly, slowly, or with tokens that they guess."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from random import Random

from tests.support import http2

DATA, RST_STREAM, PUSH_PROMISE, PING, WINDOW_UPDATE, CONTINUATION = 0, 3, 5, 6, 8, 9
END_STREAM = _ACK = 1
GUESSES_AT_ONCE = 50
LIST = "/mrcore.rpc.v1.JobService/List"

Connect = Callable[[], socket.socket]


def nonsense(rng: Random) -> Iterator[bytes]:
    """Yield what a server of HTTP/2 should not be sent."""
    hello = http2.greeting()
    call = http2.request(LIST)
    headers = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, call)
    yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500)  # as of TLS
    yield rng.randbytes(4_096)
    yield hello + b"\xff\xff\xff" + bytes([DATA, 0]) + (1).to_bytes(4, "big")  # 16 MiB to come
    yield hello + http2.frame(http2.HEADERS, http2.END_HEADERS, 0, call)
    yield hello + http2.frame(http2.HEADERS, http2.END_HEADERS, 2, call)
    yield hello + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"\xff" * 1_000)
    yield hello + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"\x3f" + b"\xff" * 9)
    yield hello + http2.frame(CONTINUATION, 0, 1, call)
    yield hello + http2.frame(PUSH_PROMISE, http2.END_HEADERS, 1, bytes(4) + call)
    yield hello + http2.frame(WINDOW_UPDATE, 0, 0, bytes(4))
    yield hello + http2.frame(http2.SETTINGS, 0, 0, b"odd")
    yield hello + http2.frame(http2.SETTINGS, 0, 0, http2.INITIAL_WINDOW + b"\xff" * 4)
    yield hello + headers + http2.frame(DATA, 0, 1, b"\x01\xff\xff\xff\xff") * 10
    yield hello + http2.frame(PING, 0, 0, bytes(8)) * 2_000
    yield hello + b"".join(
        http2.frame(http2.HEADERS, http2.END_HEADERS, stream, call)
        + http2.frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
        for stream in range(1, 2_001, 2)
    )
    endless = b"\0\x7f" + bytes(126) + b"x\x7f" + bytes(127)
    yield (
        hello
        + http2.frame(http2.HEADERS, 0, 1, call)
        + b"".join(http2.frame(CONTINUATION, 0, 1, endless * 60) for _ in range(64))
    )
    for _ in range(20):
        broken = bytearray(hello + headers)
        for _ in range(3):
            broken[rng.randrange(24, len(broken))] = rng.randrange(256)
        yield bytes(broken)


def drips() -> Iterator[bytes]:
    """Yield beginnings of a greeting and of a call that come no further."""
    hello = http2.greeting()
    whole = hello + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.request(LIST))
    for length in (1, 10, len(hello) - 1, len(hello), len(hello) + 5, len(hello) + 40):
        yield whole[:length]


def send(connect: Connect, content: bytes) -> socket.socket:
    """Return a connection on which this was sent, as far as the other end has taken it."""
    connection = connect()
    with contextlib.suppress(OSError):
        connection.sendall(content)
    return connection


class Guesser(threading.Thread):
    """Guesses tokens as fast as it is refused, on one connection after the other."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(name="guesser")
        self.refused = 0
        self._connect = connect
        self._over = threading.Event()

    def __enter__(self) -> Guesser:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            with self._connect() as connection, contextlib.suppress(OSError, EOFError):
                connection.sendall(http2.greeting())
                self._guess(connection)

    def _guess(self, connection: socket.socket) -> None:
        stream = 1
        flags = http2.END_HEADERS | END_STREAM
        with connection.makefile("rb") as replies:
            while not self._over.is_set():
                calls = b""
                for _ in range(GUESSES_AT_ONCE):
                    call = http2.request(LIST, authorization=f"Bearer guess-{stream:040d}")
                    calls += http2.frame(http2.HEADERS, flags, stream, call)
                    stream += 2
                connection.sendall(calls)
                ended = 0
                while ended < GUESSES_AT_ONCE:
                    head = replies.read(9)
                    if len(head) < 9:
                        raise EOFError
                    content = replies.read(int.from_bytes(head[:3], "big"))
                    if head[3] in (http2.SETTINGS, PING) and not head[4]:
                        told = content if head[3] == PING else b""
                        connection.sendall(http2.frame(head[3], _ACK, 0, told))
                    ended += head[3] == http2.HEADERS and bool(head[4] & END_STREAM)
                self.refused += ended
