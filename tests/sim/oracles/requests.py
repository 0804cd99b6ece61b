"""Oracle of requests and answers: who holds what, as far as a leader can know."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.master.core.commands import Reply
from mrcore.master.core.events import Event, Synced, Ticked
from mrcore.master.core.machine import Machine, Outcome
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import TaskOutput
from mrcore.util.clock import Clock
from tests.sim.oracles.history import LIMITS
from tests.sim.world.scene import Scene

EPSILON = 1e-6
TICK_SECONDS = 1.5
"""Longest delay of a tick after a stall."""


@dataclass(slots=True)
class Report:
    """Attempts that a worker listed in its newest request that was stepped."""

    session: int
    sequence: int
    at: float
    held: dict[AttemptId, HeldAttempt]
    relied_on: dict[AttemptId, HeldAttempt]
    """Attempts that the machine went on to count on; the others were to be killed."""


@dataclass(slots=True)
class Before:
    """Values that are compared across one step."""

    report: Report | None
    repeated: bool
    """The request is a former one, or the newest once more."""
    acceptable: tuple[HeldAttempt, ...]
    """Results that have to count."""


class RequestOracle:
    """Memory of the requests of workers to one leader, and of its answers."""

    def __init__(self, scene: Scene, clock: Clock, machine: Machine, epoch: int) -> None:
        self.jobs = scene.jobs
        self.workers = scene.workers
        self.limits = LIMITS
        self.clock = clock
        self.machine = machine
        self.epoch = epoch
        self.began_at = clock.monotonic()
        """Time at which this master took over, later by the length of every stall since."""
        self.reports: dict[str, Report] = {}
        self.unanswered: dict[str, float] = {}
        self.given: dict[AttemptId, str] = {}
        self.numbers: dict[AttemptNumber, TaskId] = {}
        self.ever_won: dict[TaskId, None] = {}
        self._leases = 0, 0.0
        """Number of jobs that were looked at, and the longest lease of these."""
        self.left_behind: dict[AttemptId, str] = {}
        """Attempts that the former master counted on, with their workers, until these report."""
        self._left: dict[AttemptId, str] | None = None

    def follow(self, former: RequestOracle) -> None:
        """Take over from the former leader."""
        self.given, self.numbers, self.ever_won = former.given, former.numbers, former.ever_won
        self.left_behind = former.relied_on()

    def end(self) -> None:
        """Remember what this master counts on, whose process ends."""
        self._left = self.relied_on()

    def relied_on(self) -> dict[AttemptId, str]:
        """Return the attempts that this master counts on, or did at its end."""
        if self._left is not None:
            return self._left
        now, cluster = self.clock.monotonic(), self.machine.cluster
        waited = cluster.now - self.began_at
        relied_on = {
            attempt: worker_id
            for attempt, worker_id in self.left_behind.items()
            if waited < self.jobs[attempt.task.job_id].lease_seconds
        }
        for worker in cluster.sorted_workers():
            for attempt in worker.held.values():
                if worker.lease_from + attempt.lease_seconds > now + EPSILON:
                    relied_on[attempt.id] = worker.id
        return relied_on

    def stalled(self, seconds: float) -> None:
        """The shell was deaf: nobody can have been answered."""
        self.began_at += seconds
        for worker_id in self.unanswered:
            self.unanswered[worker_id] += seconds

    def before(self, event: Event, machine: Machine) -> Before | None:
        """Note what a request says before it is stepped."""
        if not isinstance(event, Synced):
            return None
        report = self.reports.get(event.worker_id)
        if report is not None and machine.cluster.workers.get(event.worker_id) is None:
            report = None  # silent for so long that it was forgotten
            del self.reports[event.worker_id]
        old = report is not None and (event.session, event.sequence) <= (
            report.session,
            report.sequence,
        )
        acceptable = () if old else tuple(h for h in event.held if self._counts(machine, h))
        if not old:
            gone = [a for a, worker_id in self.left_behind.items() if worker_id == event.worker_id]
            for attempt in gone:
                del self.left_behind[attempt]
            self.reports[event.worker_id] = Report(
                event.session,
                event.sequence,
                self.clock.monotonic(),
                {held.attempt: held for held in event.held},
                {},
            )
            self.unanswered[event.worker_id] = self.clock.monotonic()
        return Before(report, old, acceptable)

    def _counts(self, machine: Machine, held: HeldAttempt) -> bool:
        """Return whether a result has to be accepted, whatever became of its lease."""
        job = machine.cluster.job(held.attempt.task.job_id)
        if job is None or job.state is not JobState.RUNNING:
            return False
        if not isinstance(held.result, TaskOutput):
            return False
        current = held.inputs_version == job.stages[held.attempt.task.stage].version
        return current and job.task(held.attempt.task).winner is None

    def after(
        self, event: Event, before: Before | None, outcome: Outcome, machine: Machine
    ) -> None:
        """Judge what a step gave."""
        if isinstance(event, Synced) and before is not None:
            self._judge_request(event, before, machine)
        for command in outcome.commands:
            if isinstance(command, Reply):
                self._judge_reply(command, machine)
        # What is late stays so until it comes, and time is seen to pass by ticks.
        if isinstance(event, Ticked):
            self._judge_patience(machine)

    def _judge_request(self, event: Synced, before: Before, machine: Machine) -> None:
        worker, report = machine.cluster.workers.get(event.worker_id), self.reports[event.worker_id]
        if worker is not None and worker.sequence == event.sequence and not before.repeated:
            report.relied_on = {a: held for a, held in report.held.items() if a in worker.held}
            self._let_go(report, machine)
            self._judge_adoption(event, machine)
        for held in before.acceptable:
            job = machine.cluster.job(held.attempt.task.job_id)
            assert job is not None
            if job.state is not JobState.RUNNING:
                continue
            won = job.task(held.attempt.task).winner is not None
            revoked = held.inputs_version != job.stages[held.attempt.task.stage].version
            assert won or revoked, f"{held.attempt} was refused"

    def _let_go(self, report: Report, machine: Machine) -> None:
        """Forget what the machine counted on and has just dropped for one that is in this report.

        That one has run for longer. When it fails, its task may be given out at once, though the
        worker of the dropped one still runs it.
        """
        tasks = {attempt.task for attempt in report.relied_on}
        for other_id, other in self.reports.items():
            worker = machine.cluster.workers.get(other_id)
            if worker is None or other is report:
                continue
            for attempt in list(other.relied_on):
                if attempt.task in tasks and attempt not in worker.held:
                    del other.relied_on[attempt]

    def _judge_adoption(self, event: Synced, machine: Machine) -> None:
        """A running attempt is given up only for a result, or for one that has run for longer."""
        for held in event.held:
            job = machine.cluster.jobs.get(held.attempt.task.job_id)
            if held.state is not AttemptState.RUNNING or job is None or not job.running:
                continue
            record = job.record.task(held.attempt.task)
            if record.winner is not None or record.counted(held.attempt.number):
                continue
            if held.inputs_version != job.record.stages[held.attempt.task.stage].version:
                continue
            live = job.task(held.attempt.task).attempts
            done = held.elapsed_seconds - EPSILON
            kept = {a.id: a.running_seconds(machine.cluster.now) > done for a in live}
            problem = f"{held.attempt} is killed after {held.elapsed_seconds} s"
            assert held.attempt in kept or any(kept.values()), problem

    def _judge_reply(self, reply: Reply, machine: Machine) -> None:
        report = self.reports[reply.worker_id]
        newest = (report.session, report.sequence)
        assert (reply.session, reply.sequence) == newest, "an answer to an old request"
        self.unanswered.pop(reply.worker_id, None)
        for wanted in reply.wanted:
            attempt = wanted.attempt
            held = report.held.get(attempt)
            assert held is None or held.state is not AttemptState.FINISHED, (
                f"{attempt} has finished, and is wanted"
            )
            job = machine.cluster.job(attempt.task.job_id)
            assert job is not None
            assert not job.state.final, f"{attempt} of an ended job is wanted"
            task = self.numbers.setdefault(attempt.number, attempt.task)
            assert task == attempt.task, f"number {attempt.number} was used twice"
            new = attempt not in self.given and attempt.number.epoch == self.epoch
            first = self.given.setdefault(attempt, reply.worker_id)
            assert first == reply.worker_id, f"{attempt} was given to {first} too"
            if new:
                self._judge_assignment(attempt, reply.worker_id, machine)

    def _judge_assignment(self, attempt: AttemptId, worker_id: str, machine: Machine) -> None:
        """Nobody else may be known to work at a task, but for a straggler's backup."""
        job = machine.cluster.job(attempt.task.job_id)
        assert job is not None
        if attempt.task in self.ever_won:
            return  # it runs again since its output was lost; whoever still tries does no harm
        self._judge_wait(attempt, worker_id, job.spec.lease_seconds)
        for other_id, report in self.reports.items():
            worker = machine.cluster.workers.get(other_id)
            if worker is None or worker.session != report.session:
                continue
            for held in report.relied_on.values():
                same = held.attempt.task == attempt.task
                if not same:
                    continue
                if held.inputs_version != job.stages[attempt.task.stage].version:
                    continue  # revoked
                assert other_id != worker_id, f"{attempt} backs up {held.attempt} where it runs"
                if self.clock.monotonic() - report.at >= job.spec.lease_seconds - EPSILON:
                    continue
                elapsed = held.elapsed_seconds + self.clock.monotonic() - report.at
                enough = elapsed >= self.limits.backup_floor_seconds - EPSILON
                backup = held.state is AttemptState.RUNNING and enough
                assert backup, f"{attempt} given out while {other_id} holds {held.attempt}"

    def _judge_wait(self, attempt: AttemptId, worker_id: str, lease_seconds: float) -> None:
        """After a take-over nothing is given out that a worker runs which has not reported yet."""
        if self.clock.monotonic() >= self.began_at + lease_seconds - EPSILON:
            return
        for former, holder_id in self.left_behind.items():
            runs = self.workers[holder_id].runs(former)
            assert former.task != attempt.task or holder_id == worker_id or not runs, (
                f"{attempt} given out while {holder_id} runs {former} of the former master"
            )

    def _longest_lease(self) -> float:
        known, longest = self._leases
        if known != len(self.jobs):  # jobs are only ever added
            longest = max((job.lease_seconds for job in self.jobs.values()), default=0.0)
            self._leases = len(self.jobs), longest
        return max(longest, self.limits.lease_seconds)

    def _judge_patience(self, machine: Machine) -> None:
        """Every request is answered within a third of a lease, and a little."""
        longest, now = self._longest_lease(), self.clock.monotonic()
        late = now - self.began_at - longest
        assert not machine.cluster.waiting or late < TICK_SECONDS, "still waits for former workers"
        longest /= self.limits.parks_per_lease
        for worker_id, since in self.unanswered.items():
            if now - since - longest >= TICK_SECONDS:
                is_known = machine.cluster.workers.get(worker_id) is not None
                assert not is_known, f"{worker_id} waits for an answer since {since}"
