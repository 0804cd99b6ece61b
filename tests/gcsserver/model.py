"""One version of an object, as the API shows it, and the conditions that a request may set."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import google_crc32c

from tests.gcsserver.errors import ApiError, condition_not_met, invalid, not_modified

WRITABLE = ("contentType", "contentEncoding", "contentLanguage", "contentDisposition",
            "cacheControl", "customTime", "storageClass")  # fmt: skip


def base64_crc32c(content: bytes) -> str:
    return base64.b64encode(int(google_crc32c.value(content)).to_bytes(4)).decode()


def base64_md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """Content and metadata under one generation and metageneration."""

    bucket: str
    name: str
    content: bytes
    crc32c: str
    md5: str
    generation: int
    created: float
    updated: float
    metageneration: int = 1
    fields: Mapping[str, str] = field(default_factory=dict)
    """The writable fields of the resource, but for `metadata`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    components: int | None = None
    """Number of objects that a composed object, which has no MD5, was made of."""

    @property
    def etag(self) -> str:
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    @property
    def content_type(self) -> str:
        return self.fields.get("contentType", "application/octet-stream")

    def hashes(self) -> str:
        """Return the value of the header `x-goog-hash`."""
        text = f"crc32c={self.crc32c}"
        return text if self.components else f"{text},md5={self.md5}"

    def resource(self, base_url: str) -> dict[str, Any]:
        """Return the object as JSON shows it."""
        path = f"/b/{self.bucket}/o/{quote(self.name, safe='')}"
        resource: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{base_url}/storage/v1{path}",
            "mediaLink": f"{base_url}/download/storage/v1{path}"
            f"?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(len(self.content)),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": _timestamp(self.created),
            "updated": _timestamp(self.updated),
            "timeStorageClassUpdated": _timestamp(self.created),
        }
        if self.components is None:
            resource["md5Hash"] = self.md5
        else:
            resource["componentCount"] = self.components
        if self.metadata:
            resource["metadata"] = dict(self.metadata)
        return resource | dict(self.fields)

    def patched(self, body: Mapping[str, Any], now: float) -> ObjectVersion:
        """Return the version after a PATCH: null removes a field or a key."""
        fields = {key: body[key] for key in WRITABLE if key in body}
        metadata: Mapping[str, str | None] | None = body.get("metadata", {})
        merged = {} if metadata is None else _merged(self.metadata, metadata)
        return replace(
            self,
            fields=_merged(self.fields, fields),
            metadata=merged,
            metageneration=self.metageneration + 1,
            updated=now,
        )


def _merged(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**old, **new}
    return {key: value for key, value in merged.items() if value is not None}


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request: on generation and metageneration, to match or not to."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def parse(cls, params: Mapping[str, str], prefix: str = "if") -> Conditions:
        def number(name: str) -> int | None:
            text = params.get(f"{prefix}{name}")
            return None if text is None else parse_number(f"{prefix}{name}", text)

        return cls(
            number("GenerationMatch"),
            number("GenerationNotMatch"),
            number("MetagenerationMatch"),
            number("MetagenerationNotMatch"),
        )

    def check(self, current: ObjectVersion | None) -> None:
        """Raise 412 or 304 unless they hold for the live version, 0 standing for none."""
        generation = 0 if current is None else current.generation
        metageneration = 0 if current is None else current.metageneration
        if self.generation_match not in (None, generation):
            raise condition_not_met()
        if self.metageneration_match not in (None, metageneration):
            raise condition_not_met()
        if self.generation_not_match == generation:
            raise not_modified()
        if self.metageneration_not_match == metageneration:
            raise not_modified()


def parse_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise invalid(f"Invalid value for: {name}: {text!r}") from None


def check_hashes(actual: Mapping[str, str], given: Mapping[str, Any]) -> None:
    """Raise 400 when `crc32c` or `md5Hash`, where given, is not that of the content."""
    for key, value in actual.items():
        if given.get(key) not in (None, value):
            message = f"Provided {key} {given[key]} doesn't match calculated {value}."
            raise ApiError(400, "invalid", message)
