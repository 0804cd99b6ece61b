"""Resumptions: what a job that goes on keeps of the one that failed or was cancelled.

With the same code every accepted result is kept that is still there. Results of other code are kept
only where the user names their stage: a function's own text does not show all that it depends on,
such as helpers, constants and modules, and a wrong guess would mix two programs in one output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from mrcore.errors import JobEndedError, NotFoundError, UnknownJobError, UsageError
from mrcore.model import object_names
from mrcore.model.job import JobSpec, JobState
from mrcore.model.remains import KeptResult, Remains, StageRemains, decode
from mrcore.model.stages import Run, stages_of
from mrcore.model.task import TaskOutput
from mrcore.rpc.convert import job_spec_from_proto, job_spec_to_proto
from mrcore.rpc.convert_resume import ALL_STAGES, Wanted
from mrcore.storage.base import Storage
from mrcore.storage.registry import storage_for
from mrcore.util.units import show_number

if TYPE_CHECKING:
    from mrcore.tasks.plan import Plan

FORMER_MAX: Final = 100
"""Former jobs whose results one job may have: the newest."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A job that goes on, ready to be claimed for."""

    spec: JobSpec
    resumes: tuple[str, ...]
    """Former jobs, the newest last."""
    plan: Plan | None
    """Plan of the former job; None where nothing is kept, and the input is listed anew."""
    kept: tuple[KeptResult, ...]
    notes: tuple[str, ...]
    """Notes on what is kept and what is not, a sentence each."""


def resumption(
    storage: Storage, state_uri: str, wanted: Wanted, state: JobState | None
) -> Resumption:
    """Return how a job goes on; blocks. `state` is that of the job, where it is known.

    Raises UnknownJobError, JobEndedError for one that has nothing to go on with, and UsageError for
    code that does not fit.
    """
    left = _remains(storage, state_uri, wanted.job_id, state)
    if not left.spec.output_uri:
        raise JobEndedError(
            f"Job {wanted.job_id} has no output to go on with: its results were for the program "
            "that ran it. Run that again, or one of its tasks with `mrcore replay`."
        )
    spec = _spec(left, wanted)
    resumes = (*left.resumes, left.job_id)[-FORMER_MAX:]
    keeping = Keeping(left, wanted, spec, _present(spec, resumes))
    kept = tuple(keeping.results())
    plan = None
    if kept:
        from mrcore.tasks import plan as planning

        uri = object_names.plan_uri(state_uri, left.job_id)
        try:
            plan = planning.decode(storage.read(uri))
        except NotFoundError:
            kept = ()
            keeping.notes = ["The plan of the job is gone, so all of its tasks run again."]
    return Resumption(spec, resumes, plan, kept, tuple(keeping.notes))


def _remains(storage: Storage, state_uri: str, job_id: str, state: JobState | None) -> Remains:
    if state is not None and not state.final:
        raise JobEndedError(f"Job {job_id} has not ended. Follow it with `mrcore watch`.")
    if state is JobState.SUCCEEDED:
        raise JobEndedError(f"Job {job_id} has succeeded: there is nothing to go on with.")
    try:
        return decode(storage.read(object_names.remains_uri(state_uri, job_id)))
    except NotFoundError:
        if state is None:
            raise UnknownJobError(
                f"No job {job_id} is known here, and it has left nothing to go on with. "
                "`mrcore jobs` lists the jobs that are known."
            ) from None
        raise JobEndedError(
            f"Job {job_id} has left nothing to go on with: it has no output, was never planned, is "
            "a session, or `mrcore gc` has removed what it left. Run it again."
        ) from None


def _spec(left: Remains, wanted: Wanted) -> JobSpec:
    """Return the specification of the new job, checked like one that is submitted."""
    changes = dict(wanted.changes)
    if wanted.plugin is not None:
        plugin = msgspec.structs.replace(wanted.plugin, stages=left.spec.plugin.stages)
        changes |= {"plugin": plugin, "versions": wanted.versions}
    spec = msgspec.structs.replace(left.spec, after=(), **changes)
    if stages_of(spec) != stages_of(left.spec):
        raise UsageError(
            f"{spec.plugin.name} does not have the steps of {left.spec.plugin.name}, so its tasks "
            "are others. Run it as a job of its own."
        )
    return job_spec_from_proto(job_spec_to_proto(spec))


