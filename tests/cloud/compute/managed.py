"""Managed instance groups: members, and the hand that brings them to the target size."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.cloud.compute import links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, OperationError
from tests.cloud.compute.lifecycle import Instance, Instances, Loss
from tests.cloud.compute.store import Resource

Action = Literal["NONE", "CREATING", "RECREATING", "DELETING"]

KEPT_ERRORS = 500
_ACTIONS = (
    *("none", "creating", "creatingWithoutRetries", "verifying", "recreating", "deleting"),
    *("abandoning", "restarting", "refreshing", "suspending", "resuming", "stopping", "starting"),
)
_LETTERS = "0123456789bcdfghjklmnpqrstvwxz"


@dataclass(slots=True, eq=False)
class Member:
    """One VM of a group, whether it exists already, still, or not."""

    name: str
    zone: str
    """Zone of the VM, present or planned; empty before a zone was sought."""
    template: str
    """Path of the template that it is made of."""
    action: Action
    instance: Instance | None = None
    error: Resource | None = None
    """Error of the last attempt to make it, gone once it is made."""
    machine_type: str | None = None
    """Machine type by the choice of the group's flexibility policy."""
    task: asyncio.Task[None] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> str:
        """The path of its instance."""
        return f"zones/{self.zone}/instances/{self.name}"


