"""What a worker holds against what it should hold: pure, without clock or I/O.

The shell feeds it what happened (`step`) and obeys the commands it gets; `state()` makes the next
request to the master, which tells everything. Two rules hold it together:

- An answer speaks only of what its request said. What has changed since is told again before it
  is dropped: an attempt that has begun or ended in the meantime is not killed unheard.
- A finished attempt is repeated until an answer to a request that told of it omits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

import msgspec

from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import FailureKind, TaskFailure, TaskResult
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.core.messages import (
    Answered,
    Assignment,
    Begun,
    Command,
    DrainBegun,
    Ended,
    Event,
    ForgetJob,
    Give,
    HandedBack,
    HeldState,
    Hold,
    Kill,
    LearnJob,
    Leave,
    LookAtStore,
    Statement,
    StoreSeen,
    TakeBack,
    TakenBack,
    Warn,
)


@dataclass(slots=True)
class _Held:
    assignment: Assignment
    hold: Hold = Hold.UNSTARTED
    result: TaskResult | None = None
    result_bytes: int = 0
    told: Hold | None = None
    """What the latest request said of it."""


class Machine:
    """The worker's whole state."""

    def __init__(self, session: int, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self.cluster_id = ""
        self.session = session
        self.epoch = 0
        self.sequence = 0
        self.draining = False
        self.accepted = False
        """A master has taken this session."""
        self._held: dict[AttemptId, _Held] = {}
        self._result_bytes = 0
        """Of all results that are held."""
        self._jobs: dict[str, JobSpec] = {}
        """In the order in which they were heard of last."""
        self._state_uri = ""
        self._nonce = ""
        self._told: tuple[bool, str] = (False, "")
        """Draining and nonce, as the latest request said them."""
        self._ended = False
        """An attempt has finished since the latest request."""
        self._is_full = False
        """More was wanted than may be held, by the latest answer."""

    def step(self, event: Event) -> list[Command]:
        """Take what happened; return what is to be done, in order."""
        match event:
            case Answered():
                return self._answered(event)
            case Begun(attempt):
                self._move(attempt, Hold.UNSTARTED, Hold.RUNNING)
            case TakenBack(attempt):
                held = self._held.get(attempt)
                if held is not None and held.hold is Hold.UNSTARTED:
                    del self._held[attempt]
            case Ended(attempt, result):
                held = self._held.get(attempt)
                if held is not None and held.hold is not Hold.FINISHED:
                    self._finish(held, result)
            case StoreSeen(nonce):
                self._nonce = nonce
            case DrainBegun(reason):
                return self._drain(reason)
            case HandedBack(attempts, reason):
                return self._hand_back(attempts, reason)
            case _:
                assert_never(event)
        return []

    def state(self) -> Statement:
        """Return what the next request says; from now on only its answer counts."""
        self.sequence += 1
        self._told = (self.draining, self._nonce)
        self._ended = False
        for held in self._held.values():
            held.told = held.hold
        return Statement(
            cluster_id=self.cluster_id,
            session=self.session,
            sequence=self.sequence,
            epoch=self.epoch,
            draining=self.draining,
            store_nonce=self._nonce,
            held=tuple(
                HeldState(attempt, held.hold, held.assignment.inputs_version, held.result)
                for attempt, held in self._held.items()
            ),
            known_jobs=tuple(self._jobs),
        )

    def has_news(self) -> bool:
        """Tell whether the master should hear something that the latest request did not say."""
        return self._ended or self._told != (self.draining, self._nonce)

    def unfinished(self) -> int:
        """Return the number of attempts that have yet to run or to end."""
        return sum(held.hold is not Hold.FINISHED for held in self._held.values())

    def running(self) -> list[AttemptId]:
        """Return the attempts that have begun and not ended, oldest first."""
        return [attempt for attempt, held in self._held.items() if held.hold is Hold.RUNNING]

    def held(self) -> int:
        """Return the number of attempts of which the master has yet to account."""
        return len(self._held)

    def is_laden(self) -> bool:
        """Tell whether the results that are held leave no room for others."""
        return self._result_bytes >= self._limits.held_bytes_max

    def check(self) -> None:
        """Assert the invariants."""
        for attempt, held in self._held.items():
            assert held.assignment.attempt == attempt
            assert (held.hold is Hold.FINISHED) == (held.result is not None), attempt
            assert attempt.task.job_id in self._jobs, "a job was forgotten too early"
        limits = self._limits
        assert len(self._held) <= limits.held_max
        assert self._result_bytes == sum(held.result_bytes for held in self._held.values())
        assert len(self._jobs) <= max(limits.known_jobs_max, limits.held_max)
        assert self._ended == any(
            held.hold is Hold.FINISHED and held.told is not Hold.FINISHED
            for held in self._held.values()
        )
        if self.draining:
            assert all(held.hold is not Hold.UNSTARTED for held in self._held.values())

    def _finish(self, held: _Held, result: TaskResult) -> None:
        held.hold, held.result = Hold.FINISHED, result
        held.result_bytes = len(msgspec.msgpack.encode(result))
        self._result_bytes += held.result_bytes
        self._ended = True

    def _move(self, attempt: AttemptId, before: Hold, after: Hold) -> None:
        held = self._held.get(attempt)
        if held is not None and held.hold is before:
            held.hold = after

    def _answered(self, answer: Answered) -> list[Command]:
        if answer.exceed_session:
            return self._superseded(answer.exceed_session)
        if answer.sequence != self.sequence:
            return []
        commands: list[Command] = []
        if answer.cluster_id != self.cluster_id:
            commands += self._enter_cluster(answer.cluster_id)
        elif answer.epoch < self.epoch:
            return []
        self.epoch = answer.epoch
        self.accepted = True
        if answer.state_uri and answer.state_uri != self._state_uri:
            self._state_uri = answer.state_uri
            self._nonce = ""
            commands.append(LookAtStore(answer.state_uri))
        commands += self._learn(answer.jobs)
        commands += self._omit({wanted.attempt for wanted in answer.wanted})
        if answer.drain and not self.draining:
            commands += self._drain("the master asked this worker to leave")
        if not self.draining:
            commands += self._take_all(answer.wanted)
        commands += self._forget_jobs()
        if answer.leave and self.draining and not self._held:
            commands.append(Leave(0, "drained"))
        return commands

    def _superseded(self, exceed: int) -> list[Command]:
        if self.accepted:
            return [Leave(1, "another process has taken this worker's id: this one ends")]
        # The clock of this machine was set back since the last process with this id.
        self.session = exceed + 1
        return []

    def _enter_cluster(self, cluster_id: str) -> list[Command]:
        """Become empty: nothing that was held, or known, is of this cluster."""
        commands: list[Command] = [
            Kill(attempt) for attempt, held in self._held.items() if held.hold is not Hold.FINISHED
        ]
        commands += [ForgetJob(job_id) for job_id in self._jobs]
        self._held.clear()
        self._result_bytes = 0
        self._ended = False
        self._jobs.clear()
        self.cluster_id = cluster_id
        self._state_uri = self._nonce = ""
        return commands

    def _learn(self, jobs: Mapping[str, JobSpec]) -> list[Command]:
        commands: list[Command] = []
        for job_id, spec in jobs.items():
            if job_id not in self._jobs:
                commands.append(LearnJob(job_id, spec, self._state_uri))
            self._jobs[job_id] = spec
        return commands

    def _omit(self, wanted: set[AttemptId]) -> list[Command]:
        """Drop what the answer does not want, as far as its request spoke of it."""
        commands: list[Command] = []
        for attempt, held in list(self._held.items()):
            if attempt in wanted or held.told is not held.hold:
                continue
            match held.hold:
                case Hold.UNSTARTED:
                    commands.append(TakeBack(attempt))
                case Hold.RUNNING:
                    del self._held[attempt]
                    commands.append(Kill(attempt))
                case Hold.FINISHED:
                    self._result_bytes -= held.result_bytes
                    del self._held[attempt]
        return commands

    def _take_all(self, wanted: tuple[Assignment, ...]) -> list[Command]:
        """Take what is wanted, as far as there is room: the rest will be wanted again."""
        commands: list[Command] = []
        refused = 0
        for one in wanted:
            if one.attempt not in self._held and len(self._held) >= self._limits.held_max:
                refused += 1
            else:
                commands += self._take(one)
        if refused and not self._is_full:
            sentence = (
                f"the master wants {refused:,} attempts more than the {self._limits.held_max:,} "
                "that a worker may hold: they are left to others until some have ended"
            )
            commands.append(Warn(sentence))
        self._is_full = refused > 0
        return commands

    def _take(self, wanted: Assignment) -> list[Command]:
        job_id = wanted.attempt.task.job_id
        if wanted.attempt in self._held or wanted.work is None or job_id not in self._jobs:
            # What we lack and the master believes to be here, it sends when it hears that we do.
            return []
        self._jobs[job_id] = self._jobs.pop(job_id)
        self._held[wanted.attempt] = _Held(wanted)
        return [Give(wanted)]

    def _forget_jobs(self) -> list[Command]:
        excess = len(self._jobs) - self._limits.known_jobs_max
        if excess <= 0:
            return []
        in_use = {attempt.task.job_id for attempt in self._held}
        unused = [job_id for job_id in self._jobs if job_id not in in_use][:excess]
        for job_id in unused:
            del self._jobs[job_id]
        return [ForgetJob(job_id) for job_id in unused]

    def _drain(self, reason: str) -> list[Command]:
        self.draining = True
        unstarted = [a for a, held in self._held.items() if held.hold is Hold.UNSTARTED]
        return self._hand_back(frozenset(unstarted), reason)

    def _hand_back(self, attempts: frozenset[AttemptId], reason: str) -> list[Command]:
        """Give up attempts as preempted, which costs their tasks nothing."""
        commands: list[Command] = []
        for attempt, held in self._held.items():
            if attempt in attempts and held.hold is not Hold.FINISHED:
                message = f"handed back: {reason}"
                self._finish(held, TaskFailure(kind=FailureKind.PREEMPTED, message=message))
                commands.append(Kill(attempt))
        return commands


UNTOLD_FRACTION: Final = 0.05
"""How far an attempt is taken to be at most that has not said how far it is."""


def can_finish(elapsed_seconds: float, fraction: float, seconds_left: float) -> bool:
    """Tell whether an attempt is likely to end in time, by its pace so far.

    One that does not say how far it is gets the benefit of the doubt only for a moment, which is
    then all that handing it back can lose: a lease that is kept in vain delays the job by far more.
    """
    done = fraction if fraction > 0.0 else UNTOLD_FRACTION
    return elapsed_seconds * (1.0 - done) / done < 0.8 * seconds_left
