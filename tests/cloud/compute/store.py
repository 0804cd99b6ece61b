"""All resources of the project, by their path below it, and how lists of them are answered."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from tests.cloud.compute import catalog, filters, links
from tests.cloud.compute.errors import already_exists, invalid, not_found

Resource = dict[str, Any]

PAGE = 500


class Store:
    """The resources, as JSON shows them; who changes one changes what is kept.

    A path is `zones/Z/COLLECTION/NAME`, `regions/R/COLLECTION/NAME` or `global/COLLECTION/NAME`.
    """

    def __init__(self, project: str, now: Callable[[], float], seed: int = 0) -> None:
        self.project = project
        self.number = 100_000_000_000 + int(hashlib.sha256(project.encode()).hexdigest()[:8], 16)
        self.now = now
        self.rng = Random(seed)
        self._resources: dict[str, Resource] = {}

    def link(self, path: str) -> str:
        return f"{links.ROOT}projects/{self.project}/{path}"

    def full(self, path: str) -> str:
        """Return the path as messages show it."""
        return f"projects/{self.project}/{path}"

    def path_of(self, link: str) -> str:
        """Return the path of a link into this project, or of what is a path already."""
        return links.split_link(link)[1]

    def new_id(self) -> int:
        return self.rng.randrange(10**18, 9 * 10**18)

    def add(self, path: str, kind: str, fields: Mapping[str, Any]) -> Resource:
        """Add a resource with the fields that the cloud sets; raise 409 where there is one."""
        if path in self._resources:
            raise already_exists(self.full(path))
        scope, _, _ = path.partition("/")
        resource: Resource = {
            "kind": f"compute#{kind}",
            "id": str(self.new_id()),
            "creationTimestamp": links.timestamp(self.now()),
            **fields,
            "name": links.last(path),
            "selfLink": self.link(path),
        }
        if scope != "global":
            place = "/".join(path.split("/")[:2])
            resource[scope.removesuffix("s")] = self.link(place)
        self._resources[path] = resource
        return resource

    def get(self, path: str) -> Resource:
        """Return a resource; raise 404 where there is none."""
        if path not in self._resources:
            raise not_found(self.full(path))
        return self._resources[path]

    def find(self, path: str) -> Resource | None:
        return self._resources.get(path)

    def remove(self, path: str) -> None:
        self._resources.pop(path, None)

    def paths(self, collection: str, scope: str | None = None) -> list[str]:
        """Return the paths of a collection, in one scope or in all."""
        found = []
        for path in self._resources:
            place, _, name = path.rpartition(f"/{collection}/")
            if place and "/" not in name and scope in (None, place):
                found.append(path)
        return sorted(found)

    def all(self, collection: str, scope: str | None = None) -> Iterator[Resource]:
        return (self._resources[path] for path in self.paths(collection, scope))

    def check_scope(self, scope: str) -> str:
        """Return the scope, or raise 404 for a zone or region that this cloud does not have."""
        kind, _, name = scope.partition("/")
        known = {"zones": catalog.all_zones(), "regions": list(catalog.ZONES)}.get(kind)
        if known is not None and name not in known:
            raise not_found(self.full(scope))
        return scope


def page(resources: list[Resource], params: Mapping[str, str]) -> tuple[list[Resource], str | None]:
    """Return the part of a list that a request asks for, and the token of the next page."""
    size = int(params.get("maxResults") or PAGE)
    if not 0 <= size <= PAGE:
        raise invalid("maxResults", size, "Values are 0 to 500.")
    size = size or PAGE
    token = params.get("pageToken")
    start = int(base64.urlsafe_b64decode(token)) if token else 0
    matches = filters.parse(params.get("filter"))
    found = [resource for resource in resources if matches(resource)]
    end = start + size
    following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(found) else None
    return found[start:end], following


def listing(
    store: Store, kind: str, path: str, resources: list[Resource], params: Mapping[str, str]
) -> Resource:
    """Return the answer to a list of one scope; `items` is absent where nothing matches."""
    items, following = page(resources, params)
    answer: Resource = {"kind": f"compute#{kind}List", "id": store.full(path)}
    if items:
        answer["items"] = items
    if following is not None:
        answer["nextPageToken"] = following
    return answer | {"selfLink": store.link(path)}


def aggregated(
    store: Store,
    kind: str,
    collection: str,
    params: Mapping[str, str],
    everything: list[Resource] | None = None,
) -> Resource:
    """Return the answer to a list of all scopes; one without results has a warning."""
    if everything is None:
        everything = list(store.all(collection))
    found, following = page(everything, params)
    scopes: dict[str, Resource] = {}
    if params.get("includeAllScopes", "").lower() == "true":
        scopes |= {scope: {} for scope in _scopes_of(collection)}
    for resource in found:
        path = store.path_of(resource["selfLink"])
        scope = path.rpartition(f"/{collection}/")[0]
        scopes.setdefault(scope, {}).setdefault(collection, []).append(resource)
    for scope, content in scopes.items():
        if not content:
            content["warning"] = {
                "code": "NO_RESULTS_ON_PAGE",
                "message": f"There are no results for scope '{scope}' on this page.",
                "data": [{"key": "scope", "value": scope}],
            }
    answer: Resource = {
        "kind": f"compute#{kind}AggregatedList",
        "id": store.full(f"aggregated/{collection}"),
        "items": scopes,
        "selfLink": store.link(f"aggregated/{collection}"),
    }
    return answer | ({"nextPageToken": following} if following is not None else {})


_ZONAL_AND_REGIONAL = ("instanceGroupManagers", "instanceGroups", "disks", "autoscalers")


def _scopes_of(collection: str) -> list[str]:
    zones = [f"zones/{zone}" for zone in catalog.all_zones()]
    regions = [f"regions/{region}" for region in catalog.ZONES]
    if collection in _ZONAL_AND_REGIONAL:
        return regions + zones
    if collection == "subnetworks":
        return regions
    if collection == "instanceTemplates":
        return ["global", *regions]
    return zones