class Group:
    """One group; its resource is in the store."""

    def __init__(self, core: Core, instances: Instances, path: str) -> None:
        self._core = core
        self._instances = instances
        self.path = path
        self.members: dict[str, Member] = {}
        self.errors: list[Resource] = []
        """Failures, the newest last, as `listErrors` shows them."""
        self.is_deleted = False
        self._changed = asyncio.Event()

    @property
    def resource(self) -> Resource:
        return self._core.store.get(self.path)

    @property
    def _plain_path(self) -> str:
        """The path of the group of instances that this one manages."""
        return self.path.replace("/instanceGroupManagers/", "/instanceGroups/")

    @property
    def target(self) -> int:
        return int(self.resource["targetSize"])

    @property
    def repairs(self) -> bool:
        policy = self.resource["instanceLifecyclePolicy"]
        return bool(policy["defaultActionOnFailure"] == "REPAIR")

    def member_of(self, link: str) -> Member | None:
        """Return the member whose instance a link means."""
        path = self._core.store.path_of(link)
        return next((m for m in self.members.values() if m.path == path), None)

    # What callers want

    def resize(self, size: int) -> None:
        self.resource["targetSize"] = size
        self.reconcile()

    def delete_members(self, members: Iterable[Member]) -> None:
        """Delete these members, and want as many less."""
        for member in members:
            if member.action != "DELETING":
                self._set(member, "DELETING")
                self.resource["targetSize"] = self.target - 1
        self.reconcile()

    def create_members(self, names: Iterable[str]) -> None:
        """Add members of these names, and want as many more."""
        for name in names:
            self._add(name)
            self.resource["targetSize"] = self.target + 1
        self.reconcile()

    def recreate_members(self, members: Iterable[Member]) -> None:
        for member in members:
            if member.action in ("NONE", "RECREATING"):
                self._set(member, "RECREATING")
        self.reconcile()

    async def delete(self) -> None:
        """Delete all members, then the group."""
        self.is_deleted = True
        self.resource["targetSize"] = 0
        for member in self.members.values():
            self._set(member, "DELETING")
        self.reconcile()
        while self.members:
            self._changed.clear()
            await self._changed.wait()
        self._core.store.remove(self.path)
        self._core.store.remove(self._plain_path)

    def lost(self, path: str, loss: Loss) -> None:
        """Take note of an instance that has stopped or gone, whoever did it."""
        member = next((m for m in self.members.values() if m.path == path), None)
        if member is None or member.action != "NONE" or self.is_deleted:
            return
        if loss == "deleted":
            member.instance = None
        if self.repairs:
            self._set(member, "RECREATING")
            self.reconcile()

    # Towards the target

    def reconcile(self) -> None:
        """Start what brings the group to its target size; what runs already goes on."""
        staying = [m for m in self.members.values() if m.action != "DELETING"]
        for _ in range(self.target - len(staying)):
            self._add(self._new_name())
        # Who is not there yet is missed least.
        surplus = max(0, len(staying) - self.target)
        order = sorted(
            staying, key=lambda m: (m.instance is not None, self._core.store.rng.random())
        )
        for member in order[:surplus]:
            self._set(member, "DELETING")
        for member in self.members.values():
            if member.action != "NONE" and member.task is None:
                member.task = self._core.background.start(self._work(member))
        self.refresh()

    def _set(self, member: Member, action: Action) -> None:
        member.action = action
        member.wake.set()

    def _new_name(self) -> str:
        base = self.resource["baseInstanceName"]
        while True:
            name = f"{base}-{''.join(self._core.store.rng.choices(_LETTERS, k=4))}"
            if name not in self.members:
                return name

    def _add(self, name: str) -> None:
        template = self._core.store.path_of(self.resource["instanceTemplate"])
        member = Member(name, "", template, "CREATING")
        self._place(member)
        self.members[name] = member

    async def _work(self, member: Member) -> None:
        """Do what a member's action says until there is none."""
        try:
            while member.action != "NONE":
                if member.action == "DELETING":
                    await self._delete(member)
                    break
                await self._make(member)
        finally:
            member.task = None
            self.refresh()
            self._changed.set()

    async def _delete(self, member: Member) -> None:
        instance = member.instance or self._instances.find(member.path)
        if instance is not None:
            user = self._core.agent
            operation = self._core.operations.begin("delete", instance.path, user=user)
            await self._instances.delete(instance)
            self._core.operations.end(operation)
        self.members.pop(member.name, None)

    async def _make(self, member: Member) -> None:
        """Try once to make a member, and wait a little where that fails."""
        if member.instance is not None and not member.instance.is_gone:
            await self._instances.delete(member.instance)
        member.instance = None
        member.wake.clear()
        try:
            await self._try(member)
        except OperationError as error:
            self._note(member, error.code, error.message)
        except CloudError as error:
            self._note(member, error.reason, error.message)
        else:
            member.error = None
            if member.action in ("CREATING", "RECREATING"):
                member.action = "NONE"
            return
        self.refresh()
        if member.action != "DELETING":
            try:
                await asyncio.wait_for(member.wake.wait(), self._core.retry_seconds)
            except TimeoutError:
                return

    async def _try(self, member: Member) -> None:
        store = self._core.store
        template = store.get(member.template)
        properties = template["properties"]
        if member.action == "CREATING" and member.error is not None:
            self._place(member)
        size = member.machine_type or properties["machineType"]
        body = properties | {
            "name": member.name,
            "machineType": f"zones/{member.zone}/machineTypes/{size}",
            "metadata": {"items": self._metadata(properties, template)},
        }
        instance = self._instances.add(member.zone, body)
        operation = self._core.operations.begin("insert", instance.path, user=self._core.agent)
        try:
            await self._instances.first_start(instance)
        except OperationError as error:
            self._core.operations.fail(operation, error)
            raise
        self._core.operations.end(operation)
        member.instance = instance

    def _metadata(self, properties: Resource, template: Resource) -> list[Resource]:
        project = f"projects/{self._core.store.number}"
        path = self._core.store.path_of(template["selfLink"])
        own = {"instance-template": f"{project}/{path}", "created-by": f"{project}/{self.path}"}
        given = links.items_of(properties["metadata"])
        return [{"key": key, "value": value} for key, value in (given | own).items()]

    def _note(self, member: Member, code: str, message: str) -> None:
        """Remember why a member could not be made."""
        member.error = {"code": code, "message": message}
        self.errors.append(
            {
                "error": dict(member.error),
                "instanceActionDetails": {
                    "action": member.action,
                    "instance": self._core.store.link(member.path),
                    "version": {"instanceTemplate": self._core.store.link(member.template)},
                },
                "timestamp": links.timestamp(self._core.time.now()),
            }
        )
        del self.errors[:-KEPT_ERRORS]

    # Where to

    def _zones(self) -> list[str]:
        policy = self.resource.get("distributionPolicy")
        if policy is None:
            return [self.path.split("/")[1]]
        return [links.last(zone["zone"]) for zone in policy["zones"]]

    def _place(self, member: Member) -> None:
        """Choose the zone of a new member, and its machine type where the group may choose."""
        properties = self._core.store.get(member.template)["properties"]
        model = properties["scheduling"]["provisioningModel"]
        held = Counter(other.zone for other in self.members.values() if other is not member)
        zones = sorted(self._zones(), key=lambda zone: held[zone])
        if self._shape() == "EVEN":
            zones = zones[:1]  # whoever wants zones in balance waits for the emptiest
        ranked = self._ranked_types()
        places = [(zone, size) for size in ranked or [properties["machineType"]] for zone in zones]
        free = (
            (zone, size) for zone, size in places if not self._core.faults.is_out(zone, size, model)
        )
        member.zone, size = next(free, places[0])
        member.machine_type = size if ranked else None

    def _shape(self) -> str:
        return str(self.resource.get("distributionPolicy", {}).get("targetShape", "ANY"))

    def _ranked_types(self) -> list[str]:
        """Return the machine types of the flexibility policy, the best first."""
        selections: Mapping[str, Any] = self.resource.get("instanceFlexibilityPolicy", {}).get(
            "instanceSelections", {}
        )
        ordered = sorted(selections.values(), key=lambda selection: int(selection.get("rank", 0)))
        return [name for selection in ordered for name in selection["machineTypes"]]

    # What there is to see

    @property
    def is_stable(self) -> bool:
        return not self.is_deleted and all(m.action == "NONE" for m in self.members.values())

    def refresh(self) -> None:
        """Bring the counts of the resource up to date."""
        if self._core.store.find(self.path) is None:
            return
        counts = Counter(member.action.lower() for member in self.members.values())
        existing = sum(member.instance is not None for member in self.members.values())
        self._core.store.get(self._plain_path)["size"] = existing
        template = self.resource["instanceTemplate"]
        reached = all(self._core.store.link(m.template) == template for m in self.members.values())
        self.resource.update(
            currentActions={action: counts[action] for action in _ACTIONS},
            status={
                "isStable": self.is_stable,
                "stateful": {
                    "hasStatefulConfig": False,
                    "perInstanceConfigs": {"allEffective": True},
                },
                "versionTarget": {"isReached": reached},
                "allInstancesConfig": {"effective": True},
            },
            versions=[{"instanceTemplate": template, "targetSize": {"calculated": self.target}}],
        )

    def show(self, member: Member) -> Resource:
        """Return a member as `listManagedInstances` does."""
        shown: Resource = {
            "instance": self._core.store.link(member.path),
            "name": member.name,
            "currentAction": member.action,
            "version": {"instanceTemplate": self._core.store.link(member.template)},
        }
        instance = member.instance or self._instances.find(member.path)
        if instance is not None and not instance.is_gone:
            shown |= {"id": instance.resource["id"], "instanceStatus": instance.status}
        if member.machine_type:
            shown["propertiesFromFlexibilityPolicy"] = {"machineType": member.machine_type}
        if member.error is not None:
            shown["lastAttempt"] = {"errors": {"errors": [member.error]}}
        return shown
