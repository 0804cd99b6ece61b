"""A metadata server of one machine: its values, and preemption with hanging GETs and ETags."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ROOT = "/computeMetadata/v1/"


class Metadata:
    """Answers of the server, and the calls that asked for `instance/preempted`."""

    def __init__(self) -> None:
        self.host = ""
        self.values: dict[str, str] = {}
        """Values by their path below `computeMetadata/v1/`."""
        self.asked: list[dict[str, str]] = []
        """The query of each call, oldest first."""
        self.refuse = 0
        """Number of the next calls that are answered with 503."""
        self.parked = threading.Semaphore(0)
        """Released once for each call that begins to wait."""
        self._changed = threading.Condition()
        self._value = "FALSE"

    def preempt(self) -> None:
        """Announce that the machine is taken away."""
        with self._changed:
            self._value = "TRUE"
            self._changed.notify_all()

    def touch(self) -> None:
        """End what waits as the end of its time does: without a change."""
        with self._changed:
            self._changed.notify_all()

    def answer(self, query: dict[str, str]) -> tuple[str, str]:
        """Return the value and its ETag, after a change if the query says so."""
        with self._changed:
            self.asked.append(query)
            waits = query.get("wait_for_change") == "true"
            if waits and query.get("last_etag", self._etag()) == self._etag():
                self.parked.release()
                self._changed.wait(30.0)
            return self._value, self._etag()

    def _etag(self) -> str:
        return f"etag/{self._value}"


@contextlib.contextmanager
def metadata_server() -> Iterator[Metadata]:
    """Serve one machine's metadata on loopback."""
    state = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self.headers["Metadata-Flavor"] != "Google":
                self.send_error(403)
            elif state.refuse:
                state.refuse -= 1
                self.send_error(503)
            elif url.path != f"{_ROOT}instance/preempted":
                self._tell(state.values.get(url.path.removeprefix(_ROOT)))
            else:
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                value, etag = state.answer(query)
                self.send_response(200)
                self.send_header("ETag", etag)
                self.end_headers()
                self.wfile.write(value.encode())

        def _tell(self, value: str | None) -> None:
            if value is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(value.encode())

        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        state.host = f"127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            state.preempt()
            server.shutdown()
            thread.join()
