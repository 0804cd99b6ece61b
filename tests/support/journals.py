"""Journals with a short history."""

from __future__ import annotations

from random import Random

from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import (
    CancelRequested,
    Fact,
    JobCleaned,
    JobEnded,
    JobSubmitted,
    TaskWon,
    WorkerJoined,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.shell.entries import Entry
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.snapshots import Snapshot, encode_snapshot
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import TaskOutput
from mrcore.rpc.cluster import Leader
from mrcore.storage.base import Storage
from tests.support.fake_clock import FakeClock
from tests.support.fake_worker import make_spec
from tests.support.stage_plans import two_stages

STATE = "mem://space/state"


def cancelled(job_id: str) -> Fact:
    return CancelRequested(job_id, "enough")


def history_of(storage: Storage, state_uri: str) -> list[Entry]:
    """Return the entries that are read; there must be no snapshot."""
    found = []
    for read in Journal(storage, state_uri, "reader", FakeClock()).replay():
        assert isinstance(read, Entry)
        found.append(read)
    return found


def leader(epoch: int) -> Leader:
    return Leader(cluster_id="c", epoch=epoch, address=f"host:{epoch}")


def job(
    name: str,
    ends: JobState | None = None,
    *,
    ended_seconds: float = 0.0,
    plugin: str = "0" * 64,
) -> list[Fact]:
    """Return the facts of a job whose first task was won, and that may have ended."""
    spec = make_spec("mem://space/in", f"mem://space/{name}", plugin)
    won = AttemptId(TaskId(name, 0, 0), AttemptNumber(1, 1))
    facts: list[Fact] = [
        JobSubmitted(
            job_id=name,
            request_id=name,
            spec=spec,
            stages=two_stages(2, 1),
            claim_generation="1",
        ),
        WorkerJoined(f"worker-of-{name}"),
        TaskWon(attempt=won, worker_id="w", output=TaskOutput(digest=b"d", counters={"n": 2})),
    ]
    if ends is not None:
        ended = JobEnded(job_id=name, state=ends, wall_seconds=ended_seconds)
        facts += [ended, JobCleaned(name)]
    return facts


class Master:
    """A master's journal and the state that it has made of it."""

    def __init__(self, storage: Storage, writer: str = "w", state_uri: str = STATE) -> None:
        self.machine = Machine(Limits(), Random(1))
        self.journal = Journal(storage, state_uri, writer, FakeClock())
        self.read: list[Snapshot | Entry] = []
        for read in self.journal.take_over():
            self.read.append(read)
            self.journal.feed(read, self.machine)

    @property
    def durable(self) -> Durable:
        """Return the state that it has made of the journal."""
        return self.machine.cluster.durable

    def append(self, *facts: Fact) -> bytes:
        """Append one entry; return its content."""
        for fact in facts:
            self.machine.apply(fact)
        return self.journal.append(facts)

    def snapshot(self) -> None:
        """Store a snapshot after the newest entry."""
        number = self.journal.number
        self.journal.snapshots.write(number, encode_snapshot(number, self.durable))

    def compact(self) -> int:
        """Delete what the snapshots stand for."""
        return self.journal.snapshots.delete_covered(self.durable.epochs, self.journal.number)
