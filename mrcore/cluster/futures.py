"""Futures of calls and of jobs: real `concurrent.futures.Future`s that can be awaited, too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Generator
from concurrent import futures
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mrcore.calls.references import itself
from mrcore.cluster.callbacks import CALLBACKS, is_delivering
from mrcore.errors import UsageError

if TYPE_CHECKING:
    from mrcore.cluster.pending import Pending

T = TypeVar("T")
FORKED: Final = (
    "This cluster object was made by another process, and this one is a fork of it. Start the "
    'process with the method "spawn", and connect in it.'
)


class ClusterFuture(futures.Future[T]):
    """A future of something that runs on a cluster.

    `cancel` works even while it runs, which that of a future of a thread does not. A subclass stops
    the work on the cluster, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._process_id = os.getpid()
        # The state of the base class stays "pending" until the end, since its `cancel` refuses
        # whatever is "running".
        self._started = False
        self._is_cancelling = False
        self._read: Callable[[], Any] | None = None
        self._quick: list[Callable[[Any], object]] = []
        """Functions of this package that are called at the end, before all callbacks."""

    def when_done(self, function: Callable[[Any], object]) -> None:
        """Call a function with this future at its end, in any thread: it must not wait."""
        with self._condition:
            if not self.done():
                self._quick.append(function)
                return
        function(self)

    def _invoke_callbacks(self) -> None:
        """Call what waits for the end; callbacks of the user may wait for other calls."""
        with self._condition:
            quick, self._quick = self._quick, []
        for function in quick:
            function(self)
        run = super()._invoke_callbacks  # type: ignore[misc]
        if not is_delivering():
            run()
        elif self._done_callbacks:  # type: ignore[attr-defined]
            CALLBACKS.run(run)

    def running(self) -> bool:
        """Return whether it has been started on the cluster and has not ended."""
        return self._started and not self.done()

    def cancel(self) -> bool:
        """End as cancelled; return False if it has ended."""
        return self.cancelled() or self.end_cancelled()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it, or raise its exception.

        Raises TimeoutError after `timeout` seconds, which says what is waited for. Ctrl-C cancels
        that.
        """
        self._check_process()
        try:
            return super().result(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        except TimeoutError as error:
            if not self.done():
                raise self.late(timeout) from error
        return super().result(0)  # it has ended just now, or what ran has raised that error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the exception, None where there is none.

        Raises TimeoutError after `timeout` seconds, as `result` does.
        """
        self._check_process()
        try:
            return super().exception(timeout)
        except TimeoutError as error:
            if not self.done():
                raise self.late(timeout) from error
        return super().exception(0)  # it has ended just now

    def _check_process(self) -> None:
        """Raise UsageError in a fork of the program: nobody ends this future there."""
        if self._process_id != os.getpid() and not self.done():
            raise UsageError(FORKED)

    def late(self, timeout: float | None) -> TimeoutError:
        """Return the error of a wait that has taken `timeout` seconds."""
        seconds = f"{round(timeout or 0, 2):g}"
        return TimeoutError(f"{self.title} has not ended within {seconds} s: {self._why()}.")

    @property
    def title(self) -> str:
        """Return what runs, for messages."""
        return "The work"

    def _why(self) -> str:
        """Return why it has not ended, as the end of a sentence."""
        return "it is running" if self.running() else "it has not begun"

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in an event loop; a cancelled wait cancels what runs on the cluster."""
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake(_: futures.Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(ended.set)

        self.when_done(wake)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self.cancelled():
            raise asyncio.CancelledError
        if self._read is not None:  # the value is read from the cluster, which blocks
            return await asyncio.to_thread(self.result)
        return self.result()

    def mark_started(self) -> None:
        """Note that it runs."""
        self._started = True

    def end(self, value: T) -> None:
        """End with a value, unless it was cancelled meanwhile."""
        with contextlib.suppress(futures.InvalidStateError):
            self.set_result(value)

    def end_failed(self, error: BaseException) -> None:
        """End with an exception, unless it was cancelled meanwhile."""
        with contextlib.suppress(futures.InvalidStateError):
            self.set_exception(error)

    def end_cancelled(self) -> bool:
        """End as cancelled, here or by the cluster; return False if it has ended otherwise."""
        with self._condition:
            if self._is_cancelling:
                return not self.done() or self.cancelled()
            if self.done():
                return False
            self._is_cancelling = True
        if not super().cancel():  # it has ended just now
            return False
        self.set_running_or_notify_cancel()
        return True


class LiveFutures:
    """Futures that have not ended, added by any thread."""

    def __init__(self) -> None:
        # Reentrant, since a finalizer may cancel futures at any moment, also while it is held.
        self._lock = threading.RLock()
        self._live: set[ClusterFuture[Any]] = set()

    def add(self, future: ClusterFuture[Any]) -> None:
        """Keep a future until it ends."""
        with self._lock:
            self._live.add(future)
        future.when_done(self._forget)

    def now(self) -> list[ClusterFuture[Any]]:
        """Return those that have not ended."""
        with self._lock:
            return list(self._live)

    def _forget(self, future: ClusterFuture[Any]) -> None:
        with self._lock:
            self._live.discard(future)


class CallFuture(ClusterFuture[T]):
    """Future of one call of a function.

    A value of more than 64 KiB stays on the cluster until `result()` is called, and other calls
    that take this future as an argument read it there. `close()` frees it, and so does the end of
    the last reference to this object.
    """

    def __init__(self, pending: Pending | None, error: BaseException | None = None) -> None:
        """Make the future of a call, or with `error` one that has failed already."""
        super().__init__()
        self._pending = pending
        if error is not None:
            self.set_exception(error)

    @property
    def pending(self) -> Pending | None:
        """Return the call as the client's threads know it; None for one that was not made."""
        return self._pending

    def is_here(self) -> bool:
        """Return whether it has ended with a value that is in this process."""
        if not self.done() or self.cancelled():
            return False
        return self._read is None and self.exception() is None

    @property
    def job_id(self) -> str:
        """Return the id of the session that the call belongs to; empty until it was sent."""
        return self._pending.session.session_id if self._pending is not None else ""

    @property
    def call_id(self) -> str:
        """Return the name of the call within its session, as in `call-00003`; empty until sent."""
        return self._pending.name if self._pending is not None else ""

    @property
    def note(self) -> str:
        """Return why the call waits, such as for a label that no worker has, or an empty text."""
        if self.done() or self._pending is None:
            return ""
        return self._pending.session.note

    @property
    def title(self) -> str:
        """Return the name of the call, for messages."""
        return f"{self.call_id} of {self.job_id}" if self.call_id else "The call"

    def _why(self) -> str:
        """Return why the call has not ended: the master's note where it has one."""
        if self.running():
            return "it is running"
        if not self.call_id:
            return "it has not been sent yet"
        return self.note or "it waits for a free slot, or for the values of its arguments"

    def result(self, timeout: float | None = None) -> T:
        """Wait for the value and return it.

        Raises what the function raised, with the remote traceback as its cause; RemoteError where
        the call failed for another reason, TimeoutError where it took longer than its own limit;
        CancelledError. After `timeout` seconds it raises TimeoutError, which says what the call
        waits for. Ctrl-C cancels the call.
        """
        value = super().result(timeout)
        read = self._read
        if read is None:
            return value
        found: T = read()
        return found

    def cancel(self) -> bool:
        """Stop the call; return False if it has ended."""
        if self.cancelled():
            return True
        if not super().cancel():
            return False
        if self._pending is not None:
            self._pending.cancel()
        return True

    def close(self) -> None:
        """Free the value: `result()` and calls that take this future fail from now on."""
        if self._pending is not None:
            self._pending.close()

    def retarget(self, pending: Pending) -> None:
        """Take the end of another call in place of the one that failed."""
        self._pending = pending

    def set_reader(self, read: Callable[[], Any]) -> None:
        """Let `result` read the value from the cluster."""
        self._read = read

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the value, which has to be here; a call has a placeholder for any other."""
        if not self.done() or self._read is not None:
            raise TypeError("a future that waits travels only as an argument of a call")
        return itself, (self.result(0),)

    def __repr__(self) -> str:
        """Return the call's name and state."""
        state = "running" if self.running() else self.note or self._state_word()
        where = f"{self.job_id}/{self.call_id}" if self.call_id else "call"
        return f"<CallFuture of {where}: {state}>"

    def _state_word(self) -> str:
        if self.cancelled():
            return "cancelled"
        if not self.done():
            return "waiting"
        return "failed" if self.exception(0) is not None else "finished"

    def _repr_html_(self) -> str:
        from mrcore.cluster.tables import paragraph

        return paragraph(repr(self)[1:-1])
