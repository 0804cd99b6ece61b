"""The filter expressions of lists.

Both languages of the API: `labels.a=b AND (status!=RUNNING OR name:x*)`, and the older
`name eq REGEX` and `name ne REGEX`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.cloud.compute.errors import invalid

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>!=|<=|>=|=~|!~|[()=<>:])"""
    r"""|(?P<word>[^\s()=<>:!"']+))"""
)
_COMPARISONS = ("=", "!=", ":", "<", ">", "<=", ">=", "=~", "!~", "eq", "ne")


def parse(text: str | None) -> Predicate:
    """Return what a filter selects, everything where there is none; raise 400 for nonsense."""
    if not text or not text.strip():
        return lambda _: True
    parser = _Parser(text)
    predicate = parser.any_of()
    if parser.peek() is not None:
        raise parser.refusal()
    return predicate


def value_at(resource: Mapping[str, Any], path: str) -> Any:
    """Return the field that a dotted path names, None where there is none."""
    value: Any = resource
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split(text))
        self._at = 0

    def _split(self, text: str) -> list[str]:
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.refusal()
            tokens.append(match[0].strip())
            at = match.end()
        return tokens

    def refusal(self) -> Exception:
        return invalid("filter", self._text, "Invalid list filter expression.")

    def peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def next(self) -> str:
        token = self.peek()
        if token is None:
            raise self.refusal()
        self._at += 1
        return token

    def any_of(self) -> Predicate:
        left = self.all_of()
        while self.peek() == "OR":
            self.next()
            left = _either(left, self.all_of())
        return left

    def all_of(self) -> Predicate:
        left = self.one()
        while self.peek() not in (None, ")", "OR"):
            if self.peek() == "AND":
                self.next()
            left = _both(left, self.one())
        return left

    def one(self) -> Predicate:
        token = self.next()
        if token == "NOT":
            return _not(self.one())
        if token == "(":
            inner = self.any_of()
            if self.next() != ")":
                raise self.refusal()
            return inner
        sign = self.next()
        if sign not in _COMPARISONS:
            raise self.refusal()
        operand = self.next()
        # In the older language a string is a regular expression as it stands, backslashes and all.
        wanted = operand.strip("\"'") if sign in ("eq", "ne") else _unquoted(operand)
        return _comparison(token.strip("\"'"), sign, wanted)


def _unquoted(token: str) -> str:
    if token[:1] in ("'", '"'):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    return token


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda resource: left(resource) or right(resource)


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda resource: left(resource) and right(resource)


def _not(inner: Predicate) -> Predicate:
    return lambda resource: not inner(resource)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _comparison(path: str, sign: str, wanted: str) -> Predicate:
    if sign in ("eq", "ne", "=~", "!~"):
        pattern = re.compile(wanted)
        match = pattern.fullmatch if sign in ("eq", "ne") else pattern.search

        def matches(resource: Mapping[str, Any]) -> bool:
            value = value_at(resource, path)
            return (value is not None and match(_text(value)) is not None) == (sign in ("eq", "=~"))

        return matches
    if sign in ("=", "!="):

        def equals(resource: Mapping[str, Any]) -> bool:
            value = value_at(resource, path)
            same = value is not None and fnmatch.fnmatchcase(_text(value), wanted)
            return same == (sign == "=")

        return equals
    if sign == ":":

        def has(resource: Mapping[str, Any]) -> bool:
            value = value_at(resource, path)
            return value is not None and fnmatch.fnmatchcase(_text(value), wanted)

        return has

    def ordered(resource: Mapping[str, Any]) -> bool:
        value = value_at(resource, path)
        if value is None:
            return False
        try:
            left, right = float(value), float(wanted)
        except ValueError:
            return False
        return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[
            sign
        ]

    return ordered
