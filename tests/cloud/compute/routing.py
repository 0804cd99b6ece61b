"""From a method and a path to a method of an API, its permission, and who answers it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.cloud.compute.errors import CloudError
from tests.cloud.compute.store import Resource
from tests.gcsserver.wire import Request


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose API method is known."""

    request: Request
    caller: str
    """E-mail address of who asks."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names in the path: `project`, `scope`, `name` and the like."""

    @property
    def params(self) -> dict[str, str]:
        return dict(self.request.params)

    @property
    def body(self) -> Resource:
        return self.request.json()

    @property
    def scope(self) -> str:
        """`zones/Z`, `regions/R` or `global`."""
        return self.names["scope"]

    def path(self, collection: str) -> str:
        """Return the path of the resource that the request names."""
        return f"{self.scope}/{collection}/{self.names['name']}"


Answer = Resource | Awaitable[Resource]
Handler = Callable[[Call], Answer]

_NAMES = {
    "scope": r"zones/[^/]+|regions/[^/]+|global",
    "zonal": r"zones/[^/]+",
    "regional": r"regions/[^/]+",
    "group": r"(?:zones|regions)/[^/]+",
    "global": r"global",
}
"""Kinds of scopes; whichever a pattern has, `Call.scope` is what it matched."""

_PERMISSIONS = {"insert": "create", "aggregatedList": "list", "patch": "update", "wait": "get"}
"""The last words of permissions that are not those of their methods."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of an API.

    `pattern` is a path with `{names}`; `id` is the method as Google's discovery names it; `needs`
    is the caller's permission where that does not follow from the id, "" for none at all.
    """

    http: str
    pattern: str
    id: str
    handler: Handler
    needs: str | None = None

    @property
    def permission(self) -> str:
        """Permissions that the caller needs; empty for what everybody may do."""
        if self.needs is not None:
            return self.needs
        api, _, verb = self.id.rpartition(".")
        return f"{api}.{_PERMISSIONS.get(verb, verb)}"

    def compiled(self) -> re.Pattern[str]:
        def group(match: re.Match[str]) -> str:
            name = match[1]
            if name in _NAMES:
                return f"(?P<scope>{_NAMES[name]})"
            return f"(?P<{name}>[^/:]+)"

        return re.compile(re.sub(r"\\{(\w+)\\}", group, re.escape(self.pattern)))


class Router:
    """The routes of several APIs under their prefixes."""

    def __init__(self, routes: Mapping[str, Sequence[Route]]) -> None:
        self._routes = [
            (re.compile(prefix), route.compiled(), route)
            for prefix, listed in routes.items()
            for route in listed
        ]

    def find(self, request: Request) -> tuple[Route, dict[str, str]]:
        """Return the route of a request and the names in its path; raise 404 where none is."""
        path = unquote(request.path)
        for prefix, pattern, route in self._routes:
            if route.http != request.method or not (front := prefix.match(path)):
                continue
            if match := pattern.fullmatch(path, front.end()):
                return route, front.groupdict() | match.groupdict()
        raise CloudError(404, "notFound", f"The requested URL {request.path} was not found.")


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Resource:
    """Return `base` with a JSON merge patch applied: objects are merged, null removes."""
    result = dict(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result
