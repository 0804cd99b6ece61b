"""State machine of a worker: what it holds against what it should hold. No clock, no I/O.

The shell feeds it events (`step`) and obeys the commands that it gets; `state()` makes the next
request to the master, which states everything. Two rules hold it together:

- An answer speaks only of what its request said. What has changed since is reported again before it
  is dropped: an attempt that has begun or ended in the meantime is not killed before the master has
  heard of that.
- A finished attempt is repeated until an answer to a request that reported it omits it.

Comments at guards name the test, in `tests/unit/worker/test_worker_machine.py`, that plays the run
of events which needs the guard. WorkerRules, in `test_worker_rules.py`, plays any order of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import msgspec

from mrcore.model.attempts import Assignment, AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskResult
from mrcore.worker.core.commands import (
    Command,
    Enqueue,
    ForgetJob,
    KeepJob,
    Kill,
    Leave,
    ReadNonce,
    Warn,
    Withdraw,
)
from mrcore.worker.core.events import (
    Answered,
    Begun,
    DrainBegun,
    Ended,
    Event,
    HandedBack,
    NonceRead,
    Withdrawn,
)
from mrcore.worker.core.limits import DEFAULT, Limits


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything that a request says, except progress and what never changes."""

    cluster_id: str
    session: int
    sequence: int
    epoch: int
    draining: bool
    store_nonce: str
    held: tuple[HeldAttempt, ...]
    known_jobs: tuple[str, ...]


