"""From a method and a path to a verb of the API, and from the verb to an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from tests.gcsserver.access import Authorise, Need
from tests.gcsserver.errors import ApiError, invalid, required
from tests.gcsserver.model import Conditions, ObjectVersion, parse_number
from tests.gcsserver.store import Source, Store
from tests.gcsserver.uploads import Uploads
from tests.gcsserver.wire import Request, Response, decode, json_response, parse_range


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose verb is known: `verb` and `name` are what rules of faults see."""

    verb: str
    name: str
    run: Callable[[], Response]
    needs: tuple[Need, ...] = ()


_API = r"(?P<front>/upload|/resumable/upload|/download)?/storage/v1/b"
_OBJECT_POST = re.compile(
    r"(?P<source>.+)/(?P<how>rewriteTo|copyTo)/b/(?P<bucket>[^/]+)/o/(?P<name>.+)"
)
_PATHS = re.compile(
    rf"{_API}(?:/(?P<bucket>[^/]+)(?:/o(?:/(?P<name>.+))?|/(?P<special>iam/testPermissions|[^/o][^/]*))?)?/?"
)

_PERMISSIONS = {
    "buckets.insert": "storage.buckets.create",
    "buckets.list": "storage.buckets.list",
    "buckets.get": "storage.buckets.get",
    "buckets.patch": "storage.buckets.update",
    "buckets.layout": "storage.objects.list",
    "buckets.getIamPolicy": "storage.buckets.getIamPolicy",
    "buckets.setIamPolicy": "storage.buckets.setIamPolicy",
    "buckets.delete": "storage.buckets.delete",
    "objects.media": "storage.objects.get",
    "objects.get": "storage.objects.get",
    "objects.delete": "storage.objects.delete",
    "objects.patch": "storage.objects.update",
    "objects.update": "storage.objects.update",
}


