"""Plain HTTP to the tests' own GCS server."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.gcsserver import GcsServer

JSON = {"Content-Type": "application/json"}
OBJECTS = "/storage/v1/b/bkt/o"
UPLOAD = "/upload/storage/v1/b/bkt/o"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection that is kept."""

    def __init__(self, server: GcsServer) -> None:
        self.server = server
        self._connection = http.client.HTTPConnection(*server.address, timeout=30)

    def __call__(
        self, method: str, target: str, body: Any = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        if isinstance(body, dict | list):
            body, headers = json.dumps(body).encode(), JSON
        self._connection.request(method, target, body, headers or {})
        response = self._connection.getresponse()
        lower = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lower, response.read())

    def put(self, name: str, content: bytes = b"content", query: str = "") -> Answer:
        target = f"{UPLOAD}?uploadType=media&name={quote(name, safe='')}{query}"
        return self("POST", target, content, {"Content-Type": "text/plain"})

    def close(self) -> None:
        self._connection.close()


def multipart(resource: dict[str, Any], media: bytes, newline: str) -> bytes:
    """Return a multipart body of a resource and media, with the boundary B."""
    head = ["--B", "Content-Type: application/json", "", json.dumps(resource)]
    head += ["--B", "Content-Type: image/png", "", ""]
    return newline.join(head).encode() + media + f"{newline}--B--{newline}".encode()
