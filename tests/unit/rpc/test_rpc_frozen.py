"""A peer that does not answer any more: a stream from it ends, whichever ping is out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from mrcore.rpc.channel import connect
from mrcore.rpc.cluster import Credentials

METHOD = "/frozen.Test/Stream"
BYTES = 200_000


class Relay:
    """A TCP connection to a port, which can be cut without a sign to either end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = threading.Event()
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        with (
            self._listener.accept()[0] as here,
            socket.create_connection(("127.0.0.1", self._port)) as there,
        ):
            back = threading.Thread(target=self._pass_on, args=(there, here))
            back.start()
            self._pass_on(here, there)
            there.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(1 << 16):
            if not self.cut.is_set():
                target.sendall(data)

    def close(self) -> None:
        self._accepting.join()
        self._listener.close()


def test_a_stream_of_a_peer_that_is_cut_off_ends() -> None:
    over = threading.Event()

    def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Send enough to have the bandwidth measured, and then nothing."""
        del request, context
        for _ in range(20):
            yield bytes(BYTES)
        over.wait(60)

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(stream)
    service, method = METHOD[1:].split("/")
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        relay = Relay(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        with connect(Credentials(address=f"127.0.0.1:{relay.port}", token="t")) as channel:
            # Beyond the time that keep-alive takes, and below that of a ping by default.
            send: Any = channel.unary_stream(METHOD)
            call = send(b"", timeout=40)
            next(call)
            relay.cut.set()
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
        over.set()
        relay.close()
        server.stop(0).wait()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
