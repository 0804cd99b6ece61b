"""Uploads: in one request (media, multipart) and in many (resumable)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.gcsserver.errors import ApiError, invalid, required
from tests.gcsserver.model import Conditions, ObjectVersion
from tests.gcsserver.store import Store, check_name
from tests.gcsserver.wire import ContentRange, Request, Response, parse_multipart

CHUNK_BYTES = 256 * 1024
"""All chunks of a resumable upload but the last are a multiple of this."""


@dataclass(slots=True)
class _Session:
    """A resumable upload under way."""

    bucket: str
    name: str
    resource: Mapping[str, Any]
    conditions: Conditions
    total: int | None
    content: bytearray = field(default_factory=bytearray)
    version: ObjectVersion | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """The upload side of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._started = 0

    def target(self, request: Request) -> str:
        """Return the name of the object that a request begins to make, empty where it has none."""
        name = request.params.get("name")
        if name:
            return name
        match request.params.get("uploadType"):
            case "resumable":
                resource = request.json()
            case "multipart":
                content_type = request.headers.get("content-type", "")
                resource = parse_multipart(content_type, request.body)[0]
            case _:
                resource = {}
        return str(resource.get("name", ""))

    def simple(self, bucket: str, request: Request) -> ObjectVersion:
        """Insert the body of a media upload."""
        resource = {"contentType": request.headers.get("content-type")}
        if "contentEncoding" in request.params:
            resource["contentEncoding"] = request.params["contentEncoding"]
        return self._insert(bucket, request, resource, request.body)

    def multipart(self, bucket: str, request: Request) -> ObjectVersion:
        """Insert the second part of a multipart upload under the resource in the first."""
        resource, media_type, media = parse_multipart(
            request.headers.get("content-type", ""), request.body
        )
        if media_type is not None:
            resource.setdefault("contentType", media_type)
        return self._insert(bucket, request, resource, media)

    def _insert(
        self, bucket: str, request: Request, resource: Mapping[str, Any], content: bytes
    ) -> ObjectVersion:
        name = _name_of(request, resource)
        expected = _header_hashes(request)
        conditions = Conditions.parse(request.params)
        return self._store.insert(bucket, name, content, {**resource, **expected}, conditions)

    def start(self, bucket: str, request: Request) -> Response:
        """Open a session; its address goes out as `Location`."""
        resource = request.json()
        name = _name_of(request, resource)
        if media_type := request.headers.get("x-upload-content-type"):
            resource.setdefault("contentType", media_type)
        length = request.headers.get("x-upload-content-length")
        self._store.bucket(bucket)
        check_name(name)
        session = _Session(
            bucket,
            name,
            resource,
            Conditions.parse(request.params),
            None if length is None else int(length),
        )
        with self._lock:
            self._started += 1
            upload_id = f"upload-{self._started}"
            self._sessions[upload_id] = session
        location = (
            f"{request.base_url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable"
            f"&name={quote(name, safe='')}&upload_id={upload_id}"
        )
        return Response(headers={"Location": location, "X-GUploader-UploadID": upload_id})

    def _session(self, upload_id: str) -> _Session:
        with self._lock:
            session = self._sessions.get(upload_id)
        if session is None:
            raise ApiError(404, "notFound", "No such upload session.")
        return session

    def name_of(self, upload_id: str) -> str:
        """Return the name of the object that a session makes, for the rules of faults."""
        with self._lock:
            session = self._sessions.get(upload_id)
        return "" if session is None else session.name

    def cancel(self, upload_id: str) -> Response:
        """End a session; 499 is how the API says that this has worked."""
        self._session(upload_id)
        with self._lock:
            self._sessions.pop(upload_id, None)
        return Response(499)

    def chunk(self, upload_id: str, request: Request) -> ObjectVersion | Response:
        """Take a chunk, or a question; return the object once it is whole, else 308."""
        session = self._session(upload_id)
        header = request.headers.get("content-range")
        with session.lock:
            if session.version is not None:
                return session.version
            if header is None:
                given = ContentRange(0, len(request.body))
            else:
                given = ContentRange.parse(header, request.body)
            if None not in (given.total, session.total) and given.total != session.total:
                raise invalid("The total size is not the one announced at the start.")
            if given.total is not None:
                session.total = given.total
            if given.first is not None:
                self._append(session, given.first, request.body)
            if session.total is not None and len(session.content) >= session.total:
                return self._finish(session, request)
            if request.body and len(session.content) % CHUNK_BYTES:
                persisted = len(session.content) // CHUNK_BYTES * CHUNK_BYTES
                del session.content[persisted:]
            return _resume_incomplete(len(session.content))

    def _append(self, session: _Session, first: int, body: bytes) -> None:
        have = len(session.content)
        if first > have:
            raise invalid(
                f"According to the Content-Range header, the upload offset is {first} byte(s), "
                f"which exceeds already uploaded size of {have} byte(s)."
            )
        session.content += body[have - first :]

    def _finish(self, session: _Session, request: Request) -> ObjectVersion:
        resource = {**session.resource, **_header_hashes(request)}
        session.version = self._store.insert(
            session.bucket, session.name, bytes(session.content), resource, session.conditions
        )
        session.content.clear()
        return session.version


def _name_of(request: Request, resource: Mapping[str, Any]) -> str:
    name = request.params.get("name") or resource.get("name")
    if not name:
        raise required("name")
    return str(name)


def _header_hashes(request: Request) -> dict[str, str]:
    """Return the checksums of an `x-goog-hash` header under their names in a resource."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    found: dict[str, str] = {}
    for item in request.headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind in names:
            found[names[kind]] = value
    return found


def _resume_incomplete(have: int) -> Response:
    return Response(308, headers={"Range": f"bytes=0-{have - 1}"} if have else {})
