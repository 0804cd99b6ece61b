"""One job on a cluster of its own: run anew, or gone on with where an earlier run was killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mrcore.client.request import (
    JobRequest,
    Prepared,
    before_tasks,
    check_engine,
    look_at_files,
    prepare,
)
from mrcore.errors import JobEndedError, MrcoreError, StorageError, UsageError
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView
from mrcore.util.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from pathlib import Path

    from mrcore.client.client import MasterClient
    from mrcore.client.follow import Observer
    from mrcore.engine.results import ResultReader
    from mrcore.engine.resume import Interrupted

ENOUGH: Final = "Its client has what it asked for."
"""Reason in the record of a job that was stopped early."""
_RECORD_SECONDS: Final = 1.0
"""Pause between two records of a job whose state has not changed."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of a cluster's processes."""

    workers: int
    slots: int
    masters: int


def run_embedded(
    request: JobRequest,
    *,
    workers: int | None = None,
    slots: int = 1,
    masters: int = 1,
    observer: Observer | None = None,
    reader: ResultReader | None = None,
) -> JobView:
    """Run a job on a cluster of its own on this machine; return it once it has ended.

    Of several `masters` one leads, and another one takes over when it dies. `reader` gets the
    results of a job without an output. Where the same job was interrupted here, it goes on from
    what had been finished.
    """
    from mrcore.client.follow import Silent
    from mrcore.engine.embedded import EmbeddedCluster
    from mrcore.engine.resume import find_interrupted
    from mrcore.plugin.precheck import Check
    from mrcore.util import host

    check_engine(request, "embedded")
    count = host.default_workers(max(1, slots)) if workers is None else workers
    if count < 1 or slots < 1:
        raise UsageError("An embedded cluster needs at least one worker with one slot.")
    draft = prepare(request, look=False)
    memory_bytes = draft.job.memory_bytes
    host.check_slots(count * slots, memory_bytes)
    observer = observer or Silent()
    former = find_interrupted(draft)
    if former is not None:
        sizes = Sizes(count, slots, masters)
        job = _go_on(former, request.cwd, memory_bytes, sizes, observer)
        if job is not None:
            return job
    with before_tasks():
        look_at_files(draft.job)
    with EmbeddedCluster(
        workers=count, masters=masters, slots=slots, memory_bytes=memory_bytes, cwd=request.cwd
    ) as cluster:
        # These take as long as the daemons need to start, so they cost nothing.
        with Check(draft.bundle) as check:
            from mrcore.client.client import MasterClient

            prepared = draft.with_plugin(check.result())
        cluster.folder.spec = prepared.spec
        with MasterClient(cluster.credentials(), find=cluster.find) as client:
            return submit_and_follow(
                client,
                prepared,
                observer,
                on_poll=cluster.restart_dead,
                record=cluster.record,
                reader=reader,
            )


def _go_on(
    former: Interrupted,
    cwd: Path,
    memory_bytes: int,
    sizes: Sizes,
    observer: Observer,
) -> JobView | None:
    """Finish what an interrupted run has begun for the same output.

    Returns the job where it is the one asked for now; None where that has to be run anew.
    """
    from mrcore.client.client import MasterClient
    from mrcore.client.follow import Silent, follow
    from mrcore.engine.embedded import EmbeddedCluster
    from mrcore.engine.history import RunFolder

    if not (former.is_same or former.is_torn):
        return None
    folder = RunFolder.reopen(former.path)
    if folder is None:
        return None  # it is alive after all, and the claim is refused with a sentence
    folder.spec = former.spec
    job_id = former.job.job_id
    if former.is_same:
        observer.note(f"going on with {job_id}, which was interrupted")
    else:
        observer.note(
            f"first finishing {job_id}, which was interrupted while it published its output"
        )
    with contextlib.ExitStack() as stack:
        try:
            cluster = EmbeddedCluster(
                workers=sizes.workers if former.is_same else 0,
                masters=sizes.masters,
                slots=sizes.slots,
                memory_bytes=memory_bytes,
                cwd=cwd,
                folder=folder,
            )
            stack.enter_context(cluster)
            found = cluster.credentials()
            client = stack.enter_context(MasterClient(found, find=cluster.find))
            job = client.get(job_id)
        except MrcoreError as error:
            if former.is_torn:
                raise
            observer.note(f"{job_id} cannot go on, so the job begins anew: {error}")
            return None
        if not former.is_same:
            # Another job is wanted: this one only has to get its output out of the way.
            observer = Silent()
        ended_before = job.state.final
        recorder = RunRecorder(observer, cluster.record)
        if not ended_before:
            job = follow(client, job_id, recorder, on_poll=cluster.restart_dead)
        elif job.state is JobState.SUCCEEDED:
            recorder.update(job)
        # What had been cancelled, or had failed, is asked for anew.
        wanted = former.is_same and (job.state is JobState.SUCCEEDED or not ended_before)
        return job if wanted else None


