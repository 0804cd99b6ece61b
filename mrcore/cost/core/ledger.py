"""Ledger of a fleet's cost, by purpose and by job. Pure: observations and `now` are passed in.

Between two looks a machine costs its price: while its worker has not joined that is boot, after it
slots that run attempts are useful and the others idle. Useful dollars belong to the jobs whose
attempts ran; the rest is shared by the jobs that live.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mrcore.cost.prices import Prices, region_of
from mrcore.model.snapshots import Cost

JOBS_MAX: Final = 1_000
"""The newest jobs whose cost is kept."""
MINIMUM_SECONDS: Final = 60.0
"""Least time that a machine is billed for."""


class Meter(msgspec.Struct, kw_only=True):
    """Account of one machine."""

    machine_type: str
    zone: str
    spot: bool
    master: bool
    disk_gib: float
    created_seconds: float
    paid_until: float
    joined: bool = False
    lost_seconds: dict[str, float] = {}
    """Slot-seconds of the running attempts by job, which are lost with the machine."""
    slots: int = 1


class Spend(msgspec.Struct, kw_only=True):
    """Total cost of a cluster, kept in the state."""

    total: Cost = Cost()
    jobs: dict[str, Cost] = {}
    """Cost by job, the newest last."""
    machines: dict[str, Meter] = {}
    """Running machines by name."""
    spot_seconds: float = 0.0
    """Total lifetime of spot machines, for the rate of preemption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as the cloud lists it."""

    name: str
    zone: str
    machine_type: str
    spot: bool
    master: bool
    created_seconds: float
    disk_gib: float = 0.0


@dataclass(slots=True)
class Load:
    """Load of a machine's worker."""

    slots: int = 1
    running: dict[str, int] = field(default_factory=dict)
    """Attempts by job."""
    elapsed_seconds: dict[str, float] = field(default_factory=dict)
    """Elapsed time of these attempts together, by job."""


