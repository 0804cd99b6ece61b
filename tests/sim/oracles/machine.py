"""Invariants of a run, judged from outside the machine: by its answers and by the store."""

from __future__ import annotations

from mrcore.master.core.events import CommitFinished, Event, Synced
from mrcore.master.core.facts import (
    AttemptFailed,
    CommitBegun,
    Fact,
    JobEnded,
    JobPlanned,
    ResultsKept,
    TaskWon,
)
from mrcore.master.core.machine import Machine, Outcome
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure
from mrcore.util.clock import Clock
from tests.sim.oracles.history import LIMITS
from tests.sim.oracles.requests import Before, RequestOracle
from tests.sim.oracles.sessions import SessionOracle
from tests.sim.world.jobs import SimSession
from tests.sim.world.scene import Scene


class Oracle:
    """Memory of what one leader has heard and said, to assert what must follow.

    A leader that was replaced and does not know it is judged no more: nothing that it decides
    becomes durable, which is the matter of `history`.
    """

    def __init__(self, scene: Scene, clock: Clock, machine: Machine, epoch: int) -> None:
        """Begin with a machine that has read the journal, and is about to take over."""
        self.scene = scene
        self.store = scene.store
        self.jobs = scene.jobs
        self.limits = LIMITS
        self.machine = machine
        self.epoch = epoch
        # A failure of an unflushed suffix was never durable: it is rightly counted once more.
        self.counted: dict[AttemptId, None] = {}
        self.checked: dict[str, tuple[AttemptId, ...]] = {}
        """Winners of each job at the newest look of the committer before a commit."""
        self.content: dict[TaskId, bytes | None] = {
            TaskId(job.job_id, number, index): task.digest
            for job in machine.cluster.durable.jobs.values()
            for number, stage in enumerate(job.stages)
            for index, task in enumerate(stage.tasks)
        }
        """Digest of the newest winner of each task, present or lost."""
        self.requests = RequestOracle(scene, clock, machine, epoch)
        former, scene.former = scene.former, self
        if former is not None:
            self.requests.follow(former.requests)
        self.sessions = SessionOracle(scene, machine)

    @property
    def is_current(self) -> bool:
        """Return whether no other master has taken over since."""
        return self.epoch == self.scene.history.epoch

    # -- around a step ---------------------------------------------------------------------------

    def took_over(self, outcome: Outcome, machine: Machine) -> None:
        """Judge what a machine makes of the state that its predecessor has left."""
        if self.is_current:
            self.sessions.after(outcome, machine)
            for fact in outcome.facts:
                self._judge_fact(None, fact, machine)

    def before(self, event: Event, machine: Machine) -> Before | None:
        """Note what a request says before it is stepped."""
        return self.requests.before(event, machine) if self.is_current else None

    def after(
        self, event: Event, before: Before | None, outcome: Outcome, machine: Machine
    ) -> None:
        """Judge what a step gave."""
        if not self.is_current:
            return
        self.sessions.after(outcome, machine)
        for fact in outcome.facts:
            self._judge_fact(event, fact, machine)
        self.requests.after(event, before, outcome, machine)

    def _judge_fact(self, event: Event | None, fact: Fact, machine: Machine) -> None:
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

    def _preempted(self, event: Event | None, fact: AttemptFailed) -> bool:
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
        read = self.store.made_of[fact.attempt]
        assert read == current, f"{fact.attempt} read other content"
        self.content[task] = fact.output.digest

    def _take_winners(self, fact: TaskWon | ResultsKept) -> None:
        """Results of a former job count for one that resumes it as if they had been won."""
        if isinstance(fact, TaskWon):
            self.requests.ever_won[fact.attempt.task] = None
            self._judge_win(fact)
            return
        for kept in fact.results:
            task = TaskId(fact.job_id, kept.stage, kept.index)
            self.requests.ever_won[task] = None
            self.content[task] = kept.output.digest

    def _judge_success(self, event: Event | None, fact: JobEnded, machine: Machine) -> None:
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

    def sent(self, attempt: AttemptId) -> bool:
        """Return whether a call that is sent to a worker is still to run."""
        return not self.is_current or self.sessions.sent(attempt, self.machine)

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
        """A commit publishes these parts: one version of everything, and always the same."""
        job = self.jobs[job_id]
        assert job.published in (None, parts), f"{job_id} published two sets of parts"
        job.published = parts
        for part in parts:
            assert part in self.scene.outputs.contents, f"{part} was never written"
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
                read = self.store.made_of[winner]
                assert read == current, f"{winner} mixes versions of its inputs"
