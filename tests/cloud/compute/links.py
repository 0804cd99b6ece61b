"""Names, paths and links of resources; fingerprints, timestamps and the checks of names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tests.cloud.compute.errors import CloudError, invalid

ROOT = "https://www.googleapis.com/compute/v1/"

_NAME = "(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_METADATA_KEY = re.compile(r"[a-zA-Z0-9_-]{1,128}")
METADATA_VALUE_BYTES = 262_144
METADATA_BYTES = 524_288

_PLAIN = str.maketrans("-_", "+/")

# The real API writes Pacific time; a reader that takes only `Z` should fail here too.
_ZONE = timezone(timedelta(hours=-7))


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as the API writes them, to the millisecond."""
    return datetime.fromtimestamp(seconds, _ZONE).isoformat(timespec="milliseconds")


def parse_timestamp(text: str) -> float:
    """Return seconds since 1970 of what `timestamp` wrote, or of any RFC 3339 time."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def fingerprint(value: object) -> str:
    """Return base64 of a short digest of a JSON value."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def is_same(given: object, current: str) -> bool:
    """Return whether a fingerprint or etag is that of now, in either alphabet of base64.

    Clients that keep it as bytes, as gcloud does, send `-_` for `+/`.
    """
    return isinstance(given, str) and given.translate(_PLAIN) == current


def split_link(link: str) -> tuple[str | None, str]:
    """Return the project and the path below it of a link, full or partial; or None and the name.

    `https://…/projects/p/zones/z/instances/i` and `projects/p/zones/z/instances/i` give
    `p` and `zones/z/instances/i`; `zones/z/instances/i` gives None and itself.
    """
    match = re.search(r"(?:^|/)projects/([^/]+)/(.+)$", link)
    return (match[1], match[2]) if match else (None, link)


def last(link: str) -> str:
    """Return the name at the end of a link, or a name as it is."""
    return link.rpartition("/")[2]


def check_name(name: object, field: str = "resource.name") -> str:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise invalid(field, name, f"Must be a match of regex '{_NAME}'")
    return name


def check_labels(labels: object, field: str = "resource.labels") -> dict[str, str]:
    """Return labels, or raise 400 for what the real API takes as none."""
    if not isinstance(labels, Mapping):
        raise invalid(field, labels, "Labels are an object.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise invalid(field, labels, f"Label key '{key}' violates format constraints.")
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            raise invalid(
                field, labels, f"Label value '{value}' violates format constraints. The value can "
                "only contain lowercase letters, numeric characters, underscores and dashes. The "
                "value can be at most 63 characters long."
            )  # fmt: skip
    return dict(labels)


def check_tags(tags: Sequence[str], field: str = "resource.tags.items") -> list[str]:
    for at, tag in enumerate(tags):
        check_name(tag, f"{field}[{at}]")
    return list(tags)


def metadata(value: Mapping[str, Any], field: str = "resource.metadata") -> dict[str, Any]:
    """Return a metadata resource with its fingerprint; raise 400 for what is too large or twice."""
    items: list[dict[str, str]] = []
    for at, item in enumerate(value.get("items", ())):
        key, text = item.get("key", ""), item.get("value", "")
        if not _METADATA_KEY.fullmatch(key):
            raise invalid(f"{field}.items[{at}].key", key, "Metadata key is not valid.")
        if key in (other["key"] for other in items):
            raise invalid(f"{field}.items[{at}].key", key, "Metadata key is given twice.")
        _check_size(f"{field}.items[{at}].value", len(text.encode()), METADATA_VALUE_BYTES)
        items.append({"key": key, "value": text})
    total = sum(len(item["key"]) + len(item["value"].encode()) for item in items)
    _check_size(field, total, METADATA_BYTES)
    made: dict[str, Any] = {"kind": "compute#metadata", "fingerprint": fingerprint(items)}
    return made | ({"items": items} if items else {})


def _check_size(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise CloudError(
            400,
            "invalid",
            f"Value for field '{field}' is too large: maximum size {limit} character(s); "
            f"actual size {size}.",
        )


def items_of(value: Mapping[str, Any]) -> dict[str, str]:
    """Return the key-value pairs of a metadata resource."""
    return {item["key"]: item["value"] for item in value.get("items", ())}


def utc(seconds: float) -> str:
    """Return seconds since 1970 as the newer APIs write them, in UTC with a `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