class Routes:
    """The API over one store."""

    def __init__(self, store: Store, authorise: Authorise | None = None) -> None:
        self._store = store
        self._authorise = authorise
        self._uploads = Uploads(store)

    def call(self, request: Request) -> Call:
        """Find the verb; raise 404 for what is not an API address, 405 for a wrong method."""
        match = _PATHS.fullmatch(request.path)
        if match is None:
            raise ApiError(404, "notFound", "Not Found")
        bucket = decode(match["bucket"] or "")
        if not bucket or match["special"]:
            return self._bucket_call(request, bucket, match["special"])
        if match["name"] is not None:
            return self._object_call(request, bucket, match["name"])
        if not re.search(r"/o/?$", request.path):
            return self._bucket_call(request, bucket, None)
        if match["front"] in ("/upload", "/resumable/upload"):
            return self._upload_call(request, bucket)
        if request.method == "GET":
            need = Need("storage.objects.list", bucket, prefix=request.params.get("prefix", ""))
            return Call("objects.list", "", lambda: self._list(request, bucket), (need,))
        raise _not_allowed()

    # Buckets

    def _bucket_call(self, request: Request, bucket: str, special: str | None) -> Call:
        def create() -> Response:
            settings = request.json()
            name = str(settings.get("name") or "")
            self._store.create_bucket(name, settings)
            return json_response(self._bucket_resource(request, name))

        def get_all() -> Response:
            items = [self._bucket_resource(request, name) for name in self._store.buckets()]
            return json_response({"kind": "storage#buckets", "items": items})

        def get() -> Response:
            return json_response(self._bucket_resource(request, bucket))

        def patch() -> Response:
            self._store.bucket(bucket).change(request.json())
            return get()

        def layout() -> Response:
            resource = self._bucket_resource(request, bucket)
            told = {key: resource[key] for key in ("location", "locationType")}
            told |= {"kind": "storage#storageLayout", "bucket": bucket}
            return json_response(told | {"hierarchicalNamespace": {"enabled": False}})

        def get_policy() -> Response:
            return json_response(self._store.bucket(bucket).policy(bucket))

        def set_policy() -> Response:
            self._store.bucket(bucket).set_policy(bucket, request.json())
            return get_policy()

        def test_permissions() -> Response:
            bindings = self._store.bucket(bucket).bindings
            asked = request.every("permissions")
            granted = [name for name in asked if self._has(request, Need(name, bucket), bindings)]
            return json_response({"permissions": granted} if granted else {})

        def delete() -> Response:
            self._store.delete_bucket(bucket)
            return Response(204)

        calls: dict[tuple[str, bool, str | None], tuple[str, Callable[[], Response]]] = {
            ("POST", False, None): ("buckets.insert", create),
            ("GET", False, None): ("buckets.list", get_all),
            ("GET", True, None): ("buckets.get", get),
            ("PATCH", True, None): ("buckets.patch", patch),
            ("GET", True, "storageLayout"): ("buckets.layout", layout),
            ("GET", True, "iam"): ("buckets.getIamPolicy", get_policy),
            ("PUT", True, "iam"): ("buckets.setIamPolicy", set_policy),
            ("GET", True, "iam/testPermissions"): ("buckets.testPermissions", test_permissions),
            ("DELETE", True, None): ("buckets.delete", delete),
        }
        found = calls.get((request.method, bool(bucket), special))
        if found is None:
            raise _not_allowed()
        verb, run = found
        needed = _PERMISSIONS.get(verb)
        return Call(verb, bucket, run, (Need(needed, bucket),) if needed else ())

    def _has(self, request: Request, need: Need, bindings: Sequence[Mapping[str, Any]]) -> bool:
        try:
            if self._authorise is not None:
                self._authorise(request, need, bindings)
        except ApiError:
            return False
        return True

    def _bucket_resource(self, request: Request, name: str) -> dict[str, Any]:
        return self._store.bucket(name).resource(name, request.base_url)

    # Uploads

    def _upload_call(self, request: Request, bucket: str) -> Call:
        upload_id = request.params.get("upload_id")
        if upload_id is not None:
            return self._session_call(request, upload_id)
        if request.method != "POST":
            raise _not_allowed()
        kind = request.params.get("uploadType")
        name = self._uploads.target(request)
        needs = self._needs_to_make(bucket, name)
        if kind == "resumable":
            return Call("uploads.start", name, lambda: self._uploads.start(bucket, request), needs)
        insert = {"media": self._uploads.simple, "multipart": self._uploads.multipart}.get(
            kind or ""
        )
        if insert is None:
            raise required("uploadType") if kind is None else invalid(f"uploadType {kind}")
        return Call(
            "objects.insert", name, lambda: _resource(request, insert(bucket, request)), needs
        )

    def _needs_to_make(self, bucket: str, name: str) -> tuple[Need, ...]:
        """Return what it takes to make an object: to replace one is to delete it, too."""
        create = Need("storage.objects.create", bucket, name)
        if not self._store.has(bucket, name):
            return (create,)
        return (create, Need("storage.objects.delete", bucket, name))

    def _session_call(self, request: Request, upload_id: str) -> Call:
        def chunk() -> Response:
            answer = self._uploads.chunk(upload_id, request)
            return answer if isinstance(answer, Response) else _resource(request, answer)

        name = self._uploads.name_of(upload_id)
        if request.method == "DELETE":
            return Call("uploads.cancel", name, lambda: self._uploads.cancel(upload_id))
        if request.method not in ("PUT", "POST"):
            raise _not_allowed()
        asks = request.headers.get("content-range", "").startswith("bytes */")
        return Call("uploads.status" if asks else "uploads.chunk", name, chunk)

    # Objects

    def _object_call(self, request: Request, bucket: str, path: str) -> Call:
        if request.method == "POST":
            return self._object_post(request, bucket, path)
        name = decode(path)
        generation = request.number("generation")
        conditions = Conditions.parse(request.params)
        store = self._store

        def get() -> Response:
            return _resource(request, store.get(bucket, name, generation, conditions))

        def media() -> Response:
            return _media(request, store.get(bucket, name, generation, conditions))

        def delete() -> Response:
            store.delete(bucket, name, generation, conditions)
            return Response(204)

        def patch() -> Response:
            body = request.json()
            return _resource(request, store.patch(bucket, name, generation, conditions, body))

        def update() -> Response:
            body = request.json()
            return _resource(request, store.update(bucket, name, generation, conditions, body))

        is_media = request.params.get("alt") == "media" or request.path.startswith("/download/")
        calls = {
            "GET": ("objects.media", media) if is_media else ("objects.get", get),
            "DELETE": ("objects.delete", delete),
            "PATCH": ("objects.patch", patch),
            "PUT": ("objects.update", update),
        }
        if request.method not in calls:
            raise _not_allowed()
        verb, run = calls[request.method]
        return Call(verb, name, run, (Need(_PERMISSIONS[verb], bucket, name),))

    def _object_post(self, request: Request, bucket: str, path: str) -> Call:
        match = _OBJECT_POST.fullmatch(path)
        if match is not None:
            source = Source(
                bucket,
                decode(match["source"]),
                request.number("sourceGeneration"),
                Conditions.parse(request.params, "ifSource"),
            )
            target = (decode(match["bucket"]), decode(match["name"]))
            needs = (
                Need("storage.objects.get", bucket, source.name),
                *self._needs_to_make(*target),
            )
            verb, run = (
                ("objects.copy", self._copy)
                if match["how"] == "copyTo"
                else ("objects.rewrite", self._rewrite)
            )
            return Call(verb, target[1], lambda: run(request, source, *target), needs)
        if path.endswith("/compose"):
            name = decode(path.removesuffix("/compose"))
            sources = [str(item.get("name")) for item in request.json().get("sourceObjects") or ()]
            needs = (
                *(Need("storage.objects.get", bucket, source) for source in sources),
                *self._needs_to_make(bucket, name),
            )
            return Call(
                "objects.compose", name, lambda: self._compose(request, bucket, name), needs
            )
        raise _not_allowed()

    def _copy(self, request: Request, source: Source, bucket: str, name: str) -> Response:
        conditions = Conditions.parse(request.params)
        version = self._store.copy(source, bucket, name, request.json(), conditions)
        return _resource(request, version)

    def _rewrite(self, request: Request, source: Source, bucket: str, name: str) -> Response:
        reply = self._store.rewrite(
            source,
            bucket,
            name,
            request.json(),
            Conditions.parse(request.params),
            request.params.get("rewriteToken"),
        )
        answer: dict[str, Any] = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(reply.done_bytes),
            "objectSize": str(reply.size_bytes),
            "done": reply.resource is not None,
        }
        if reply.resource is not None:
            answer["resource"] = reply.resource.resource(request.base_url)
        else:
            answer["rewriteToken"] = reply.token
        return json_response(answer)

    def _compose(self, request: Request, bucket: str, name: str) -> Response:
        body = request.json()
        sources = [_component(bucket, item) for item in body.get("sourceObjects") or ()]
        version = self._store.compose(
            bucket,
            name,
            sources,
            body.get("destination") or {},
            Conditions.parse(request.params),
        )
        return _resource(request, version)

    def _list(self, request: Request, bucket: str) -> Response:
        params = request.params
        limit = request.number("maxResults")
        page = self._store.list(
            bucket,
            prefix=params.get("prefix", ""),
            delimiter=params.get("delimiter", ""),
            start_offset=params.get("startOffset", ""),
            end_offset=params.get("endOffset", ""),
            include_trailing_delimiter=request.flag("includeTrailingDelimiter"),
            page_token=params.get("pageToken", ""),
            max_results=1000 if limit is None else max(1, min(limit, 1000)),
        )
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            answer["items"] = [item.resource(request.base_url) for item in page.items]
        if page.prefixes:
            answer["prefixes"] = list(page.prefixes)
        if page.next_page is not None:
            answer["nextPageToken"] = page.next_page
        return json_response(answer)


