"""Watchdog: work that is queued while workers idle for a minute, with the reason in one sentence.

Most reasons are right: no worker has a label, or a task keeps away from where it failed. But people
cannot see them, and one that nothing explains is a defect of the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from mrcore.master.core import policy, resources
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.volatile import LiveJob, LiveStage, Worker

_WORKERS_SHOWN: Final = 3
_REASONS_SHOWN: Final = 4
_STATE_MAX: Final = 20
"""Jobs and workers of a state that is logged."""
_NEWS_MAX: Final = 100


class Stall(msgspec.Struct, frozen=True):
    """A job with tasks that nobody takes, though workers idle."""

    job_id: str
    sentence: str
    state: dict[str, Any]
    """Scheduling state that leads to it, to reproduce it by."""


class Watchdog:
    """Observer of a cluster, which looks at most once in `review_seconds`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.news: list[Stall] = []
        """Stalls that are not in the log yet, for the shell to take."""
        self.count = 0
        """Stalls of this master so far."""
        self._since: dict[str, tuple[float, int]] = {}
        """Start of the wait of each job, and the attempts that it had started by then."""
        self._look_at = float("-inf")

    def look(self) -> None:
        """Look whether some job's tasks have waited too long beside idle workers."""
        cluster = self.cluster
        if cluster.now < self._look_at:
            return
        self._look_at = cluster.now + cluster.limits.review_seconds
        idle = [w for w in cluster.workers.values() if not w.leaving and w.active < w.slots]
        waiting: dict[str, tuple[float, int]] = {}
        stalls: dict[str, str] = {}
        for job_id, job in cluster.jobs.items() if idle else ():
            stage = job.ready() if job.running else None
            if stage is None:
                continue
            since, started = self._since.get(job_id, (cluster.now, job.started))
            if started != job.started:
                since = cluster.now
            waiting[job_id] = (since, job.started)
            waited = cluster.now - since
            if waited < cluster.limits.stall_seconds:
                continue
            if job_id in cluster.stalls:
                stalls[job_id] = cluster.stalls[job_id]
                continue
            stalls[job_id] = self._report(job, stage, waited, idle)
        self._since, cluster.stalls = waiting, stalls

    def _report(self, job: LiveJob, stage: LiveStage, waited: float, idle: list[Worker]) -> str:
        """Return the sentence on a new stall, which goes to the log with the state."""
        tasks = f"{stage.ready:,} {job.record.stages[stage.number].name} task"
        tasks += " is" if stage.ready == 1 else "s are"
        workers = "a worker idles" if len(idle) == 1 else f"{len(idle):,} workers idle"
        reasons = "; ".join(self._reasons(job, stage, idle))
        sentence = f"{tasks} queued for {waited:.0f} s while {workers}: {reasons}"
        self.count += 1
        state = self._state(job, stage, idle)
        self.news.append(Stall(job.record.job_id, sentence, state))
        del self.news[:-_NEWS_MAX]
        return sentence

    def _reasons(self, job: LiveJob, stage: LiveStage, idle: list[Worker]) -> Iterator[str]:
        if self.cluster.waiting:
            awaited = _names(list(self.cluster.awaited))
            yield f"after its start the master still waits for {awaited} to report"
            return
        by_reason: dict[str, list[str]] = {}
        for worker in idle:
            reason = self._why_not(job, stage, worker)
            by_reason.setdefault(reason, []).append(worker.id)
        # The most frequent ones; the order of workers decides between equals.
        found = sorted(by_reason.items(), key=lambda item: -len(item[1]))
        for reason, names in found[:_REASONS_SHOWN]:
            yield f"{_names(names)} {reason}"
        rest = sum(len(names) for _, names in found[_REASONS_SHOWN:])
        if rest:
            yield f"{rest:,} more have other reasons"

    def _why_not(self, job: LiveJob, stage: LiveStage, worker: Worker) -> str:
        """Return why a worker gets none of a job's tasks, as a verb with what follows it."""
        cluster, spec = self.cluster, job.record.spec
        if not worker.sees_store:
            return "cannot see the master's store"
        if worker.blamed_until > cluster.now:
            seconds = worker.blamed_until - cluster.now
            return f"must pause for {seconds:.0f} s, as tasks failed there that succeeded elsewhere"
        mismatch = policy.mismatch(spec.versions, worker.about)
        if mismatch is not None:
            return f"must not, having {mismatch}"
        if not set(spec.resources.labels) <= set(worker.about.labels):
            lacking = sorted(set(spec.resources.labels) - set(worker.about.labels))
            return f"must not, without the label {lacking[0]}"
        if not resources.suits(spec.resources, worker.about):
            needed = resources.shortage(spec.resources, worker.about)
            return f"must not, since a task needs {needed}"
        if not resources.has_room(spec.resources, worker):
            return "must not, since other attempts have reserved the CPUs or memory"
        if self._saves_room(job, worker):
            return "must save CPUs or memory for larger tasks of another job"
        if self._all_avoid(stage, worker):
            return "must not, since the tasks failed there and others may do better"
        if not worker.parked:
            return f"did not ask for work in the last {cluster.now - worker.synced_at:.0f} s"
        return "could take them, and nothing explains why not: please report it with the log"

    def _saves_room(self, job: LiveJob, worker: Worker) -> bool:
        """Return whether tasks of other jobs, for which there is no room now, come first."""
        mine = (job.record.spec.priority, -job.turn)
        for other in self.cluster.jobs.values():
            needs = other.record.spec.resources
            first = (other.record.spec.priority, -other.turn) >= mine
            if other is job or not first or other.ready() is None:
                continue
            if resources.suits(needs, worker.about) and not resources.has_room(needs, worker):
                return True
        return False

    def _all_avoid(self, stage: LiveStage, worker: Worker) -> bool:
        """Return whether the first tasks of the queue keep away from a worker."""
        strikes = self.cluster.limits.strikes_max
        for index, ticket in stage.heap[: self.cluster.limits.scan_max]:
            task = stage.tasks[index]
            if task.ticket != ticket:
                continue
            until, seen = task.avoid.get(worker.id, (0.0, 0))
            if until <= self.cluster.now and seen < strikes:
                return False
        return True

    def _state(self, job: LiveJob, stage: LiveStage, idle: list[Worker]) -> dict[str, Any]:
        """Return what the decision hangs on, for the log: names, numbers and flags only."""
        cluster = self.cluster
        queued = [stage.tasks[index] for index, _ in stage.heap[:_STATE_MAX]]
        return {
            "now": round(cluster.now, 3),
            "epoch": cluster.epoch,
            "waits_until": cluster.wait_until,
            "job": job.record.job_id,
            "stage": stage.number,
            "avoid": [dict(task.avoid) for task in queued if task.ticket and task.avoid],
            "jobs": [
                {
                    "id": other.record.job_id,
                    "priority": other.record.spec.priority,
                    "turn": other.turn,
                    "needs": msgspec.to_builtins(other.record.spec.resources),
                    "queues": [[s.ready, s.delayed, s.busy] for s in other.stages[:_STATE_MAX]],
                }
                for other in list(cluster.jobs.values())[:_STATE_MAX]
            ],
            "idle": [
                {
                    "id": worker.id,
                    "slots": worker.slots,
                    "active": worker.active,
                    "parked": worker.parked,
                    "synced_at": round(worker.synced_at, 3),
                    "blamed_until": worker.blamed_until,
                    "sees_store": worker.sees_store,
                    "python": worker.about.python,
                    "mrcore": worker.about.mrcore,
                    "offers": [worker.about.cpus, worker.about.memory_bytes],
                    "reserved": [worker.cpus_reserved, worker.memory_reserved],
                    "labels": list(worker.about.labels),
                }
                for worker in idle[:_STATE_MAX]
            ],
        }


def _names(names: list[str]) -> str:
    """Return some names in words."""
    if len(names) <= _WORKERS_SHOWN:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{', '.join(names[:_WORKERS_SHOWN])} and {len(names) - _WORKERS_SHOWN:,} more"
