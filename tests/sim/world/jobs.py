"""The jobs of a simulation, and what is remembered of them to judge the machine by."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from msgspec.structs import replace

from mrcore.master.core.events import Submitted, WorkerAbout
from mrcore.master.core.limits import Limits
from mrcore.master.shell.resumptions import Keeping
from mrcore.model.calls import CallPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import ANY_WORKER, JobSpec, Resources, Session
from mrcore.model.object_names import with_temp
from mrcore.model.remains import KeptResult, Remains
from mrcore.model.stages import Calls, Part, Result, Run, Runs, Splits, StagePlan
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskRef
from mrcore.rpc.convert_resume import Wanted
from tests.sim.oracles.history import STATE
from tests.sim.oracles.outputs import OUTPUTS
from tests.sim.world.rates import Scale
from tests.sim.world.store import Store
from tests.support.specs import NO_VERSIONS, call_spec, job_spec

MAX_ATTEMPTS = 4
REFUSALS_MAX = 5
_VERSIONS: Final = replace(NO_VERSIONS, python="3.11", mrcore="0.1.0")


def draw_stages(rng: Random, scale: Scale) -> tuple[StagePlan, ...]:
    """Draw the stages of a job: one to four, of which one may read two others."""
    is_small = scale.is_small
    maps = rng.choice(scale.maps or ((0, 1, 1, 2, 2, 3) if is_small else (0, 1, 3, 6, 10)))
    shapes = ("one", "two", "two", "two", "three", "four", "join", "diamond")
    shape = rng.choice(scale.shapes or (shapes[:5] if is_small else shapes))
    first = StagePlan(maps, Splits(), Run())
    few = rng.choice((1, 2) if is_small else (1, 2, 4))
    last = rng.choice((1, 1, 2) if is_small else (1, 5, 12))
    writes = Result() if rng.random() < 0.1 else Part()
    match shape:
        case "one":
            return (StagePlan(maps, Splits(), Part()),)
        case "two":
            return first, StagePlan(last, Runs((0,)), writes)
        case "three":
            return first, StagePlan(few, Runs((0,)), Run()), StagePlan(last, Runs((1,)), writes)
        case "four":
            second, third = StagePlan(few, Runs((0,)), Run()), StagePlan(3, Runs((1,)), Run())
            return first, second, third, StagePlan(last, Runs((2,)), writes)
        case "join":
            other = StagePlan(few, Splits(), Run())
            return first, other, StagePlan(last, Runs((0, 1)), writes)
        case _:  # the last stage reads the first, and what was made of it
            middle = StagePlan(last, Runs((0,)), Run())
            return first, middle, StagePlan(last, Runs((0, 1)), writes)


FAR = "far"
"""Label of all workers but the first, in a simulation of at least three."""


def draw_offers(rng: Random, worker: str) -> WorkerAbout:
    """Draw what a worker offers: enough for any single task."""
    return WorkerAbout(
        cpus=rng.choice((1.0, 1.5, 4.0)),
        memory_bytes=rng.choice((1 << 30, 5 << 29, 1 << 40)),
        labels=() if worker == "w0" else (FAR,),
    )


def draw_needs(rng: Random, workers: int) -> Resources:
    """Draw what the tasks of a job need: often nothing. One worker may be lost for ever."""
    if rng.random() < 0.6:
        return ANY_WORKER
    return Resources(
        cpus=rng.choice((0.0, 0.5, 1.0)),
        memory_bytes=rng.choice((0, 1 << 29, 1 << 30)),
        labels=(FAR,) if workers > 2 and rng.random() < 0.3 else (),
    )


@dataclass(slots=True)
class SimJob:
    """One job: how large it is, how it behaves, and every failure that its attempts really had."""

    name: str
    stages: tuple[StagePlan, ...]
    task_seconds: float
    priority: int
    copiers: frozenset[TaskRef]
    """Tasks that write the same whatever they read, such as a count of lines."""
    killers: frozenset[int]
    """Map tasks with a record that kills the child."""
    max_bad_records: int
    lease_seconds: float
    output_uri: str = ""
    overwrite: bool = False
    job_id: str = ""
    """Id of the submission that became durable; empty before."""
    tries: int = 0
    """Submissions so far: each has an id of its own."""
    refusals: int = 0
    """Submissions that were refused, since another job has to do with the output."""
    failures: dict[AttemptId, TaskFailure] = field(default_factory=dict)
    vanished: int = 0
    published: tuple[AttemptId, ...] | None = None
    """The parts of its output, or the results of its last stage."""
    needs: Resources = ANY_WORKER
    after: tuple[str, ...] = ()
    """Jobs that it waits for: chosen when it is submitted first, among those that are durable."""
    ending: bool = False
    """Somebody has asked to end it."""
    resumes: tuple[str, ...] = ()
    kept: tuple[KeptResult, ...] = ()
    """Results of the jobs that it resumes."""
    described: JobSpec | None = None

    @classmethod
    def draw(cls, rng: Random, number: int, lease_seconds: float, scale: Scale) -> SimJob:
        """Draw a job; a few have no maps, no later stages, or records that kill."""
        stages = draw_stages(rng, scale)
        maps = stages[0].tasks
        refs = [TaskRef(n, i) for n, stage in enumerate(stages) for i in range(stage.tasks)]
        killers = frozenset({rng.randrange(maps)} if maps and rng.random() < 0.2 else ())
        # Now and then all write to one output.
        place = number if rng.random() < 0.7 and not scale.is_shared else 0
        leaves_results = isinstance(stages[-1].writes, Result)
        return cls(
            name=f"job-{number}",
            output_uri="" if leaves_results else f"{OUTPUTS}/{place}",
            overwrite=rng.random() < 0.5,
            stages=stages,
            task_seconds=rng.choice(
                scale.task_seconds or (0.02, 0.3, 0.3 if scale.is_small else 3.0)
            ),
            priority=rng.choice((0, 0, 5)),
            copiers=frozenset(ref for ref in refs if rng.random() < 0.3),
            killers=killers,
            max_bad_records=rng.choice((0, 1)) if killers else 0,
            lease_seconds=lease_seconds * rng.choice((1.0, 1.0, 1.0 if scale.is_small else 3.0)),
        )

    def resumed(self, left: Remains, store: Store) -> SimJob:
        """Return a job that goes on with this one; the real code chooses what is kept."""
        there = {info.uri: info.generation for info in store.list(f"{self.output_uri}/_tmp/")}
        kept = tuple(Keeping(left, Wanted(job_id=self.job_id), left.spec, there).results())
        return dataclasses.replace(
            self,
            name=f"{self.name}-again",
            job_id="",
            tries=0,
            refusals=0,
            failures={},
            vanished=0,
            published=None,
            after=(),
            ending=False,
            resumes=(*left.resumes, left.job_id),
            kept=kept,
            described=None,
        )

    def take_kept(self, job_id: str, store: Store, contents: dict[AttemptId, bytes]) -> None:
        """Remember the results that are kept under the names of a submission, too."""
        for each in self.kept:
            former = (TaskId(old, each.stage, each.index) for old in reversed(self.resumes))
            olds = (AttemptId(task, each.winner) for task in former)
            old = next(attempt for attempt in olds if attempt in store.made_of)
            new = AttemptId(TaskId(job_id, each.stage, each.index), each.winner)
            store.made_of[new] = store.made_of[old]
            if old in contents:
                contents[new] = contents[old]

    def inputs(self, stage: int) -> list[TaskRef]:
        """Return the tasks whose runs the tasks of a stage read."""
        return [
            TaskRef(read, index)
            for read in self.stages[stage].inputs
            for index in range(self.stages[read].tasks)
        ]

    @property
    def refused(self) -> bool:
        """Return whether it was refused so often that nobody submits it any more."""
        return self.refusals >= REFUSALS_MAX

    @property
    def tasks(self) -> int:
        """Return the number of its tasks."""
        return sum(stage.tasks for stage in self.stages)

    @property
    def leaves_results(self) -> bool:
        """Return whether its last tasks leave results for a caller, and no parts."""
        return isinstance(self.stages[-1].writes, Result)

    def failed(self, attempt: AttemptId, failure: TaskFailure) -> None:
        """Remember a failure that really happened, on whatever machine."""
        self.failures[attempt] = failure

    @property
    def request_id(self) -> str:
        """Return the id of all of its submissions."""
        return f"request of {self.name}"

    @property
    def spec(self) -> JobSpec:
        """Return its description, which does not change once it was submitted."""
        if self.described is None:
            self.described = self.describe()
        return self.described

    def describe(self) -> JobSpec:
        """Make its description."""
        spec = job_spec(
            self.name,
            output_uri=self.output_uri,
            overwrite=self.overwrite,
            versions=_VERSIONS,
            lease_seconds=self.lease_seconds,
            max_attempts=MAX_ATTEMPTS,
            max_bad_records=self.max_bad_records,
            priority=self.priority,
            after=self.after,
            resources=self.needs,
            map_only=len(self.stages) == 1,
        )
        return with_temp(spec, STATE)

    def submitted(self, job_id: str, spec: JobSpec, claimed: str, wall_seconds: float) -> Submitted:
        """Return the event that submits it."""
        return Submitted(
            job_id=job_id,
            request_id=self.request_id,
            spec=spec,
            stages=() if self.after else self.stages,
            claim_generation=claimed,
            wall_seconds=wall_seconds,
            resumes=self.resumes,
            kept=self.kept,
        )

    def may_fail(self, task: TaskId | None, limits: Limits) -> bool:
        """Return whether what really happened entitles the machine to fail this job."""
        if task is None:
            return False
        run = TaskRef(task.stage, task.index)
        unread = [f for f in self.failures.values() if run in f.lost_runs]
        mine = [failure for attempt, failure in self.failures.items() if attempt.task == task]
        kinds = [failure.kind for failure in mine]
        code = kinds.count(FailureKind.USER) + kinds.count(FailureKind.DATA)
        errors = Counter(failure.fingerprint for failure in mine if failure.fingerprint)
        return (
            code >= MAX_ATTEMPTS
            or max(errors.values(), default=0) >= 2
            or kinds.count(FailureKind.DATA) >= 2
            or kinds.count(FailureKind.INFRASTRUCTURE) >= limits.infrastructure_max
            or self.vanished + len(unread) >= limits.losses_max
        )


SESSION_STAGES = (StagePlan(0, Calls(), Result()),)


@dataclass(slots=True)
class SimSession(SimJob):
    """One session: a job whose tasks are added one by one."""

    retries: int = 0
    plans: list[CallPlan] = field(default_factory=list)
    """Calls that its client has made, whether they were added or not."""
    added: int = 0
    """Calls that the master has acknowledged: others may take their values."""
    cancelled: set[int] = field(default_factory=set)
    """Calls that were ever to be cancelled."""
    released: set[int] = field(default_factory=set)
    """Calls that were ever to be released."""
    closed: bool = False
    """Its client has asked for no more calls."""
    values: dict[AttemptId, TaskOutput] = field(default_factory=dict)
    """Values that attempts have made, whether they counted or not."""

    @classmethod
    def draw_session(cls, rng: Random, name: str, lease_seconds: float, workers: int) -> SimSession:
        """Draw a session."""
        return cls(
            name=name,
            stages=SESSION_STAGES,
            task_seconds=rng.choice((0.02, 0.3, 3.0)),
            priority=rng.choice((0, 0, 5)),
            copiers=frozenset(),
            killers=frozenset(),
            max_bad_records=0,
            lease_seconds=lease_seconds,
            needs=draw_needs(rng, workers),
            retries=rng.choice((0, 0, 2)),
        )

    def describe(self) -> JobSpec:
        """Make its description."""
        return call_spec(
            self.name,
            Session(retries=self.retries),
            versions=_VERSIONS,
            lease_seconds=self.lease_seconds,
            max_attempts=MAX_ATTEMPTS,
            priority=self.priority,
            resources=self.needs,
        )

    def may_fail(self, task: TaskId | None, limits: Limits) -> bool:
        """Return whether it may fail as a whole, which no failure of a call entitles to."""
        return False