def submit_and_follow(
    client: MasterClient,
    prepared: Prepared,
    observer: Observer | None,
    *,
    on_poll: Callable[[], None] = lambda: None,
    record: Callable[[JobView], None] = lambda job: None,
    reader: ResultReader | None = None,
) -> JobView:
    """Submit a job and return it once it has ended; `record` writes down how it stands.

    With a `reader` that has enough, the job is cancelled and returned as it was seen last.
    """

    def start(request_id: str) -> JobView:
        return client.submit(prepared.spec, prepared.bundle.data, request_id)

    return start_and_follow(client, start, observer, on_poll=on_poll, record=record, reader=reader)


def start_and_follow(
    client: MasterClient,
    start: Callable[[str], JobView],
    observer: Observer | None,
    *,
    on_poll: Callable[[], None] = lambda: None,
    record: Callable[[JobView], None] = lambda job: None,
    reader: ResultReader | None = None,
) -> JobView:
    """Start a job by a request with an id, as often as it takes, and return it once it has ended.

    The other arguments are those of `submit_and_follow`.
    """
    from mrcore.client.client import new_request_id
    from mrcore.client.follow import CANCELLING, Silent, cancel_and_wait, follow

    recorder = RunRecorder(observer or Silent(), record)
    request_id = new_request_id()
    accepted: JobView | None = None
    try:
        with before_tasks():
            job = accepted = start(request_id)
        recorder.update(job)
    except KeyboardInterrupt:
        # The master may have it already: ask again by the same id, so that it can be cancelled.
        recorder.note(CANCELLING)
        job = accepted or start(request_id)
        recorder.update(job)
        cancel_and_wait(client, job.job_id, recorder, on_poll=on_poll)
        raise
    if reader is None:
        return follow(client, job.job_id, recorder, on_poll=on_poll)
    reading = _Reading(recorder, reader, client)
    try:
        job = follow(client, job.job_id, reading, on_poll=on_poll)
    except _HasEnoughError as stopped:
        job = stopped.job
        with contextlib.suppress(JobEndedError):
            client.cancel(job.job_id, ENOUGH)
    reader.release(client, job.job_id)
    return job


class _HasEnoughError(Exception):
    """The caller needs no more of the job."""

    def __init__(self, job: JobView) -> None:
        super().__init__()
        self.job = job


class _Reading:
    """An observer that also reads the job's results as they come."""

    def __init__(self, observer: Observer, reader: ResultReader, client: MasterClient) -> None:
        self._observer = observer
        self._reader = reader
        self._client = client
        self.tick = observer.tick
        self.note = observer.note

    def update(self, job: JobView) -> None:
        """Pass the job on; raise _HasEnoughError where it need not go on."""
        self._observer.update(job)
        if self._reader.look(self._client, job) and not job.state.final:
            raise _HasEnoughError(job)


class RunRecorder:
    """An observer that also writes down how the job stands."""

    def __init__(
        self, observer: Observer, record: Callable[[JobView], None], clock: Clock = SYSTEM
    ) -> None:
        self._record = record
        self._clock = clock
        self._state: JobState | None = None
        self._unrecorded: JobView | None = None
        self._recorded_at = 0.0
        self._has_failed = False
        self._observer = observer
        self.note = observer.note

    def update(self, job: JobView) -> None:
        """Pass the job on; a new state is recorded first, whatever an interrupt may do then."""
        self._unrecorded = job
        self._keep(at_once=job.state is not self._state)
        self._state = job.state
        self._observer.update(job)

    def tick(self) -> None:
        """Record the job now and then: a killed client leaves a record that is a second old."""
        self._keep(at_once=False)
        self._observer.tick()

    def _keep(self, *, at_once: bool) -> None:
        now = self._clock.monotonic()
        job = self._unrecorded
        if job is not None and (at_once or now - self._recorded_at >= _RECORD_SECONDS):
            self._unrecorded, self._recorded_at = None, now
            try:
                self._record(job)
            except StorageError as error:
                if not self._has_failed:
                    self._observer.note(f"{error} The job goes on.")
                self._has_failed = True
