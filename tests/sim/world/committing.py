"""The committer of a simulated leader: the real decisions and the real commit, in a process.

What is left out of the real one is its event loop: it tries again in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, assert_never

from mrcore.errors import MrcoreError, NotFoundError, UnavailableError
from mrcore.master.core.events import Event
from mrcore.master.core.orders import (
    Cleaning,
    Deletion,
    Job,
    Order,
    Planning,
    Preparation,
    Publication,
    WinnerLookup,
    failed,
)
from mrcore.master.shell.plans import Plans
from mrcore.model import object_names
from mrcore.model.commit_plan import CommitPlan
from mrcore.output import commit
from tests.sim.oracles.history import STATE
from tests.sim.world.timeline import Process

if TYPE_CHECKING:
    from tests.sim.world.shell import SimShell

PAUSE_SECONDS = 0.5
T = TypeVar("T")


class Committing:
    """Executor of the commands that touch the store."""

    def __init__(self, shell: SimShell) -> None:
        self._shell = shell
        self._scene = shell.scene
        self._world = shell.world
        self._clock = shell.clock
        self._plans = Plans(shell.scene.view, STATE)

    def carry_out(self, command: Job, what: Order) -> None:
        """Begin to obey; the answer comes as an event."""

        def work(process: Process) -> None:
            answer = self._act(process, command, what)
            self._shell.event(answer)

        self._shell.life.spawn(work)

    def _act(self, process: Process, command: Job, what: Order) -> Event:
        match what:
            case Planning():
                return what.planned(self._scene.jobs[what.job.job_id].stages, 0)
            case Preparation():
                return self._prepare(process, command, what)
            case Publication():
                return self._publish(process, command, what)
            case Cleaning():
                return self._clean_up(process, command, what)
            case WinnerLookup():
                return self._look_up(command, what)
            case Deletion():
                for info in what.command.objects:
                    self._patiently(process, lambda uri=info.uri: self._scene.view.delete(uri))  # type: ignore[misc]
                return what.deleted()
            case _:
                assert_never(what)

    def _prepare(self, process: Process, command: Job, what: Preparation) -> Event:
        job, spec = what.job, what.job.spec
        self._lose_part(what)

        def prepare() -> CommitPlan:
            if not commit.holds_claim(spec, job.claim_generation):
                raise MrcoreError("The claim was released while the job ran.")
            return commit.prepare(
                spec,
                job.job_id,
                files,
                receipt,
                bad_records=what.skipped,
                resumes=job.resumes,
            )

        try:
            files = commit.output_files(spec, what.parts)
            receipt = commit.make_receipt(
                spec,
                job.job_id,
                files,
                records_in=job.input_records,
                counters=job.counters,
                attempts=what.started,
                stages=what.stages,
                bad_records=job.bad_records,
                submitted_seconds=job.submitted_seconds,
                ended_seconds=self._clock.wall(),
            )
            plan = self._patiently(process, prepare)
        except commit.StagedPartMissingError as error:
            return what.lost(error.indexes, str(error), self._clock.wall())
        except MrcoreError as error:
            return failed(command, str(error), self._clock.wall())
        return what.prepared(plan, self._clock.wall())

    def _lose_part(self, what: Preparation) -> None:
        """Let a staged part vanish."""
        if what.parts and self._world.chance(self._world.rates.lost_part):
            gone = self._world.rng.choice(what.parts).object
            assert gone is not None
            self._scene.store.delete(gone.uri)
            self._scene.jobs[what.job.job_id].vanished += 1

    def _publish(self, process: Process, command: Job, what: Publication) -> Event:
        job = what.job
        self._shell.oracle.published(self._shell.machine, job.job_id, what.attempts)

        def publish() -> None:
            commit.publish_job(job.spec, job.job_id, what.parts, what.plan, parallel=1)

        try:
            self._patiently(process, publish)
        except MrcoreError as error:
            self._world.note("cannot publish:", error)
            return failed(command, str(error), self._clock.wall())
        return what.published(self._clock.wall())

    def _clean_up(self, process: Process, command: Job, what: Cleaning) -> Event:
        job = what.job

        def clean_up() -> None:
            if job.calls is not None:
                view = self._scene.view
                for info in view.list(object_names.session_results_prefix(STATE, job.job_id)):
                    view.delete(info.uri)
                return
            commit.clean_up(job.spec, job.job_id, not what.keeps_runs, job.resumes)
            if job.spec.output_uri:
                commit.release_claim(job.spec.output_uri, job.claim_generation)
            remains = what.remains()
            if remains is not None:
                self._plans.store_remains(remains)

        try:
            self._patiently(process, clean_up)
        except MrcoreError as error:
            return failed(command, str(error), self._clock.wall())
        return what.cleaned()

    def _look_up(self, command: Job, what: WinnerLookup) -> Event:
        """Look for a run, which may vanish just before, though others have read it."""
        store, uri = self._scene.store, what.run.uri
        if store.is_there(uri) and self._world.rng.random() < 0.7:
            store.delete(uri)
            self._scene.jobs[what.command.attempt.task.job_id].vanished += 1
        try:
            return what.seen(self._scene.view.stat(uri).generation)
        except NotFoundError:
            return what.seen(None)
        except UnavailableError as error:
            return failed(command, str(error), self._clock.wall())

    def _patiently(self, process: Process, act: Callable[[], T]) -> T:
        """Act until the store answers."""
        while True:
            try:
                return act()
            except UnavailableError:
                process.wait(PAUSE_SECONDS)