class Ledger:
    """Keeps the books of one cluster; `spend` is all of its state."""

    def __init__(self, prices: Prices, spend: Spend | None = None) -> None:
        self.prices = prices
        self.spend = spend if spend is not None else Spend()

    def hour(self, machine_type: str, zone: str, *, spot: bool, disk_gib: float) -> float:
        """Return the dollars of a machine's hour: at most, where the price is a range."""
        region = region_of(zone)
        range_ = self.prices.machine_hour(machine_type, spot=spot, region=region)
        return range_.high + self.prices.disk_hour(disk_gib, region)

    def accrue(
        self,
        machines: Sequence[Machine],
        loads: Mapping[str, Load],
        jobs: Sequence[str],
        released: Collection[str],
        now: float,
    ) -> list[str]:
        """Book what has been spent since the last look; return the machines that were preempted.

        `loads` is by machine, `jobs` are those that live, `released` the machines that go by
        our own will.
        """
        seen = {machine.name for machine in machines}
        gone = [name for name in self.spend.machines if name not in seen]
        preempted = [name for name in gone if self._close(name, name in released, jobs)]
        for machine in machines:
            self._pay(machine, loads.get(machine.name), jobs, now)
        return preempted

    def operations(self, job_id: str, class_a: int, class_b: int) -> None:
        """Book a job's storage operations: all of them, as counted so far."""
        known = self.spend.jobs.get(job_id, Cost())
        more_a, more_b = max(0, class_a - known.class_a), max(0, class_b - known.class_b)
        if more_a or more_b:
            self._book([job_id], self._operations_cost(more_a, more_b))

    def own_operations(self, class_a: int, class_b: int) -> None:
        """Book operations of the master itself, for no job in particular."""
        self.spend.total = self.spend.total.plus(self._operations_cost(class_a, class_b))

    def job(self, job_id: str) -> Cost:
        """Return what one job has cost."""
        return self.spend.jobs.get(job_id, Cost())

    def preemptions_per_hour(self) -> float | None:
        """Return preemptions for each hour of a spot machine; None before a minute of them."""
        if self.spend.spot_seconds < 60:
            return None
        return self.spend.total.preemptions / (self.spend.spot_seconds / 3600)

    def hour_now(self) -> float:
        """Return the dollars of an hour with the machines that live now."""
        return 3600 * sum(self._second(meter) for meter in self.spend.machines.values())

    def _operations_cost(self, class_a: int, class_b: int) -> Cost:
        dollars = self.prices.operations(class_a, class_b)
        return Cost(operations=dollars, class_a=class_a, class_b=class_b)

    def _pay(self, machine: Machine, load: Load | None, jobs: Sequence[str], now: float) -> None:
        meter = self.spend.machines.get(machine.name)
        if meter is None or meter.created_seconds != machine.created_seconds:
            meter = Meter(
                machine_type=machine.machine_type,
                zone=machine.zone,
                spot=machine.spot,
                master=machine.master,
                disk_gib=machine.disk_gib,
                created_seconds=machine.created_seconds,
                paid_until=machine.created_seconds,
            )
            self.spend.machines[machine.name] = meter
        seconds = max(0.0, now - meter.paid_until)
        meter.paid_until += seconds
        if machine.spot:
            self.spend.spot_seconds += seconds
        dollars = seconds * self._second(meter)
        if machine.master:
            self._book(jobs, Cost(master=dollars, vm_seconds=seconds))
        elif not meter.joined:
            # Until now: an interval is what it was at its beginning.
            self._book(jobs, Cost(boot=dollars, vm_seconds=seconds))
        elif load is None:
            # Its worker has left, and it waits to be deleted.
            self._book(jobs, Cost(idle=dollars, vm_seconds=seconds))
        else:
            self._work(load, jobs, seconds, dollars)
        if load is not None:
            meter.joined, meter.slots = True, max(load.slots, sum(load.running.values()), 1)
        meter.lost_seconds = {} if load is None else dict(load.elapsed_seconds)

    def _work(self, load: Load, jobs: Sequence[str], seconds: float, dollars: float) -> None:
        running = sum(load.running.values())
        slots = max(load.slots, running, 1)
        for job_id, count in load.running.items():
            share = count / slots
            self._book([job_id], Cost(useful=dollars * share, vm_seconds=seconds * share))
        free = 1 - running / slots
        if free > 0:
            self._book(jobs, Cost(idle=dollars * free, vm_seconds=seconds * free))

    def _close(self, name: str, released: bool, jobs: Sequence[str]) -> bool:
        """End a machine's account; return whether it was preempted."""
        meter = self.spend.machines.pop(name)
        missing = MINIMUM_SECONDS - (meter.paid_until - meter.created_seconds)
        if missing > 0:
            self._book(jobs, Cost(boot=missing * self._second(meter), vm_seconds=missing))
        if released or meter.master:
            return False
        for job_id, seconds in meter.lost_seconds.items():
            # No more than what was booked as useful: the clocks of two machines differ.
            dollars = min(seconds / meter.slots * self._second(meter), self.job(job_id).useful)
            self._book([job_id], Cost(lost=dollars, useful=-dollars))
        if meter.spot:
            self._book(jobs, Cost(preemptions=1), split=False)
        return meter.spot

    def _second(self, meter: Meter) -> float:
        hour = self.hour(meter.machine_type, meter.zone, spot=meter.spot, disk_gib=meter.disk_gib)
        return hour / 3600

    def _book(self, jobs: Sequence[str], cost: Cost, *, split: bool = True) -> None:
        """Add a cost to the total, and to these jobs in equal shares (or to each in full)."""
        spend = self.spend
        spend.total = spend.total.plus(cost)
        share = cost if not split or len(jobs) < 2 else _share(cost, len(jobs))
        for job_id in jobs:
            spend.jobs[job_id] = spend.jobs.get(job_id, Cost()).plus(share)
        while len(spend.jobs) > JOBS_MAX:
            del spend.jobs[next(iter(spend.jobs))]


def _share(cost: Cost, parts: int) -> Cost:
    """Return an equal part of the money and time; operations are booked for one job at a time."""
    return Cost(
        useful=cost.useful / parts,
        boot=cost.boot / parts,
        idle=cost.idle / parts,
        lost=cost.lost / parts,
        master=cost.master / parts,
        vm_seconds=cost.vm_seconds / parts,
    )
