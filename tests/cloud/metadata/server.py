"""The socket side: who asks, what headers are due, and answers that wait for a change."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.cloud.compute.machines import Vm
from tests.cloud.metadata import tree

ROOT = "/computeMetadata/v1/"
LONGEST_WAIT_SECONDS = 3600.0
SILENT_CLIENT_SECONDS = 10.0


class MetadataServer:
    """A server for the VMs that were added to it; use it in a `with` block."""

    def __init__(self, host: str, port: int = 0) -> None:
        self._trees: dict[str, Mapping[str, tree.Node]] = {}
        self._accounts: dict[str, str | None] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._http = _HttpServer((host, port), self)
        self.address: tuple[str, int] = (host, self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def put(self, vm: Vm, *, is_preempted: bool = False) -> None:
        """Answer for this VM from now on, or with these values from now on."""
        with self._changed:
            self._trees[vm.network_ip] = tree.tree_of(vm, is_preempted=is_preempted)
            self._accounts[vm.network_ip] = vm.service_account
            self._changed.notify_all()

    def remove(self, vm: Vm) -> None:
        """Forget a VM; whoever waits for a change of it is answered."""
        with self._changed:
            self._trees.pop(vm.network_ip, None)
            self._accounts.pop(vm.network_ip, None)
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def account(self, source: str) -> str | None:
        """Return the service account of the VM of that address, None where it has none."""
        with self._changed:
            return self._accounts.get(source)

    def node(self, source: str, path: str) -> tree.Node | None:
        """Return what lies at a path below the root, for the VM of that address."""
        with self._changed:
            return tree.find(self._trees.get(source, {}), path)

    def wait(self, source: str, path: str, query: tree.Query) -> tree.Node | None:
        """Return what lies at a path once it differs from `last_etag`, or when the time is up.

        Without an etag in the query the next change counts.
        """

        def etag() -> str | None:
            node = tree.find(self._trees.get(source, {}), path)
            return None if node is None else tree.etag_of(tree.write(node, query)[0])

        limit = float(query.get("timeout_sec") or LONGEST_WAIT_SECONDS)
        with self._changed:
            last = query.get("last_etag") or etag()
            self._changed.wait_for(lambda: self._is_closing or etag() != last, limit)
            return tree.find(self._trees.get(source, {}), path)


class _HttpServer(ThreadingHTTPServer):
    """Threads are waited for; those that wait themselves are woken before."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: MetadataServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore VMs that lose their power; show what is an error of ours."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Metadata Server for VM"
    sys_version = ""
    timeout = SILENT_CLIENT_SECONDS
    server: _HttpServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is given
        """Keep quiet."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/":
            self._send(200, "computeMetadata/\n")
        elif self.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in self.headers:
            self._send(403, "Missing Metadata-Flavor:Google header.\n")
        elif not url.path.startswith(ROOT):
            self._send(404, "Not Found\n")
        else:
            self._answer(url.path, query)

    def _answer(self, path: str, query: tree.Query) -> None:
        owner, source = self.server.owner, self.client_address[0]
        below = urllib.parse.unquote(path.removeprefix(ROOT))
        node = owner.node(source, below)
        if node is not None and query.get("wait_for_change", "").lower() == "true":
            node = owner.wait(source, below, query)
        if node is None:
            self._send(404, "Not Found\n")
        elif isinstance(node, Mapping) and not path.endswith("/"):
            target = urllib.parse.urlsplit(self.path)._replace(path=f"{path}/").geturl()
            self._send(301, "", Location=target)
        else:
            text, content_type = tree.write(node, query)
            self._send(200, text, content_type, ETag=tree.etag_of(text))

    def _send(
        self, status: int, text: str, content_type: str = "text/html", **headers: str
    ) -> None:
        body = text.encode()
        self.close_connection = True
        self.send_response(status)
        given = {"Metadata-Flavor": "Google", "Content-Type": content_type, "Connection": "close"}
        for name, value in {**given, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
