"""The tests' own GCS server, spoken to in plain HTTP: it must refuse what Google's refuses."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest

from tests.contract.gcs_http import JSON, OBJECTS, UPLOAD, Answer, Client, multipart


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
            body = multipart({"name": name}, b"content", "\r\n")
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
