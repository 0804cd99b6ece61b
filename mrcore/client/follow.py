"""Following a submitted job to its end, with a person at Ctrl-C and daemons that may die."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from mrcore.errors import MrcoreError
from mrcore.model.snapshots import JobView
from mrcore.util.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient

TICK_SECONDS: Final = 0.25
CANCELLING: Final = "cancelling the job; Ctrl-C again leaves at once."
CANCEL_SECONDS: Final = 30.0
"""Time limit for the end of a cancelled job: its tasks are killed, and its claim is freed."""


class Observer(Protocol):
    """Receiver of a job's progress."""

    def update(self, job: JobView) -> None:
        """Take the job as it stands now."""
        ...

    def tick(self) -> None:
        """Do what is to be done as time passes; called about four times a second."""
        ...

    def note(self, text: str) -> None:
        """Show a sentence to a person."""
        ...


class Silent:
    """Observer that shows nothing."""

    def update(self, job: JobView) -> None:
        """Ignore it."""

    def tick(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Ignore it."""


def follow(
    client: MasterClient,
    job_id: str,
    observer: Observer,
    *,
    on_poll: Callable[[], None] = lambda: None,
    cancel_on_interrupt: bool = True,
    clock: Clock = SYSTEM,
) -> JobView:
    """Return the job once it has ended.

    `on_poll` is called as time passes, and may raise to give up. KeyboardInterrupt cancels the job
    (with `cancel_on_interrupt`) and is raised again when that is done; a second one leaves at once.
    """
    watcher = None
    try:
        watcher = _Watcher(client, job_id)
        return watcher.until_final(observer, on_poll, None, clock)
    except KeyboardInterrupt:
        if cancel_on_interrupt:
            observer.note(CANCELLING)
            watcher = watcher or _Watcher(client, job_id)
            _cancel(client, job_id, observer, on_poll, watcher, clock)
        raise


def cancel_and_wait(
    client: MasterClient,
    job_id: str,
    observer: Observer,
    *,
    on_poll: Callable[[], None] = lambda: None,
    clock: Clock = SYSTEM,
) -> None:
    """Cancel a job for a person who wants to leave, and wait for its end, but not for ever."""
    _cancel(client, job_id, observer, on_poll, _Watcher(client, job_id), clock)


def _cancel(
    client: MasterClient,
    job_id: str,
    observer: Observer,
    on_poll: Callable[[], None],
    watcher: _Watcher,
    clock: Clock,
) -> None:
    try:
        client.cancel(job_id, "interrupted")
    except MrcoreError as error:
        # It has ended, or is being committed, or nobody answers: its end is reported below.
        observer.note(str(error))
    try:
        job = watcher.until_final(observer, on_poll, CANCEL_SECONDS, clock)
    except TimeoutError:
        observer.note(f"{job_id} has not ended within {CANCEL_SECONDS:g} s; leaving it.")
    except MrcoreError as error:
        observer.note(str(error))
    else:
        observer.note(f"{job_id} has ended: {job.state}.")


class _Watcher:
    """A watch in a thread of its own, so that the main thread stays awake for signals."""

    def __init__(self, client: MasterClient, job_id: str) -> None:
        self._news: queue.SimpleQueue[JobView | BaseException | None] = queue.SimpleQueue()
        self._client = client
        self._job_id = job_id
        threading.Thread(target=self._watch, name="mrcore-watch", daemon=True).start()

    def _watch(self) -> None:
        try:
            for job in self._client.watch(self._job_id):
                self._news.put(job)
        except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
            self._news.put(error)

    def until_final(
        self,
        observer: Observer,
        on_poll: Callable[[], None],
        limit_seconds: float | None,
        clock: Clock,
    ) -> JobView:
        """Return the final view; raise TimeoutError after `limit_seconds`."""
        begun = ticked = clock.monotonic()
        while limit_seconds is None or clock.monotonic() - begun < limit_seconds:
            try:
                news = self._news.get(timeout=TICK_SECONDS)
            except queue.Empty:
                news = None
            if isinstance(news, JobView):
                observer.update(news)
                if news.state.final:
                    return news
            elif isinstance(news, MrcoreError):
                raise news
            elif news is not None:
                raise RuntimeError("the watch of the job broke") from news
            if clock.monotonic() - ticked >= TICK_SECONDS:
                ticked = clock.monotonic()
                on_poll()
                observer.tick()
        raise TimeoutError
