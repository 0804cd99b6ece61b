"""Requests and responses, apart from the socket, and the two body formats of the API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from tests.gcsserver.errors import ApiError, invalid
from tests.gcsserver.model import parse_number


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` is still percent-encoded; header names are lower case."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    source: str = ""
    """The address of the caller."""
    query: str = ""

    @classmethod
    def parse(
        cls,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        base_url: str,
        source: str = "",
    ) -> Request:
        parts = urlsplit(target)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        lower = {name.lower(): value for name, value in headers.items()}
        return cls(method, parts.path, params, lower, body, base_url, source, parts.query)

    def every(self, name: str) -> list[str]:
        """Return the values of a parameter that may be repeated."""
        return parse_qs(self.query).get(name, [])

    def number(self, name: str) -> int | None:
        """Return a parameter as a number, None where it is missing."""
        text = self.params.get(name)
        return None if text is None else parse_number(name, text)

    def flag(self, name: str) -> bool:
        return self.params.get(name, "").lower() == "true"

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty where there is none."""
        return parse_json(self.body)


@dataclass(slots=True)
class Response:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_response(value: object, status: int = 200) -> Response:
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Response(status, json.dumps(value).encode(), headers)


def error_response(error: ApiError) -> Response:
    if error.status == 304:
        return Response(304)
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Response(error.status, error.body(), headers)


def parse_json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        raise ApiError(400, "parseError", "Parse Error") from None
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return value


def decode(segment: str) -> str:
    """Return a name that may have come percent-encoded, wholly or in part."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise invalid("The specified object name is not valid.") from None


_BOUNDARY = re.compile(r"""boundary=("[^"]+"|'[^']+'|[^;\s]+)""", re.IGNORECASE)


def parse_multipart(content_type: str, body: bytes) -> tuple[dict[str, Any], str | None, bytes]:
    """Return the resource, the type of the media and the media of a `multipart/related` body.

    Lines may end in CRLF or LF, and the boundary may be quoted in either way.
    """
    match = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/related") or match is None:
        raise invalid("Multipart upload needs multipart/related and a boundary.")
    # A bare boundary may begin and end with quotes of its own, as Python's do not.
    marks = [b"--" + text.encode() for text in dict.fromkeys((match[1].strip("\"'"), match[1]))]
    mark = next((mark for mark in marks if mark + b"\n" in body or mark + b"\r\n" in body), None)
    if mark is None:
        raise invalid("Multipart body is malformed: no boundary.")
    start = body.index(mark) + len(mark)
    newline = b"\r\n" if body.startswith(b"\r\n", start) else b"\n"
    parts: list[tuple[dict[str, str], bytes]] = []
    while not body.startswith(b"--", start):
        end = body.find(newline + mark, start)
        if end < 0:
            raise invalid("Multipart body is malformed: no closing boundary.")
        parts.append(_parse_part(body[start + len(newline) : end], newline))
        start = end + len(newline) + len(mark)
    if len(parts) != 2:
        raise invalid(f"Multipart body is malformed: {len(parts)} parts in place of 2.")
    (_, resource), (headers, media) = parts
    return parse_json(resource), headers.get("content-type"), media


def _parse_part(part: bytes, newline: bytes) -> tuple[dict[str, str], bytes]:
    if part.startswith(newline):
        return {}, part[len(newline) :]
    head, separator, content = part.partition(newline + newline)
    if not separator:
        raise invalid("Multipart body is malformed: a part without an empty line.")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers, content


_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the [start, end) of a `Range` header; None for the whole; raise 416."""
    match = None if header is None else _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = size if match[2] == "" else min(size, int(match[2]) + 1)
        if match[2] != "" and int(match[2]) < start:
            return None
    if start >= size:
        raise ApiError(416, "requestedRangeNotSatisfiable", "The requested range is not there.")
    return start, end


_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A `Content-Range` of an upload: `first` is None in a question how far it is."""

    first: int | None
    total: int | None

    @classmethod
    def parse(cls, header: str, body: bytes) -> ContentRange:
        match = _CONTENT_RANGE.fullmatch(header.strip())
        if match is None:
            raise invalid(f"Failed to parse Content-Range header: {header!r}")
        total = None if match[3] == "*" else int(match[3])
        if match[1] is None:
            return cls(None, total)
        first = int(match[1])
        if match[2] != "*" and int(match[2]) - first + 1 != len(body):
            raise invalid("Content-Range and Content-Length do not agree.")
        if total is not None and first + len(body) > total:
            raise invalid("The range lies beyond the total size.")
        return cls(first, total)
