"""The part of the Common Expression Language that conditions of IAM bindings are written in here.

`resource.name.startsWith("…")`, `resource.name.endsWith("…")`, `.matches("…")`, comparisons of
`resource.name`, `.type` and `.service` with a string, methods of `api.getAttribute(NAME, DEFAULT)`,
`resource.name.extract("/collection/{name}")`, `request.time < timestamp("…")`, `!`, `&&`, `||` and
parentheses. What else there is counts as false, and so does a part about an attribute that the
resource does not have: a test never grants more than the real cloud.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

MAX_OPERATORS = 12
_TOKEN = re.compile(
    r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|&&|\|\||==|!=|<=|>=|[()!,.]|[A-Za-z_][\w]*|\S)"""
)


def operators_in(expression: str) -> int:
    """Return the number of logical operators, of which IAM takes MAX_OPERATORS."""
    return sum(token in ("!", "&&", "||") for token in _TOKEN.findall(expression))


def holds(expression: str, attributes: Mapping[str, str]) -> bool:
    """Return whether a condition is true of `attributes`, as `resource.name` and `request.time`.

    The time is written as timestamps are in the API.
    """
    tokens = _TOKEN.findall(expression)
    return _Evaluator(tokens, attributes).either()


class _Evaluator:
    def __init__(self, tokens: list[str], attributes: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._attributes = attributes

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def either(self) -> bool:
        value = self._both()
        while self._peek() == "||":
            self._next()
            value = self._both() or value
        return value

    def _both(self) -> bool:
        value = self._one()
        while self._peek() == "&&":
            self._next()
            value = self._one() and value
        return value

    def _one(self) -> bool:
        token = self._next()
        if token == "!":
            return not self._one()
        if token == "(":
            value = self.either()
            self._next()
            return value
        return self._comparison(token)

    def _comparison(self, path: str) -> bool:
        while self._peek() == ".":
            self._next()
            path += f".{self._next()}"
        sign = self._next()
        if sign == "(":
            return self._method(path)
        if path == "request.time":
            return self._before(sign)
        return self._is(self._attributes.get(path), sign)

    def _is(self, value: str | None, sign: str) -> bool:
        wanted = self._next()[1:-1]
        if value is None or sign not in ("==", "!="):
            return False
        return (value == wanted) == (sign == "==")

    def _before(self, sign: str) -> bool:
        """Compare the time of the request with `timestamp("…")`."""
        word, _, end, _ = (self._next() for _ in range(4))
        now = self._attributes.get("request.time")
        if now is None or (sign, word) != ("<", "timestamp"):
            return False
        return datetime.fromisoformat(now) < datetime.fromisoformat(end[1:-1])

    def _method(self, path: str) -> bool:
        arguments = []
        depth = 1
        while depth and (token := self._next()):
            depth += {"(": 1, ")": -1}.get(token, 0)
            arguments.append(token)
        attribute, _, method = path.rpartition(".")
        value = self._attributes.get(attribute)
        if path == "api.getAttribute":
            name, default = arguments[0][1:-1], arguments[2][1:-1]
            return self._of(self._attributes.get(name, default))
        if method == "extract" and len(arguments) == 2:
            return self._of(None if value is None else _extracted(value, arguments[0][1:-1]))
        if value is None or len(arguments) != 2:
            return False
        return _matches(value, method, arguments[0][1:-1])

    def _of(self, value: str | None) -> bool:
        """Return what is said of a value: `.startsWith("…")`, or a comparison."""
        if (sign := self._next()) != ".":
            return self._is(value, sign)
        method, _, argument, _ = (self._next() for _ in range(4))
        return value is not None and _matches(value, method, argument[1:-1])


def _extracted(value: str, template: str) -> str:
    """Return what stands in the place of `{…}` where the template is found first, or nothing."""
    before, _, rest = template.partition("{")
    after = rest.partition("}")[2]
    start = value.find(before)
    if start < 0:
        return ""
    found = value[start + len(before) :]
    if not after:
        return found
    return found.partition(after)[0] if after in found else ""


def _matches(value: str, method: str, text: str) -> bool:
    match method:
        case "startsWith":
            return value.startswith(text)
        case "endsWith":
            return value.endswith(text)
        case "matches":
            return re.search(text, value) is not None
        case _:
            return False
