"""Patterns of file names: `*`, `?`, `[…]` and `**`, as expressions."""

from __future__ import annotations

import re

WILDCARD = re.compile(r"[*?[]")
_VISIBLE = r"[^/._][^/]*"
_BETWEEN = rf"(?:{_VISIBLE})?"
"""A component that another follows: in a bucket it may be empty."""


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Compile a pattern, for names relative to its base; it takes what lies below a folder, too."""
    expression = ""
    parts = pattern.split("/")
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            expression += f"(?:{_BETWEEN}/)*" + (_VISIBLE if last else "")
        elif part or not last:
            expression += _component(part) + ("" if last else "/")
    if pattern.endswith("/"):
        return re.compile(f"{expression}(?:{_BETWEEN}/)*{_VISIBLE}", re.DOTALL)
    return re.compile(f"{expression}(?:/(?:{_BETWEEN}/)*{_VISIBLE})?", re.DOTALL)


def _component(part: str) -> str:
    """Translate one component of a pattern; a wildcard in front does not match `_` or `.`."""
    expression = r"(?![._])" if WILDCARD.match(part) else ""
    place = 0
    while place < len(part):
        char = part[place]
        place += 1
        if char == "*":
            expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif (
            char == "["
            and (end := part.find("]", place + 1 + (part[place : place + 1] == "!"))) > 0
        ):
            expression += _set_of(part[place:end])
            place = end + 1
        else:
            expression += re.escape(char)
    return expression


def _set_of(inside: str) -> str:
    """Translate what stands between brackets: characters and ranges, `!` in front for the rest."""
    negated = inside.startswith("!")
    ranges = ""
    chars = inside[negated:]
    place = 0
    while place < len(chars):
        if chars[place + 1 : place + 2] == "-" and place + 2 < len(chars):
            if chars[place] <= chars[place + 2]:
                ranges += f"{re.escape(chars[place])}-{re.escape(chars[place + 2])}"
            place += 3
        else:
            ranges += re.escape(chars[place])
            place += 1
    if negated:
        return f"[^/{ranges}]"
    return f"(?!/)[{ranges}]" if ranges else "(?!)"
