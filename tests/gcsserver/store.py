"""Buckets and objects: every verb of the API as one atomic step."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mrcore.util.clock import SYSTEM, Clock
from tests.gcsserver.buckets import Bucket
from tests.gcsserver.errors import ApiError, invalid, no_bucket, no_object
from tests.gcsserver.model import (
    WRITABLE,
    Conditions,
    ObjectVersion,
    base64_crc32c,
    base64_md5,
    check_hashes,
)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
MAX_COMPONENTS = 32


@dataclass(frozen=True, slots=True)
class Source:
    """Source of a rewrite, copy or compose: the live object, or one generation of it."""

    bucket: str
    name: str
    generation: int | None = None
    conditions: Conditions = field(default_factory=Conditions)


@dataclass(slots=True)
class _Rewrite:
    """A rewrite that takes several calls."""

    request: tuple[Source, str, str]
    done_bytes: int


@dataclass(frozen=True, slots=True)
class RewriteReply:
    """Progress of a rewrite; `resource` when it is done, `token` when it is not."""

    done_bytes: int
    size_bytes: int
    resource: ObjectVersion | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page."""

    items: Sequence[ObjectVersion]
    prefixes: Sequence[str]
    next_page: str | None


class Store:
    """All buckets. Every method is one step, whatever other threads do."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self.rewrite_bytes = 1 << 40
        """Bytes that one call of a rewrite copies."""
        self._clock = clock
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, ObjectVersion]] = {}
        self._own: dict[str, Bucket] = {}
        self._rewrites: dict[str, _Rewrite] = {}
        self._last_generation = 0
        self._tokens = 0

    # Buckets

    def create_bucket(self, name: str, settings: Mapping[str, Any] | None = None) -> None:
        if not _BUCKET.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{name}'")
        with self._lock:
            if name in self._buckets:
                raise ApiError(
                    409,
                    "conflict",
                    "Your previous request to create the named bucket succeeded and you already "
                    "own it.",
                )
            self._buckets[name] = {}
            self._own[name] = Bucket(settings)

    def bucket(self, name: str) -> Bucket:
        self._objects(name)
        return self._own[name]

    def buckets(self) -> list[str]:
        with self._lock:
            return sorted(self._buckets)

    def delete_bucket(self, name: str) -> None:
        with self._lock:
            if self._objects(name):
                raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
            del self._buckets[name]
            del self._own[name]

    def _objects(self, bucket: str) -> dict[str, ObjectVersion]:
        with self._lock:
            found = self._buckets.get(bucket)
        if found is None:
            raise no_bucket()
        return found

    # Objects

    def insert(
        self,
        bucket: str,
        name: str,
        content: bytes,
        body: Mapping[str, Any] | None = None,
        conditions: Conditions | None = None,
        components: int | None = None,
    ) -> ObjectVersion:
        """Store new content; `body` is the resource given, with checksums to be met."""
        check_name(name)
        body = body or {}
        checksums = {"crc32c": base64_crc32c(content), "md5Hash": base64_md5(content)}
        check_hashes(checksums, body)
        with self._lock:
            objects = self._objects(bucket)
            (conditions or Conditions()).check(objects.get(name))
            now = self._clock.wall()
            self._last_generation = max(self._last_generation + 1, int(now * 1e6))
            version = ObjectVersion(
                bucket=bucket,
                name=name,
                content=content,
                crc32c=checksums["crc32c"],
                md5=checksums["md5Hash"],
                generation=self._last_generation,
                created=now,
                updated=now,
                fields={key: body[key] for key in WRITABLE if body.get(key) is not None},
                metadata=dict(body.get("metadata") or {}),
                components=components,
            )
            objects[name] = version
            return version

    def has(self, bucket: str, name: str) -> bool:
        """Return whether there is such an object; without such a bucket there is none."""
        with self._lock:
            return name in self._buckets.get(bucket, {})

    def get(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Conditions | None = None,
    ) -> ObjectVersion:
        with self._lock:
            found = self._objects(bucket).get(name)
            if found is None or generation not in (None, found.generation):
                raise no_object(bucket, name)
            (conditions or Conditions()).check(found)
            return found

    def _source(self, source: Source) -> ObjectVersion:
        return self.get(source.bucket, source.name, source.generation, source.conditions)

    def delete(
        self, bucket: str, name: str, generation: int | None, conditions: Conditions
    ) -> None:
        with self._lock:
            self.get(bucket, name, generation, conditions)
            del self._buckets[bucket][name]

    def patch(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        conditions: Conditions,
        body: Mapping[str, Any],
    ) -> ObjectVersion:
        with self._lock:
            version = self.get(bucket, name, generation, conditions)
            patched = version.patched(body, self._clock.wall())
            self._buckets[bucket][name] = patched
            return patched

    def update(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        conditions: Conditions,
        body: Mapping[str, Any],
    ) -> ObjectVersion:
        """Replace all writable fields."""
        with self._lock:
            version = self.get(bucket, name, generation, conditions)
            bare = replace(version, fields={}, metadata={})
            self._buckets[bucket][name] = bare
            return self.patch(bucket, name, None, Conditions(), body)

    def copy(
        self,
        source: Source,
        bucket: str,
        name: str,
        body: Mapping[str, Any],
        conditions: Conditions,
    ) -> ObjectVersion:
        """Copy in one step; metadata of the source is kept unless the body gives some."""
        with self._lock:
            found = self._source(source)
            if not any(key in body for key in (*WRITABLE, "metadata")):
                body = {**found.fields, "metadata": found.metadata}
            return self.insert(bucket, name, found.content, body, conditions, found.components)

    def rewrite(
        self,
        source: Source,
        bucket: str,
        name: str,
        body: Mapping[str, Any],
        conditions: Conditions,
        token: str | None,
    ) -> RewriteReply:
        """Copy as far as one call goes; go on where `token` says."""
        with self._lock:
            self._objects(bucket)
            size = len(self._source(source).content)
            request = (source, bucket, name)
            if token is None:
                conditions.check(self._objects(bucket).get(name))
                self._tokens += 1
                token = f"rewrite-{self._tokens}"
                self._rewrites[token] = _Rewrite(request, 0)
            state = self._rewrites.get(token)
            if state is None or state.request != request:
                raise invalid("Invalid rewrite token.")
            state.done_bytes = min(size, state.done_bytes + self.rewrite_bytes)
            if state.done_bytes < size:
                return RewriteReply(state.done_bytes, size, token=token)
            # The token stays: a retry after a lost reply meets the conditions, not a bad token.
            version = self.copy(source, bucket, name, body, conditions)
            return RewriteReply(size, size, resource=version)

    def compose(
        self,
        bucket: str,
        name: str,
        sources: Sequence[Source],
        body: Mapping[str, Any],
        conditions: Conditions,
    ) -> ObjectVersion:
        if not sources:
            raise invalid("You must provide at least one source component.")
        if len(sources) > MAX_COMPONENTS:
            raise invalid(
                f"The number of source components provided ({len(sources)}) exceeds the maximum "
                f"({MAX_COMPONENTS})"
            )
        with self._lock:
            found = [self._source(source) for source in sources]
            content = b"".join(version.content for version in found)
            components = sum(version.components or 1 for version in found)
            return self.insert(bucket, name, content, body, conditions, components)

    def list(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        start_offset: str = "",
        end_offset: str = "",
        include_trailing_delimiter: bool = False,
        page_token: str = "",
        max_results: int = 1000,
    ) -> Listing:
        """Return one page: `max_results` objects and prefixes together, in UTF-8 order.

        A page token is the last name, or prefix, of the page before.
        """
        with self._lock:
            objects = dict(self._objects(bucket))
        names = sorted(objects, key=_utf8)
        first = max(prefix, start_offset, key=_utf8)
        items: list[ObjectVersion] = []
        prefixes: list[str] = []
        last = ""
        for name in names[bisect_left(names, _utf8(first), key=_utf8) :]:
            if not name.startswith(prefix) or (end_offset and _utf8(name) >= _utf8(end_offset)):
                break
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            group = name[: cut + len(delimiter)] if cut >= 0 else ""
            shown = group or name
            if page_token and _utf8(shown) <= _utf8(page_token):
                continue
            is_new = bool(group) and group != last
            is_item = not group or (include_trailing_delimiter and name == group)
            if not (is_new or is_item):
                continue
            if len(items) + len(prefixes) >= max_results:
                return Listing(items, prefixes, last)
            if is_new:
                prefixes.append(group)
            if is_item:
                items.append(objects[name])
            last = shown
        return Listing(items, prefixes, None)


def check_name(name: str) -> None:
    """Raise 400 for what may not name an object."""
    if not name:
        raise ApiError(400, "required", "Required")
    if len(_utf8(name)) > 1024 or name in (".", "..") or re.search(r"[\r\n]", name):
        raise invalid("The specified object name is not valid.")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
