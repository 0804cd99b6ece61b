"""The volatile state of the master: workers, leases, attempts, queues. Lost with the process.

A restarted master learns all of it again from its workers, so nothing here may decide what counts:
that is `mrcore.master.core.durable`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from mrcore.master.core import heaps
from mrcore.master.core.durable_calls import NO_TASK
from mrcore.master.core.events import NO_DETAILS, WorkerAbout
from mrcore.master.core.facts import Tally
from mrcore.master.core.limits import Limits
from mrcore.master.core.policy import Durations
from mrcore.master.core.records import JobRecord, StageRecord
from mrcore.model.attempts import NO_PROGRESS, Assignment, AttemptState
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import Progress, TaskRef

Line = tuple[float, str, AttemptNumber | None, str]
"""One line of a task's story: when, what, which attempt, where or why."""


@dataclass(slots=True, eq=False)
class Attempt:
    """An attempt that some worker holds, or will hold once it hears of it."""

    wanted: Assignment
    worker_id: str
    lease_seconds: float
    assigned_at: float
    known: bool = False
    """The worker has listed it."""
    state: AttemptState = AttemptState.UNSTARTED
    reported_at: float = 0.0
    elapsed_seconds: float = 0.0
    """As reported then."""
    progress: Progress = NO_PROGRESS
    taken_back: bool = False
    """Left out of the answers, so as to be given to another once this worker confirms."""

    @property
    def id(self) -> AttemptId:
        """Return which attempt it is."""
        return self.wanted.attempt

    def running_seconds(self, now: float) -> float:
        """Return since when user code runs; 0 before it does."""
        if self.state is not AttemptState.RUNNING:
            return 0.0
        return self.elapsed_seconds + now - self.reported_at


