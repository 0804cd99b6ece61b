"""The methods of regions, zones, machine types, the project itself, and operations."""

from __future__ import annotations

from tests.cloud.compute import catalog, links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import not_found, stale
from tests.cloud.compute.lifecycle import Instances
from tests.cloud.compute.routing import Call, Route
from tests.cloud.compute.store import Resource, aggregated, listing

PROJECT = "global/project"
"""Place of the project's own resource in the store."""


class Places:
    """The methods of what is there from the start, and of operations."""

    def __init__(self, core: Core, instances: Instances) -> None:
        self._core = core
        self._store = core.store
        self._instances = instances
        empty = links.metadata({}) | {"kind": "compute#metadata"}
        project = self._store.add(PROJECT, "project", {"commonInstanceMetadata": empty})
        project |= {
            "id": str(self._store.number),
            "name": self._store.project,
            "selfLink": f"{links.ROOT}projects/{self._store.project}",
            "defaultServiceAccount": core.access.default_account,
            "defaultNetworkTier": "PREMIUM",
            "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
        }

    def routes(self) -> list[Route]:
        region, zone, size = "compute.regions", "compute.zones", "compute.machineTypes"
        sizes, set_metadata = "/{zonal}/machineTypes", "setCommonInstanceMetadata"
        routes = [
            Route("GET", "", "compute.projects.get", self.project),
            Route(
                "POST", f"/{set_metadata}", f"compute.projects.{set_metadata}", self.set_metadata
            ),
            Route("GET", "/regions", f"{region}.list", self.regions),
            Route("GET", "/regions/{name}", f"{region}.get", self.region),
            Route("GET", "/zones", f"{zone}.list", self.zones),
            Route("GET", "/zones/{name}", f"{zone}.get", self.zone),
            Route("GET", sizes, f"{size}.list", self.sizes),
            Route("GET", f"{sizes}/{{name}}", f"{size}.get", self.size),
            Route("GET", "/aggregated/machineTypes", f"{size}.aggregatedList", self.all_sizes),
        ]
        for scope, kind in (("zonal", "zone"), ("regional", "region"), ("global", "global")):
            api, all_of = f"compute.{kind}Operations", f"/{{{scope}}}/operations"
            routes += [
                Route("GET", all_of, f"{api}.list", self.operations),
                Route("GET", f"{all_of}/{{name}}", f"{api}.get", self.operation),
                Route("POST", f"{all_of}/{{name}}/wait", f"{api}.wait", self.wait),
            ]
        everything = "compute.globalOperations.aggregatedList"
        routes.append(Route("GET", "/aggregated/operations", everything, self.all_operations))
        return routes

    # The project

    def project(self, call: Call) -> Resource:
        return self._store.get(PROJECT) | {"quotas": self._core.quotas.of_project()}

    async def set_metadata(self, call: Call) -> Resource:
        project = self._store.get(PROJECT)
        current = project["commonInstanceMetadata"]["fingerprint"]
        if not links.is_same(call.body.get("fingerprint"), current):
            raise stale("metadata")
        made = links.metadata(call.body)

        async def work() -> None:
            project["commonInstanceMetadata"] = made
            for instance in self._instances.all():
                await self._instances.update(instance)

        return await self._core.operations.run(
            "setMetadata", PROJECT, work(), user=call.caller, params=call.params
        )

    # Regions, zones and machine types

    def _region(self, name: str) -> Resource:
        if name not in catalog.ZONES:
            raise not_found(self._store.full(f"regions/{name}"))
        return {
            "kind": "compute#region",
            "id": str(1000 + 10 * list(catalog.ZONES).index(name)),
            "name": name,
            "description": name,
            "status": "UP",
            "zones": [self._store.link(f"zones/{zone}") for zone in catalog.zones_of(name)],
            "quotas": self._core.quotas.of_region(name),
            "selfLink": self._store.link(f"regions/{name}"),
        }

    def _zone(self, name: str) -> Resource:
        self._store.check_scope(f"zones/{name}")
        return {
            "kind": "compute#zone",
            "id": str(2000 + catalog.all_zones().index(name)),
            "name": name,
            "description": name,
            "status": "UP",
            "region": self._store.link(f"regions/{catalog.region_of(name)}"),
            "availableCpuPlatforms": ["Intel Broadwell", "Intel Ice Lake", "AMD Milan"],
            "selfLink": self._store.link(f"zones/{name}"),
        }

    def _size(self, zone: str, name: str) -> Resource:
        found = catalog.machine_type(name)
        if found is None:
            raise not_found(self._store.full(f"zones/{zone}/machineTypes/{name}"))
        return {
            "kind": "compute#machineType",
            "id": str(3000 + len(name)),
            "name": name,
            "description": f"{found.cpus} vCPUs, {found.memory_mb} MB RAM",
            "guestCpus": found.cpus,
            "memoryMb": found.memory_mb,
            "isSharedCpu": found.is_shared_core,
            "maximumPersistentDisks": 128,
            "maximumPersistentDisksSizeGb": "263168",
            "zone": zone,
            "selfLink": self._store.link(f"zones/{zone}/machineTypes/{name}"),
        }

    def regions(self, call: Call) -> Resource:
        found = [self._region(name) for name in catalog.ZONES]
        return listing(self._store, "region", "regions", found, call.params)

    def region(self, call: Call) -> Resource:
        return self._region(call.names["name"])

    def zones(self, call: Call) -> Resource:
        found = [self._zone(name) for name in catalog.all_zones()]
        return listing(self._store, "zone", "zones", found, call.params)

    def zone(self, call: Call) -> Resource:
        return self._zone(call.names["name"])

    def sizes(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        found = [self._size(links.last(scope), name) for name in catalog.MACHINE_TYPES]
        return listing(self._store, "machineType", f"{scope}/machineTypes", found, call.params)

    def size(self, call: Call) -> Resource:
        zone = links.last(self._store.check_scope(call.scope))
        return self._size(zone, call.names["name"])

    def all_sizes(self, call: Call) -> Resource:
        found = [
            self._size(zone, name) for zone in catalog.all_zones() for name in catalog.MACHINE_TYPES
        ]
        return aggregated(self._store, "machineType", "machineTypes", call.params, found)

    # Operations

    def operations(self, call: Call) -> Resource:
        found = list(self._store.all("operations", self._store.check_scope(call.scope)))
        return listing(self._store, "operation", f"{call.scope}/operations", found, call.params)

    def all_operations(self, call: Call) -> Resource:
        return aggregated(self._store, "operation", "operations", call.params)

    def operation(self, call: Call) -> Resource:
        return self._store.get(call.path("operations"))

    async def wait(self, call: Call) -> Resource:
        return await self._core.operations.wait(call.path("operations"))
