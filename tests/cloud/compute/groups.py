"""The methods of managed instance groups, zonal and regional."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tests.cloud.compute import catalog, links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, invalid, not_ready, required, stale
from tests.cloud.compute.instances import check_may_create
from tests.cloud.compute.lifecycle import Instances, Loss
from tests.cloud.compute.managed import Group, Member
from tests.cloud.compute.routing import Call, Route, merged
from tests.cloud.compute.store import Resource, aggregated, listing, page

LARGEST = 2000
_WRITABLE = (
    *("description", "instanceTemplate", "targetSize", "updatePolicy", "autoHealingPolicies"),
    *("instanceLifecyclePolicy", "instanceFlexibilityPolicy", "targetPools", "namedPorts"),
)


class Groups:
    """The methods of managed groups, of the groups of instances in them, and of autoscalers."""

    def __init__(self, core: Core, instances: Instances) -> None:
        self._core = core
        self._store = core.store
        self._instances = instances
        self._groups: dict[str, Group] = {}
        instances.lost = self._lost

    def routes(self) -> list[Route]:
        name, scaler = "compute.instanceGroupManagers", "compute.autoscalers"
        everything = "/aggregated/instanceGroupManagers"
        routes = [
            Route("GET", everything, f"{name}.aggregatedList", self.list_all),
            Route("GET", "/aggregated/autoscalers", f"{scaler}.aggregatedList", self.none),
            Route("GET", "/{group}/autoscalers", f"{scaler}.list", self.no_autoscalers),
            Route("GET", "/{group}/instanceGroups", "compute.instanceGroups.list", self.plain),
            Route("GET", "/{group}/instanceGroups/{name}", "compute.instanceGroups.get", self.one),
        ]
        changes: dict[str, Callable[[Call], Coroutine[Any, Any, Resource]]] = {
            "resize": self.resize,
            "deleteInstances": self.delete_instances,
            "createInstances": self.create_instances,
            "recreateInstances": self.recreate_instances,
            "setInstanceTemplate": self.set_template,
        }
        for scope, api in (("zonal", name), ("regional", "compute.regionInstanceGroupManagers")):
            all_of = f"/{{{scope}}}/instanceGroupManagers"
            one = all_of + "/{name}"
            routes += [
                Route("GET", all_of, f"{api}.list", self.list_scope, f"{name}.list"),
                Route("POST", all_of, f"{api}.insert", self.insert, f"{name}.create"),
                Route("GET", one, f"{api}.get", self.get, f"{name}.get"),
                Route("PATCH", one, f"{api}.patch", self.patch, f"{name}.update"),
                Route("DELETE", one, f"{api}.delete", self.delete, f"{name}.delete"),
                Route("GET", f"{one}/listErrors", f"{api}.listErrors", self.errors, f"{name}.get"),
                Route(
                    "POST",
                    f"{one}/listManagedInstances",
                    f"{api}.listManagedInstances",
                    self.members,
                    f"{name}.get",
                ),
            ]
            routes += [
                Route("POST", f"{one}/{verb}", f"{api}.{verb}", handler, f"{name}.update")
                for verb, handler in changes.items()
            ]
        return routes

    def _lost(self, path: str, loss: Loss) -> None:
        for group in self._groups.values():
            group.lost(path, loss)

    def _group(self, call: Call) -> Group:
        path = call.path("instanceGroupManagers")
        self._store.get(path)
        return self._groups[path]

    # Reading

    def list_scope(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        found = list(self._store.all("instanceGroupManagers", scope))
        path = f"{scope}/instanceGroupManagers"
        return listing(self._store, "instanceGroupManager", path, found, call.params)

    def list_all(self, call: Call) -> Resource:
        kind, collection = "instanceGroupManager", "instanceGroupManagers"
        return aggregated(self._store, kind, collection, call.params)

    def none(self, call: Call) -> Resource:
        return aggregated(self._store, "autoscaler", "autoscalers", call.params)

    def no_autoscalers(self, call: Call) -> Resource:
        return listing(self._store, "autoscaler", f"{call.scope}/autoscalers", [], call.params)

    def plain(self, call: Call) -> Resource:
        found = list(self._store.all("instanceGroups", self._store.check_scope(call.scope)))
        return listing(
            self._store, "instanceGroup", f"{call.scope}/instanceGroups", found, call.params
        )

    def one(self, call: Call) -> Resource:
        return self._store.get(call.path("instanceGroups"))

    def get(self, call: Call) -> Resource:
        return self._group(call).resource

    def members(self, call: Call) -> Resource:
        group = self._group(call)
        shown, following = page([group.show(m) for m in group.members.values()], call.params)
        answer: Resource = {"managedInstances": shown} if shown else {}
        return answer | ({"nextPageToken": following} if following is not None else {})

    def errors(self, call: Call) -> Resource:
        shown, following = page(self._group(call).errors[::-1], call.params)
        answer: Resource = {"items": shown} if shown else {}
        return answer | ({"nextPageToken": following} if following is not None else {})

    # Making and deleting

    async def insert(self, call: Call) -> Resource:
        body = call.body
        scope = self._store.check_scope(call.scope)
        name = links.check_name(body.get("name"))
        path = f"{scope}/instanceGroupManagers/{name}"
        template = self._template(body)
        check_may_create(self._core, call.caller, self._store.full(scope), template["properties"])
        base = links.check_name(
            body.get("baseInstanceName", name[:58]), "resource.baseInstanceName"
        )
        fields = {key: body[key] for key in _WRITABLE if key in body}
        fields |= {
            "instanceTemplate": template["selfLink"],
            "baseInstanceName": base,
            "targetSize": _size(body.get("targetSize", 0), "resource.targetSize"),
            "instanceGroup": self._store.link(f"{scope}/instanceGroups/{name}"),
            "instanceLifecyclePolicy": _lifecycle_policy(body.get("instanceLifecyclePolicy")),
            "listManagedInstancesResults": "PAGELESS",
            "fingerprint": links.fingerprint(name),
        }
        fields |= _distribution(self._core, scope, body)
        self._store.add(path, "instanceGroupManager", fields)
        group = Group(self._core, self._instances, path)
        self._groups[path] = group
        self._store.add(
            f"{scope}/instanceGroups/{name}",
            "instanceGroup",
            {"description": f"This instance group is controlled by the manager '{name}'."},
        )
        group.reconcile()
        return await self._done("insert", call, group)

    def _template(self, body: Resource) -> Resource:
        link = body.get("instanceTemplate")
        if link is None:
            link = next((version["instanceTemplate"] for version in body.get("versions", ())), None)
        if link is None:
            raise required("resource.instanceTemplate")
        return self._store.get(self._store.path_of(link))

    async def delete(self, call: Call) -> Resource:
        group = self._group(call)
        if group.is_deleted:
            raise not_ready(self._store.full(group.path))

        async def work() -> None:
            await group.delete()
            del self._groups[group.path]

        return await self._core.operations.run(
            "delete",
            group.path,
            work(),
            user=call.caller,
            params=call.params,
            target_id=group.resource["id"],
        )

    # Changing

    async def _done(self, kind: str, call: Call, group: Group) -> Resource:
        """Answer a change: it is done once the group knows of it, long before the VMs do."""

        async def work() -> None:
            group.refresh()

        return await self._core.operations.run(
            kind, group.path, work(), user=call.caller, params=call.params
        )

    async def _change(self, verb: str, call: Call, change: Callable[[Group], None]) -> Resource:
        group = self._group(call)
        if group.is_deleted:
            raise not_ready(self._store.full(group.path))
        change(group)
        return await self._done(f"compute.instanceGroupManagers.{verb}", call, group)

    async def resize(self, call: Call) -> Resource:
        size = _size(call.params.get("size"), "size")
        return await self._change("resize", call, lambda group: group.resize(size))

    async def delete_instances(self, call: Call) -> Resource:
        def change(group: Group) -> None:
            group.delete_members(self._named(group, call))

        return await self._change("deleteInstances", call, change)

    async def recreate_instances(self, call: Call) -> Resource:
        def change(group: Group) -> None:
            group.recreate_members(self._named(group, call))

        return await self._change("recreateInstances", call, change)

    def _named(self, group: Group, call: Call) -> list[Member]:
        """Return the members that a request names; raise 400 for an instance that is none."""
        found = []
        for link in call.body.get("instances", ()):
            member = group.member_of(link)
            if member is not None:
                found.append(member)
            elif not call.body.get("skipInstancesOnValidationError"):
                raise invalid(
                    "instances",
                    link,
                    f"Instance is not a member of '{self._store.full(group.path)}'.",
                )
        return found

    async def create_instances(self, call: Call) -> Resource:
        names = [item.get("name") for item in call.body.get("instances", ())]
        if not names:
            raise required("instances")

        def change(group: Group) -> None:
            for name in names:
                links.check_name(name, "instances.name")
                if name in group.members:
                    raise invalid("instances", name, "The group has an instance of that name.")
            group.create_members(names)

        return await self._change("createInstances", call, change)

    async def set_template(self, call: Call) -> Resource:
        template = self._template(call.body)

        def change(group: Group) -> None:
            group.resource["instanceTemplate"] = template["selfLink"]

        return await self._change("setInstanceTemplate", call, change)

    async def patch(self, call: Call) -> Resource:
        body = call.body
        group = self._group(call)
        current = group.resource["fingerprint"]
        if not links.is_same(body.get("fingerprint", current), current):
            raise stale("group")
        changes = {key: body[key] for key in _WRITABLE if key in body}
        if "versions" in body or "instanceTemplate" in body:
            changes["instanceTemplate"] = self._template(body)["selfLink"]
        if "targetSize" in changes:
            changes["targetSize"] = _size(changes["targetSize"], "resource.targetSize")
        made = merged(group.resource, changes)
        made["instanceLifecyclePolicy"] = _lifecycle_policy(made["instanceLifecyclePolicy"])
        made["fingerprint"] = links.fingerprint([group.resource["fingerprint"], changes])
        group.resource.update(made)
        group.reconcile()
        return await self._done("patch", call, group)


def _size(value: object, field: str) -> int:
    try:
        size = int(str(value))
    except ValueError:
        raise invalid(field, value, "Must be a number.") from None
    if not 0 <= size <= LARGEST:
        raise invalid(field, size, f"Must be from 0 to {LARGEST}.")
    return size


def _lifecycle_policy(given: Resource | None) -> Resource:
    made = {"defaultActionOnFailure": "REPAIR", "forceUpdateOnRepair": "NO"} | (given or {})
    if made["defaultActionOnFailure"] not in ("REPAIR", "DO_NOTHING"):
        raise invalid(
            "resource.instanceLifecyclePolicy.defaultActionOnFailure",
            made["defaultActionOnFailure"],
            "Must be REPAIR or DO_NOTHING.",
        )
    return made


def _distribution(core: Core, scope: str, body: Resource) -> Resource:
    """Return the distribution policy of a regional group; raise 400 for a zonal one's."""
    if scope.startswith("zones/"):
        for field in ("distributionPolicy", "instanceFlexibilityPolicy"):
            if body.get(field):
                raise CloudError(400, "invalid", f"Only a regional group can have {field}.")
        return {}
    region = links.last(scope)
    given = body.get("distributionPolicy") or {}
    zones = [links.last(zone["zone"]) for zone in given.get("zones", ())]
    for zone in zones:
        if zone not in catalog.zones_of(region):
            raise invalid("resource.distributionPolicy.zones", zone, f"Not a zone of {region}.")
    shape = given.get("targetShape", "EVEN")
    if shape not in ("EVEN", "BALANCED", "ANY", "ANY_SINGLE_ZONE"):
        raise invalid("resource.distributionPolicy.targetShape", shape, "Not a shape.")
    update = {"type": "OPPORTUNISTIC", "instanceRedistributionType": "PROACTIVE"}
    update |= body.get("updatePolicy") or {}
    if shape != "EVEN" and update["instanceRedistributionType"] != "NONE":
        raise CloudError(
            400,
            "invalid",
            f"Proactive instance redistribution cannot be used with the target shape {shape}.",
        )
    for selection in (body.get("instanceFlexibilityPolicy") or {}).get("instanceSelections", {}):
        chosen = body["instanceFlexibilityPolicy"]["instanceSelections"][selection]
        for name in chosen.get("machineTypes", ()):
            if catalog.machine_type(name) is None:
                raise invalid("resource.instanceFlexibilityPolicy", name, "No such machine type.")
    listed = [
        {"zone": core.store.link(f"zones/{zone}")} for zone in zones or catalog.zones_of(region)
    ]
    return {
        "distributionPolicy": {"zones": listed, "targetShape": shape},
        "updatePolicy": update,
    }