@dataclass(slots=True, eq=False)
class LiveTask:
    """The volatile half of a task: idle in a queue, or in progress with live attempts."""

    attempts: list[Attempt] = field(default_factory=list)
    """At most two: one, and its backup."""
    ticket: int = 0
    """Its place in a queue, 0 where it has none: an entry with another ticket is void."""
    delayed: bool = False
    """It waits for its back-off to end."""
    retries: int = 0
    expiries: int = 0
    avoid: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Workers where it failed but for its code: until when it keeps away, and its strikes there.

    A failure is a strike; data that cannot be read counts as `strikes_max`.
    """
    suspects: list[str] = field(default_factory=list)
    """Workers where it failed but for its code, or its output was lost: at fault if it succeeds
    elsewhere."""
    story: list[Line] = field(default_factory=list)


NO_LIVE_TASK: Final = LiveTask()
"""Stands for every call that is over: one for all of them, which nobody changes."""


@dataclass(slots=True, eq=False)
class FailedReads:
    """Attempts that could not read one winner."""

    winner: AttemptNumber
    by: dict[AttemptId, str] = field(default_factory=dict)
    """Worker of each attempt that could not."""


class LiveStage:
    """The queue of a stage, and its attempts."""

    __slots__ = (
        "attempts",
        "busy",
        "delayed",
        "durations",
        "heap",
        "number",
        "ready",
        "started",
        "tasks",
    )

    def __init__(self, number: int, record: StageRecord) -> None:
        self.number = number
        self.tasks = [NO_LIVE_TASK if each is NO_TASK else LiveTask() for each in record.tasks]
        self.heap: list[tuple[int, int]] = []
        """(index, ticket): idle tasks by index."""
        self.ready = 0
        """Valid entries of the heap."""
        self.delayed = 0
        """Tasks that wait for their back-off to end."""
        self.busy = 0
        """Tasks with attempts."""
        self.attempts: dict[AttemptId, Attempt] = {}
        self.durations = Durations()
        self.started = record.started
        """Attempts started, by this master and all before it."""

    def queue(self, index: int, ticket: int, limits: Limits) -> None:
        """Put an idle task into the heap."""
        most = 2 * len(self.tasks) + limits.void_entries_max
        heaps.push(self.heap, (index, ticket), most, self._is_queued)

    def _is_queued(self, entry: tuple[int, int]) -> bool:
        return self.tasks[entry[0]].ticket == entry[1]


class LiveJob:
    """A job that has not ended."""

    __slots__ = (
        "expired",
        "found",
        "mismatch_since",
        "newest",
        "planning",
        "preempted",
        "preparing",
        "reads",
        "record",
        "stages",
        "stale",
        "started",
        "superseded",
        "turn",
    )

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.stages = [LiveStage(number, each) for number, each in enumerate(record.stages)]
        self.turn = 0
        """Place of its latest assignment, on a counter of them."""
        self.planning = False
        """`PlanJob` is out and not answered."""
        self.preparing = False
        """`PrepareCommit` is out and not answered."""
        self.stale = False
        """A winner was lost since it went out."""
        self.reads: dict[TaskRef, FailedReads] = {}
        """Failed reads, by the task whose run could not be read."""
        self.mismatch_since: float | None = None
        before = record.tally
        ended = record.won + record.failed + record.infrastructure  # `CallFailed` has no tally
        self.started = max(before.started, ended)
        self.expired = before.expired
        self.preempted = before.preempted
        self.superseded = before.superseded
        self.newest = before.newest
        """Newest attempt that is counted; those of this master always are."""
        self.found: set[AttemptNumber] = set()
        """Attempts that a former master started after its newest count."""

    @property
    def tally(self) -> Tally:
        """Return what has been counted by this master and all before it."""
        newest = max((n for n in (self.newest, *self.found) if n is not None), default=None)
        return Tally(self.started, self.expired, self.preempted, self.superseded, newest)

    def tally_at(self, stage: int) -> Tally:
        """Return the tally for a fact about a task of this stage."""
        return replace(self.tally, stage_started=self.stages[stage].started)

    def find(self, attempt: AttemptId) -> None:
        """Count an attempt that shows up, unless it is counted."""
        number = attempt.number
        if number not in self.found and (self.newest is None or number > self.newest):
            self.found.add(number)
            self.started += 1
            self.stages[attempt.task.stage].started += 1

    def task(self, task: TaskId) -> LiveTask:
        """Return one task."""
        return self.stages[task.stage].tasks[task.index]

    @property
    def running(self) -> bool:
        """Return whether tasks may still be given out and won."""
        return self.record.state is JobState.RUNNING

    @property
    def waiting(self) -> bool:
        """Return whether the job waits for others, or for its plan."""
        return self.record.state is JobState.WAITING

    def serving(self) -> list[LiveStage]:
        """Return the stages whose tasks may be assigned now, in order.

        A stage waits for every task of those that it reads.
        """
        if not self.running:
            return []
        stages = self.record.stages
        return [
            stage
            for stage in self.stages
            if not stages[stage.number].complete and self.record.readable(stage.number)
        ]

    def ready(self) -> LiveStage | None:
        """Return the first stage with a task that may be assigned now."""
        if not self.running:
            return None
        stages = self.record.stages
        for stage in self.stages:  # asked for each assignment: the cheapest question first
            number = stage.number
            if stage.ready and not stages[number].complete and self.record.readable(number):
                return stage
        return None


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process, as it reports itself."""

    id: str
    session: int
    lease_seconds: float
    """The shortest of what it holds; the default where it holds nothing."""
    sequence: int = -1
    synced_at: float = 0.0
    lease_from: float = 0.0
    """Time of its last report or answer, later by the length of every stall since."""
    slots: int = 0
    draining: bool = False
    """The worker reports that it drains."""
    drain_asked: bool = False
    drain_sent: bool = False
    """An answer has asked this process to drain."""
    leave_sent: bool = False
    """An answer has let this process go: one that comes after it was started anew."""
    sees_store: bool = True
    about: WorkerAbout = NO_DETAILS
    held: dict[AttemptId, Attempt] = field(default_factory=dict)
    taken_back: int = 0
    """Number of those of `held` that are taken back."""
    cpus_reserved: int = 0
    """Thousandths of CPUs that `held` have reserved."""
    memory_reserved: int = 0
    """Bytes of memory that `held` have reserved."""
    listed: dict[AttemptId, AttemptState] = field(default_factory=dict)
    """Attempts that its newest request listed."""
    parked: bool = False
    """Its newest request waits for an answer."""
    answer_at: float = 0.0
    """The latest moment for that answer."""
    timer: float = 0.0
    """Time of the machine's next look at it; its only valid entry in the heap of timers."""
    blames: int = 0
    """Tasks that failed here by storage or machine, and succeeded elsewhere."""
    blamed_until: float = 0.0

    @property
    def active(self) -> int:
        """Return how many attempts it should hold."""
        return len(self.held) - self.taken_back

    @property
    def leaving(self) -> bool:
        """Return whether it gets no new work since it will leave."""
        return self.draining or self.drain_asked
