"""Futures of jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mrcore.client import pace
from mrcore.cluster.futures import ClusterFuture
from mrcore.cluster.tables import bar_html
from mrcore.engine.api import Result, RunFailedError
from mrcore.errors import JobEndedError, MrcoreError
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView
from mrcore.util.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient

STREAMS: Final = 40
"""Jobs that are followed over a stream each; a connection has 100, and calls need some."""
POLL_SECONDS: Final = 0.5
"""Time between two looks at a job without a stream."""


class JobFuture(ClusterFuture[Result]):
    """Future of a job. Its result is a `Result`; a job that failed raises RunFailedError."""

    def __init__(self, followers: Followers, job: JobView) -> None:
        super().__init__()
        self._followers = followers
        self._owner = followers.owner()
        self._view = job

    @property
    def job_id(self) -> str:
        """Return the job's id."""
        return self._view.job_id

    @property
    def counters(self) -> dict[str, int]:
        """Return what the user's code has counted so far, by name."""
        return dict(self._view.counters)

    @property
    def title(self) -> str:
        """Return the job's name, for messages."""
        return f"Job {self.job_id}"

    def _why(self) -> str:
        """Return why the job has not ended: the master's note where it has one."""
        view = self._view
        return view.note or f"it is {view.state}, {self.fraction():.0%}"

    def progress(self) -> JobView:
        """Return the job as it was seen last: at most a second ago while it runs."""
        return self._view

    def fraction(self) -> float:
        """Return how much of the job is done, 0 to 1: the tasks of all stages weigh the same."""
        return pace.fraction(self._view)

    def cancel(self) -> bool:
        """Stop the job; return False if it has ended, or publishes its output already."""
        if self.done():
            return self.cancelled()
        try:
            self._followers.cancel(self.job_id)
        except JobEndedError:
            return False
        return super().cancel()

    def update(self, job: JobView) -> None:
        """Take the job as it stands now."""
        self._view = job
        if job.state is JobState.SUCCEEDED:
            self.end(Result(job))
        elif job.state is JobState.FAILED:
            self.end_failed(RunFailedError(job))
        elif job.state is JobState.CANCELLED:
            self.end_cancelled()
        elif job.state is not JobState.WAITING:
            self.mark_started()

    def __repr__(self) -> str:
        """Return the job's id, state and progress."""
        return f"<JobFuture of {self.job_id}: {self._words()}>"

    def _words(self) -> str:
        state = self._view.state
        return str(state) if state.final else f"{state}, {self.fraction():.0%}"

    def _repr_html_(self) -> str:
        """Return a bar for a notebook."""
        return bar_html(self.fraction(), f"{self.job_id}: {self._words()}")


class Followers:
    """Threads that follow jobs to their ends, one for each."""

    def __init__(
        self,
        master: MasterClient,
        owner: Callable[[], object] = lambda: None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Prepare; `owner` returns the client, which lives as long as the futures of its jobs."""
        self._master = master
        self.owner = owner
        self._clock = clock
        self._streams = threading.BoundedSemaphore(STREAMS)
        self._lock = threading.Lock()
        self._live: set[JobFuture] = set()
        self._problem: MrcoreError | None = None
        self._is_closed = False

    def follow(self, job: JobView) -> JobFuture:
        """Return the future of a job, which ends with it."""
        future = JobFuture(self, job)
        future.update(job)
        if not future.done():
            with self._lock:
                self._live.add(future)
            name = f"mrcore-follow-{job.job_id}"
            threading.Thread(target=self._follow, args=(future,), name=name, daemon=True).start()
        return future

    def cancel(self, job_id: str) -> None:
        """Cancel a job; raise MrcoreError."""
        self._master.cancel(job_id, "cancelled by its client")

    def fail(self, problem: MrcoreError) -> None:
        """End all futures with an error: the cluster is gone."""
        self._problem = problem
        self._end_all()

    def close(self) -> None:
        """End all futures: jobs go on, and nobody looks at them from here."""
        self._is_closed = True
        self._end_all()

    def _end_all(self) -> None:
        with self._lock:
            left = list(self._live)
            self._live.clear()
        for future in left:
            if self._problem is not None:
                future.end_failed(self._problem)
            else:
                future.end_cancelled()

    def _follow(self, future: JobFuture) -> None:
        try:
            if self._streams.acquire(blocking=False):
                try:
                    for job in self._master.watch(future.job_id):
                        future.update(job)
                finally:
                    self._streams.release()
            while not (future.done() or self._is_closed):
                future.update(self._master.get(future.job_id))
                if not future.done():
                    self._clock.sleep(POLL_SECONDS)
        except MrcoreError as error:
            if not self._is_closed:
                future.end_failed(self._problem or error)
        finally:
            with self._lock:
                self._live.discard(future)
            if self._is_closed:
                future.end_cancelled()  # it may have come after all others were ended
