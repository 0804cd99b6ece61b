"""The inline engine: a whole job in this one process and thread, for a debugger.

The same plan, tasks and commit as on a cluster, and so the same bytes. But tasks run one after the
other, and a failed task is tried again only to find the bad records that the job may skip. Nothing
is forked, and stdin and stdout are the caller's: `breakpoint()` in `map` gives a prompt.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import SystemRandom  # noqa: TID251 - ids are to be unique, nothing hangs on the draw
from typing import Final, NamedTuple, TypeAlias

from mrcore.client.follow import Observer, Silent
from mrcore.client.request import JobRequest, before_tasks, check_engine, prepare
from mrcore.engine import history
from mrcore.engine.post_mortem import watched
from mrcore.engine.retries import Retries
from mrcore.engine.stage_sums import StageSums, input_records, records_read
from mrcore.errors import DataError
from mrcore.model import object_names
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId, new_job_id
from mrcore.model.job import JobSpec, JobState
from mrcore.model.skipping import bad_records_problem, most_skipped
from mrcore.model.snapshots import AttemptCounts, FailureView, JobView, StageView, failure_view
from mrcore.model.stages import Splits, StagePlan, stage_names, stage_plans, stages_of, task_name
from mrcore.model.task import (
    FailureKind,
    RunInput,
    Split,
    TaskFailure,
    TaskOutput,
    TaskRef,
    TaskResult,
    TaskSpec,
    TaskWork,
)
from mrcore.output import commit
from mrcore.plugin import nesting
from mrcore.plugin.context import MAX_COUNTERS, MAX_COUNTS, counters_problem
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.loader import load_bundle
from mrcore.plugin.precheck import plugin_of
from mrcore.shuffle.ranges import choose_boundaries, merge_number_kinds, run_input, section_starts
from mrcore.storage.registry import storage_for
from mrcore.tasks.plan import Plan, make_plan
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.run import run_task
from mrcore.tasks.setup import Setup
from mrcore.util.clock import SYSTEM, Clock

OnResult: TypeAlias = Callable[[bytes], object]
"""Takes the result of one task (`mrcore.records.frames`)."""
EPOCH: Final = 1
"""There is no master that could restart."""


_INTERRUPTS: Final = ("bdb.BdbQuit", "KeyboardInterrupt")
"""The last line of a traceback when a person has left the debugger by `quit`, or typed Ctrl-C."""


class _TaskFailedError(Exception):
    """A task failed; ends the job."""

    def __init__(self, attempt: str, failure: TaskFailure) -> None:
        super().__init__(failure.message)
        self.attempt = attempt
        """Name of the attempt within its job."""
        self.failure = failure

    def view(self) -> FailureView:
        """Return the failure, as it is shown."""
        return failure_view(self.failure, self.attempt)


@dataclass
class _Run:
    """One job on its way through this process."""

    spec: JobSpec
    job_id: str
    plan: Plan
    load: Callable[[], UserFunctions]
    """Loader of the plugin, which loads it afresh."""
    functions: UserFunctions
    folder: history.RunFolder
    observer: Observer
    clock: Clock
    submitted_seconds: float
    on_result: OnResult | None = None
    """Takes what each task of the last stage leaves, of a job without an output."""
    attempts: int = 0
    failures: int = 0
    """Number of failed attempts."""
    counters: Counter[str] = field(default_factory=Counter)
    counts: int = 0
    """Counters of each task, summed up."""
    outputs: list[list[TaskOutput]] = field(default_factory=list)
    """Outputs by stage, then by task."""
    figures: list[StageSums] = field(default_factory=list)
    """Sums by stage, of those that have begun."""

    @functools.cached_property
    def setup(self) -> Setup:
        """Return what all tasks have in common: the context, and what `setup` did."""
        return Setup(self.functions, self.spec.params)

    @functools.cached_property
    def stages(self) -> tuple[StagePlan, ...]:
        """Return the shapes of the job's stages."""
        return stage_plans(stages_of(self.spec), self.plan.splits_by_group, self.plan.reduces)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of the job's stages."""
        return stage_names(stage.reads for stage in self.stages)

    def run_tasks(self) -> None:
        """Run all stages in order, or until the caller has enough; raise _TaskFailedError."""
        for number, stage in enumerate(self.stages):
            self.outputs.append([])
            self.figures.append(StageSums())
            readers = (other.tasks for other in self.stages if number in other.inputs)
            partitions = next(readers, 0)
            for read in self._reads(stage):
                output = self._run_task(number, TaskWork(read, partitions))
                is_last = number == len(self.stages) - 1
                if is_last and self.on_result is not None and self.on_result(_taken_result(output)):
                    return

    def _reads(self, stage: StagePlan) -> Iterator[Split | RunInput]:
        """Yield what each task of a stage reads."""
        if isinstance(stage.reads, Splits):
            yield from (split for split in self.plan.splits if stage.reads.takes(split.group))
            return
        outputs = [
            (TaskRef(number, index), output)
            for number in stage.inputs
            for index, output in enumerate(self.outputs[number])
        ]
        merge_number_kinds(output for _, output in outputs)
        boundaries = None
        if any(stages_of(self.spec)[number].total_order for number in stage.inputs):
            boundaries = choose_boundaries([output for _, output in outputs], stage.tasks)
        starts = [section_starts(output) for _, output in outputs]
        for index in range(stage.tasks):
            yield run_input(outputs, stage.tasks, index, boundaries, starts)

    @property
    def parts(self) -> Sequence[TaskOutput]:
        """Return the outputs that become parts: those of the last stage."""
        return self.outputs[-1]

    def _run_task(self, stage: int, work: TaskWork) -> TaskOutput:
        """Run a task until it is done; raise _TaskFailedError where it is not tried again."""
        task = TaskId(self.job_id, stage, len(self.outputs[stage]))
        retries = Retries(self.spec)
        while True:
            self.attempts += 1
            self.figures[stage].attempts += 1
            attempt = AttemptId(task, AttemptNumber(EPOCH, self.attempts))
            result = self._run_attempt(attempt, work, retries)
            if not isinstance(result, TaskFailure):
                break
            if result.traceback.rpartition("\n")[2] in _INTERRUPTS:
                raise KeyboardInterrupt
            self.failures += 1
            most = most_skipped(self.spec.max_bad_records, records_read(self.stages, self.figures))
            if not retries.may_follow(result, most - self.bad_records):
                raise self._failed(attempt, result)
            self._forget_remains()
        self.outputs[stage].append(result)
        self.figures[stage].add(result)
        self._count(attempt, result)
        self.observer.update(self.view(JobState.RUNNING))
        return result

    def _run_attempt(self, attempt: AttemptId, work: TaskWork, retries: Retries) -> TaskResult:
        spec = TaskSpec(
            attempt=attempt,
            job=self.spec,
            state_uri=self.folder.state_uri,
            work=work,
            memory_bytes=self.spec.memory_bytes,
            skip=retries.skip,
            mark_records=retries.careful,
            careful=retries.careful,
        )
        scratch = self.folder.path / "scratch"
        scratch.mkdir(exist_ok=True)
        return run_task(spec, self.functions, scratch, NoProgress(), setup=self.setup)

    def _forget_remains(self) -> None:
        """Load the plugin again if a failed attempt may have left something in its variables."""
        if self.functions.keeps_state:
            self.functions = self.load()
            del self.setup

    @property
    def bad_records(self) -> int:
        """Return the number of records that were skipped."""
        return sum(figures.bad_records for figures in self.figures)

    def _count(self, attempt: AttemptId, output: TaskOutput) -> None:
        """Add a task's counters to the job's; raise _TaskFailedError where a master would."""
        self.counters.update(output.counters)
        self.counts += len(output.counters)
        names, counts = len(self.counters), self.counts
        read = records_read(self.stages, self.figures)
        problem = bad_records_problem(self.bad_records, self.spec.max_bad_records, read)
        if problem is not None and output.skipped:
            problem = f"{problem} The last one: {output.last_cause}."
        problem = problem or counters_problem(names, counts, MAX_COUNTERS, MAX_COUNTS)
        if problem is not None:
            raise self._failed(attempt, TaskFailure(kind=FailureKind.USER, message=problem))

    def _failed(self, attempt: AttemptId, failure: TaskFailure) -> _TaskFailedError:
        name = object_names.attempt_name(self.names[attempt.task.stage], attempt)
        return _TaskFailedError(name, failure)

    def view(self, state: JobState, failure: FailureView | None = None) -> JobView:
        """Return the job as it stands."""
        won = sum(figures.tasks for figures in self.figures)
        return JobView(
            job_id=self.job_id,
            name=self.spec.name,
            state=state,
            output_uri=self.spec.output_uri,
            partition_by=self.spec.partition_by,
            stages=self.stage_views(),
            counters=dict(self.counters),
            attempts=AttemptCounts(
                started=self.attempts,
                won=won,
                failed=max(self.failures, int(failure is not None)),
            ),
            message=failure.message if failure else "",
            failure=failure,
            submitted_seconds=self.submitted_seconds,
            ended_seconds=self.clock.wall() if state.final else 0.0,
            input_bytes=self.plan.input_bytes,
            bad_records=self.bad_records,
            limit=self.spec.limit,
        )

    def stage_views(self) -> tuple[StageView, ...]:
        """Return where each stage stands."""
        later = [StageSums()] * (len(self.stages) - len(self.figures))
        return tuple(
            figures.view(name, stage.tasks)
            for name, stage, figures in zip(
                self.names, self.stages, [*self.figures, *later], strict=True
            )
        )


