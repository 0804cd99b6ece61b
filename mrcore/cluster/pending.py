"""Calls in flight and their sessions, as the threads of a client share them.

A call gets its number within the session when it is sent, so one that the master refuses leaves no
gap. The value of a call that fits into the report is released at once. A longer one is released
when its future is closed or collected.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mrcore.cluster.futures import FORKED
from mrcore.errors import UsageError
from mrcore.model.calls import CALL_STAGE
from mrcore.model.ids import TaskId
from mrcore.model.stages import CALL, task_name

if TYPE_CHECKING:
    from mrcore.cluster.futures import CallFuture
    from mrcore.cluster.options import CallOptions
    from mrcore.rpc.v1.failure_pb2 import Failure

_SHUT: Final = "This cluster was shut down, or its client closed. Connect again to call functions."


class Session:
    """One session, as this client knows it."""

    def __init__(self, options: CallOptions) -> None:
        self.options = options
        self.session_id = ""
        """Id of the session; empty until it is open."""
        self.note = ""
        """Reason why calls wait, for people."""
        self.assigned = 0
        """Calls that were made for it; after some of them the next ones go to another session."""
        self.sent = 0
        self.waiting = 0
        """Calls that were made and have neither been sent nor given up."""
        self.live: dict[int, Pending] = {}
        """Calls that were sent and have not ended, by number."""
        self.held: set[int] = set()
        """Numbers of calls whose long values are not released."""
        self.is_closing = False
        """It gets no more calls."""
        self.is_attached = False
        """Another client has made it, and may go on with it."""
        self.is_over = False

    @property
    def is_idle(self) -> bool:
        """Return whether nothing here is awaited or kept."""
        return not (self.live or self.held or self.waiting)


@dataclass(slots=True, eq=False)
class Pending:
    """One call from the moment that it was made."""

    board: Board
    session: Session
    function: str
    """SHA-256 of the function."""
    arguments: bytes
    arguments_object: str
    needs: tuple[Pending, ...]
    objects: tuple[str, ...]
    each: bool
    owner: object = None
    """The client, which lives as long as its calls and their futures."""
    index: int = -1
    """Number within its session; -1 until it was sent."""
    future: CallFuture[Any] | None = None
    """Set until the call has ended; the future has a reference to this object, too."""
    on_failure: Callable[[CallFuture[Any], Failure], bool] | None = None
    """Called once when the call failed; returns whether it has taken over."""
    story: str = ""
    """History of this call, for its error."""
    takers: int = 0
    """Calls that take the value and were not sent yet: until then it is not released."""
    is_cancelled: bool = False
    problem: BaseException | None = None
    """Error of a call that could not be sent."""
    is_held: bool = False
    """The value waits on the cluster: a long one, or any of a kept session."""
    is_closed: bool = False
    """The value is not wanted any more."""

    @property
    def is_lost(self) -> bool:
        """Return whether it has ended without being sent."""
        return self.index < 0 and self.future is None

    @property
    def name(self) -> str:
        """Return the name within the session; empty until it was sent."""
        return task_name(CALL, self.index) if self.index >= 0 else ""

    @property
    def task(self) -> TaskId:
        """Return the call as other calls name it, once it was sent."""
        return TaskId(self.session.session_id, CALL_STAGE, self.index)

    def cancel(self) -> None:
        """Stop the call on the cluster; one that was not sent is dropped."""
        self.board.cancel(self)

    def close(self) -> None:
        """Free the value on the cluster."""
        self.board.close_value(self)

    def __del__(self) -> None:
        """Free the value with the future, which alone refers to this object by then."""
        if not self.is_held or self.is_closed:
            return
        if self.session.options.keep:  # the value stays for those who attach
            self.session.held.discard(self.index)
        else:
            self.board.released.append((self.session, self.index))


class Board:
    """Calls to be sent and calls awaited: shared by the callers, the sender and the watches.

    Everything here is changed under `changed`, but `released`: a finalizer may run in any thread at
    any moment, also while the lock is held, and may only append there.
    """

    def __init__(self) -> None:
        self._process_id = os.getpid()
        self.changed = threading.Condition(threading.RLock())
        self.outbox: deque[Pending] = deque()
        self.outbox_bytes = 0
        self.puts: deque[tuple[str, bytes]] = deque()
        """Objects to store, by SHA-256; without data one is kept for longer."""
        self.cancels: deque[Pending] = deque()
        self.released: deque[tuple[Session, int]] = deque()
        self.sessions: dict[CallOptions, Session] = {}
        """Sessions that get the next calls."""
        self.open: set[Session] = set()
        self.is_closed = False
        self.problem: BaseException | None = None
        """Set when the cluster is gone."""

    @property
    def is_over(self) -> bool:
        """Return whether nothing more is sent."""
        return self.is_closed or self.problem is not None

    def check_open(self) -> None:
        """Raise UsageError when the client was closed, or in a fork; or why the cluster is gone."""
        if self._process_id != os.getpid():
            raise UsageError(FORKED)
        if self.problem is not None:
            raise self.problem
        if self.is_closed:
            raise UsageError(_SHUT)

    def cancel(self, pending: Pending) -> None:
        """Stop a call on the cluster; one that was not sent is dropped."""
        with self.changed:
            pending.is_cancelled = True
            if pending.index >= 0 and not self.is_over:
                self.cancels.append(pending)
                self.changed.notify_all()

    def take(self, pending: Pending) -> bool:
        """Hold the value of a call for another one; False where it has ended and is not kept."""
        with self.changed:
            if pending.board is not self:
                raise UsageError(
                    "A future of another cluster cannot be an argument. Pass its result()."
                )
            is_kept = pending.is_held and not pending.is_closed
            if pending.is_cancelled or (pending.future is None and not is_kept):
                return False
            pending.takers += 1
            return True

    def untake(self, pending: Pending) -> None:
        """Let go of the value of a call again."""
        with self.changed:
            pending.takers -= 1
            if not pending.takers and pending.is_closed:
                self.released.append((pending.session, pending.index))

    def drop_needs(self, pending: Pending) -> None:
        """Let go of the values that a call takes: it was sent, or is given up."""
        needs, pending.needs = pending.needs, ()
        for need in needs:
            self.untake(need)

    def free(self, pending: Pending) -> None:
        """Release a call that has ended, once those that take its value were sent."""
        with self.changed:
            pending.is_closed = True
            if not pending.takers:
                self.released.append((pending.session, pending.index))

    def close_value(self, pending: Pending) -> None:
        """Free a long value, if there is one."""
        with self.changed:
            if pending.is_held and not pending.is_closed:
                self.free(pending)
                self.changed.notify_all()

    def retire(self, session: Session) -> None:
        """Let a session end once its last call has."""
        session.is_closing = True
        if self.sessions.get(session.options) is session:
            del self.sessions[session.options]

    def end_session(self, session: Session, error: BaseException) -> None:
        """Fail what is left of a session that has ended by itself."""
        with self.changed:
            session.is_over = True
            self.retire(session)
            self.open.discard(session)
            left = list(session.live.values())
            session.live.clear()
            session.held.clear()
        self.fail(left, error)

    def fail(self, calls: Iterable[Pending], error: BaseException) -> None:
        """End calls with an error."""
        for pending in calls:
            future, pending.future = pending.future, None
            pending.problem = error
            self.drop_needs(pending)
            if future is not None:
                future.end_failed(error)

    def drop_all(self) -> list[CallFuture[Any]]:
        """Drop all calls; return the futures that are left to end."""
        with self.changed:
            sent = [one for session in self.open for one in session.live.values()]
            pendings = [*self.outbox, *sent]
            self.outbox.clear()
            self.puts.clear()
            for session in self.open:
                session.live.clear()
                session.held.clear()
            found = [one.future for one in pendings if one.future is not None]
            for one in pendings:
                one.future = None
            return found