@dataclass(slots=True)
class _Attempt:
    """One attempt that this worker holds."""

    assignment: Assignment
    state: AttemptState = AttemptState.UNSTARTED
    result: TaskResult | None = None
    result_bytes: int = 0
    reported: AttemptState | None = None
    """State in the latest request; None if the request did not list the attempt."""

    def stated(self) -> HeldAttempt:
        """Return what a request says of it."""
        result = self.result
        return HeldAttempt(
            self.assignment.attempt,
            self.state,
            self.assignment.inputs_version,
            elapsed_seconds=result.elapsed_seconds if isinstance(result, TaskOutput) else 0.0,
            result=result,
        )


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
        """Whether a master has accepted this session."""
        self._held: dict[AttemptId, _Attempt] = {}
        self._result_bytes = 0
        """Bytes of all results that are held."""
        self._jobs: dict[str, JobSpec] = {}
        """Known jobs, the most recently mentioned last."""
        self._state_uri = ""
        self._nonce = ""
        self._reported: tuple[bool, str] = (False, "")
        """Draining and nonce in the latest request."""
        self._ended = False
        """Whether an attempt has finished since the latest request."""
        self._is_full = False
        """Whether the latest answer wanted more than may be held."""

    def step(self, event: Event) -> list[Command]:
        """Take an event; return what is to be done, in order."""
        match event:
            case Answered():
                return self._answered(event)
            case Begun(attempt):
                self._begin(attempt)
            case Withdrawn(attempt):
                self._drop_unstarted(attempt)
            case Ended(attempt, result):
                held = self._held.get(attempt)
                # The child of an attempt that was handed back may still end it: the failure that
                # the master may have heard of stays (test_what_cannot_finish_is_handed_back).
                if held is not None and held.state is not AttemptState.FINISHED:
                    self._finish(held, result)
            case NonceRead(nonce):
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
        self._reported = (self.draining, self._nonce)
        self._ended = False
        for held in self._held.values():
            held.reported = held.state
        return Statement(
            cluster_id=self.cluster_id,
            session=self.session,
            sequence=self.sequence,
            epoch=self.epoch,
            draining=self.draining,
            store_nonce=self._nonce,
            held=tuple(held.stated() for held in self._held.values()),
            known_jobs=tuple(self._jobs),
        )

    def has_news(self) -> bool:
        """Return whether the master should hear something that the latest request did not say."""
        return self._ended or self._reported != (self.draining, self._nonce)

    def unfinished(self) -> int:
        """Return the number of attempts that have yet to run or to end."""
        return sum(held.state is not AttemptState.FINISHED for held in self._held.values())

    def running(self) -> list[AttemptId]:
        """Return the attempts that have begun and not ended, oldest first."""
        return [name for name, held in self._held.items() if held.state is AttemptState.RUNNING]

    def held(self) -> int:
        """Return the number of attempts that the master has not accounted for."""
        return len(self._held)

    def has_room_for_results(self) -> bool:
        """Return whether an attempt may begin: results that are held count by their bytes."""
        return self._result_bytes < self._limits.held_bytes_max

    def check(self) -> None:
        """Assert the invariants."""
        for attempt, held in self._held.items():
            finished = held.state is AttemptState.FINISHED
            assert held.assignment.attempt == attempt
            assert finished == (held.result is not None), attempt
            assert attempt.task.job_id in self._jobs, "a job was forgotten too early"
        limits = self._limits
        assert len(self._held) <= limits.held_max
        assert self._result_bytes == sum(held.result_bytes for held in self._held.values())
        assert len(self._jobs) <= max(limits.known_jobs_max, limits.held_max)
        assert self._ended == any(
            held.state is AttemptState.FINISHED and held.reported is not AttemptState.FINISHED
            for held in self._held.values()
        )
        if self.draining:
            assert all(held.state is not AttemptState.UNSTARTED for held in self._held.values())

    def _begin(self, attempt: AttemptId) -> None:
        """Note that an attempt runs.

        The shell reports each running attempt before every request, so most of these are old news.
        One that was handed back stays finished while its child is being killed, and one that was
        dropped stays away (WorkerRules.happen).
        """
        held = self._held.get(attempt)
        if held is not None and held.state is AttemptState.UNSTARTED:
            held.state = AttemptState.RUNNING

    def _drop_unstarted(self, attempt: AttemptId) -> None:
        """Drop an attempt that was withdrawn.

        Not one that one answer both omitted and handed back, by asking this worker to drain: the
        master waits for its failure (test_an_omitted_attempt_is_handed_back_if_the_worker_drains).
        """
        held = self._held.get(attempt)
        if held is not None and held.state is AttemptState.UNSTARTED:
            del self._held[attempt]

    def _finish(self, held: _Attempt, result: TaskResult) -> None:
        held.state, held.result = AttemptState.FINISHED, result
        held.result_bytes = len(msgspec.msgpack.encode(result))
        self._result_bytes += held.result_bytes
        self._ended = True

    def _answered(self, answer: Answered) -> list[Command]:
        if answer.exceed_session:
            return self._superseded(answer.exceed_session)
        # A call that was cancelled for the sake of news may still be answered
        # (test_answers_that_are_not_the_latest_change_nothing).
        if answer.sequence != self.sequence:
            return []
        commands: list[Command] = []
        if answer.cluster_id != self.cluster_id:
            commands += self._enter_cluster(answer.cluster_id)
        # A former master that has not noticed its successor does not know what that has assigned
        # (the same test). Epochs of different clusters cannot be compared.
        elif answer.epoch < self.epoch:
            return []
        self.epoch = answer.epoch
        self.accepted = True
        # A nonce belongs to one store, and a new cluster may not have named its store yet
        # (test_a_nonce_is_of_one_cluster_even_before_the_next_one_has_named_its_store).
        if answer.state_uri and answer.state_uri != self._state_uri:
            self._state_uri = answer.state_uri
            self._nonce = ""
            commands.append(ReadNonce(answer.state_uri))
        commands += self._keep_jobs(answer.jobs)
        commands += self._drop_unwanted({wanted.attempt for wanted in answer.wanted})
        if answer.drain and not self.draining:
            commands += self._drain("the master asked this worker to leave")
        # Work that was on its way when the drain began is left to the master
        # (test_draining_hands_back_what_has_not_begun).
        if not self.draining:
            commands += self._take_all(answer.wanted)
        commands += self._forget_jobs()
        # An attempt that ended after the request still has to be reported (the same test).
        if answer.leave and self.draining and not self._held:
            commands.append(Leave(0, "drained"))
        return commands

    def _superseded(self, exceed: int) -> list[Command]:
        """Leave, or take a higher session number.

        The number alone does not say which process is the former one: a clock that was set back
        makes the newer process look older. A master has accepted only the former
        (test_a_superseded_process_leaves_and_a_new_one_takes_a_higher_session).
        """
        if self.accepted:
            return [Leave(1, "another process has taken this worker's id: this one ends")]
        self.session = exceed + 1
        return []

    def _enter_cluster(self, cluster_id: str) -> list[Command]:
        """Become empty: nothing that was held, or known, belongs to this cluster."""
        commands: list[Command] = [
            Kill(attempt)
            for attempt, held in self._held.items()
            if held.state is not AttemptState.FINISHED
        ]
        commands += [ForgetJob(job_id) for job_id in self._jobs]
        self._held.clear()
        self._result_bytes = 0
        self._ended = False
        self._jobs.clear()
        self.cluster_id = cluster_id
        self._state_uri = self._nonce = ""
        return commands

    def _keep_jobs(self, jobs: Mapping[str, JobSpec]) -> list[Command]:
        commands: list[Command] = []
        for job_id, spec in jobs.items():
            if job_id not in self._jobs:
                commands.append(KeepJob(job_id, spec, self._state_uri))
            self._jobs[job_id] = spec
        return commands

    def _drop_unwanted(self, wanted: set[AttemptId]) -> list[Command]:
        """Drop what the answer does not want, as far as its request spoke of it.

        An attempt that began or ended after the request is not judged by this answer
        (test_an_answer_speaks_only_of_what_its_request_said). One that has not begun may begin
        while it is withdrawn, so it is dropped when the shell has answered
        (test_one_that_began_while_it_was_withdrawn_is_reported_as_running).
        """
        commands: list[Command] = []
        for attempt, held in list(self._held.items()):
            if attempt in wanted or held.reported is not held.state:
                continue
            match held.state:
                case AttemptState.UNSTARTED:
                    commands.append(Withdraw(attempt))
                case AttemptState.RUNNING:
                    del self._held[attempt]
                    commands.append(Kill(attempt))
                case AttemptState.FINISHED:
                    self._result_bytes -= held.result_bytes
                    del self._held[attempt]
        return commands

    def _take_all(self, wanted: tuple[Assignment, ...]) -> list[Command]:
        """Take what is wanted, as far as there is room: the rest will be wanted again.

        A master assigns within its own bounds. More can be wanted only where attempts end faster
        than it accounts for them (test_what_is_beyond_the_limit_is_left_to_others_and_taken_later).
        """
        commands: list[Command] = []
        refused = 0
        for one in wanted:
            if one.attempt not in self._held and len(self._held) >= self._limits.held_max:
                refused += 1
            else:
                commands += self._take(one)
        if refused and not self._is_full:  # once, and not with each answer
            sentence = (
                f"the master wants {refused:,} attempts more than the {self._limits.held_max:,} "
                "that a worker may hold: they are left to others until some have ended"
            )
            commands.append(Warn(sentence))
        self._is_full = refused > 0
        return commands

    def _take(self, wanted: Assignment) -> list[Command]:
        """Take one attempt, unless it is held, or the answer lacks its work or its job.

        A master leaves out what it believes to be here. It sends that once the next request lacks
        the attempt (test_an_attempt_of_an_unknown_job_or_without_work_is_left_to_the_master).
        """
        job_id = wanted.attempt.task.job_id
        if wanted.attempt in self._held or wanted.work is None or job_id not in self._jobs:
            return []
        self._jobs[job_id] = self._jobs.pop(job_id)
        self._held[wanted.attempt] = _Attempt(wanted)
        return [Enqueue(wanted)]

    def _forget_jobs(self) -> list[Command]:
        """Forget the jobs beyond the limit that were mentioned least recently.

        Not those of attempts that are held, whose children read the specification
        (test_jobs_are_forgotten_the_oldest_first).
        """
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
        unstarted = [a for a, held in self._held.items() if held.state is AttemptState.UNSTARTED]
        return self._hand_back(frozenset(unstarted), reason)

    def _hand_back(self, attempts: frozenset[AttemptId], reason: str) -> list[Command]:
        """Return attempts as preempted, which costs their tasks nothing.

        A result that is here counts more, and the same attempt may be handed back at every look
        while the worker drains (test_what_has_ended_is_not_handed_back).
        """
        commands: list[Command] = []
        for attempt, held in self._held.items():
            if attempt in attempts and held.state is not AttemptState.FINISHED:
                message = f"handed back: {reason}"
                self._finish(held, TaskFailure(kind=FailureKind.PREEMPTED, message=message))
                commands.append(Kill(attempt))
        return commands
