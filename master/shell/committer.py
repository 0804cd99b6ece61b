"""Execution of commands of the machine that take a while: plans, commits, clean-ups, looks.

Everything here may be repeated by this master or a later one. From `CommitBegun` on the output is
half old and half new, so publishing is repeated until it works or is certain never to: a full disk
or a missing permission waits for a person, and the job's note says so. Before `CommitBegun` nothing
has changed, and an error that lasts fails the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, assert_never

from mrcore.errors import (
    DiskFullError,
    MrcoreError,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from mrcore.master.core.events import Event, NothingDone
from mrcore.master.core.machine import Machine
from mrcore.master.core.orders import (
    Cleaning,
    Deletion,
    Job,
    Planning,
    Preparation,
    Publication,
    WinnerLookup,
    failed,
    order,
)
from mrcore.master.core.records import JobRecord
from mrcore.master.fleet.status import CostOf
from mrcore.master.shell.job_notes import JobNotes
from mrcore.master.shell.objects import Objects
from mrcore.master.shell.plans import Plans
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.stages import StagePlan
from mrcore.model.task import TaskOutput
from mrcore.output import commit
from mrcore.storage.registry import storage_for
from mrcore.util.clock import Clock
from mrcore.util.texts import one_line, printable

log = logging.getLogger("mrcore.master")

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 30.0
PREPARE_SECONDS: Final = 300.0
"""Time limit for a store to answer before a commit has begun; the job fails then."""
CLEAN_UP_SECONDS: Final = 300.0
"""Time limit for a clean-up; it is left to the next master then, or to `mrcore gc`."""
PARALLEL_COMMITS: Final = 8
_NOTE_CHARS_MAX: Final = 1_000

T = TypeVar("T")
Planner = Callable[[JobRecord], Awaitable[tuple[tuple[StagePlan, ...], int]]]
"""Plans a job that has waited for others: returns its stages and the bytes of its input."""


class Committer:
    """Executor of the commands that touch a job's output."""

    def __init__(
        self,
        machine: Machine,
        plans: Plans,
        clock: Clock,
        *,
        planner: Planner,
        notes: JobNotes,
        objects: Objects,
        cost_of: CostOf = lambda job_id: None,
    ) -> None:
        """`notes` is kept up to date with what jobs wait for."""
        self._machine = machine
        self._planner = planner
        self._notes = notes
        self._objects = objects
        self._cost_of = cost_of
        self._plans = plans
        self._clock = clock
        self._room = asyncio.Semaphore(PARALLEL_COMMITS)
        # Not the loop's own threads, of which there are six on two cores: commits that wait for a
        # store must leave some to submissions and logs.
        self._threads = ThreadPoolExecutor(PARALLEL_COMMITS, thread_name_prefix="committer")

    async def carry_out(self, command: Job) -> Event:
        """Obey; return the answer, which every command has."""
        try:
            return await self._dispatch(command)
        except Exception as error:  # a defect must not end the other jobs, too
            log.exception("could not obey %r", command)
            message = f"The master failed to commit ({error!r}): its log says where."
            return failed(command, message, self._clock.wall())

    async def _dispatch(self, command: Job) -> Event:
        what = order(self._machine.cluster, command)
        match what:
            case NothingDone():
                return what
            case Planning():
                return await self._plan(command, what)
            case Preparation():
                return await self._prepare(command, what)
            case Publication():
                return await self._publish(command, what)
            case Cleaning():
                return await self._clean_up(command, what)
            case WinnerLookup():
                return await self._look_up_winner(command, what)
            case Deletion():
                loop, objects = asyncio.get_running_loop(), what.command.objects
                await loop.run_in_executor(self._threads, self._objects.delete_values, objects)
                return what.deleted()
            case _:
                assert_never(what)

    async def _plan(self, command: Job, what: Planning) -> Event:
        """Plan a job that has waited; try again while the store is away or the master is full.

        There is no time limit: nothing runs, and a user who is tired of waiting can cancel the job.
        """
        job_id, pause = what.job.job_id, _FIRST_PAUSE_SECONDS
        try:
            while isinstance(order(self._machine.cluster, command), Planning):
                try:
                    return what.planned(*await self._planner(what.job))
                except MrcoreError as error:
                    if not _passes_soon(error):
                        return failed(command, str(error), self._clock.wall())
                    self._note(job_id, "plan the job", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            self._notes.pop(job_id, None)
        return NothingDone(command)

    async def _prepare(self, command: Job, what: Preparation) -> Event:
        job, spec = what.job, what.job.spec

        def output_files() -> list[commit.OutputFile]:
            return commit.output_files(spec, what.parts)

        def of_one_schema() -> dict[int, TaskOutput]:
            return commit.of_one_schema(spec, job.job_id, files)

        def prepare() -> CommitPlan:
            if not commit.holds_claim(spec, job.claim_generation):
                raise MrcoreError(
                    f"The claim on {spec.output_uri} was released while the job ran: somebody "
                    "else may write there now, so run the job again."
                )
            return commit.prepare(
                spec,
                job.job_id,
                files,
                receipt,
                rewritten=rewritten,
                bad_records=what.skipped,
                resumes=job.resumes,
            )

        try:
            files = await self._retry(
                output_files, job.job_id, "prepare the commit", PREPARE_SECONDS
            )
            rewritten = await self._retry(
                of_one_schema, job.job_id, "bring the parts to one schema", PREPARE_SECONDS
            )
            receipt = self._receipt(what, commit.with_rewritten(files, rewritten))
            plan = await self._retry(prepare, job.job_id, "prepare the commit", PREPARE_SECONDS)
        except commit.StagedPartMissingError as error:
            return what.lost(error.indexes, str(error), self._clock.wall())
        except commit.BadRecordsMissingError as error:
            return what.lost_lists(error.tasks, str(error), self._clock.wall())
        except MrcoreError as error:
            return failed(command, str(error), self._clock.wall())
        return what.prepared(plan, self._clock.wall())

    def _receipt(self, what: Preparation, files: Sequence[commit.OutputFile]) -> commit.Receipt:
        job = what.job
        return commit.make_receipt(
            job.spec,
            job.job_id,
            files,
            records_in=job.input_records,
            counters=job.counters,
            attempts=what.started,
            stages=what.stages,
            bad_records=job.bad_records,
            submitted_seconds=job.submitted_seconds,
            ended_seconds=self._clock.wall(),
            cost=self._cost_of(job.job_id),
        )

    async def _publish(self, command: Job, what: Publication) -> Event:
        job = what.job

        def publish() -> None:
            commit.publish_job(job.spec, job.job_id, what.parts, what.plan)

        try:
            await self._retry(publish, job.job_id, "publish the output", None)
        except MrcoreError as error:
            return failed(command, str(error), self._clock.wall())
        return what.published(self._clock.wall())

    async def _clean_up(self, command: Job, what: Cleaning) -> Event:
        job = what.job
        spec, generation = job.spec, job.claim_generation

        def clean_up() -> None:
            if job.calls is not None:
                self._objects.delete_results(job.job_id)
                return
            commit.clean_up(spec, job.job_id, not what.keeps_runs, job.resumes)
            if spec.output_uri:
                commit.release_claim(spec.output_uri, generation)
            remains = what.remains()
            if remains is not None:  # last: a full disk must not keep the output claimed
                self._plans.store_remains(remains)

        self._plans.forget(job.job_id)
        try:
            await self._retry(clean_up, job.job_id, "clean up", CLEAN_UP_SECONDS)
        except MrcoreError as error:
            log.warning(
                "the temporaries could not be removed; `mrcore gc` does it later",
                extra={"job": job.job_id, "error": str(error)},
            )
            return failed(command, str(error), self._clock.wall())
        return what.cleaned()

    async def _look_up_winner(self, command: Job, what: WinnerLookup) -> Event:
        uri = what.run.uri
        try:
            info = await asyncio.to_thread(storage_for(uri).stat, uri)
        except NotFoundError:
            return what.seen(None)
        except StorageError as error:
            # Who could not read it will report it again.
            return failed(command, str(error), self._clock.wall())
        return what.seen(info.generation)

    async def _retry(
        self, act: Callable[[], T], job_id: str, what: str, limit_seconds: float | None
    ) -> T:
        """Call `act` in a thread until it works, fails for good, or `limit_seconds` have passed.

        Without a limit everything is repeated but what can never work.
        """
        pause = _FIRST_PAUSE_SECONDS
        began = self._clock.monotonic()
        passes = _may_pass if limit_seconds is None else _passes_soon
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    async with self._room:  # not while pausing: one dead bucket must not stop all
                        return await loop.run_in_executor(self._threads, act)
                except Exception as error:
                    spent = self._clock.monotonic() - began
                    if not passes(error) or (limit_seconds is not None and spent > limit_seconds):
                        raise
                    self._note(job_id, what, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            self._notes.pop(job_id, None)

    def _note(self, job_id: str, what: str, error: Exception) -> None:
        """Write to the log, and to the job itself, what is being waited for."""
        reason = str(error) or repr(error)
        log.warning(f"could not {what}; trying again", extra={"job": job_id, "error": reason})
        note = one_line(f"could not {what}; trying again: {reason}")
        self._notes[job_id] = printable(note, _NOTE_CHARS_MAX)


def _passes_soon(error: Exception) -> bool:
    """Return whether another try within minutes may work."""
    return isinstance(error, UnavailableError | DiskFullError)


def _may_pass(error: Exception) -> bool:
    """Return whether another try may ever work: anything but a loss, a conflict or a defect.

    Machines run out of threads, memory and descriptors, too, and get them back.
    """
    if isinstance(error, NotFoundError):  # what is staged is gone
        return False
    return isinstance(error, StorageError | OSError | MemoryError | RuntimeError)
