"""The part of the Common Expression Language that conditions of IAM bindings are written in here.

`resource.name.startsWith("…")`, `resource.name.endsWith("…")`, `.matches("…")`, comparisons of
`resource.name`, `.type` and `.service` with a string, methods of `api.getAttribute(NAME, DEFAULT)`,
`!`, `&&`, `||` and parentheses. What else there is counts as false, so that a test never grants
more than the real cloud.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TOKEN = re.compile(
    r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|&&|\|\||==|!=|[()!,.]|[A-Za-z_][\w]*|\S)"""
)


def holds(expression: str, attributes: Mapping[str, str]) -> bool:
    """Return whether a condition is true of `attributes`, as `resource.name`."""
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
        wanted = self._next()[1:-1]
        value = self._attributes.get(path)
        if value is None or sign not in ("==", "!="):
            return False
        return (value == wanted) == (sign == "==")

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
        if value is None or len(arguments) != 2:
            return False
        return _matches(value, method, arguments[0][1:-1])

    def _of(self, value: str) -> bool:
        """Return what the method says that is called on a value: `.startsWith("…")`."""
        _, method, _, argument, _ = (self._next() for _ in range(5))
        return _matches(value, method, argument[1:-1])


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