def run_inline(
    request: JobRequest,
    *,
    slots: int = 1,
    observer: Observer | None = None,
    post_mortem: bool = False,
    on_result: OnResult | None = None,
    change: Callable[[UserFunctions], UserFunctions] = lambda functions: functions,
    clock: Clock = SYSTEM,
) -> JobView:
    """Run a job in this process and return it once it has ended.

    `slots` is only what the input is cut for, so that a run may be cut like one on a cluster. With
    `post_mortem` the debugger opens where the plugin raises. `on_result` gets what each task of
    the last stage leaves, in order, of a job without an output; the job ends where it returns true.
    `change` returns the functions that are called in
    place of the plugin's. Raises UsageError and its children for what cannot work as given.
    """
    check_engine(request, "inline")
    draft = prepare(request, alone=True)
    folder = history.RunFolder.create(clock)
    try:
        lock_uri = object_names.lock_uri(folder.state_uri)
        with storage_for(lock_uri).lock(lock_uri), nesting.jobs_forbidden():

            def ready(functions: UserFunctions) -> UserFunctions:
                return change(functions.wrapped(watched) if post_mortem else functions)

            def load() -> UserFunctions:
                return ready(load_bundle(draft.bundle.data, folder.path / "plugin"))

            functions = load_bundle(draft.bundle.data, folder.path / "plugin")
            prepared = draft.with_plugin(plugin_of(draft.bundle, functions.described()))
            plugin = _Loaded(ready(functions), load)
            shown = observer or Silent()
            return _run(prepared.spec, plugin, folder, slots, shown, clock, on_result)
    finally:
        folder.close()


