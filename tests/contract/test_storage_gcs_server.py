"""The tests' own GCS server, spoken to in plain HTTP: it must refuse what Google's refuses."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.gcsserver import Fault, GcsServer
from tests.gcsserver.store import MAX_COMPONENTS
from tests.gcsserver.uploads import CHUNK_BYTES

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


@pytest.fixture
def client() -> Iterator[Client]:
    with GcsServer() as server:
        client = Client(server)
        server.store.create_bucket("bkt")
        yield client
        client.close()


class TestBuckets:
    """Making, finding and removing buckets."""

    def test_their_life(self, client: Client) -> None:
        assert client("POST", "/storage/v1/b?project=p", {"name": "new"}).json["name"] == "new"
        again = client("POST", "/storage/v1/b?project=p", {"name": "new"})
        assert (again.status, again.json["error"]["errors"][0]["reason"]) == (409, "conflict")
        assert client("POST", "/storage/v1/b?project=p", {"name": "No"}).status == 400
        assert client("GET", "/storage/v1/b/new").json["kind"] == "storage#bucket"
        names = [item["name"] for item in client("GET", "/storage/v1/b?project=p").json["items"]]
        assert names == ["bkt", "new"]
        assert client("GET", "/storage/v1/b/new/storageLayout").status == 200
        assert client("DELETE", "/storage/v1/b/new").status == 204
        assert client("GET", "/storage/v1/b/new").status == 404
        client.put("x")
        assert client("DELETE", "/storage/v1/b/bkt").status == 409

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/storage/v1/b/none"),
            ("GET", "/storage/v1/b/none/o"),
            ("GET", "/storage/v1/b/none/o/x"),
            ("GET", "/storage/v1/b/none/o/x?alt=media"),
            ("DELETE", "/storage/v1/b/none/o/x"),
            ("POST", "/upload/storage/v1/b/none/o?uploadType=media&name=x"),
            ("POST", "/upload/storage/v1/b/none/o?uploadType=resumable&name=x"),
            ("POST", "/storage/v1/b/bkt/o/x/rewriteTo/b/none/o/x"),
        ],
    )
    def test_without_one_nothing_works(self, client: Client, method: str, target: str) -> None:
        client.put("x")
        answer = client(method, target)
        assert answer.status == 404
        error = answer.json["error"]
        assert (error["code"], error["message"]) == (404, "The specified bucket does not exist.")
        assert error["errors"][0]["reason"] == "notFound"


# What a condition must answer, on a name that holds an object and on one that does not.
CONDITIONS = [
    ("ifGenerationMatch={g}", 200, 412),
    ("ifGenerationMatch=1", 412, 412),
    ("ifGenerationMatch=0", 412, 200),
    ("ifGenerationNotMatch={g}", 304, 200),
    ("ifGenerationNotMatch=0", 200, 304),
    ("ifMetagenerationMatch=1", 200, 412),
    ("ifMetagenerationMatch=9", 412, 412),
    ("ifMetagenerationNotMatch=1", 304, 200),
    ("ifMetagenerationNotMatch=9", 200, 200),
    ("ifGenerationMatch=x", 400, 400),
]


@pytest.mark.parametrize(("condition", "there", "absent"), CONDITIONS)
class TestConditions:
    """Preconditions, on every verb."""

    @pytest.mark.parametrize("verb", ["media", "multipart", "copyTo", "rewriteTo", "compose"])
    def test_of_what_writes(
        self, client: Client, verb: str, condition: str, there: int, absent: int
    ) -> None:
        client.put("source")
        generation = client.put("x", b"old").json["generation"]
        query = condition.format(g=generation)
        for name, expected in (("x", there), ("new", absent)):
            answer = self._write(client, verb, name, query)
            assert answer.status == expected
            content = client("GET", f"{OBJECTS}/{name}?alt=media")
            if expected == 200:
                assert content.body == b"content"
            else:
                assert content.body == b"old" or content.status == 404

    def _write(self, client: Client, verb: str, name: str, query: str) -> Answer:
        if verb == "media":
            return client.put(name, query=f"&{query}")
        if verb == "multipart":
            body = _multipart({"name": name}, b"content", "\r\n")
            target = f"{UPLOAD}?uploadType=multipart&{query}"
            return client("POST", target, body, {"Content-Type": "multipart/related; boundary=B"})
        if verb == "compose":
            sources = {"sourceObjects": [{"name": "source"}]}
            return client("POST", f"{OBJECTS}/{name}/compose?{query}", sources)
        return client("POST", f"{OBJECTS}/source/{verb}/b/bkt/o/{name}?{query}")

    def test_of_a_resumable_upload(
        self, client: Client, condition: str, there: int, absent: int
    ) -> None:
        generation = client.put("x", b"old").json["generation"]
        query = condition.format(g=generation)
        for name, expected in (("x", there), ("new", absent)):
            start = client("POST", f"{UPLOAD}?uploadType=resumable&name={name}&{query}")
            if expected == 400:
                assert start.status == 400
                continue
            session = urlsplit(start.headers["location"])
            answer = client("PUT", f"{session.path}?{session.query}", b"content")
            assert answer.status == expected

    @pytest.mark.parametrize(
        ("method", "target"),
        [("GET", "?"), ("GET", "?alt=media&"), ("PATCH", "?"), ("PUT", "?"), ("DELETE", "?")],
    )
    def test_of_what_needs_an_object(
        self, client: Client, method: str, target: str, condition: str, there: int, absent: int
    ) -> None:
        generation = client.put("x").json["generation"]
        query = condition.format(g=generation)
        body = {"metadata": {"a": "b"}} if method in ("PATCH", "PUT") else b""
        answer = client(method, f"{OBJECTS}/x{target}{query}", body)
        assert answer.status == (204 if there == 200 and method == "DELETE" else there)
        expected = 400 if absent == 400 else 404
        assert client(method, f"{OBJECTS}/new{target}{query}", body).status == expected

    @pytest.mark.parametrize("verb", ["copyTo", "rewriteTo"])
    def test_of_a_source(
        self, client: Client, verb: str, condition: str, there: int, absent: int
    ) -> None:
        generation = client.put("x").json["generation"]
        query = condition.format(g=generation).replace("if", "ifSource", 1)
        answer = client("POST", f"{OBJECTS}/x/{verb}/b/bkt/o/y?{query}")
        assert answer.status == there
        assert client("GET", f"{OBJECTS}/y").status == (200 if there == 200 else 404)


class TestObjects:
    """Generations, metadata, ranges and names."""

    def test_generations_grow_and_are_honoured(self, client: Client) -> None:
        first = client.put("x", b"1").json
        second = client.put("x", b"2").json
        assert int(second["generation"]) > int(first["generation"])
        assert client("GET", f"{OBJECTS}/x?generation={first['generation']}").status == 404
        assert client("DELETE", f"{OBJECTS}/x?generation={first['generation']}").status == 404
        found = client("GET", f"{OBJECTS}/x?alt=media&generation={second['generation']}")
        assert found.body == b"2"

    def test_a_patch_merges_and_an_update_replaces(self, client: Client) -> None:
        client.put("x")
        client("PATCH", f"{OBJECTS}/x", {"metadata": {"a": "1", "b": "2"}, "contentType": "t/1"})
        patched = client("PATCH", f"{OBJECTS}/x", {"metadata": {"a": None, "c": "3"}}).json
        assert (patched["metadata"], patched["contentType"]) == ({"b": "2", "c": "3"}, "t/1")
        assert patched["metageneration"] == "3"
        updated = client("PUT", f"{OBJECTS}/x", {"metadata": {"d": "4"}}).json
        assert updated["metadata"] == {"d": "4"}
        assert "contentType" not in updated
        assert updated["metageneration"] == "4"

    @pytest.mark.parametrize(
        ("header", "status", "body", "content_range"),
        [
            ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
            ("bytes=3-", 206, b"3456789", "bytes 3-9/10"),
            ("bytes=-3", 206, b"789", "bytes 7-9/10"),
            ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
            ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
            ("bytes=10-", 416, None, None),
            ("bytes=11-12", 416, None, None),
            ("bytes=5-3", 200, b"0123456789", None),
            ("nonsense", 200, b"0123456789", None),
        ],
    )
    def test_ranges(
        self,
        client: Client,
        header: str,
        status: int,
        body: bytes | None,
        content_range: str | None,
    ) -> None:
        client.put("x", b"0123456789")
        for target in (f"{OBJECTS}/x?alt=media", f"/download{OBJECTS}/x?alt=media"):
            answer = client("GET", target, headers={"Range": header})
            assert answer.status == status
            assert answer.headers.get("content-range") == content_range
            assert body is None or answer.body == body

    def test_media_come_with_their_checksums(self, client: Client) -> None:
        stored = client.put("x", b"hello").json
        assert stored["crc32c"] == "mnG7TA=="
        answer = client("GET", f"{OBJECTS}/x?alt=media")
        assert answer.headers["x-goog-hash"] == "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg=="
        assert answer.headers["x-goog-generation"] == stored["generation"]
        assert answer.headers["content-type"] == "text/plain"

    @pytest.mark.parametrize("encoded", ["a/b c", "a%2Fb%20c", "a%2fb c", "a/b%20c"])
    def test_names_may_be_encoded_in_any_way(self, client: Client, encoded: str) -> None:
        client.put("a/b c", b"found")
        target = encoded.replace(" ", "%20")
        assert client("GET", f"{OBJECTS}/{target}?alt=media").body == b"found"

    @pytest.mark.parametrize("name", ["rewriteTo", "x/compose", "o/b/bkt/o/y", "a%b", "ü?#"])
    def test_names_may_look_like_verbs(self, client: Client, name: str) -> None:
        assert client.put(name, b"1").json["name"] == name
        path = quote(name, safe="")
        assert client("GET", f"{OBJECTS}/{path}?alt=media").body == b"1"
        copied = client("POST", f"{OBJECTS}/{path}/copyTo/b/bkt/o/{path}2")
        assert copied.json["name"] == f"{name}2"

    @pytest.mark.parametrize("name", [".", "..", "a\nb", "x" * 1025])
    def test_some_names_are_none(self, client: Client, name: str) -> None:
        assert client.put(name).status == 400

    def test_what_is_no_address_is_told(self, client: Client) -> None:
        assert client("GET", "/nowhere").status == 404
        assert client("PATCH", OBJECTS).status == 405
        assert client("POST", f"{UPLOAD}?uploadType=zip&name=x").status == 400
        assert client("POST", f"{UPLOAD}?name=x").status == 400
        assert client("POST", f"{UPLOAD}?uploadType=media").status == 400
        assert client("POST", "/storage/v1/b", b"{", JSON).status == 400


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


def _multipart(resource: dict[str, Any], media: bytes, newline: str) -> bytes:
    head = ["--B", "Content-Type: application/json", "", json.dumps(resource)]
    head += ["--B", "Content-Type: image/png", "", ""]
    return newline.join(head).encode() + media + f"{newline}--B--{newline}".encode()


class TestUploads:
    """Bodies in two parts, and uploads in many."""

    @pytest.mark.parametrize("newline", ["\r\n", "\n"])
    @pytest.mark.parametrize("boundary", ["B", '"B"', "'B'"])
    def test_multipart(self, client: Client, newline: str, boundary: str) -> None:
        media = b"\r\n--\nB\r\r\n\n"
        body = _multipart({"name": "x", "metadata": {"k": "v"}}, media, newline)
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
    def test_what_is_no_multipart(self, client: Client, content_type: str, body: bytes) -> None:
        target = f"{UPLOAD}?uploadType=multipart&name=x"
        assert client("POST", target, body, {"Content-Type": content_type}).status == 400

    @pytest.mark.parametrize("field", ["crc32c", "md5Hash"])
    def test_a_checksum_that_differs_is_refused(self, client: Client, field: str) -> None:
        body = _multipart({"name": "x", field: "AAAAAA=="}, b"content", "\r\n")
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
        # A part that is no whole number of units is kept up to the last whole one.
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
    """What a test can make go wrong, and that it goes wrong alike each time."""

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
