"""Texts of the user's, fit for messages: protobuf and JSON carry them, a terminal shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

MAX_TEXT: Final = 16 << 10
"""Characters of a user's object that are ever looked at: messages show less, and an exception may
hold hundreds of megabytes."""
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line or steer a terminal."""


_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that steer a terminal, in a text of several lines."""


def text_of(value: object, make: Callable[[object], str] = str) -> str:
    """Return `str` (or `repr`) of a user's object, cut to `MAX_TEXT`; this never fails.

    These functions are the user's own, and may raise anything or return anything.
    """
    try:
        text = make(value)
        return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
    except KeyboardInterrupt:  # Ctrl-C in this moment ends the program, as in any other
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code may raise whatever it likes
        return f"<{type(value).__qualname__} without text: {type(error).__qualname__}>"


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


def lines(text: str) -> str:
    """Return `text` as valid Unicode, with escapes for what steers a terminal; lines stay."""
    return _STEERING.sub(_escape, encodable(text))


def one_line(text: str) -> str:
    """Return `text` as valid Unicode on one line, with escapes for control characters too."""
    return _UNFIT.sub(_escape, encodable(text))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like a wrong one; empty if none is near."""
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""
