"""Following a job: to its end, through Ctrl-C, and with daemons that die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast
from unittest.mock import Mock

import pytest

from mrcore.client.client import MasterClient
from mrcore.client.follow import follow
from mrcore.client.request import Prepared
from mrcore.engine.local_run import RunRecorder, submit_and_follow
from mrcore.errors import MrcoreError, StorageError, UnknownJobError, UsageError
from mrcore.model.job import JobSpec, JobState
from mrcore.model.snapshots import JobView
from mrcore.plugin.bundle import Bundle


def job(state: JobState) -> JobView:
    return JobView(job_id="j-1", name="j", state=state, output_uri="file:///out")


class FakeClient:
    """A client whose watch gives what a test says; a callable is called."""

    def __init__(self, *script: JobView | Exception | Callable[[], JobView]) -> None:
        self.script = script
        self.cancelled: list[str] = []
        self.cancel_error: Exception | None = None

    def watch(self, job_id: str) -> Iterator[JobView]:
        """Play the script."""
        assert job_id == "j-1"
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            yield step if isinstance(step, JobView) else step()

    def cancel(self, job_id: str, reason: str) -> JobView:
        """Note it."""
        self.cancelled.append(job_id)
        if self.cancel_error is not None:
            raise self.cancel_error
        return job(JobState.RUNNING)


class Recorder:
    """An observer that remembers, and interrupts at a chosen state."""

    def __init__(self, *, interrupt_at: JobState | None = None) -> None:
        self.states: list[JobState] = []
        self.notes: list[str] = []
        self.interrupt_at = interrupt_at

    def update(self, job: JobView) -> None:
        """Remember the state."""
        self.states.append(job.state)
        if job.state is self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt

    def tick(self) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Remember it."""
        self.notes.append(text)


def run_follow(client: FakeClient, observer: Recorder, **options: bool) -> JobView:
    return follow(cast("MasterClient", client), "j-1", observer, **options)  # type: ignore[arg-type]


def test_the_final_view_is_returned() -> None:
    client = FakeClient(job(JobState.RUNNING), job(JobState.COMMITTING), job(JobState.FAILED))
    observer = Recorder()
    assert run_follow(client, observer).state is JobState.FAILED
    assert observer.states == [JobState.RUNNING, JobState.COMMITTING, JobState.FAILED]
    assert client.cancelled == []


def test_errors_of_the_watch_are_raised() -> None:
    with pytest.raises(UnknownJobError, match="no such job"):
        run_follow(FakeClient(UnknownJobError("no such job")), Recorder())


def test_a_watch_that_breaks_is_not_waited_for() -> None:
    with pytest.raises(RuntimeError, match="the watch of the job broke") as caught:
        run_follow(FakeClient(ValueError("odd")), Recorder())
    assert isinstance(caught.value.__cause__, ValueError)


