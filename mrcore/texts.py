"""Texts of the user's, fit for messages: protobuf and JSON carry them, a terminal shows them."""

from __future__ import annotations

import re
from typing import Final

_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line or steers a terminal."""


def printable(text: str, limit: int) -> str:
    """Return `text` as valid Unicode of at most `limit` characters.

    Names and records that are not UTF-8 reach Python as lone surrogates, which have no encoding:
    these are shown as escapes. A text that is too long ends in an ellipsis.
    """
    text = encodable(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def encodable(text: str) -> str:
    """Return `text` as valid Unicode, with escapes for lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """Return `text` as valid Unicode on one line, with escapes for control characters too."""
    return _UNFIT.sub(_escape, encodable(text))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
