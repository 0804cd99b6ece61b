"""The socket side: HTTP/1.1 with connections that are kept, and the faults that strike them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from mrcore.util.clock import SYSTEM, Clock
from tests.gcsserver.access import Authorise
from tests.gcsserver.errors import ApiError
from tests.gcsserver.faults import Fault, Faults, reason_of
from tests.gcsserver.routes import Call, Routes
from tests.gcsserver.store import Store
from tests.gcsserver.wire import Request, Response, error_response, json_response

SLOW_STEPS = 20


class GcsServer:
    """A server on a loopback port, with threads of this process; use it in a `with` block.

    Without `authorise` everybody may do everything.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Clock = SYSTEM,
        authorise: Authorise | None = None,
    ) -> None:
        self.clock = clock
        self._authorise = authorise
        self.store = Store(clock)
        self.faults = Faults()
        self.routes = Routes(self.store, authorise)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._http = _HttpServer((host, port), self)
        self.address: tuple[str, int] = (host, self._http.server_address[1])
        self.url = f"http://{host}:{self.address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def counts(self) -> dict[str, int]:
        """Return how many requests of each verb have come so far, refused ones too."""
        with self._lock:
            return dict(self._counts)

    def count(self, verb: str) -> None:
        with self._lock:
            self._counts[verb] += 1

    def check(self, request: Request, call: Call) -> None:
        """Raise ApiError where somebody may not make this call."""
        if self._authorise is not None:
            for need in call.needs:
                bindings = self.store.bucket(need.bucket).bindings if need.bucket else ()
                self._authorise(request, need, bindings)

    def control(self, request: Request) -> Response:
        """Answer what a test, in another process, asks of the server itself."""
        match (request.method, request.path.removeprefix("/_control/")):
            case ("POST", "faults"):
                self.faults.add_json(json_list(request))
            case ("DELETE", "faults"):
                self.faults.clear()
            case ("POST", "settings"):
                settings = request.json()
                self.store.rewrite_bytes = int(
                    settings.get("rewrite_bytes", self.store.rewrite_bytes)
                )
                if "seed" in settings:
                    self.faults.seed(int(settings["seed"]))
            case ("GET", "faults"):
                pass
            case ("GET", "counts"):
                return json_response(self.counts())
            case _:
                raise ApiError(404, "notFound", "Not Found")
        return json_response(self.faults.as_json())


def json_list(request: Request) -> object:
    """Return the body, which is a JSON list and so no object."""
    import json

    try:
        return json.loads(request.body)
    except ValueError:
        raise ApiError(400, "parseError", "Parse Error") from None


class _HttpServer(ThreadingHTTPServer):
    """Threads are waited for, so connections are closed under them when the server stops."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: GcsServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up; show what is an error of ours."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is given
        """Keep quiet."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            blocks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                blocks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(blocks)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the client hung up")
        return body

    def handle_method(self) -> None:
        owner = self.server.owner
        body = self._body()
        host = self.headers.get("Host") or ":".join(map(str, owner.address))
        request = Request.parse(
            self.command,
            self.path,
            dict(self.headers.items()),
            body,
            f"http://{host}",
            self.client_address[0],
        )
        try:
            if request.path.startswith("/_control/"):
                self._send(owner.control(request))
                return
            call = owner.routes.call(request)
        except ApiError as error:
            self._send(error_response(error))
            return
        owner.count(call.verb)
        self._run(request, call, owner.faults.draw(call.verb, call.name))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_method  # noqa: N815 - set by base

    def _run(self, request: Request, call: Call, fault: Fault | None) -> None:
        match fault:
            case Fault(kind="drop"):
                self._hang_up()
                return
            case Fault(kind="error", status=status):
                error = ApiError(status, reason_of(status), "Injected by a test.")
                self._send(error_response(error))
                return
            case Fault(kind="delay", seconds=seconds):
                self.server.owner.clock.sleep(seconds)
            case _:
                pass
        try:
            self.server.owner.check(request, call)
            response = call.run()
        except ApiError as error:
            response = error_response(error)
        match fault:
            case Fault(kind="lost"):
                self._hang_up()
            case Fault(kind="cut"):
                self._send_head(response)
                self.wfile.write(response.body[: len(response.body) // 2])
                self._hang_up()
            case Fault(kind="slow", seconds=seconds):
                self._send_slowly(response, seconds)
            case Fault(kind="corrupt"):
                response.body = bytes([response.body[0] ^ 1]) + response.body[1:]
                self._send(response)
            case _:
                self._send(response)

    def _send_head(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()

    def _send(self, response: Response) -> None:
        self._send_head(response)
        if response.body:
            self.wfile.write(response.body)

    def _send_slowly(self, response: Response, seconds: float) -> None:
        self._send_head(response)
        step = len(response.body) // SLOW_STEPS + 1
        for start in range(0, len(response.body), step):
            self.server.owner.clock.sleep(seconds / SLOW_STEPS)
            self.wfile.write(response.body[start : start + step])

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
