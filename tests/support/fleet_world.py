"""A small cloud with its groups, machines, workers and tasks, for the fleet's policy. Pure.

Groups behave as Compute Engine's with repairs switched off: a machine that was preempted stays in
the list, one that cannot be made is tried again, a deleted one is there for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from mrcore.master.fleet.core.model import (
    Action,
    Bounds,
    Decision,
    Delete,
    DeleteGroup,
    Drain,
    End,
    FailJobs,
    FleetSnapshot,
    Group,
    Grow,
    Member,
    Memory,
    Provisioning,
    ProvisioningError,
    Work,
    WorkerInfo,
)
from mrcore.master.fleet.core.policy import decide

START = 1_000_000.0
HOUR_DOLLARS = {Provisioning.SPOT: 0.05, Provisioning.STANDARD: 0.2}


@dataclass
class Task:
    seconds: float
    done: bool = False


@dataclass
class Job:
    job_id: str
    submitted: float
    tasks: list[Task]

    @property
    def left(self) -> list[Task]:
        return [task for task in self.tasks if not task.done]


@dataclass
class Machine:
    name: str
    model: Provisioning
    born: float
    """Time of the request for it."""
    boot_seconds: float
    failed_join: bool = False
    """Its worker never joins."""
    made: float | None = None
    tried: float = float("-inf")
    error: ProvisioningError | None = None
    deleting_until: float | None = None
    dead: bool = False
    draining: bool = False
    left: bool = False
    """Its worker has left."""
    running: list[tuple[Task, float]] = field(default_factory=list)
    """Tasks and when they will be done."""


@dataclass
class Faults:
    """Faults of the world."""

    preempted_per_hour: float = 0.0
    failed_joins: float = 0.0
    stockouts: dict[Provisioning, list[tuple[float, float]]] = field(default_factory=dict)
    """From when to when, after the start, nothing of a model can be made."""
    lost_calls: float = 0.0
    """Share of actions that never arrive."""
    code: str = "ZONE_RESOURCE_POOL_EXHAUSTED"


class World:
    """The cloud and the cluster in it; `step` lets time pass, decides and acts."""

    def __init__(
        self,
        rng: Random,
        bounds: Bounds,
        *,
        faults: Faults | None = None,
        slots: int = 2,
        sizes: dict[Provisioning, int] | None = None,
    ) -> None:
        self.rng = rng
        self.bounds = bounds
        self.faults = faults or Faults()
        self.slots = slots
        self.now = START
        self.memory = Memory()
        self.targets = (
            {Provisioning.SPOT: 0, Provisioning.STANDARD: 0} if sizes is None else dict(sizes)
        )
        self.machines: list[Machine] = []
        self.errors: dict[Provisioning, list[ProvisioningError]] = {
            model: [] for model in Provisioning
        }
        self.jobs: list[Job] = []
        self.failed: list[str] = []
        self.dollars = 0.0
        self.made = 0
        self.preempted = 0
        self.ended = False
        self.decision = Decision()
        self.log: list[Action] = []
        self._serial = 0
        self._fill()

    # -- looking ---------------------------------------------------------------------------------

    def snapshot(self) -> FleetSnapshot:
        return FleetSnapshot(
            groups={model: self._group(model) for model in self.targets},
            workers=tuple(self._hand(machine) for machine in self.machines if self.joined(machine)),
            jobs=tuple(
                Work(
                    job_id=job.job_id,
                    submitted_seconds=job.submitted,
                    tasks=len(job.left),
                    seconds=sum(task.seconds for task in job.left),
                )
                for job in self.jobs
            ),
            dollars=self.dollars,
        )

    def _group(self, model: Provisioning) -> Group:
        return Group(
            target_size=self.targets[model],
            members=tuple(self._member(m) for m in self.machines if m.model is model),
            errors=tuple(self.errors[model]),
            machine_type="e2-standard-2",
            vcpus=self.slots,
            hour_dollars=HOUR_DOLLARS[model],
        )

    def _member(self, machine: Machine) -> Member:
        action = "CREATING" if machine.made is None and not machine.dead else "NONE"
        if machine.deleting_until is not None:
            action = "DELETING"
        return Member(
            name=machine.name,
            zone="z",
            action=action,
            exists=machine.made is not None and not machine.dead,
            created_seconds=machine.made or 0.0,
            errors=() if machine.error is None else (machine.error,),
        )

    def joined(self, machine: Machine) -> bool:
        ready = machine.made is not None and self.now >= machine.made + machine.boot_seconds
        return ready and not (machine.failed_join or machine.dead or machine.left)

    def _hand(self, machine: Machine) -> WorkerInfo:
        return WorkerInfo(
            machine=machine.name,
            worker_id=f"{machine.name}-0",
            slots=self.slots,
            held=len(machine.running),
            draining=machine.draining,
        )

    def existing(self) -> int:
        return len(self.machines)

    # -- time ------------------------------------------------------------------------------------

    def submit(self, job_id: str, durations: list[float]) -> None:
        self.jobs.append(Job(job_id, self.now, [Task(seconds) for seconds in durations]))

    def step(self, seconds: float = 5.0) -> Decision:
        """Let time pass, decide, and act."""
        self.now += seconds
        for machine in list(self.machines):
            self._age(machine, seconds)
        self._fill()
        self._work()
        self.decision = decide(self.snapshot(), self.memory, self.bounds, self.now)
        self.memory = self.decision.memory
        for action in self.decision.actions:
            if self.rng.random() >= self.faults.lost_calls:
                self.act(action)
        return self.decision

    def _age(self, machine: Machine, seconds: float) -> None:
        if machine.deleting_until is not None:
            if self.now >= machine.deleting_until:
                self.machines.remove(machine)
            return
        if machine.dead:
            return
        if machine.made is None:
            self._try_to_make(machine)
            return
        self.dollars += HOUR_DOLLARS[machine.model] * seconds / 3600
        risk = self.faults.preempted_per_hour * seconds / 3600
        if machine.model is Provisioning.SPOT and self.rng.random() < risk:
            machine.dead = True
            machine.running = []
            self.preempted += 1
            return
        for task, at in list(machine.running):
            if self.now >= at:
                task.done = True
                machine.running.remove((task, at))
        if machine.draining and not machine.running:
            machine.left = True

    def _try_to_make(self, machine: Machine) -> None:
        if self.now - machine.tried < 20:
            return
        machine.tried = self.now
        since = self.now - START
        windows = self.faults.stockouts.get(machine.model, [])
        if any(first <= since < last for first, last in windows):
            machine.error = ProvisioningError(
                code=self.faults.code, message="none left", at_seconds=self.now, zone="z"
            )
            self.errors[machine.model] = [*self.errors[machine.model], machine.error][-5:]
        else:
            machine.made, machine.error = self.now, None
            self.made += 1

    def _fill(self) -> None:
        """Make the machines that the groups' sizes call for."""
        for model, target in self.targets.items():
            staying = [m for m in self.machines if m.model is model and m.deleting_until is None]
            for _ in range(target - len(staying)):
                self._serial += 1
                boot = self.rng.uniform(20, 90)
                failed_join = self.rng.random() < self.faults.failed_joins
                name = f"{model}-{self._serial:04d}"
                self.machines.append(Machine(name, model, self.now, boot, failed_join))

    def _work(self) -> None:
        held = {id(task) for machine in self.machines for task, _ in machine.running}
        waiting = [t for job in self.jobs for t in job.left if id(t) not in held]
        for machine in self.machines:
            if not self.joined(machine) or machine.draining or machine.deleting_until is not None:
                continue
            while waiting and len(machine.running) < self.slots:
                task = waiting.pop(0)
                machine.running.append((task, self.now + task.seconds))
        self.jobs = [job for job in self.jobs if job.left]

    # -- acting ----------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        self.log.append(action)
        match action:
            case Grow():
                assert action.size > self.targets[action.model], "groups shrink by name only"
                self.targets[action.model] = action.size
                self._fill()
            case Drain():
                for machine in self.machines:
                    if machine.name == action.machine:
                        machine.draining = True
            case Delete():
                for machine in self.machines:
                    if machine.name in action.names and machine.deleting_until is None:
                        self.targets[machine.model] -= 1
                        self._take(machine)
            case DeleteGroup():
                del self.targets[action.model]
                self.machines = [m for m in self.machines if m.model is not action.model]
            case FailJobs():
                self.failed += [job.job_id for job in self.jobs]
                self.jobs = []
                for machine in self.machines:
                    machine.running = []
            case End():
                self.ended = True

    def _take(self, machine: Machine) -> None:
        assert not machine.running, f"{machine.name} holds work and is deleted"
        machine.deleting_until = self.now + self.rng.uniform(5, 40)

    def restart(self) -> None:
        """A new master that finds nothing but the cloud: no memory at all."""
        self.memory = Memory()

    def with_bounds(self, **changes: object) -> None:
        self.bounds = replace(self.bounds, **changes)  # type: ignore[arg-type]