def _present(spec: JobSpec, jobs: tuple[str, ...]) -> dict[str, str]:
    """Return the generations of the temporaries of some jobs, by name."""
    prefixes = dict.fromkeys(
        prefix
        for job_id in jobs
        for prefix in (
            object_names.temp_prefix(spec, job_id),
            object_names.staging_prefix(spec, job_id),
        )
    )
    return {
        info.uri: info.generation
        for prefix in prefixes
        for info in storage_for(prefix).list(prefix)
    }


@dataclass
class Keeping:
    """The choice of the results that are kept."""

    left: Remains
    wanted: Wanted
    spec: JobSpec
    present: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    complete: set[int] = field(default_factory=set)
    """Stages of which every task has a result that is kept."""

    def results(self) -> Iterator[KeptResult]:
        """Yield the results that are kept, and note those that are not."""
        changed = self.spec.plugin.sha256 != self.left.spec.plugin.sha256
        if changed:
            self._check_names()
        names = set(self.wanted.keep_results)
        for number, stage in enumerate(self.left.stages):
            results = sum(task.output is not None for task in stage.tasks)
            if not results:
                if not stage.tasks:
                    self.complete.add(number)
                continue
            if changed and not names & {ALL_STAGES, stage.name}:
                self._note(
                    results, stage, "since the former code made it; --keep-results keeps it",
                    "since the former code made them; --keep-results keeps them",
                )  # fmt: skip
            elif not self._is_read_as_before(stage):
                self._note(results, stage, *["since tasks run again whose runs are read there"] * 2)
            elif self._is_cut_anew(number) and results < len(stage.tasks):
                # Borders are chosen from the runs, and may differ where one was made again.
                self._note(results, stage, *["since a total order is made as a whole"] * 2)
            else:
                yield from self._of_stage(number, stage)

    def _of_stage(self, number: int, stage: StageRemains) -> Iterator[KeptResult]:
        gone = kept = 0
        for index, task in enumerate(stage.tasks):
            if task.output is None or task.winner is None:
                continue
            if not self._is_there(task.output):
                gone += 1
                continue
            kept += 1
            yield KeptResult(number, index, task.winner, task.worker_id, task.output)
        if kept == len(stage.tasks):
            self.complete.add(number)
        if kept:
            self.notes.append(
                f"{kept:,} of {show_number(len(stage.tasks), f'{stage.name} task')} "
                f"{'is' if kept == 1 else 'are'} kept."
            )
        if gone:
            self._note(gone, stage, *["since its object is not there any more"] * 2)

    def _is_there(self, output: TaskOutput) -> bool:
        """Return whether the objects of a result are there: its own, and its list of bad records.

        The commit needs both. A result without its list would fail each job that goes on with it.
        """
        stored = output.stored_bad_records
        made = (output.object, None if stored is None else stored.object)
        return all(info is None or self.present.get(info.uri) == info.generation for info in made)

    def _is_read_as_before(self, stage: StageRemains) -> bool:
        """Return whether all that a stage has read is kept."""
        return self.complete.issuperset(stage.plan.inputs)

    def _is_cut_anew(self, number: int) -> bool:
        stages = self.left.stages
        writes = [stages[read].plan.writes for read in stages[number].plan.inputs]
        return any(isinstance(each, Run) and each.total_order for each in writes)

    def _note(self, results: int, stage: StageRemains, one: str, many: str) -> None:
        shown = show_number(results, f"{stage.name} result")
        is_not, why = ("is not", one) if results == 1 else ("are not", many)
        self.notes.append(f"{shown} {is_not} kept, {why}.")

    def _check_names(self) -> None:
        """Raise UsageError for stages that are not there, and for functions that are others."""
        stages = [stage.name for stage in self.left.stages]
        for name in self.wanted.keep_results:
            if name not in (ALL_STAGES, *stages):
                raise UsageError(
                    f"The job has no stage {name!r}. Its stages are {', '.join(stages)}."
                )
        former = self.left.spec.plugin
        if self.wanted.keep_results and (former.steps, former.groups) != (
            self.spec.plugin.steps,
            self.spec.plugin.groups,
        ):
            raise UsageError(
                f"{self.spec.plugin.name} has other functions than the former code, whose results "
                "do not fit then. Leave out --keep-results."
            )