def test_interrupt_cancels_and_waits_for_the_end() -> None:
    client = FakeClient(job(JobState.RUNNING), job(JobState.CANCELLED))
    observer = Recorder(interrupt_at=JobState.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        run_follow(client, observer)
    assert client.cancelled == ["j-1"]
    assert observer.states == [JobState.RUNNING, JobState.CANCELLED]
    assert observer.notes == [
        "cancelling the job; Ctrl-C again leaves at once.",
        "j-1 has ended: cancelled.",
    ]


def test_interrupt_of_a_commit_lets_it_finish() -> None:
    client = FakeClient(job(JobState.COMMITTING), job(JobState.SUCCEEDED))
    client.cancel_error = UsageError("j-1 is being committed.")
    observer = Recorder(interrupt_at=JobState.COMMITTING)
    with pytest.raises(KeyboardInterrupt):
        run_follow(client, observer)
    assert observer.notes[1:] == ["j-1 is being committed.", "j-1 has ended: succeeded."]


def test_cancel_that_does_not_come_through_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcore.client.follow.CANCEL_SECONDS", 0.0)
    observer = Recorder(interrupt_at=JobState.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        run_follow(FakeClient(job(JobState.RUNNING)), observer)
    assert observer.notes[1:] == ["j-1 has not ended within 0 s; leaving it."]
    monkeypatch.setattr("mrcore.client.follow.CANCEL_SECONDS", 30.0)
    observer = Recorder(interrupt_at=JobState.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        run_follow(FakeClient(job(JobState.RUNNING), UsageError("gone")), observer)
    assert observer.notes[1:] == ["gone"]


def test_second_interrupt_leaves_at_once() -> None:
    client = FakeClient(job(JobState.RUNNING), job(JobState.COMMITTING), job(JobState.SUCCEEDED))
    observer = Recorder(interrupt_at=JobState.RUNNING)

    def interrupt_again(job_id: str, reason: str) -> JobView:
        observer.interrupt_at = JobState.COMMITTING
        return job(JobState.RUNNING)

    client.cancel = interrupt_again  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_follow(client, observer)
    assert observer.states == [JobState.RUNNING, JobState.COMMITTING]


def test_a_watch_lets_the_job_be() -> None:
    client = FakeClient(job(JobState.RUNNING), job(JobState.SUCCEEDED))
    with pytest.raises(KeyboardInterrupt):
        run_follow(client, Recorder(interrupt_at=JobState.RUNNING), cancel_on_interrupt=False)
    assert client.cancelled == []


def test_a_dead_cluster_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcore.client.follow.TICK_SECONDS", 0.0)

    def on_poll() -> None:
        raise MrcoreError("The embedded master was killed by signal 9.")

    client = FakeClient(job(JobState.RUNNING), job(JobState.RUNNING))
    with pytest.raises(MrcoreError, match="killed by signal 9"):
        follow(cast("MasterClient", client), "j-1", Recorder(), on_poll=on_poll)


def test_interrupt_while_submitting_cancels_what_may_have_been_accepted() -> None:
    client = FakeClient(job(JobState.CANCELLED))
    request_ids = []

    def submit(spec: object, bundle: bytes, request_id: str) -> JobView:
        request_ids.append(request_id)
        if len(request_ids) == 1:
            raise KeyboardInterrupt
        return job(JobState.RUNNING)

    client.submit = submit  # type: ignore[attr-defined]
    prepared = Prepared(cast("JobSpec", None), Bundle(b"", "0" * 64, "x"))
    with pytest.raises(KeyboardInterrupt):
        submit_and_follow(cast("MasterClient", client), prepared, observer := Recorder())
    assert observer.states == [JobState.RUNNING, JobState.CANCELLED]
    assert len(set(request_ids)) == 1
    assert len(request_ids) == 2
    assert client.cancelled == ["j-1"]


def test_interrupt_as_the_job_is_accepted_cancels_it() -> None:
    client = FakeClient(job(JobState.CANCELLED))
    request_ids = []

    def submit(spec: object, bundle: bytes, request_id: str) -> JobView:
        request_ids.append(request_id)
        return job(JobState.RUNNING)

    client.submit = submit  # type: ignore[attr-defined]
    prepared = Prepared(cast("JobSpec", None), Bundle(b"", "0" * 64, "x"))
    observer = Recorder(interrupt_at=JobState.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        submit_and_follow(cast("MasterClient", client), prepared, observer)
    assert len(request_ids) == 1
    assert client.cancelled == ["j-1"]


def test_each_new_state_is_recorded_once() -> None:
    client = FakeClient(*(job(state) for state in (JobState.RUNNING, JobState.SUCCEEDED)))
    client.submit = lambda *_: job(JobState.RUNNING)  # type: ignore[attr-defined]
    recorded: list[JobView] = []
    prepared = Prepared(cast("JobSpec", None), Bundle(b"", "0" * 64, "x"))
    submit_and_follow(cast("MasterClient", client), prepared, None, record=recorded.append)
    assert [view.state for view in recorded] == [JobState.RUNNING, JobState.SUCCEEDED]


def test_a_history_that_cannot_be_written_does_not_give_up_the_job() -> None:
    told = Mock()
    record = Mock(side_effect=StorageError("The disk is full."))
    RunRecorder(told, record).update(job(JobState.RUNNING))
    told.note.assert_called_once_with("The disk is full. The job goes on.")
    told.update.assert_called_once_with(job(JobState.RUNNING))
