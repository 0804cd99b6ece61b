"""The methods of instance templates, global and regional."""

from __future__ import annotations

from tests.cloud.compute import catalog, links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, in_use, required
from tests.cloud.compute.instances import check_may_create
from tests.cloud.compute.routing import Call, Route
from tests.cloud.compute.shapes import (
    boot_disk,
    machine_type_of,
    scheduling_fields,
    service_accounts,
)
from tests.cloud.compute.store import Resource, aggregated, listing


class Templates:
    """Templates never change: they are made, read and deleted."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store

    def routes(self) -> list[Route]:
        name = "compute.instanceTemplates"
        everything = "/aggregated/instanceTemplates"
        routes = [Route("GET", everything, f"{name}.aggregatedList", self.list_all)]
        for scope, api in (("global", name), ("regional", "compute.regionInstanceTemplates")):
            all_of = f"/{{{scope}}}/instanceTemplates"
            one = f"{all_of}/{{name}}"
            routes += [
                Route("GET", all_of, f"{api}.list", self.list, f"{name}.list"),
                Route("POST", all_of, f"{api}.insert", self.insert, f"{name}.create"),
                Route("GET", one, f"{api}.get", self.get, f"{name}.get"),
                Route("DELETE", one, f"{api}.delete", self.delete, f"{name}.delete"),
            ]
        return routes

    def list(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        found = list(self._store.all("instanceTemplates", scope))
        return listing(
            self._store, "instanceTemplate", f"{scope}/instanceTemplates", found, call.params
        )

    def list_all(self, call: Call) -> Resource:
        return aggregated(self._store, "instanceTemplate", "instanceTemplates", call.params)

    def get(self, call: Call) -> Resource:
        return self._store.get(call.path("instanceTemplates"))

    async def insert(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        body = call.body
        name = links.check_name(body.get("name"))
        properties = body.get("properties")
        if not properties:
            raise required("resource.properties")
        path = f"{scope}/instanceTemplates/{name}"
        fields = {"properties": self._checked(properties)}
        if body.get("description"):
            fields["description"] = body["description"]
        check_may_create(
            self._core, call.caller, self._store.full(scope), {"serviceAccounts": None}
        )
        for account in fields["properties"].get("serviceAccounts", ()):
            self._core.access.check_act_as(call.caller, account["email"])
        self._store.add(path, "instanceTemplate", fields)

        async def work() -> None:
            """Nothing is left to be done."""

        return await self._core.operations.run(
            "insert", path, work(), user=call.caller, params=call.params
        )

    def _checked(self, given: Resource) -> Resource:
        """Return the properties with what the cloud fills in; raise 400 or 404 for bad ones."""
        zone = catalog.all_zones()[0]  # types and images are the same everywhere
        if "/" in given.get("machineType", ""):
            raise CloudError(
                400, "invalid", "A template takes the bare name of a machine type, no URL."
            )
        machine_type_of(given.get("machineType", ""), zone, self._store.project)
        boot_disk(self._store, given)
        where = "resource.properties"
        links.check_tags(given.get("tags", {}).get("items", ()), f"{where}.tags.items")
        made = dict(given)
        made["labels"] = links.check_labels(given.get("labels") or {}, f"{where}.labels")
        made["metadata"] = links.metadata(given.get("metadata") or {}, f"{where}.metadata")
        made["scheduling"] = scheduling_fields(given.get("scheduling") or {}, f"{where}.scheduling")
        if given.get("serviceAccounts"):
            made["serviceAccounts"] = service_accounts(self._core, given["serviceAccounts"])
        return made

    async def delete(self, call: Call) -> Resource:
        path = call.path("instanceTemplates")
        template = self._store.get(path)
        for group in self._store.all("instanceGroupManagers"):
            if self._store.path_of(group["instanceTemplate"]) == path:
                by = self._store.full(self._store.path_of(group["selfLink"]))
                raise in_use(self._store.full(path), by)

        async def work() -> None:
            self._store.remove(path)

        return await self._core.operations.run(
            "delete", path, work(), user=call.caller, params=call.params, target_id=template["id"]
        )
