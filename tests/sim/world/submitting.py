"""Submissions to a simulated leader: checks and claims of the real code, then the event."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from mrcore.errors import OutputError, UnavailableError
from mrcore.master.shell.claimants import has_ended
from mrcore.output import commit
from tests.sim.oracles.history import STATE
from tests.sim.world.jobs import SimJob
from tests.sim.world.timeline import Process

if TYPE_CHECKING:
    from tests.sim.world.shell import SimShell


class Submitting:
    """Requests that become jobs, each of them once."""

    def __init__(self, shell: SimShell) -> None:
        self._shell = shell
        self._scene = shell.scene
        self._world = shell.world
        self._under_way: dict[str, None] = {}
        self._planned: set[str] = set()
        """Ids of jobs that are being claimed for, and are not yet the machine's."""

    def submit(self, job: SimJob) -> None:
        """Begin to make a request a job."""
        known = self._shell.machine.cluster.job_of_request(job.request_id)
        if known is None and job.request_id not in self._under_way:
            self._under_way[job.request_id] = None
            self._shell.life.spawn(lambda process: self._work(process, job))

    def _work(self, process: Process, job: SimJob) -> None:
        job.tries += 1
        job_id = f"{job.name}-{job.tries}"
        self._scene.jobs[job_id] = job
        self._planned.add(job_id)
        try:
            # The client repeats what the store did not take.
            with contextlib.suppress(UnavailableError):
                self._accept(process, job, job_id)
        finally:
            self._planned.discard(job_id)
            del self._under_way[job.request_id]

    def _accept(self, process: Process, job: SimJob, job_id: str) -> None:
        spec, generation = job.spec, ""
        if spec.output_uri:
            try:
                commit.check_output(spec)
                generation = commit.claim(
                    spec,
                    job_id,
                    job.request_id,
                    STATE,
                    self._shell.life.master.address,
                    has_ended=partial(self._has_ended, process),
                )
            except OutputError as error:
                self._refuse(job, str(error))
                return
        job.take_kept(job_id, self._scene.store, self._scene.outputs.contents)
        clock = self._shell.clock
        self._shell.event(job.submitted(job_id, spec, generation, clock.wall()))
        self._shell.await_flush(process)

    def _refuse(self, job: SimJob, problem: str) -> None:
        """Let the client try later, where another job has to do with the output."""
        self._world.note(job.name, "is refused:", problem)
        others = [
            other
            for other in self._scene.jobs.values()
            if other is not job and other.output_uri == job.output_uri
        ]
        assert others, f"{job.name} is refused, and nobody else writes there: {problem}"
        job.refusals += 1

    def _has_ended(self, process: Process, state_uri: str, job_id: str) -> bool:
        """Return whether a job that holds a claim is known to have ended, as a master does."""
        assert state_uri == STATE
        if job_id in self._planned:
            return False
        shell = self._shell
        wait_flushed = partial(shell.await_flush, process)
        return has_ended(shell.machine.cluster, job_id, wait_flushed, shell.life.journal.fenced)
