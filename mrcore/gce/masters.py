"""Masters of a cluster: their VMs, which of them leads, and what another number of them takes."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from mrcore.errors import ClusterUnreachableError, MrcoreError
from mrcore.gce.crew import signals_kept_away
from mrcore.gce.inventory import Row
from mrcore.gce.machines import PORT, master_name
from mrcore.gce.tunnel import Tunnel
from mrcore.model.master import MasterRole
from mrcore.rpc.masters import masters_of
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM

LOOK_SECONDS: Final = 2.0
"""Pause between two looks which master leads, while a tunnel is open."""
_STOPPED: Final = ("STOPP", "TERMINATED", "SUSPEND")


class Change(msgspec.Struct, frozen=True):
    """The VMs that a cluster lacks, and those that it is not to have any more."""

    make: tuple[tuple[str, str], ...] = ()
    """Name and zone of each."""
    remove: tuple[Row, ...] = ()
    """Stopped VMs, which stand in the way of new ones, and standbys beyond the wanted number."""
    surplus: int = 0
    """Number of running masters beyond the wanted number, whether they can go or not."""


def has_stopped(row: Row) -> bool:
    """Return whether a VM has stopped, or is about to."""
    return row.state.startswith(_STOPPED)


def plan_change(
    cluster: str, rows: Iterable[Row], wanted: int, zones: Sequence[str], leader: str
) -> Change:
    """Return what brings a cluster to the wanted number of masters.

    The VM that leads is never removed, and none is while nobody knows which one leads. New VMs go
    where the fewest masters are.
    """
    masters = sorted((row for row in rows if row.role == "master"), key=_number)
    live = [row for row in masters if not has_stopped(row)]
    stopped = [row for row in masters if has_stopped(row)]
    surplus = max(0, len(live) - wanted)
    standbys = [row for row in reversed(live) if row.name != leader] if leader else []
    used = {row.name for row in live}
    names = (master_name(cluster, number) for number in range(1, wanted + len(live) + 1))
    free = [name for name in names if name not in used][: max(0, wanted - len(live))]
    there = Counter(row.place for row in live)
    make = []
    for name in free:
        zone = min(zones, key=lambda one: there[one])
        there[zone] += 1
        make.append((name, zone))
    return Change(tuple(make), (*stopped, *standbys[:surplus]), surplus)


def _number(row: Row) -> int:
    end = row.name.rpartition("-")[2]
    return int(end) if end.isdecimal() else 1


def leading_vm(state_uri: str) -> str:
    """Return the name of the VM whose master leads; empty where none does, or nobody knows."""
    with contextlib.suppress(MrcoreError):
        views = masters_of(storage_for(state_uri), state_uri, SYSTEM.wall())
        for view in views:
            if view.role is MasterRole.LEADER:
                return view.host.partition(".")[0]
    return ""


def tunnel_command(vm: str, zone: str, project: str, port: str) -> list[str]:
    """Return the command that joins a port here to the master on a VM."""
    return [
        *("gcloud", "compute", "start-iap-tunnel", vm, str(PORT)),
        *(f"--local-host-port=localhost:{port}", f"--zone={zone}"),
        *(f"--project={project}", "--quiet"),
    ]


class LeaderTunnel:
    """A tunnel to one of several masters, which turns to another one when that leads."""

    def __init__(
        self,
        state_uri: str,
        list_vms: Callable[[], list[Row]],
        command: Callable[[Row], list[str]],
        open_tunnel: Callable[[list[str]], Tunnel],
        *,
        find: Callable[[str], str] = leading_vm,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Open it to the leader, or to any master while nobody leads.

        `list_vms` returns the rows of VMs, `command` the command for one of them. Raises
        MrcoreError where the VMs cannot be listed.
        """
        self._state_uri = state_uri
        self._list_vms = list_vms
        self._command = command
        self._find = find
        self._look_seconds = look_seconds
        self._closed = threading.Event()
        self._rows: dict[str, Row] = {}
        self._learn()
        if not self._rows:
            raise ClusterUnreachableError("No VM of a master is there. See: mrcore gce status")
        leader = find(state_uri)
        self.vm = leader if leader in self._rows else min(self._rows)
        self.tunnel = open_tunnel(command(self._rows[self.vm]))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _learn(self) -> None:
        self._rows = {row.name: row for row in self._list_vms() if row.role == "master"}

    def _follow(self) -> None:
        with signals_kept_away():
            while not self._closed.wait(self._look_seconds):
                with contextlib.suppress(MrcoreError):
                    self.look()

    def look(self) -> None:
        """Turn to the VM that leads now, if that is another one."""
        leader = self._find(self._state_uri)
        if not leader or leader == self.vm:
            return
        if leader not in self._rows:
            self._learn()
        if leader in self._rows and not self._closed.is_set():
            self.vm = leader
            self.tunnel.turn(self._command(self._rows[leader]))

    def end(self) -> None:
        """End it without waiting; safe in a signal handler."""
        self._closed.set()
        self.tunnel.end()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._closed.set()
        self.tunnel.close()
