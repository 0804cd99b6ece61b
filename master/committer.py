"""Carries out what the machine commands and what takes a while: commits, clean-ups, looks.

Everything here may be repeated by this master or a later one. From `CommitBegun` on the output is
half old and half new, so publishing is repeated until it works or is certain never to: a full disk
or a missing permission waits for a person, and the job's note says so. Before `CommitBegun` nothing
has changed, and an error that lasts fails the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, assert_never

from master.commands import CheckWinner, CleanUp, PrepareCommit, RunCommit
from master.events import (
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    Event,
    WinnerMissing,
)
from master.facts import Replaced
from master.fleet.board import Board
from master.machine import Machine
from master.planner import Plans
from master.shell import Job
from master.state import JobRecord
from master.views import winners
from mrcore import commit
from mrcore.clock import Clock
from mrcore.errors import (
    DiskFullError,
    MrcoreError,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from mrcore.ids import AttemptId, Phase, TaskId
from mrcore.job import JobState
from mrcore.storage.registry import storage_for
from mrcore.tasks.spec import TaskOutput
from mrcore.texts import one_line, printable

log = logging.getLogger("mrcore.master")

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 30.0
PREPARE_SECONDS: Final = 300.0
"""A store that does not answer for so long fails a job that has not begun to commit."""
CLEAN_UP_SECONDS: Final = 300.0
"""A clean-up that did not work for so long is left to the next master, or to `mrcore gc`."""
PARALLEL_COMMITS: Final = 8
_NOTE_CHARS_MAX: Final = 1_000

T = TypeVar("T")


class Committer:
    """Obeys the commands that touch a job's output."""

    def __init__(
        self, machine: Machine, plans: Plans, clock: Clock, board: Board | None = None
    ) -> None:
        self._machine = machine
        self._board = board or Board()
        self._plans = plans
        self._clock = clock
        self._room = asyncio.Semaphore(PARALLEL_COMMITS)
        # Not the loop's own threads, of which there are six on two cores: commits that wait for a
        # store must leave some to submissions and logs.
        self._threads = ThreadPoolExecutor(PARALLEL_COMMITS, thread_name_prefix="committer")

    async def carry_out(self, command: Job) -> Event | None:
        """Obey; return what to tell the machine, or None if there is nothing to tell."""
        try:
            return await self._obey(command)
        except Exception as error:  # a defect must not end the other jobs, too
            log.exception("could not obey %r", command)
            if isinstance(command, PrepareCommit | RunCommit):
                message = f"The master failed to commit ({error!r}): its log says where."
                return CommitRefused(command.job_id, message, wall_seconds=self._clock.wall())
            return None

    async def _obey(self, command: Job) -> Event | None:
        match command:
            case PrepareCommit():
                return await self._prepare(command.job_id)
            case RunCommit():
                return await self._run(command.job_id)
            case CleanUp():
                return await self._clean_up(command)
            case CheckWinner():
                return await self._check(command.attempt)
            case _:
                assert_never(command)

    async def _prepare(self, job_id: str) -> Event | None:
        job = self._machine.job(job_id)
        if job is None or job.state is not JobState.RUNNING or not job.complete:
            return None
        spec, parts = job.spec, self._parts(job)
        receipt = self._receipt(job, parts)
        phase = self._last_phase(job)
        numbers = [task.winner for task in job.phase(phase).tasks]
        skipped = {
            index: output.bad_records
            for index, output in enumerate(winners(self._machine, job_id, Phase.MAP))
            if output is not None and output.bad_records
        }

        def prepare() -> tuple[Replaced, ...]:
            if not commit.holds_claim(spec, job.claim_generation):
                raise MrcoreError(
                    f"The claim on {spec.output_uri} was released while the job ran: somebody "
                    "else may write there now, so run the job again."
                )
            found = commit.prepare(spec, job_id, parts, receipt, bad_records=skipped)
            return tuple(Replaced(info.uri, info.generation) for info in found)

        try:
            replaces = await self._insist(prepare, job_id, "prepare the commit", PREPARE_SECONDS)
        except commit.StagedPartMissingError as error:
            lost = tuple(
                AttemptId(TaskId(job_id, phase, index), number)
                for index in error.indexes
                if (number := numbers[index]) is not None
            )
            return CommitRefused(job_id, str(error), lost, self._clock.wall())
        except MrcoreError as error:
            return CommitRefused(job_id, str(error), wall_seconds=self._clock.wall())
        return CommitPrepared(job_id, replaces, self._clock.wall())

    def _receipt(self, job: JobRecord, parts: list[TaskOutput]) -> commit.Receipt:
        live = self._machine.live_job(job.job_id)
        return commit.make_receipt(
            job.spec,
            job.job_id,
            parts,
            records_in=job.maps.records_in,
            counters=job.counters,
            attempts=job.won if live is None else live.tally.started,
            bad_records=job.bad_records,
            submitted_seconds=job.submitted_seconds,
            ended_seconds=self._clock.wall(),
            cost=self._board.cost(job.job_id),
        )

    async def _run(self, job_id: str) -> Event | None:
        job = self._machine.job(job_id)
        if job is None or job.state is not JobState.COMMITTING:
            return None
        parts = self._parts(job)

        def publish() -> None:
            commit.publish_job(job.spec, job_id, parts, job.replaces)

        try:
            await self._insist(publish, job_id, "publish the output", None)
        except MrcoreError as error:
            return CommitRefused(job_id, str(error), wall_seconds=self._clock.wall())
        return CommitFinished(job_id, self._clock.wall())

    async def _clean_up(self, command: CleanUp) -> Event | None:
        job = self._machine.job(command.job_id)
        if job is None:
            return None
        spec, generation = job.spec, job.claim_generation
        success = command.state is JobState.SUCCEEDED

        def clean_up() -> None:
            commit.clean_up(spec, command.job_id, success)
            commit.release_claim(spec.output_uri, generation)

        self._plans.forget(command.job_id)
        try:
            await self._insist(clean_up, command.job_id, "clean up", CLEAN_UP_SECONDS)
        except MrcoreError as error:
            log.warning(
                "the temporaries could not be removed; `mrcore gc` does it later",
                extra={"job": command.job_id, "error": str(error)},
            )
            return None
        return CleanedUp(command.job_id)

    async def _check(self, attempt: AttemptId) -> Event | None:
        job = self._machine.job(attempt.task.job_id)
        if job is None or job.state.final:
            return None
        record = job.task(attempt.task)
        if record.winner != attempt.number or record.output is None or record.output.object is None:
            return None
        run = record.output.object
        try:
            info = await asyncio.to_thread(storage_for(run.uri).stat, run.uri)
        except NotFoundError:
            return WinnerMissing(attempt)
        except StorageError:
            return None  # who could not read it will say so again
        return None if info.generation == run.generation else WinnerMissing(attempt)

    def _parts(self, job: JobRecord) -> list[TaskOutput]:
        """Return the outputs that become the parts of a job whose tasks all have winners."""
        phase = self._last_phase(job)
        parts = [part for part in winners(self._machine, job.job_id, phase) if part is not None]
        assert len(parts) == len(job.phase(phase).tasks), f"{job.job_id} lacks winners"
        return parts

    def _last_phase(self, job: JobRecord) -> Phase:
        return Phase.REDUCE if job.reduces.tasks else Phase.MAP

    async def _insist(
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
            self._board.job_notes.pop(job_id, None)

    def _note(self, job_id: str, what: str, error: Exception) -> None:
        """Write to the log, and to the job itself, what is being waited for."""
        reason = str(error) or repr(error)
        log.warning(f"could not {what}; trying again", extra={"job": job_id, "error": reason})
        note = one_line(f"could not {what}; trying again: {reason}")
        self._board.job_notes[job_id] = printable(note, _NOTE_CHARS_MAX)


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
