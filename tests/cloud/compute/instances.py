"""The methods of instances."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.cloud.compute import links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, invalid, stale
from tests.cloud.compute.images import set_labels
from tests.cloud.compute.lifecycle import Instance, Instances
from tests.cloud.compute.routing import Call, Route, merged
from tests.cloud.compute.store import Resource, aggregated, listing

SERIAL_BYTES = 1 << 20
"""The most that one answer has of the serial output."""

CREATE_PERMISSIONS = (
    *("compute.disks.create", "compute.instances.setMetadata", "compute.subnetworks.use"),
)
"""Permissions that the making of an instance always needs besides `compute.instances.create`."""


def check_may_create(core: Core, caller: str, where: str, body: Resource) -> None:
    """Raise 403 or 400 unless the caller may make an instance of that body."""
    needed = {*CREATE_PERMISSIONS, "compute.instances.create"}
    if body.get("labels"):
        needed.add("compute.instances.setLabels")
    if body.get("tags", {}).get("items"):
        needed.add("compute.instances.setTags")
    if any(nic.get("accessConfigs") for nic in body.get("networkInterfaces") or ()):
        needed.add("compute.subnetworks.useExternalIp")
    accounts = body.get("serviceAccounts") or []
    if accounts:
        needed.add("compute.instances.setServiceAccount")
    for permission in sorted(needed):
        core.access.check(caller, permission, where)
    for account in accounts:
        email = account.get("email", "default")
        email = core.access.default_account if email == "default" else email
        core.access.check_act_as(caller, email)


class InstanceMethods:
    """The methods of instances."""

    def __init__(self, core: Core, instances: Instances) -> None:
        self._core = core
        self._store = core.store
        self._instances = instances

    def routes(self) -> list[Route]:
        api = "compute.instances"
        all_of, one = "/{zonal}/instances", "/{zonal}/instances/{name}"
        routes = [
            Route("GET", all_of, f"{api}.list", self.list),
            Route("POST", all_of, f"{api}.insert", self.insert),
            Route("GET", one, f"{api}.get", self.get),
            Route("DELETE", one, f"{api}.delete", self.delete),
            Route("GET", "/aggregated/instances", f"{api}.aggregatedList", self.list_all),
            Route("GET", f"{one}/serialPort", f"{api}.getSerialPortOutput", self.serial_output),
        ]
        changes: list[tuple[str, Callable[[Call], Awaitable[Resource]]]] = [
            ("start", self._change("start", self._instances.start)),
            ("stop", self._change("stop", self._instances.stop)),
            ("reset", self._change("reset", self._instances.reset)),
            ("setLabels", self.set_labels),
            ("setMetadata", self.set_metadata),
            ("setTags", self.set_tags),
            ("setScheduling", self.set_scheduling),
        ]
        for verb, handler in changes:
            routes.append(Route("POST", f"{one}/{verb}", f"{api}.{verb}", handler))
        return routes

    def list(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        found = list(self._store.all("instances", scope))
        return listing(self._store, "instance", f"{scope}/instances", found, call.params)

    def list_all(self, call: Call) -> Resource:
        return aggregated(self._store, "instance", "instances", call.params)

    def get(self, call: Call) -> Resource:
        return self._store.get(call.path("instances"))

    async def insert(self, call: Call) -> Resource:
        zone = links.last(self._store.check_scope(call.scope))
        body = call.body
        template = call.params.get("sourceInstanceTemplate")
        if template is not None:
            path = self._store.path_of(template)
            self._core.access.check(
                call.caller, "compute.instanceTemplates.useReadOnly", self._store.full(path)
            )
            body = merged(self._store.get(path)["properties"], body)
        check_may_create(self._core, call.caller, self._store.full(call.scope), body)
        instance = self._instances.add(zone, body)
        return await self._core.operations.run(
            "insert",
            instance.path,
            self._instances.first_start(instance),
            user=call.caller,
            params=call.params,
        )

    async def delete(self, call: Call) -> Resource:
        instance = self._instances.get(call.path("instances"))
        if instance.resource["deletionProtection"]:
            raise invalid(
                "resource",
                self._store.full(instance.path),
                "Resource cannot be deleted if it's protected against deletion.",
            )
        return await self._run("delete", call, instance, self._instances.delete(instance))

    def _change(
        self, kind: str, work: Callable[[Instance], Coroutine[Any, Any, None]]
    ) -> Callable[[Call], Awaitable[Resource]]:
        async def handler(call: Call) -> Resource:
            instance = self._instances.get(call.path("instances"))
            return await self._run(kind, call, instance, work(instance))

        return handler

    async def _run(
        self, kind: str, call: Call, instance: Instance, work: Coroutine[Any, Any, None]
    ) -> Resource:
        return await self._core.operations.run(
            kind,
            instance.path,
            work,
            user=call.caller,
            params=call.params,
            target_id=instance.resource["id"],
        )

    async def set_labels(self, call: Call) -> Resource:
        path = call.path("instances")
        operation = await set_labels(self._core, call, path)
        await self._instances.update(self._instances.get(path))
        return operation

    async def set_metadata(self, call: Call) -> Resource:
        instance = self._instances.get(call.path("instances"))
        current = instance.resource["metadata"]["fingerprint"]
        if not links.is_same(call.body.get("fingerprint"), current):
            raise stale("metadata")
        made = links.metadata(call.body)

        async def work() -> None:
            instance.resource["metadata"] = made
            await self._instances.update(instance)

        return await self._run("setMetadata", call, instance, work())

    async def set_tags(self, call: Call) -> Resource:
        instance = self._instances.get(call.path("instances"))
        current = instance.resource["tags"]["fingerprint"]
        if not links.is_same(call.body.get("fingerprint"), current):
            raise stale("tags")
        tags = links.check_tags(call.body.get("items", ()), "items")

        async def work() -> None:
            instance.resource["tags"] = {"fingerprint": links.fingerprint(tags), "items": tags}
            await self._instances.update(instance)

        return await self._run("setTags", call, instance, work())

    async def set_scheduling(self, call: Call) -> Resource:
        instance = self._instances.get(call.path("instances"))
        if instance.status != "TERMINATED":
            raise CloudError(400, "invalid", "Scheduling can be set on a stopped instance only.")

        async def work() -> None:
            instance.resource["scheduling"] = merged(instance.resource["scheduling"], call.body)

        return await self._run("setScheduling", call, instance, work())

    async def serial_output(self, call: Call) -> Resource:
        instance = self._instances.get(call.path("instances"))
        port = int(call.params.get("port") or 1)
        if not 1 <= port <= 4:
            raise invalid("port", port, "Values are 1 to 4.")
        output = b""
        if port == 1:
            machines = self._core.machines
            output = await machines.serial_output(self._instances.vm(instance))
        start = int(call.params.get("start") or 0)
        if start < 0:
            start = max(0, len(output) + start)
        start = min(start, len(output)) if start else max(0, len(output) - SERIAL_BYTES)
        end = min(len(output), start + SERIAL_BYTES)
        return {
            "kind": "compute#serialPortOutput",
            "selfLink": f"{instance.resource['selfLink']}/serialPort",
            "contents": output[start:end].decode(errors="replace"),
            "start": str(start),
            "next": str(end),
        }