def _not_allowed() -> ApiError:
    return ApiError(405, "methodNotAllowed", "Method Not Allowed")


def _component(bucket: str, item: dict[str, Any]) -> Source:
    generation = item.get("generation")
    wanted = (item.get("objectPreconditions") or {}).get("ifGenerationMatch")
    return Source(
        bucket,
        str(item.get("name") or ""),
        None if generation is None else parse_number("generation", str(generation)),
        Conditions(
            generation_match=None
            if wanted is None
            else parse_number("ifGenerationMatch", str(wanted))
        ),
    )


def _resource(request: Request, version: ObjectVersion) -> Response:
    response = json_response(version.resource(request.base_url))
    response.headers["ETag"] = version.etag
    return response


def _media(request: Request, version: ObjectVersion) -> Response:
    """Answer content, or a range of it; it is never decompressed on the way."""
    size = len(version.content)
    headers = {
        "Content-Type": version.content_type,
        "Accept-Ranges": "bytes",
        "ETag": version.etag,
        "Last-Modified": formatdate(version.updated, usegmt=True),
        "x-goog-generation": str(version.generation),
        "x-goog-metageneration": str(version.metageneration),
        "x-goog-hash": version.hashes(),
        "x-goog-storage-class": "STANDARD",
        "x-goog-stored-content-encoding": version.fields.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": str(size),
    }
    if "contentEncoding" in version.fields:
        headers["Content-Encoding"] = version.fields["contentEncoding"]
    span = parse_range(request.headers.get("range"), size)
    if span is None:
        return Response(200, version.content, headers)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
    return Response(206, version.content[span[0] : span[1]], headers)
