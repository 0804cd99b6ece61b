"""The life of an instance: made, started, stopped, preempted, run out of time, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.cloud.compute import links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import (
    CloudError,
    OperationError,
    already_exists,
    not_ready,
    stockout,
)
from tests.cloud.compute.machines import MachineError, Vm
from tests.cloud.compute.shapes import boot_disk, instance_fields, vm_of
from tests.cloud.compute.store import Resource

SYSTEM = "system"
"""Actor of changes that nobody has asked for."""

Loss = Literal["stopped", "deleted"]


@dataclass(slots=True, eq=False)
class Instance:
    """An instance and what its resource does not show."""

    path: str
    resource: Resource
    image: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes the state of the VM."""
    deadline: float | None = None
    """End of the run limit, in the cloud's time."""
    is_gone: bool = False

    @property
    def status(self) -> str:
        return str(self.resource["status"])

    @property
    def zone(self) -> str:
        return self.path.split("/")[1]


class Instances:
    """All instances of the project."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_path: dict[str, Instance] = {}
        self._deadline_changed = asyncio.Event()
        self.lost: Callable[[str, Loss], None] = lambda path, loss: None
        """Called with the path of each instance that has stopped or gone, whoever did it."""
        core.machines.listen(self._powered_off)

    def get(self, path: str) -> Instance:
        """Return an instance; raise 404 where there is none."""
        self._core.store.get(path)
        return self._by_path[path]

    def find(self, path: str) -> Instance | None:
        return self._by_path.get(path)

    def all(self) -> list[Instance]:
        return list(self._by_path.values())

    def vm(self, instance: Instance) -> Vm:
        return vm_of(self._core, instance.resource, instance.image)

    # Making

    def add(self, zone: str, body: Mapping[str, Any]) -> Instance:
        """Add an instance that is not started yet; raise 400 or 409 for what cannot be."""
        store = self._core.store
        store.check_scope(f"zones/{zone}")
        name = links.check_name(body.get("name"))
        path = f"zones/{zone}/instances/{name}"
        if store.find(path) is not None:
            raise already_exists(store.full(path))
        fields = instance_fields(self._core, zone, body)
        disk, image = boot_disk(store, body)
        disk_path = f"zones/{zone}/disks/{disk['initializeParams'].get('diskName') or name}"
        if store.find(disk_path) is not None:
            raise already_exists(store.full(disk_path))
        self._address(fields["networkInterfaces"][0], name, zone)
        resource = store.add(path, "instance", fields)
        resource["fingerprint"] = links.fingerprint(resource["id"])
        self._attach(resource, disk_path, disk, image)
        instance = Instance(path, resource, image["name"])
        self._by_path[path] = instance
        return instance

    def _address(self, nic: Resource, name: str, zone: str) -> None:
        """Assign an interface its addresses; raise 400 where there are none left."""
        addresses = self._core.addresses
        try:
            nic["networkIP"] = addresses.take(name, zone)
            if "accessConfigs" in nic:
                nic["accessConfigs"][0] |= {
                    "kind": "compute#accessConfig",
                    "name": nic["accessConfigs"][0].get("name", "external-nat"),
                    "type": "ONE_TO_ONE_NAT",
                    "natIP": addresses.take_external(name, zone),
                    "networkTier": "PREMIUM",
                }
        except MachineError as error:
            if "networkIP" in nic:
                addresses.give_back(nic["networkIP"])
            raise CloudError(400, "IP_SPACE_EXHAUSTED", str(error)) from None
        nic["fingerprint"] = links.fingerprint(nic)

    def _attach(self, resource: Resource, path: str, disk: Resource, image: Resource) -> None:
        """Add the boot disk of an instance."""
        store = self._core.store
        params = disk["initializeParams"]
        zone = path.split("/")[1]
        size = str(params.get("diskSizeGb") or image["diskSizeGb"])
        kind = links.last(params.get("diskType", "pd-standard"))
        labels = links.check_labels(params.get("labels") or {})
        made = store.add(
            path,
            "disk",
            {
                "sizeGb": size,
                "status": "READY",
                "sourceImage": image["selfLink"],
                "type": store.link(f"zones/{zone}/diskTypes/{kind}"),
                "labels": labels,
                "labelFingerprint": links.fingerprint(labels),
                "users": [resource["selfLink"]],
            },
        )
        resource["disks"] = [
            {
                "kind": "compute#attachedDisk",
                "type": "PERSISTENT",
                "mode": "READ_WRITE",
                "source": made["selfLink"],
                "deviceName": disk.get("deviceName", "persistent-disk-0"),
                "index": 0,
                "boot": True,
                "autoDelete": bool(disk.get("autoDelete", False)),
                "interface": "SCSI",
                "diskSizeGb": size,
            }
        ]

    async def first_start(self, instance: Instance) -> None:
        """Start a new instance; where that fails it is gone, and OperationError is raised."""
        async with instance.lock:
            try:
                await self._boot(instance)
            except BaseException:
                await self._forget(instance)
                raise

    async def _boot(self, instance: Instance) -> None:
        resource = instance.resource
        size = links.last(resource["machineType"])
        model = resource["scheduling"]["provisioningModel"]
        if self._core.faults.is_out(instance.zone, size, model):
            where = self._core.store.full(f"zones/{instance.zone}")
            raise stockout(size, where)
        self._core.quotas.check(resource)
        resource["status"] = "STAGING"
        try:
            await self._core.machines.start(self.vm(instance))
        except MachineError as error:
            raise OperationError("INTERNAL_ERROR", str(error), 500, "INTERNAL") from error
        now = self._core.time.now()
        resource |= {"status": "RUNNING", "lastStartTimestamp": links.timestamp(now)}
        resource.pop("lastStopTimestamp", None)
        limit = resource["scheduling"].get("maxRunDuration")
        if limit is not None:
            instance.deadline = now + int(limit["seconds"])
            resource["resourceStatus"] = {
                "scheduling": {"terminationTimestamp": links.timestamp(instance.deadline)}
            }
            self._deadline_changed.set()

    # What callers ask for

    async def start(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.status != "TERMINATED" or instance.is_gone:
                return
            try:
                await self._boot(instance)
            except BaseException:
                instance.resource["status"] = "TERMINATED"
                raise

    async def stop(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.status == "TERMINATED" or instance.is_gone:
                return
            instance.resource["status"] = "STOPPING"
            await self._core.machines.stop(self.vm(instance), self._core.stop_grace_seconds)
            self._stopped(instance)

    async def reset(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.status != "RUNNING":
                raise not_ready(self._core.store.full(instance.path))
            await self._core.machines.crash(self.vm(instance))
            await self._core.machines.start(self.vm(instance))

    async def delete(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.is_gone:
                return
            if instance.status == "RUNNING":
                instance.resource["status"] = "STOPPING"
                await self._core.machines.stop(self.vm(instance), self._core.stop_grace_seconds)
            instance.resource["status"] = "STOPPING"
            await self._forget(instance)

    async def update(self, instance: Instance) -> None:
        """Send new labels, metadata or tags to the machine."""
        if not instance.is_gone:
            await self._core.machines.update(self.vm(instance))

    async def capture(self, path: str, image: str) -> None:
        instance = self.get(path)
        async with instance.lock:
            await self._core.machines.capture(self.vm(instance), image)

    # What nobody asks for

    async def preempt(self, instance: Instance) -> None:
        """Take a spot VM away as the real cloud does: notice, grace, then its termination."""
        await self._terminate(instance, "compute.instances.preempted", is_preemption=True)

    async def _run_out(self, instance: Instance) -> None:
        await self._terminate(instance, "compute.instances.stopped", is_preemption=False)

    async def _terminate(self, instance: Instance, kind: str, *, is_preemption: bool) -> None:
        async with instance.lock:
            if instance.is_gone or instance.status != "RUNNING":
                return
            operation = self._core.operations.begin(kind, instance.path, user=SYSTEM)
            instance.resource["status"] = "STOPPING"
            vm = self.vm(instance)
            if is_preemption:
                await self._core.machines.preempt(vm, self._core.preempt_grace_seconds)
            else:
                await self._core.machines.stop(vm, self._core.stop_grace_seconds)
            if vm.scheduling.termination_action == "DELETE":
                await self._forget(instance)
            else:
                self._stopped(instance)
            self._core.operations.end(operation)

    async def crash(self, instance: Instance) -> None:
        """End the VM as its host's death does; it is started again where that was asked for."""
        async with instance.lock:
            if instance.is_gone or instance.status != "RUNNING":
                return
            kind = "compute.instances.hostError"
            operation = self._core.operations.begin(kind, instance.path, user=SYSTEM)
            vm = self.vm(instance)
            await self._core.machines.crash(vm)
            self._core.operations.end(operation)
            if not vm.scheduling.automatic_restart:
                self._stopped(instance)
                return
            kind = "compute.instances.automaticRestart"
            operation = self._core.operations.begin(kind, instance.path, user=SYSTEM)
            await self._core.machines.start(vm)
            self._core.operations.end(operation)

    def _powered_off(self, vm_id: int) -> None:
        for instance in self._by_path.values():
            if int(instance.resource["id"]) == vm_id:
                self._core.background.start(self._note_power_off(instance))

    async def _note_power_off(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.is_gone or instance.status != "RUNNING":
                return
            kind = "compute.instances.guestTerminate"
            self._core.operations.end(self._core.operations.begin(kind, instance.path, user=SYSTEM))
            self._stopped(instance)

    # Ends

    def _stopped(self, instance: Instance) -> None:
        now = links.timestamp(self._core.time.now())
        instance.resource |= {"status": "TERMINATED", "lastStopTimestamp": now}
        instance.deadline = None
        self.lost(instance.path, "stopped")

    async def _forget(self, instance: Instance) -> None:
        """Throw an instance away, with the disks that go with it."""
        store = self._core.store
        await self._core.machines.delete(self.vm(instance))
        instance.is_gone, instance.deadline = True, None
        store.remove(instance.path)
        self._by_path.pop(instance.path, None)
        for disk in instance.resource["disks"]:
            path = store.path_of(disk["source"])
            if disk["autoDelete"]:
                store.remove(path)
            elif (kept := store.find(path)) is not None:
                kept.pop("users", None)
        nic = instance.resource["networkInterfaces"][0]
        self._core.addresses.give_back(nic["networkIP"])
        for config in nic.get("accessConfigs", ()):
            self._core.addresses.give_back(config["natIP"])
        self.lost(instance.path, "deleted")

    # The run limit

    def time_has_moved(self) -> None:
        self._deadline_changed.set()

    async def watch_deadlines(self) -> None:
        """End the VMs whose run limit is over, for ever."""
        while True:
            self._deadline_changed.clear()
            now = self._core.time.now()
            due = [i for i in self.all() if i.deadline is not None and i.deadline <= now]
            for instance in due:
                instance.deadline = None
                self._core.background.start(self._run_out(instance))
            waits = [i.deadline - now for i in self.all() if i.deadline is not None]
            try:
                await asyncio.wait_for(self._deadline_changed.wait(), min(waits, default=None))
            except TimeoutError:
                continue
