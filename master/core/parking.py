"""Requests of workers, answered at once or parked until there is news, and the timers of both.

A parked request is answered when its worker gets or loses something, and before its lease ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from mrcore.master.core import heaps
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commands import Reply
from mrcore.master.core.volatile import Worker
from mrcore.model.attempts import AttemptState


class Parking:
    """Answers to the workers of a cluster, at once or later, and the timers of both."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    # -- answers ---------------------------------------------------------------------------------

    def has_news(self, worker: Worker) -> bool:
        """Return whether the newest request of a worker deserves an answer at once."""
        # A worker that is to leave hears of it at once, though its request is parked (17_drain).
        if worker.leaving and not (worker.draining or worker.drain_sent):
            return True
        if worker.leaving and not worker.held:
            return True
        if worker.active != len(worker.listed):
            return True
        for attempt in worker.held.values():
            # New, or of an answer that was lost (07_lost_reply).
            if not attempt.taken_back and attempt.id not in worker.listed:
                return True
        return any(held is AttemptState.FINISHED for held in worker.listed.values())

    def answer(self, worker: Worker) -> None:
        """Send a worker everything that it should hold."""
        worker.parked = False
        worker.lease_from = self.cluster.now
        worker.drain_sent = worker.leaving
        worker.leave_sent = leave = worker.leaving and not worker.held
        self.cluster.idle_parked.pop(worker.id, None)
        self.cluster.command(
            Reply(
                worker.id,
                worker.session,
                worker.sequence,
                tuple(a.wanted for a in worker.held.values() if not a.taken_back),
                drain=worker.leaving,
                leave=leave,
                sync_seconds=self._sync_seconds(worker),
            )
        )

    def park(self, worker: Worker) -> None:
        """Keep the request of a worker until there is news for it, or its time is up."""
        worker.parked = True
        worker.answer_at = self.cluster.now + self._sync_seconds(worker)
        if worker.sees_store and not worker.leaving and worker.active < worker.slots:
            self.cluster.idle_parked[worker.id] = None

    def _sync_seconds(self, worker: Worker) -> float:
        """Return how long a request of a worker may stay parked."""
        limits = self.cluster.limits
        return min(worker.lease_seconds / limits.parks_per_lease, limits.sync_max_seconds)

    # -- timers ----------------------------------------------------------------------------------

    def lease_end(self, worker: Worker) -> float:
        """Return when the first lease of a worker ends, unless it is heard before."""
        return worker.lease_from + worker.lease_seconds

    def set_timer(self, worker: Worker) -> None:
        """Make sure that the machine looks at a worker when its answer or its lease is due."""
        due = self.lease_end(worker)
        if worker.parked:
            due = min(due, worker.answer_at)
        if worker.timer <= self.cluster.now or due < worker.timer:
            worker.timer = due
            most = 2 * len(self.cluster.workers) + self.cluster.limits.void_entries_max
            heaps.push(self.cluster.timers, (due, worker.id), most, self._is_set)

    def next_timer(self) -> float | None:
        """Return when the next worker is due, or None where none is."""
        timers = self.cluster.timers
        while timers and not self._is_set(timers[0]):
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def due_workers(self) -> Iterator[Worker]:
        """Yield the workers that are due now, and forget their timers."""
        timers = self.cluster.timers
        while timers and timers[0][0] <= self.cluster.now:
            entry = heapq.heappop(timers)
            if self._is_set(entry):
                yield self.cluster.workers[entry[1]]

    def _is_set(self, entry: tuple[float, str]) -> bool:
        """Return whether an entry of the timers still holds for its worker."""
        worker = self.cluster.workers.get(entry[1])
        return worker is not None and worker.timer == entry[0]
