"""Interface of whatever runs the VMs, and a stand-in that runs nothing."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Ways in which the cloud ends a VM."""

    provisioning_model: Literal["STANDARD", "SPOT"] = "STANDARD"
    automatic_restart: bool = True
    termination_action: Literal["STOP", "DELETE"] = "STOP"
    """Action for a VM that is preempted or has run for `max_run_seconds`."""
    max_run_seconds: int | None = None

    @property
    def is_spot(self) -> bool:
        return self.provisioning_model == "SPOT"


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM as the API knows it at this moment; a new one is made whenever something changes."""

    id: int
    """Never used again, while names are."""
    name: str
    project: str
    zone: str
    """The bare name, as `us-central1-a`."""
    machine_type: str
    """The bare name, as `n2-standard-4`."""
    cpus: int
    memory_mb: int
    image: str
    """The bare name of the image that the boot disk was made of; an image family is resolved."""
    network_ip: str
    external_ip: str | None = None
    service_account: str | None = None
    """E-mail address; None is a VM without an identity."""
    scopes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The attributes of the instance."""
    project_metadata: Mapping[str, str] = field(default_factory=dict)
    """The attributes of the project."""
    tags: tuple[str, ...] = ()
    scheduling: Scheduling = Scheduling()
    project_number: int = 0

    @property
    def hostname(self) -> str:
        """The name that the VM's own DNS gives."""
        return f"{self.name}.{self.zone}.c.{self.project}.internal"


class MachineError(Exception):
    """A machine could not be started; the operation fails with this sentence."""


class Machines(Protocol):
    """Whatever runs the VMs. All calls come from the loop of the API, at most one a VM at a time.

    Every call may be made for a VM that is unknown, off or gone already, and then does nothing
    (but `start`).
    """

    def listen(self, powered_off: Callable[[int], None]) -> None:
        """Take the function to call, in the loop, with the id of a VM that has gone down by itself.

        That is `poweroff` inside it, or a death of the machine that nobody asked for. Called
        once, before any `start`.
        """
        ...

    async def start(self, vm: Vm) -> None:
        """Power the VM on, with the disk that it had, and return when it has begun to boot.

        Raises MachineError where that cannot be.
        """
        ...

    async def update(self, vm: Vm) -> None:
        """Take new labels, metadata or tags of a VM."""
        ...

    async def stop(self, vm: Vm, grace_seconds: float) -> None:
        """Press the power button, cut the power after the grace; return when the VM is off."""
        ...

    async def preempt(self, vm: Vm, grace_seconds: float) -> None:
        """Announce it in the VM's metadata, then do as `stop` does."""
        ...

    async def crash(self, vm: Vm) -> None:
        """Cut the power without a word; the disk stays."""
        ...

    async def delete(self, vm: Vm) -> None:
        """Cut the power if it is on, and throw the disk away."""
        ...

    async def cut(self, vm: Vm, is_cut: bool) -> None:
        """Cut the network of a VM off, or mend it; metadata is out of reach as well."""
        ...

    async def serial_output(self, vm: Vm) -> bytes:
        """Return all that the VM has written to its first serial port since it was made."""
        ...

    async def capture(self, vm: Vm, image: str) -> None:
        """Keep the disk of a VM, which is off, as the image of that name."""
        ...

    async def close(self) -> None:
        """Cut the power of all, and leave nothing behind."""
        ...


class Addresses(Protocol):
    """Source of the addresses of VMs."""

    def take(self, name: str, zone: str) -> str:
        """Return the internal address of a VM about to be made.

        Raises MachineError where there is none left; so does `take_external`.
        """
        ...

    def take_external(self, name: str, zone: str) -> str:
        """Return an external address, for a VM that asks for one."""
        ...

    def give_back(self, address: str) -> None:
        """Take an address back that `take` or `take_external` gave."""
        ...


