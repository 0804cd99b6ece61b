"""From the master's machine and a look at the cloud to what the policy and the books want to know.

Pure. A worker belongs to the machine whose name is the first label of its host's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrcore.cost.core.ledger import Ledger, Load
from mrcore.errors import UsageError
from mrcore.master.core.machine import Machine
from mrcore.master.core.records import StageRecord
from mrcore.master.core.volatile import LiveJob, LiveStage, Worker
from mrcore.master.fleet.cloud import CloudSnapshot
from mrcore.master.fleet.core.model import (
    Bounds,
    Decision,
    FleetSnapshot,
    Group,
    Provisioning,
    Work,
    WorkerInfo,
)
from mrcore.model.attempts import AttemptState
from mrcore.model.job import Resources
from mrcore.model.snapshots import FleetGroupView, FleetView


@dataclass(frozen=True, slots=True)
class SizeRequest:
    """Bounds that somebody has asked for since the start; None leaves them as they were."""

    max_workers: int | None = None
    min_workers: int | None = None


def machine_of(worker: Worker) -> str:
    """Return the name of the machine on which a worker runs."""
    return worker.about.host.partition(".")[0]


def workers(workers: Sequence[Worker]) -> tuple[WorkerInfo, ...]:
    """Return the workers, one for each machine."""
    found: dict[str, WorkerInfo] = {}
    for worker in workers:
        name = machine_of(worker)
        info = WorkerInfo(
            machine=name,
            worker_id=worker.id,
            slots=worker.slots,
            held=len(worker.held),
            draining=worker.leaving,
            offers=Resources(
                cpus=worker.about.cpus,
                memory_bytes=worker.about.memory_bytes,
                labels=worker.about.labels,
            ),
        )
        other = found.get(name)
        if other is not None:  # a former process that has not been forgotten yet
            newer = info if other.draining else other
            info = replace(newer, held=info.held + other.held)
        found[name] = info
    return tuple(found.values())


def loads(workers: Sequence[Worker], now: float) -> dict[str, Load]:
    """Return what the workers run by machine; `now` is the master's machine's."""
    found: dict[str, Load] = {}
    for worker in workers:
        load = found.setdefault(machine_of(worker), Load(slots=max(worker.slots, 1)))
        for attempt in worker.held.values():
            if attempt.state is AttemptState.RUNNING:
                job_id = attempt.id.task.job_id
                load.running[job_id] = load.running.get(job_id, 0) + 1
                elapsed = load.elapsed_seconds.get(job_id, 0.0) + attempt.running_seconds(now)
                load.elapsed_seconds[job_id] = elapsed
    return found


def work(job: LiveJob, waiting: int = 0) -> Work:
    """Return what is left of a live job, of which some calls wait for values of others."""
    record, stages = job.record, job.serving()
    if not stages:  # being committed: that is the master's own work
        return Work(job_id=record.job_id, submitted_seconds=record.submitted_seconds, tasks=0)
    sums = [record.stages[stage.number] for stage in stages]
    return Work(
        job_id=record.job_id,
        submitted_seconds=record.submitted_seconds,
        tasks=sum(len(each.tasks) - each.completed for each in sums) - waiting,
        needs=record.spec.resources,
        seconds=_seconds_left(job),
    )


def _seconds_left(job: LiveJob) -> float | None:
    """Return the slot-seconds left, of all stages; None before a task has been measured.

    A stage that nobody has measured is taken for as much work as those that it reads together.
    """
    left = 0.0
    works: list[float | None] = []
    for stage, sums in zip(job.stages, job.record.stages, strict=True):
        tasks = len(sums.tasks)
        each = sums.elapsed_seconds / sums.completed if sums.completed else None
        if each is None and sums.plan.inputs:
            reads = [works[number] for number in sums.plan.inputs]
            known = [work for work in reads if work is not None]
            if len(known) == len(reads):
                each = sum(known) / max(tasks, 1)
        works.append(None if each is None else each * tasks)
        if sums.complete:
            continue
        if each is None:
            return None
        left += each * _tasks_left(stage, sums)
    return left


def _tasks_left(stage: LiveStage, sums: StageRecord) -> float:
    """Return the tasks to do, those in progress by what is left of them."""
    furthest: dict[int, float] = {}
    for attempt in stage.attempts.values():
        index = attempt.id.task.index
        furthest[index] = max(furthest.get(index, 0.0), min(attempt.progress.fraction, 1.0))
    return len(sums.tasks) - sums.completed - sum(furthest.values())


def snapshot(
    machine: Machine,
    look: CloudSnapshot,
    ledger: Ledger,
    request: SizeRequest,
    *,
    busy: bool,
    durable: bool,
) -> FleetSnapshot:
    """Return everything that the policy wants to see."""
    waiting = Counter(task_id.job_id for task_id in machine.calls.missing)
    live = [machine.cluster.jobs.get(record.job_id) for record in machine.cluster.live_jobs()]
    return FleetSnapshot(
        groups={model: _priced(group, look, ledger, model) for model, group in look.groups.items()},
        workers=workers(machine.cluster.sorted_workers()),
        jobs=tuple(work(job, waiting[job.record.job_id]) for job in live if job is not None),
        busy=busy,
        durable=durable,
        dollars=ledger.spend.total.dollars,
        max_workers=request.max_workers,
        min_workers=request.min_workers,
    )


def _priced(group: Group, look: CloudSnapshot, ledger: Ledger, model: Provisioning) -> Group:
    """Return a group with what its machine type means: cores, and dollars an hour."""
    names = {member.name for member in group.members}
    known = next((machine for machine in look.machines if machine.name in names), None)
    machine_type = known.machine_type if known is not None else group.machine_type
    zone = known.zone if known is not None else next((m.zone for m in group.members), "")
    disk_gib = known.disk_gib if known is not None else 0.0
    try:
        shape = ledger.prices.shape(machine_type)
        spot = model is Provisioning.SPOT
        dollars = ledger.hour(machine_type, zone, spot=spot, disk_gib=disk_gib)
    except UsageError:  # a machine type that this version does not know how to read
        return group
    return replace(
        group,
        machine_type=machine_type,
        vcpus=math.ceil(shape.vcpus),
        memory_bytes=int(shape.gib * 2**30),
        hour_dollars=dollars,
    )


def view(
    seen: FleetSnapshot, decision: Decision, bounds: Bounds, ledger: Ledger, notes: Sequence[str]
) -> FleetView:
    """Return the fleet as people see it; target, cluster and time are the caller's."""
    machines = {
        model: [m for m in group.members if m.exists and not m.deleting]
        for model, group in seen.groups.items()
    }
    names = {member.name for members in machines.values() for member in members}
    return FleetView(
        target="",
        cluster="",
        groups=tuple(
            FleetGroupView(
                model=model.value,
                machine_type=group.machine_type,
                target_size=group.target_size,
                machines=len(machines[model]),
                coming=group.unlisted + sum(m.coming for m in group.members),
                hour_dollars=group.hour_dollars,
            )
            for model, group in seen.groups.items()
        ),
        wanted_workers=decision.wanted,
        min_workers=bounds.min_workers if seen.min_workers is None else seen.min_workers,
        max_workers=bounds.max_workers if seen.max_workers is None else seen.max_workers,
        joined_workers=sum(info.machine in names for info in seen.workers),
        notes=tuple(notes),
        cost=ledger.spend.total,
        max_cost=bounds.max_cost,
        hour_dollars=ledger.hour_now(),
        preemptions_per_hour=ledger.preemptions_per_hour(),
        prices_date=ledger.prices.date,
        ending=decision.ending,
    )
