"""Invariants of a run, judged from outside the machine: by its answers and by the store."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.master.core.commands import Reply
from mrcore.master.core.events import CommitFinished, Event, Synced
from mrcore.master.core.facts import (
    AttemptFailed,
    CommitBegun,
    JobEnded,
    JobPlanned,
    ResultsKept,
    TaskWon,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine, Outcome
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from tests.sim.jobs import SimJob, SimSession
from tests.sim.session_oracle import SessionOracle
from tests.sim.workers import SimWorker
from tests.sim.world import World

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


@dataclass(frozen=True, slots=True)
class Before:
    """Values that are compared across one step."""

    report: Report | None
    repeated: bool
    """The request is a former one, or the newest once more."""
    acceptable: tuple[HeldAttempt, ...]
    """Results that have to count."""


class Oracle:
    """Remembers what was said and done in a run, and asserts what must follow."""

    def __init__(
        self,
        world: World,
        jobs: dict[str, SimJob],
        workers: dict[str, SimWorker],
        limits: Limits,
    ) -> None:
        self.world = world
        self.jobs = jobs
        self.workers = workers
        self.limits = limits
        self.epoch = 0
        self.began_at = 0.0
        """Time at which this master took over, later by the length of every stall since."""
        self.left_behind: dict[AttemptId, str] = {}
        """Attempts that the former master counted on, with their workers, until these report."""
        self.reports: dict[str, Report] = {}
        self.unanswered: dict[str, float] = {}
        self.given: dict[AttemptId, str] = {}
        self.numbers: dict[AttemptNumber, TaskId] = {}
        self.counted: dict[AttemptId, None] = {}
        self.ever_won: dict[TaskId, None] = {}
        self.content: dict[TaskId, bytes | None] = {}
        """Digest of the newest winner of each task, present or lost."""
        self.checked: dict[str, tuple[AttemptId, ...]] = {}
        """Winners of each job at the newest look of the committer before a commit."""
        self.sessions = SessionOracle(world, jobs, limits)

    def crashed(self, machine: Machine) -> None:
        """Remember what a master counted on that has just died."""
        if machine.cluster.now >= self.began_at + self._longest_lease():
            self.left_behind.clear()
        for worker in machine.cluster.sorted_workers():
            for attempt in worker.held.values():
                if worker.lease_from + attempt.lease_seconds > self.world.now + EPSILON:
                    self.left_behind[attempt.id] = worker.id

    def took_over(self, epoch: int, machine: Machine) -> None:
        """Forget what the former process had heard."""
        self.epoch = epoch
        self.content = {
            TaskId(job.job_id, number, index): task.digest
            for job in machine.cluster.durable.jobs.values()
            for number, stage in enumerate(job.stages)
            for index, task in enumerate(stage.tasks)
        }
        self.began_at = self.world.now
        self.reports.clear()
        self.unanswered.clear()
        # A failure of the unflushed suffix was never durable: it is rightly counted once more.
        self.counted.clear()
        self.checked.clear()

    def stalled(self, seconds: float) -> None:
        """The shell was deaf: nobody can have been answered."""
        self.began_at += seconds
        for worker_id in self.unanswered:
            self.unanswered[worker_id] += seconds

    # -- around a step ---------------------------------------------------------------------------

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
                self.world.now,
                {held.attempt: held for held in event.held},
                {},
            )
            self.unanswered[event.worker_id] = self.world.now
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
        self.sessions.after(outcome, machine)
        for fact in outcome.facts:
            if isinstance(fact, TaskWon | ResultsKept):
                self._take_winners(fact)
            elif isinstance(fact, AttemptFailed):
                assert fact.attempt not in self.counted, f"{fact.attempt} failed twice"
                self.counted[fact.attempt] = None
                assert not self._preempted(event, fact), "a preemption was counted"
            elif isinstance(fact, CommitBegun):
                now = self._all_winners(machine, fact.job_id)
                assert self.checked.get(fact.job_id) == now, f"{fact.job_id} commits unverified"
            elif isinstance(fact, JobPlanned):
                for job_id in self.jobs[fact.job_id].after:
                    assert self.jobs[job_id].published is not None, f"{fact.job_id} reads nothing"
            elif isinstance(fact, JobEnded) and fact.state is JobState.FAILED:
                assert self._may_fail(fact, machine), (
                    f"{fact.job_id} failed without cause: {fact.message}"
                )
            elif isinstance(fact, JobEnded) and fact.state is JobState.SUCCEEDED:
                self._judge_success(event, fact, machine)
        if isinstance(event, Synced) and before is not None:
            self._judge_request(event, before, machine)
        for command in outcome.commands:
            if isinstance(command, Reply):
                self._judge_reply(command, machine)
        self._judge_patience(machine)

    def _preempted(self, event: Event, fact: AttemptFailed) -> bool:
        """Return whether the attempt was handed back, whatever the machine made of that."""
        held = event.held if isinstance(event, Synced) else ()
        said = [fact.failure, *(each.result for each in held if each.attempt == fact.attempt)]
        failures = [each for each in said if isinstance(each, TaskFailure)]
        return any(failure.kind is FailureKind.PREEMPTED for failure in failures)

    def _judge_win(self, fact: TaskWon) -> None:
        """A task wins if it has read what its inputs hold at that moment, present or lost."""
        task = fact.attempt.task
        runs = self.jobs[task.job_id].inputs(task.stage)
        current = tuple(self.content.get(TaskId(task.job_id, r.stage, r.index)) for r in runs)
        read = self.world.store.made_of[fact.attempt]
        assert read == current, f"{fact.attempt} read other content"
        self.content[task] = fact.output.digest

    def _take_winners(self, fact: TaskWon | ResultsKept) -> None:
        """Results of a former job count for one that resumes it as if they had been won."""
        if isinstance(fact, TaskWon):
            self.ever_won[fact.attempt.task] = None
            self._judge_win(fact)
            return
        for kept in fact.results:
            task = TaskId(fact.job_id, kept.stage, kept.index)
            self.ever_won[task] = None
            self.content[task] = kept.output.digest

    def _judge_success(self, event: Event, fact: JobEnded, machine: Machine) -> None:
        """A job with parts succeeds by its commit, one with results by its last winner."""
        job = self.jobs[fact.job_id]
        if isinstance(job, SimSession):
            return
        if job.leaves_results:
            assert isinstance(event, Synced), f"{fact.job_id} ended without a last winner"
            self._judge_versions(machine, fact.job_id)
            # Another set may follow: a crash can take this fact, and the wins before it.
            job.published = tuple(self.winner_ids(machine, fact.job_id, len(job.stages) - 1))
        else:
            assert isinstance(event, CommitFinished), f"{fact.job_id} ended uncommitted"

    def _may_fail(self, fact: JobEnded, machine: Machine) -> bool:
        job = self.jobs[fact.job_id]
        for job_id in job.after:
            before = machine.cluster.job(job_id)
            if before is not None and before.state in (JobState.FAILED, JobState.CANCELLED):
                return True
        if fact.failed_task is None and job.killers and not job.max_bad_records:
            return True
        return job.may_fail(fact.failed_task, self.limits)

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
                if self.world.now - report.at >= job.spec.lease_seconds - EPSILON:
                    continue
                elapsed = held.elapsed_seconds + self.world.now - report.at
                enough = elapsed >= self.limits.backup_floor_seconds - EPSILON
                backup = held.state is AttemptState.RUNNING and enough
                assert backup, f"{attempt} given out while {other_id} holds {held.attempt}"

    def _judge_wait(self, attempt: AttemptId, worker_id: str, lease_seconds: float) -> None:
        """After a take-over nothing is given out that a worker runs which has not reported yet."""
        if self.world.now >= self.began_at + lease_seconds - EPSILON:
            return
        for former, holder_id in self.left_behind.items():
            runs = self.workers[holder_id].runs(former)
            assert former.task != attempt.task or holder_id == worker_id or not runs, (
                f"{attempt} given out while {holder_id} runs {former} of the former master"
            )

    def _longest_lease(self) -> float:
        longest = max((job.lease_seconds for job in self.jobs.values()), default=0.0)
        return max(longest, self.limits.lease_seconds)

    def _judge_patience(self, machine: Machine) -> None:
        """Every request is answered within a third of a lease, and a little."""
        longest = self._longest_lease()
        late = self.world.now - self.began_at - longest
        assert not machine.cluster.waiting or late < TICK_SECONDS, "still waits for former workers"
        longest /= self.limits.parks_per_lease
        for worker_id, since in self.unanswered.items():
            if machine.cluster.workers.get(worker_id) is not None:
                late = self.world.now - since - longest
                assert late < TICK_SECONDS, f"{worker_id} waits for an answer since {since}"

    # -- outputs ---------------------------------------------------------------------------------

    def winner_ids(self, machine: Machine, job_id: str, stage: int) -> list[AttemptId]:
        """Return the winner of every task of a stage; each must have one."""
        job = machine.cluster.job(job_id)
        assert job is not None
        ids = []
        for index, task in enumerate(job.stages[stage].tasks):
            assert task.winner is not None, f"{job_id} {stage} {index} has no winner"
            ids.append(AttemptId(TaskId(job_id, stage, index), task.winner))
        return ids

    def _all_winners(self, machine: Machine, job_id: str) -> tuple[AttemptId, ...]:
        stages = range(len(self.jobs[job_id].stages))
        return tuple(each for n in stages for each in self.winner_ids(machine, job_id, n))

    def verified(self, machine: Machine, job_id: str) -> None:
        """Remember what a committer looks at: a commit may publish nothing else."""
        self.checked[job_id] = self._all_winners(machine, job_id)

    def published(self, machine: Machine, job_id: str, parts: tuple[AttemptId, ...]) -> None:
        """A commit has published these parts: one version of everything, and always the same."""
        job, store = self.jobs[job_id], self.world.store
        assert job.published in (None, parts), f"{job_id} published two sets of parts"
        job.published = parts
        for part in parts:
            assert part in store.parts, f"{part} was never written"
        self._judge_versions(machine, job_id)

    def _judge_versions(self, machine: Machine, job_id: str) -> None:
        """Every winner of a complete job has read what its inputs hold now."""
        job = self.jobs[job_id]
        record = machine.cluster.job(job_id)
        assert record is not None
        assert record.counters.get("tasks", 0) == job.tasks, "counters add up"
        for number in range(len(job.stages)):
            runs = job.inputs(number)
            current = tuple(self.content.get(TaskId(job_id, r.stage, r.index)) for r in runs)
            for winner in self.winner_ids(machine, job_id, number):
                read = self.world.store.made_of[winner]
                assert read == current, f"{winner} mixes versions of its inputs"
