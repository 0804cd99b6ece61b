"""Texts that protobuf can carry."""

from __future__ import annotations


def printable(text: str, limit: int) -> str:
    """Return `text` as valid Unicode of at most `limit` characters.

    Names and records that are not UTF-8 reach Python as lone surrogates, which have no encoding:
    these are shown as escapes. A text that is too long ends in an ellipsis.
    """
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