class Pools:
    """Addresses out of one network for the inside, and of one for the outside, lowest first."""

    def __init__(self, inside: str = "10.128.0.0/20", outside: str = "203.0.113.0/24") -> None:
        self._inside, self._outside = ipaddress.IPv4Network(inside), ipaddress.IPv4Network(outside)
        # The first addresses of a subnetwork are Google's own.
        self._free = {net: list(net.hosts())[3:] for net in (self._inside, self._outside)}

    def take(self, name: str, zone: str) -> str:
        return self._take(self._inside)

    def take_external(self, name: str, zone: str) -> str:
        return self._take(self._outside)

    def _take(self, network: ipaddress.IPv4Network) -> str:
        if not self._free[network]:
            raise MachineError(f"IP space of {network} is exhausted.")
        return str(self._free[network].pop(0))

    def give_back(self, address: str) -> None:
        given = ipaddress.IPv4Address(address)
        next(free for net, free in self._free.items() if given in net).append(given)


@dataclass(slots=True)
class _Memory:
    """A machine that only remembers what was asked of it."""

    vm: Vm
    is_on: bool = True
    is_preempted: bool = False
    is_cut: bool = False
    serial: bytes = b""


class MemoryMachines:
    """Machines that run nothing: for tests of the API, and of what drives it.

    `calls` is what was asked for, as (verb, name). Each start takes `boot_seconds`.
    """

    def __init__(self, boot_seconds: float = 0.0) -> None:
        self.boot_seconds = boot_seconds
        self.calls: list[tuple[str, str]] = []
        self.machines: dict[int, _Memory] = {}
        self.images: set[str] = set()
        self._powered_off: Callable[[int], None] = _ignore

    def listen(self, powered_off: Callable[[int], None]) -> None:
        self._powered_off = powered_off

    def named(self, name: str) -> _Memory:
        """Return the machine of that name; KeyError where there is none."""
        for machine in self.machines.values():
            if machine.vm.name == name:
                return machine
        raise KeyError(name)

    def power_off(self, name: str) -> None:
        """Do what `poweroff` does inside a VM; to be called in the loop of the API."""
        machine = self.named(name)
        if machine.is_on:
            machine.is_on = False
            self._powered_off(machine.vm.id)

    async def start(self, vm: Vm) -> None:
        self.calls.append(("start", vm.name))
        await asyncio.sleep(self.boot_seconds)
        machine = self.machines.setdefault(vm.id, _Memory(vm))
        machine.vm, machine.is_on, machine.is_preempted = vm, True, False
        machine.serial += f"{vm.hostname} boots from {vm.image}\r\n".encode()

    async def update(self, vm: Vm) -> None:
        if vm.id in self.machines:
            self.machines[vm.id].vm = vm

    async def stop(self, vm: Vm, grace_seconds: float) -> None:
        self._off("stop", vm)

    async def preempt(self, vm: Vm, grace_seconds: float) -> None:
        if vm.id in self.machines:
            self.machines[vm.id].is_preempted = True
        self._off("preempt", vm)

    async def crash(self, vm: Vm) -> None:
        self._off("crash", vm)

    async def delete(self, vm: Vm) -> None:
        self.calls.append(("delete", vm.name))
        self.machines.pop(vm.id, None)

    async def cut(self, vm: Vm, is_cut: bool) -> None:
        self.calls.append(("cut" if is_cut else "mend", vm.name))
        if vm.id in self.machines:
            self.machines[vm.id].is_cut = is_cut

    async def serial_output(self, vm: Vm) -> bytes:
        return self.machines[vm.id].serial if vm.id in self.machines else b""

    async def capture(self, vm: Vm, image: str) -> None:
        self.images.add(image)

    async def close(self) -> None:
        self.machines.clear()

    def _off(self, verb: str, vm: Vm) -> None:
        self.calls.append((verb, vm.name))
        if vm.id in self.machines:
            self.machines[vm.id].is_on = False


def _ignore(_: int) -> None:
    """Nobody listens yet."""
