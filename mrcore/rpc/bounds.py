"""Bounds of values that another process has sent; what exceeds them is refused with a sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Container
from typing import Final

from mrcore.errors import UsageError
from mrcore.model.ids import is_job_id
from mrcore.model.task import MAX_RESULT_BYTES
from mrcore.storage.registry import form_problem, path_of
from mrcore.util.texts import one_line, printable
from mrcore.util.units import spell_duration

MAX_NAME: Final = 200
MAX_REQUEST_ID: Final = 200
MAX_URI: Final = 4_096
MAX_OBJECT_URI: Final = 2 * MAX_URI
"""Limit for the URI of an object in, or below, a place that was given."""
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\x00-\x1f\x7f]+")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_named(table: Container[str], name: str, noun: str) -> None:
    """Raise UsageError for a name that the table lacks."""
    if name not in table:
        raise UsageError(
            f"The message has {printable(name, 80)!r} for {noun}, which means nothing here. Check "
            "that both sides have the same version of mrcore."
        )


def check_sha256(text: str, what: str) -> str:
    """Return `text` if it is a SHA-256 in hexadecimal; raise UsageError."""
    if _SHA256.fullmatch(text) is None:
        raise UsageError(
            f"The SHA-256 of {what} must be 64 hexadecimal digits in lower case. It is "
            f"{printable(text, 80)!r}."
        )
    return text


def check_job_id(text: str) -> str:
    """Return `text` if it may name a job, and so be part of an object name; raise UsageError."""
    if not is_job_id(text):
        raise UsageError(
            f"{printable(text, 80)!r} is not a job id: they are lower-case letters, digits and "
            "hyphens, as `mrcore jobs` shows them."
        )
    return text


def check_request_id(text: str) -> str:
    """Return `text` if it may be the id of a request; raise UsageError."""
    return text_within(text, "the request_id", MAX_REQUEST_ID, required=True)


def check_uri(uri: str, what: str) -> str:
    """Return `uri` if it is absolute, bounded and free of tricks; raise UsageError."""
    text_within(uri, f"the URI of {what}", MAX_URI, required=True)
    if _URI.fullmatch(uri) is None:
        raise UsageError(
            f"{printable(uri, 200)!r} is not a URI for {what}. Write SCHEME://… without control "
            "characters."
        )
    form = form_problem(uri)
    if form is not None:
        raise UsageError(f"{printable(uri, 200)!r} cannot be {what}. Write {form}.")
    if any(step in ("..", ".") for step in path_of(uri).split("/")):
        raise UsageError(f"{printable(uri, 200)!r}: write {what} without `.` and `..` steps.")
    return uri


def check_folder_uri(uri: str, what: str) -> str:
    """Return `uri` if it may be that of a folder; raise UsageError."""
    check_uri(uri, what)
    if uri.endswith("/") or "//" in path_of(uri):
        raise UsageError(f"{printable(uri, 200)!r}: write {what} without empty steps.")
    return uri


def check_name(text: str, what: str) -> str:
    """Return `text` if it is a short line; raise UsageError."""
    if one_line(text_within(text, what, MAX_NAME, required=True)) != text:
        raise UsageError(f"{_capital(what)}, {text!a}, has a control character. Leave it out.")
    return text


def text_within(text: str, what: str, limit: int, *, required: bool = False) -> str:
    """Return `text` if it is at most `limit` characters long; raise UsageError."""
    if len(text) > limit:
        raise UsageError(
            f"{_capital(what)} is {len(text):,} characters long, and {limit:,} is the limit."
        )
    if required and not text:
        raise UsageError(f"{_capital(what)} is missing.")
    return text


def check_count(number: int, what: str, limit: int) -> None:
    """Raise UsageError for a number above `limit`."""
    if number > limit:
        raise UsageError(f"{_capital(what)} is {number:,}, but must be at most {limit:,}.")


def seconds_within(seconds: float, what: str, low: float, high: float) -> float:
    """Return `seconds` if it is a number from `low` to `high`; raise UsageError."""
    if not math.isfinite(seconds) or not low <= seconds <= high:
        raise UsageError(
            f"{_capital(what)} is {spell_duration(seconds)}. It must be from "
            f"{spell_duration(low)} to {spell_duration(high)}."
        )
    return seconds


def number_within(number: float, what: str, low: float, high: float) -> float:
    """Return `number` if it is one from `low` to `high`; raise UsageError."""
    if not math.isfinite(number) or not low <= number <= high:
        raise UsageError(f"{_capital(what)} is {number:g}. It must be from {low:g} to {high:g}.")
    return number


def _capital(what: str) -> str:
    return what[:1].upper() + what[1:]


def bytes_within(data: bytes, limit: int = MAX_RESULT_BYTES) -> bytes:
    """Return `data` if it is at most `limit` bytes long, else nothing."""
    return data if len(data) <= limit else b""
