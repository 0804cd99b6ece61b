"""Comparison of two outputs, byte for byte: the first difference in words."""

from __future__ import annotations

from typing import Final

from mrcore.model import object_names
from mrcore.output.receipt import verify, visible_objects
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for

_SHOWN_BYTES: Final = 60
"""Bytes of a differing line that are shown."""


def first_difference(expected_uri: str, found_uri: str) -> str | None:
    """Return how an output differs from the expected one, None where their bytes are equal.

    Receipt, claim and temporaries are not compared, but the receipt has to fit its parts. Raises
    StorageError where one cannot be read.
    """
    wanted, found = _files(expected_uri), _files(found_uri)
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing in {object_names.shown(found_uri)}."
        if name not in wanted:
            return f"{name} is in {object_names.shown(found_uri)}, and no sequential run writes it."
        problem = _content_difference(name, wanted[name], found[name])
        if problem is not None:
            return problem
    report = verify(found_uri)
    return None if report.ok else report.problems[0]


def _files(uri: str) -> dict[str, ObjectInfo]:
    storage = storage_for(uri)
    return {info.uri.removeprefix(f"{uri}/"): info for info in visible_objects(storage, uri)}


def _content_difference(name: str, wanted: ObjectInfo, found: ObjectInfo) -> str | None:
    one = storage_for(wanted.uri).read(wanted.uri)
    other = storage_for(found.uri).read(found.uri)
    if one == other:
        return None
    pairs = zip(one, other, strict=False)
    at = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return (
        f"{name} differs from byte {at:,} on: a sequential run writes {_line(one, at)}, and this "
        f"run wrote {_line(other, at)}."
    )


def _line(content: bytes, at: int) -> str:
    """Return the line around a place, in quotes and shortened."""
    start = content.rfind(b"\n", 0, at) + 1
    end = content.find(b"\n", at)
    line = content[start : len(content) if end < 0 else end]
    if not line and at >= len(content):
        return "nothing more"
    return repr(line[:_SHOWN_BYTES].decode("utf-8", "backslashreplace"))
