"""The tests' own GCS server: copies, lists, uploads in parts, and faults on demand."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.contract.gcs_http import OBJECTS, UPLOAD, Answer, Client, multipart
from tests.gcsserver import Fault
from tests.gcsserver.store import MAX_COMPONENTS
from tests.gcsserver.uploads import CHUNK_BYTES


class TestCopies:
    """copyTo, rewriteTo and compose."""

    def test_a_copy_keeps_metadata_unless_it_is_given_some(self, client: Client) -> None:
        client.put("x")
        client("PATCH", f"{OBJECTS}/x", {"metadata": {"a": "1"}})
        plain = client("POST", f"{OBJECTS}/x/rewriteTo/b/bkt/o/y").json
        assert plain["done"]
        assert plain["resource"]["metadata"] == {"a": "1"}
        assert plain["resource"]["contentType"] == "text/plain"
        given = client("POST", f"{OBJECTS}/x/rewriteTo/b/bkt/o/y", {"metadata": {"b": "2"}}).json
        assert given["resource"]["metadata"] == {"b": "2"}
        assert "contentType" not in given["resource"]

    def test_a_rewrite_may_take_several_calls(self, client: Client) -> None:
        client.put("x", b"0123456789")
        client.server.store.rewrite_bytes = 4
        target = f"{OBJECTS}/x/rewriteTo/b/bkt/o/y?ifGenerationMatch=0"
        first = client("POST", target).json
        assert (first["done"], first["totalBytesRewritten"], first["objectSize"]) == (
            False,
            "4",
            "10",
        )
        token = first["rewriteToken"]
        assert client("GET", f"{OBJECTS}/y").status == 404
        second = client("POST", f"{target}&rewriteToken={token}").json
        assert second["totalBytesRewritten"] == "8"
        third = client("POST", f"{target}&rewriteToken={token}").json
        assert third["done"]
        assert client("GET", f"{OBJECTS}/y?alt=media").body == b"0123456789"
        assert client("POST", f"{target}&rewriteToken={token}").status == 412
        assert client("POST", f"{target}&rewriteToken=other").status == 400

    def test_the_condition_is_checked_when_the_rewrite_ends(self, client: Client) -> None:
        client.put("x", b"0123456789")
        client.server.store.rewrite_bytes = 9
        target = f"{OBJECTS}/x/rewriteTo/b/bkt/o/y?ifGenerationMatch=0"
        token = client("POST", target).json["rewriteToken"]
        client.put("y", b"somebody else's")
        assert client("POST", f"{target}&rewriteToken={token}").status == 412

    def test_compose_joins_up_to_its_limit(self, client: Client) -> None:
        generation = client.put("a", b"1").json["generation"]
        client.put("b", b"2")
        both = {"sourceObjects": [{"name": "a", "generation": generation}, {"name": "b"}]}
        made = client("POST", f"{OBJECTS}/c/compose", both).json
        assert made["componentCount"] == 2
        assert "md5Hash" not in made
        assert client("GET", f"{OBJECTS}/c?alt=media").body == b"12"
        for count, status in ((0, 400), (MAX_COMPONENTS, 200), (MAX_COMPONENTS + 1, 400)):
            sources = {"sourceObjects": [{"name": "a"}] * count}
            assert client("POST", f"{OBJECTS}/d/compose", sources).status == status
        wrong: dict[str, Any] = {"sourceObjects": [{"name": "a", "generation": "1"}]}
        assert client("POST", f"{OBJECTS}/d/compose", wrong).status == 404
        wrong = {"sourceObjects": [{"name": "a", "objectPreconditions": {"ifGenerationMatch": 1}}]}
        assert client("POST", f"{OBJECTS}/d/compose", wrong).status == 412


class TestLists:
    """Prefixes, delimiters, offsets and pages."""

    NAMES = ("a", "b/1", "b/2/x", "b/", "b.x", "c/d/e", "é")

    def _all(self, client: Client, query: str) -> tuple[list[str], list[str], int]:
        items: list[str] = []
        prefixes: list[str] = []
        token, pages = "", 0
        while True:
            page = client("GET", f"{OBJECTS}?{query}&pageToken={quote(token, safe='')}").json
            items += [item["name"] for item in page.get("items", [])]
            prefixes += page.get("prefixes", [])
            pages += 1
            token = page.get("nextPageToken", "")
            if not token:
                return items, prefixes, pages

    @pytest.mark.parametrize(
        ("query", "items", "prefixes"),
        [
            ("", ["a", "b.x", "b/", "b/1", "b/2/x", "c/d/e", "é"], []),
            ("delimiter=/", ["a", "b.x", "é"], ["b/", "c/"]),
            ("prefix=b", ["b.x", "b/", "b/1", "b/2/x"], []),
            ("prefix=b/&delimiter=/", ["b/", "b/1"], ["b/2/"]),
            ("delimiter=/&includeTrailingDelimiter=true", ["a", "b.x", "b/", "é"], ["b/", "c/"]),
            ("startOffset=b/1", ["b/1", "b/2/x", "c/d/e", "é"], []),
            ("endOffset=b/1", ["a", "b.x", "b/"], []),
            ("prefix=b&startOffset=a", ["b.x", "b/", "b/1", "b/2/x"], []),
            ("prefix=b&startOffset=c", [], []),
            ("versions=true&includeFoldersAsPrefixes=true&prefix=a", ["a"], []),
            ("prefix=nothing", [], []),
        ],
    )
    def test_what_they_show(
        self, client: Client, query: str, items: list[str], prefixes: list[str]
    ) -> None:
        for name in self.NAMES:
            client.put(name)
        assert self._all(client, query)[:2] == (items, prefixes)
        for size in (1, 2, 3):
            found = self._all(client, f"{query}&maxResults={size}")
            assert found[:2] == (items, prefixes)
            entries = len(items) + len(prefixes)
            assert found[2] >= max(1, -(-entries // size) - 1)


class TestUploads:
    """Bodies in two parts, and uploads in many."""

    @pytest.mark.parametrize("newline", ["\r\n", "\n"])
    @pytest.mark.parametrize("boundary", ["B", '"B"', "'B'"])
    def testmultipart(self, client: Client, newline: str, boundary: str) -> None:
        media = b"\r\n--\nB\r\r\n\n"
        body = multipart({"name": "x", "metadata": {"k": "v"}}, media, newline)
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        stored = client("POST", f"{UPLOAD}?uploadType=multipart", body, headers).json
        assert (stored["metadata"], stored["contentType"]) == ({"k": "v"}, "image/png")
        assert client("GET", f"{OBJECTS}/x?alt=media").body == media

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("text/plain", b"--B\r\n\r\n{}\r\n--B\r\n\r\nx\r\n--B--"),
            ("multipart/related", b"--B\r\n\r\n{}\r\n--B\r\n\r\nx\r\n--B--"),
            ("multipart/related; boundary=B", b"nothing"),
            ("multipart/related; boundary=B", b"--B\r\n\r\n{}\r\n--B--"),
            ("multipart/related; boundary=B", b"--B\r\n\r\n{}\r\n--B\r\n\r\nx"),
        ],
    )
    def test_what_is_nomultipart(self, client: Client, content_type: str, body: bytes) -> None:
        target = f"{UPLOAD}?uploadType=multipart&name=x"
        assert client("POST", target, body, {"Content-Type": content_type}).status == 400

    @pytest.mark.parametrize("field", ["crc32c", "md5Hash"])
    def test_a_checksum_that_differs_is_refused(self, client: Client, field: str) -> None:
        body = multipart({"name": "x", field: "AAAAAA=="}, b"content", "\r\n")
        headers = {"Content-Type": "multipart/related; boundary=B"}
        answer = client("POST", f"{UPLOAD}?uploadType=multipart", body, headers)
        assert answer.status == 400
        assert client("GET", f"{OBJECTS}/x").status == 404

    def _start(self, client: Client, front: str = "/upload") -> str:
        target = f"{front}/storage/v1/b/bkt/o?uploadType=resumable"
        start = client("POST", target, {"name": "x", "metadata": {"k": "v"}})
        location = urlsplit(start.headers["location"])
        return f"{location.path}?{location.query}"

    @pytest.mark.parametrize("front", ["/upload", "/resumable/upload"])
    def test_resumable_in_chunks(self, client: Client, front: str) -> None:
        session = self._start(client, front)
        chunk = os.urandom(CHUNK_BYTES)

        def send(content: bytes, content_range: str) -> Answer:
            return client("PUT", session, content, {"Content-Range": content_range})

        assert send(b"", "bytes */*").status == 308
        first = send(chunk, f"bytes 0-{CHUNK_BYTES - 1}/*")
        assert (first.status, first.headers["range"]) == (308, f"bytes=0-{CHUNK_BYTES - 1}")
        assert send(b"", "bytes */*").headers["range"] == f"bytes=0-{CHUNK_BYTES - 1}"
        # A part that is not a whole number of units is kept up to the last whole one.
        odd = send(chunk + b"odd", f"bytes {CHUNK_BYTES}-{2 * CHUNK_BYTES + 2}/*")
        assert odd.headers["range"] == f"bytes=0-{2 * CHUNK_BYTES - 1}"
        gap = send(b"end", f"bytes {3 * CHUNK_BYTES}-{3 * CHUNK_BYTES + 2}/*")
        assert gap.status == 400
        total = 2 * CHUNK_BYTES + 3
        assert client("GET", f"{OBJECTS}/x").status == 404
        again = send(chunk + b"end", f"bytes {CHUNK_BYTES}-{total - 1}/{total}")
        assert again.status == 200
        assert again.json["metadata"] == {"k": "v"}
        assert send(b"", f"bytes */{total}").json["generation"] == again.json["generation"]
        assert client("GET", f"{OBJECTS}/x?alt=media").body == chunk + chunk + b"end"

    def test_resumable_at_once_empty_and_cancelled(self, client: Client) -> None:
        assert client("PUT", self._start(client), b"whole").status == 200
        assert client("GET", f"{OBJECTS}/x?alt=media").body == b"whole"
        empty = client("PUT", self._start(client), b"", {"Content-Range": "bytes */0"})
        assert empty.json["size"] == "0"
        session = self._start(client)
        assert client("DELETE", session).status == 499
        assert client("PUT", session, b"late").status == 404
        assert client("PUT", f"{UPLOAD}?uploadType=resumable&upload_id=none").status == 404

    @pytest.mark.parametrize("header", ["bytes 0-9/20", "bytes 0-4/3", "nonsense"])
    def test_ranges_that_do_not_add_up(self, client: Client, header: str) -> None:
        session = self._start(client)
        assert client("PUT", session, b"12345", {"Content-Range": header}).status == 400

    def test_a_chunked_body(self, client: Client) -> None:
        def blocks() -> Iterator[bytes]:
            yield b"one "
            yield b"two"

        client._connection.request(
            "POST", f"{UPLOAD}?uploadType=media&name=x", blocks(), encode_chunked=True
        )
        assert client._connection.getresponse().read()
        assert client("GET", f"{OBJECTS}/x?alt=media").body == b"one two"


class TestFaults:
    """Faults that a test can order, and that come alike each time."""

    def test_rules_come_over_http(self, client: Client) -> None:
        rules = [{"kind": "error", "verb": "objects.get", "name": "a*", "status": 429, "count": 1}]
        assert client("POST", "/_control/faults", rules).status == 200
        client.put("a1")
        client.put("b1")
        assert client("GET", f"{OBJECTS}/b1").status == 200
        refused = client("GET", f"{OBJECTS}/a1")
        assert refused.status == 429
        assert refused.json["error"]["errors"][0]["reason"] == "rateLimitExceeded"
        assert client("GET", f"{OBJECTS}/a1").status == 200
        assert client("GET", "/_control/faults").json[0]["hits"] == 1
        assert client("GET", "/_control/counts").json["objects.get"] == 3
        assert client("DELETE", "/_control/faults").json == []
        bodies: list[Any] = [[{"kind": "nonsense"}], [{"kind": "drop", "nonsense": 1}], {}, [1]]
        for wrong in bodies:
            assert client("POST", "/_control/faults", wrong).status == 400
        assert client("GET", "/_control/nonsense").status == 404

    def test_the_seed_decides(self, client: Client) -> None:
        client.put("x")
        outcomes = []
        for _ in range(2):
            client("DELETE", "/_control/faults")
            client("POST", "/_control/settings", {"seed": 5, "rewrite_bytes": 3})
            client("POST", "/_control/faults", [{"kind": "error", "probability": 0.5}])
            outcomes.append([client("GET", f"{OBJECTS}/x").status for _ in range(40)])
        assert outcomes[0] == outcomes[1]
        assert set(outcomes[0]) == {200, 503}
        assert client.server.store.rewrite_bytes == 3

    @pytest.mark.parametrize(("kind", "applied"), [("drop", False), ("lost", True)])
    def test_a_connection_that_ends(self, client: Client, kind: str, applied: bool) -> None:
        client.server.faults.add(Fault(kind, "objects.insert", count=1))  # type: ignore[arg-type]
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            client.put("x")
        client.close()
        assert client("GET", f"{OBJECTS}/x").status == (200 if applied else 404)

    def test_a_body_that_ends_too_soon(self, client: Client) -> None:
        client.put("x", b"0123456789")
        client.server.faults.add(Fault("cut", "objects.media", count=1))
        with pytest.raises(http.client.IncompleteRead) as caught:
            client("GET", f"{OBJECTS}/x?alt=media")
        assert caught.value.partial == b"01234"


def test_the_server_runs_as_a_process() -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "tests.gcsserver", "--bucket", "bkt"]
    with subprocess.Popen([*command, "--ready-fd", str(writer)], pass_fds=[writer]) as process:
        os.close(writer)
        with os.fdopen(reader) as ready:
            url = urlsplit(ready.read().strip())
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
        connection.request("GET", OBJECTS)
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGTERM)  # with a connection that is still open
        assert process.wait(30) == 0
        connection.close()