class _Loaded(NamedTuple):
    """The functions of the plugin, and what loads them afresh."""

    functions: UserFunctions
    load: Callable[[], UserFunctions]


def _run(
    spec: JobSpec,
    plugin: _Loaded,
    folder: history.RunFolder,
    slots: int,
    observer: Observer,
    clock: Clock,
    on_result: OnResult | None,
) -> JobView:
    job_id = new_job_id(spec.name, clock.wall(), SystemRandom())
    spec = object_names.with_temp(spec, folder.state_uri)
    generation = ""
    with before_tasks():
        plan = make_plan(spec, slots)
        if spec.output_uri:
            generation = commit.claim(spec, job_id, job_id, folder.state_uri, "the inline engine")
    run = _Run(
        spec=spec,
        job_id=job_id,
        plan=plan,
        load=plugin.load,
        functions=plugin.functions,
        folder=folder,
        observer=observer,
        clock=clock,
        submitted_seconds=clock.wall(),
        on_result=None if spec.output_uri else on_result,
    )
    job = run.view(JobState.CANCELLED)
    try:
        observer.update(run.view(JobState.RUNNING))
        run.run_tasks()
        if spec.output_uri:
            _publish(run)
        job = run.view(JobState.SUCCEEDED)
    except _TaskFailedError as failed:
        job = run.view(JobState.FAILED, failed.view())
    except DataError as error:
        # Each map was right by itself; what they have emitted does not go together.
        failure = FailureView(kind=FailureKind.USER, message=str(error))
        job = run.view(JobState.FAILED, failure)
    finally:
        keeps_runs = bool(spec.output_uri) and job.state is not JobState.SUCCEEDED
        commit.clean_up(spec, run.job_id, not keeps_runs)
        if spec.output_uri:
            commit.release_claim(spec.output_uri, generation)
        folder.record(job)
    observer.update(job)
    return job


def _taken_result(output: TaskOutput) -> bytes:
    """Return what a task has left for the caller, and delete the object that held it."""
    if output.object is None:
        return output.result
    uri, storage = output.object.uri, storage_for(output.object.uri)
    data = storage.read(uri, generation=output.object.generation)
    storage.delete(uri)
    return data


def _publish(run: _Run) -> None:
    """Commit the output, as a master does."""
    bad_records = {
        task_name(name, index): output.saved_bad_records
        for name, outputs in zip(run.names, run.outputs, strict=True)
        for index, output in enumerate(outputs)
        if output.skipped
    }
    files = commit.output_files(run.spec, run.parts)
    rewritten = commit.of_one_schema(run.spec, run.job_id, files)
    receipt = commit.make_receipt(
        run.spec,
        run.job_id,
        commit.with_rewritten(files, rewritten),
        records_in=input_records(run.stages, run.figures),
        counters=dict(run.counters),
        attempts=run.attempts,
        stages=run.stage_views(),
        bad_records=run.bad_records,
        submitted_seconds=run.submitted_seconds,
        ended_seconds=run.clock.wall(),
    )
    plan = commit.prepare(
        run.spec, run.job_id, files, receipt, rewritten=rewritten, bad_records=bad_records
    )
    commit.publish_job(run.spec, run.job_id, run.parts, plan)
