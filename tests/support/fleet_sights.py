"""Short constructors for the snapshots that a fleet's policy sees."""

from __future__ import annotations

from mrcore.master.fleet.core.model import (
    Bounds,
    FleetSnapshot,
    Group,
    Member,
    Memory,
    Provisioning,
    ProvisioningError,
    Work,
    WorkerInfo,
)
from mrcore.model.job import ANY_WORKER, Resources

NOW = 1_000_000.0
SPOT, STANDARD = Provisioning.SPOT, Provisioning.STANDARD
BOUNDS = Bounds(max_workers=8, logs_uri="gs://b/logs")
WORKED = Memory(began_seconds=NOW - 10_000, worked=True)
STOCKOUT = ProvisioningError(
    code="ZONE_RESOURCE_POOL_EXHAUSTED", message="no", at_seconds=NOW, zone="us-a"
)


def group(
    *members: Member, size: int | None = None, errors: tuple[ProvisioningError, ...] = ()
) -> Group:
    return Group(
        target_size=len(members) if size is None else size,
        members=members,
        errors=errors,
        machine_type="e2-standard-2",
        vcpus=2,
        hour_dollars=0.1,
    )


def up(name: str, created: float = NOW - 1000) -> Member:
    return Member(name=name, zone="us-a", created_seconds=created)


def creating(name: str, *errors: ProvisioningError) -> Member:
    return Member(name=name, action="CREATING", exists=False, errors=errors)


def info(
    name: str,
    held: int = 0,
    *,
    slots: int = 2,
    draining: bool = False,
    offers: Resources = Resources(cpus=2.0, memory_bytes=8 << 30),  # noqa: B008 - frozen
) -> WorkerInfo:
    return WorkerInfo(
        machine=name,
        worker_id=f"{name}-0",
        slots=slots,
        held=held,
        draining=draining,
        offers=offers,
    )


def work(
    tasks: int,
    *,
    seconds: float | None = None,
    submitted: float = NOW,
    needs: Resources = ANY_WORKER,
    job_id: str = "wc-1",
) -> Work:
    return Work(
        job_id=job_id, submitted_seconds=submitted, tasks=tasks, seconds=seconds, needs=needs
    )


def snapshot(
    spot: Group | None = None,
    standard: Group | None = None,
    *,
    workers: tuple[WorkerInfo, ...] = (),
    jobs: tuple[Work, ...] = (),
    dollars: float = 0.0,
) -> FleetSnapshot:
    groups = {SPOT: spot or group(), STANDARD: standard or group()}
    return FleetSnapshot(groups=groups, workers=workers, jobs=jobs, dollars=dollars)
