"""Health of a master: for systemd, and as a snapshot for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mrcore.master.core import views
from mrcore.master.core.machine import Machine
from mrcore.master.core.records import JobRecord
from mrcore.master.core.room import call_bytes
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.standing import Standing
from mrcore.model.master import MasterRole
from mrcore.model.stages import kind_of_name
from mrcore.util.clock import Clock

WELL_SECONDS: Final = 10.0
"""The shell's loop should turn twice a second. A journal that blocks does not stop it: the store
is at fault then, and a new master would wait for it too."""

Tallies = dict[str, dict[str, int]]
"""Attempts by outcome, of each job that is remembered."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """Counts of a master at one moment."""

    jobs: dict[str, int]
    """Number of remembered jobs, by state."""
    tasks: dict[tuple[str, str], int]
    """Tasks of the jobs that have not ended, by kind (`map`, `reduce`) and state."""
    workers: dict[str, int]
    """Number of workers, by state: active, draining, or blind (not seeing the store)."""
    slots: int
    busy: int
    tallies: Tallies
    sessions: int
    """Number of sessions that have not ended."""
    calls: dict[str, int]
    """Number of their calls that are not released, by state: waiting (for values of others),
    queued, running, ended."""
    call_bytes: int
    """Memory that their arguments, values and failures take."""
    stalls: int
    """Number of times that tasks were queued beside idle workers for too long."""


class Health:
    """The health of a master, as its event loop sees it."""

    def __init__(self, shell: Shell, clock: Clock) -> None:
        self.shell = shell
        self.clock = clock

    def healthy(self) -> bool:
        """Return whether events are still being stepped."""
        return self.clock.monotonic() - self.shell.turned_at < WELL_SECONDS

    def status(self) -> str:
        """Return one line for `systemctl status`."""
        machine = self.shell.machine
        jobs = machine.cluster.live_jobs()
        left = sum(len(stage.tasks) - stage.completed for job in jobs for stage in job.stages)
        workers = machine.cluster.sorted_workers()
        slots = sum(worker.slots for worker in workers)
        return f"jobs: {len(jobs)}, tasks left: {left}, workers: {len(workers)}, slots: {slots}"

    def standing(self) -> Standing:
        """Return the place of this master, which leads."""
        return Standing(MasterRole.LEADER, self.shell.machine.cluster.epoch, self.shell.entry)

    async def look(self) -> HealthSnapshot:
        """Return what there is, once all that it shows is durable."""
        return await self.shell.read(_look)


def _look(machine: Machine) -> HealthSnapshot:
    tasks: Counter[tuple[str, str]] = Counter()
    tallies: Tallies = {}
    for record in machine.cluster.durable.jobs.values():
        job = machine.cluster.jobs.get(record.job_id)
        tally = record.tally if job is None else job.tally
        tallies[record.job_id] = {
            "started": tally.started,
            "won": record.won,
            "failed": record.failed,
            "infrastructure": record.infrastructure,
            "expired": tally.expired,
            "preempted": tally.preempted,
            "superseded": tally.superseded,
        }
    live = machine.cluster.live_jobs()
    sessions = [record for record in live if record.calls is not None]
    for record in live:
        view = views.job_view(machine.cluster, record.job_id)
        assert view is not None
        for stage in view.stages:
            kind = kind_of_name(stage.name)
            tasks[kind, "idle"] += stage.idle
            tasks[kind, "in_progress"] += stage.in_progress
            tasks[kind, "completed"] += stage.completed
    workers = views.worker_views(machine.cluster, machine.cluster.now)
    blind = {worker.id for worker in machine.cluster.sorted_workers() if not worker.sees_store}
    return HealthSnapshot(
        jobs=Counter(record.state.value for record in machine.cluster.durable.jobs.values()),
        tasks=dict(tasks),
        workers=Counter(
            "blind" if w.worker_id in blind else "draining" if w.draining else "active"
            for w in workers
        ),
        slots=sum(worker.slots for worker in workers),
        busy=sum(worker.running for worker in workers),
        tallies=tallies,
        sessions=len(sessions),
        calls=_calls(machine, sessions),
        call_bytes=call_bytes(sessions),
        stalls=machine.watchdog.count,
    )


def _calls(machine: Machine, sessions: Sequence[JobRecord]) -> dict[str, int]:
    records = [record.calls for record in sessions if record.calls is not None]
    waiting = len(machine.calls.missing)
    running = sum(machine.cluster.jobs[record.job_id].stages[0].busy for record in sessions)
    return {
        "waiting": waiting,
        "queued": sum(len(calls.plans) for calls in records) - waiting - running,
        "running": running,
        "ended": sum(len(calls.ended) for calls in records),
    }
