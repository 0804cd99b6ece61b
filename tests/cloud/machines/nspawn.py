"""The machines of the test cloud's API, made of containers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cloud.compute.machines import MachineError, Vm
from tests.cloud.machines import cgroups, image, network
from tests.cloud.machines.container import Container, ContainerError
from tests.cloud.metadata import MetadataServer

_HOSTS = """\
127.0.0.1 localhost
::1 localhost
{gateway} metadata.google.internal metadata
{address} {hostname} {name}
"""
# Google's agent would use the link-local address; its stand-in gets the one that is here.
_INSTANCE_METADATA = "GCE_METADATA_HOST={gateway}\n"


@dataclass(slots=True)
class _Machine:
    vm: Vm
    container: Container
    is_preempted: bool = False


class NspawnMachines:
    """Containers on the bridge of `network`, which has been set up; see the protocol `Machines`.

    root: the folder of the image, which is only read.
    folder: takes the disks and consoles; it has to lie on a file system that can hold an overlay's
        upper layer. At the end it has the serial consoles of all VMs, below `consoles`.
    cgroup: the name of a cgroup that becomes the parent of the VMs' own.
    disks: what VMs of an earlier cloud have written, captured, by the name of an image.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        metadata: MetadataServer,
        cgroup: str = "mrcore-cloud",
        disks: Mapping[str, Path] | None = None,
    ) -> None:
        self._root = root
        self._folder = folder
        self._metadata = metadata
        self._cgroup = cgroup
        self._guest = folder / "guest"
        self._consoles = folder / "consoles"
        self._machines: dict[int, _Machine] = {}
        self._images: dict[str, tuple[Path, ...]] = {
            name: (disk, self._guest, root) for name, disk in (disks or {}).items()
        }
        self._powered_off: Callable[[int], None] = _ignore
        image.lay_over(self._guest)
        self._consoles.mkdir()

    def listen(self, powered_off: Callable[[int], None]) -> None:
        self._powered_off = powered_off

    async def start(self, vm: Vm) -> None:
        try:
            machine = self._machines.get(vm.id) or await self._make(vm)
            machine.vm, machine.is_preempted = vm, False
            self._metadata.put(vm)
            await machine.container.boot(network.namespace(vm.network_ip))
        except (ContainerError, network.NetworkError) as error:
            raise MachineError(f"{vm.name} could not be started: {error}.") from error

    async def _make(self, vm: Vm) -> _Machine:
        def exited(is_asked: bool) -> None:
            if not is_asked:
                self._powered_off(vm.id)

        layers = self._images.get(vm.image, (self._guest, self._root))
        container = Container(
            vm.name, self._folder / str(vm.id), layers, f"{self._cgroup}/{vm.id}", exited
        )
        await container.make_disk()
        gateway = network.GATEWAY.ip
        container.write(
            {
                "etc/hostname": f"{vm.name}\n",
                "etc/hosts": _HOSTS.format(
                    gateway=gateway, address=vm.network_ip, hostname=vm.hostname, name=vm.name
                ),
                "etc/default/instance-metadata": _INSTANCE_METADATA.format(gateway=gateway),
            }
        )
        await network.attach(vm.network_ip)
        machine = self._machines[vm.id] = _Machine(vm, container)
        return machine

    async def update(self, vm: Vm) -> None:
        if machine := self._machines.get(vm.id):
            machine.vm = vm
            self._metadata.put(vm, is_preempted=machine.is_preempted)

    async def stop(self, vm: Vm, grace_seconds: float) -> None:
        if machine := self._machines.get(vm.id):
            await machine.container.power_off(grace_seconds)

    async def preempt(self, vm: Vm, grace_seconds: float) -> None:
        if machine := self._machines.get(vm.id):
            machine.is_preempted = True
            self._metadata.put(machine.vm, is_preempted=True)
            await machine.container.power_off(grace_seconds)

    async def crash(self, vm: Vm) -> None:
        if machine := self._machines.get(vm.id):
            await machine.container.cut_power()

    async def delete(self, vm: Vm) -> None:
        if machine := self._machines.pop(vm.id, None):
            await machine.container.cut_power()
            self._metadata.remove(machine.vm)
            await network.detach(vm.network_ip)
            kept = self._consoles / f"{vm.name}-{vm.id}.log"
            await asyncio.to_thread(machine.container.console.replace, kept)
            await machine.container.remove()

    async def cut(self, vm: Vm, is_cut: bool) -> None:
        if vm.id in self._machines:
            await network.cut(vm.network_ip, is_cut=is_cut)

    async def serial_output(self, vm: Vm) -> bytes:
        machine = self._machines.get(vm.id)
        return machine.container.console.read_bytes() if machine else b""

    async def capture(self, vm: Vm, image: str) -> None:
        if machine := self._machines.get(vm.id):
            target = self._folder / "images" / image
            target.parent.mkdir(exist_ok=True)
            await machine.container.copy_disk(target)
            self._images[image] = (target, *machine.container.layers)

    async def close(self) -> None:
        machines = list(self._machines.values())
        await asyncio.gather(*(self.delete(machine.vm) for machine in machines))
        cgroups.remove(self._cgroup)
        for path in (self._guest, self._folder / "images"):
            shutil.rmtree(path, ignore_errors=True)


def _ignore(_: int) -> None:
    """Nobody listens yet."""
