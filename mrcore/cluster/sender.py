"""The thread that sends calls, and asks for whatever else their sessions need."""

from __future__ import annotations

import functools
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mrcore.client.calls import CallClient
from mrcore.cluster.callbacks import delivering
from mrcore.cluster.pending import Board, Pending, Session
from mrcore.cluster.references import lost_argument_error
from mrcore.errors import (
    ClusterUnreachableError,
    DefectError,
    LimitError,
    MrcoreError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from mrcore.model.calls import CallPlan
from mrcore.plugin.tracebacks import last_line
from mrcore.util.clock import Clock

BATCH_CALLS: Final = 1_000
BATCH_BYTES: Final = 4 << 20
MAX_BATCHES: Final = 100
"""Messages with calls that are sent before the sender looks for other things to send."""
LIMIT_SECONDS: Final = 0.05
"""Pause before calls are sent again to a master that is at a limit."""
RELEASE_SECONDS: Final = 0.2
"""Age at which values are released."""
RELEASE_CALLS: Final = 1_000
"""Number of values that are released at once, whatever their age."""
HOLDING_SECONDS: Final = 0.5
"""Time between two looks for values whose futures were collected."""
IDLE_SESSIONS: Final = 16
"""Sessions without calls that stay open for the next ones."""
_DEFECT: Final = (
    "mrcore itself failed while it sent calls. Connect again, and please report what is on stderr"
)


@dataclass(slots=True)
class Batch:
    """Calls of one session that are sent together."""

    session: Session
    calls: list[Pending] = field(default_factory=list)
    size_bytes: int = 0

    def has_room(self, pending: Pending) -> bool:
        """Return whether a call fits in."""
        size = self.size_bytes + len(pending.arguments)
        is_fit = len(self.calls) < BATCH_CALLS and size <= BATCH_BYTES
        return is_fit and self.session is pending.session


class Sender:
    """Sends what is on the board, in the order of the calls: a value's call comes before its taker.

    Releases go after the calls, so that none takes a value away from a call that was made before.
    """

    def __init__(
        self,
        board: Board,
        client: CallClient,
        *,
        opened: Callable[[Session], None],
        lost: Callable[[str], None],
        failed: Callable[[MrcoreError], None],
        clock: Clock,
    ) -> None:
        """Prepare.

        `opened` is called with each new session, `lost` with what was not stored, and `failed` with
        the error that ends this thread.
        """
        self._board = board
        self._client = client
        self._opened = opened
        self._lost = lost
        self._failed = failed
        self._clock = clock
        self._batches: deque[Batch] = deque()
        """Calls that were taken from the board and not sent yet."""
        self._thread: threading.Thread | None = None
        self._release_at: float | None = None

    @property
    def is_here(self) -> bool:
        """Return whether the calling thread is the sender."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Start the thread, unless it runs; the board is locked."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mrcore-calls", daemon=True)
            self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, which a closed board brings."""
        if self._thread is not None and not self.is_here:
            self._thread.join(seconds)

    def _work(self) -> None:
        with delivering():  # calls that cannot be sent end here
            try:
                self._run()
            except Exception as error:
                # Without this thread every call would wait for ever.
                problem = DefectError(f"{_DEFECT} ({last_line(error)}).")
                self._failed(problem)
                for batch in self._batches:
                    self._board.fail(batch.calls, problem)
                raise

    def _run(self) -> None:
        board = self._board
        while True:
            with board.changed:
                while not (board.outbox or board.puts or board.cancels or self._is_release_due()):
                    if board.is_over:
                        return
                    board.changed.wait(self._wait_seconds())
                if board.is_over:
                    return
                puts = list(board.puts)
                board.puts.clear()
                self._batches = self._take_batches()
            self._put(puts)
            self._send_all()
            self._send_cancels()
            if self._is_release_due():
                self._send_releases()
                self._close_idle()

    def _is_release_due(self) -> bool:
        """Return whether there are enough releases, or old ones.

        The master writes each request down before it answers, and the next call must not wait for
        the release of the last one.
        """
        released = self._board.released
        if not released:
            self._release_at = None
            return False
        now = self._clock.monotonic()
        if self._release_at is None:
            self._release_at = now + RELEASE_SECONDS
        return len(released) >= RELEASE_CALLS or now >= self._release_at

    def _wait_seconds(self) -> float | None:
        """Return how long nothing has to be sent, unless something is added."""
        if self._release_at is not None:
            return max(0.001, self._release_at - self._clock.monotonic())
        # A finalizer cannot notify, so look again where it may have added something.
        is_holding = any(session.held for session in self._board.open)
        return HOLDING_SECONDS if is_holding else None

    def _send_all(self) -> None:
        # Each is dropped when it was sent: a reference to a call keeps its value on the cluster.
        while self._batches:
            self._send(self._batches[0])
            self._batches.popleft()

    def _take_batches(self) -> deque[Batch]:
        """Take runs of calls of the same session, in the order of the calls."""
        board = self._board
        batches: deque[Batch] = deque()
        while board.outbox:
            pending = board.outbox[0]
            if not batches or not batches[-1].has_room(pending):
                if len(batches) == MAX_BATCHES:
                    break
                batches.append(Batch(pending.session))
            batch = batches[-1]
            board.outbox.popleft()
            board.outbox_bytes -= len(pending.arguments)
            pending.session.waiting -= 1
            batch.calls.append(pending)
            batch.size_bytes += len(pending.arguments)
        board.changed.notify_all()
        return batches

    def _put(self, puts: Iterable[tuple[str, bytes]]) -> None:
        for sha256, data in puts:
            try:
                self._client.put(sha256, data)
            except MrcoreError:
                # The calls that need it fail with the master's sentence.
                self._lost(sha256)
            finally:
                with self._board.changed:
                    self._board.outbox_bytes -= len(data)
                    self._board.changed.notify_all()

    def _send(self, batch: Batch) -> None:
        calls = [one for one in batch.calls if not self._is_given_up(one)]
        if not calls:
            return
        try:
            self._open(batch.session)
        except MrcoreError as error:
            self._board.end_session(batch.session, error)
            self._board.fail(calls, error)
            return
        try:
            self._add(batch.session, calls)
        except (UsageError, NotFoundError) as error:
            if len(calls) == 1:
                self._board.fail(calls, error)
            else:
                self._add_singly(batch.session, calls)
        except MrcoreError as error:
            self._board.fail(calls, error)

    def _is_given_up(self, pending: Pending) -> bool:
        """Return whether a call was cancelled before it was sent, or takes one that was not sent.

        The latter fails here.
        """
        if pending.is_cancelled:
            pending.future = None
        if pending.future is None:
            self._board.drop_needs(pending)
            return True
        for need in pending.needs:
            if need.is_lost:
                self._board.fail([pending], lost_argument_error(need))
                return True
        return False

    def _open(self, session: Session) -> None:
        if not session.session_id:
            session.session_id = self._client.open(uuid.uuid4().hex, session.options.spec())
            with self._board.changed:
                self._board.open.add(session)
            self._opened(session)

    def _add(self, session: Session, calls: Sequence[Pending]) -> None:
        """Add calls to a session; what is refused gets no number."""
        board = self._board
        first = session.sent
        with board.changed:
            for number, pending in enumerate(calls, first):
                pending.index = number
                session.live[number] = pending
        try:
            self._add_patiently(session, first, [_plan(one) for one in calls])
        except BaseException:
            with board.changed:
                for pending in calls:
                    session.live.pop(pending.index, None)
                    pending.index = -1
            raise
        session.sent = first + len(calls)
        if session.options.keep:
            with board.changed:
                board.changed.notify_all()
        for pending in calls:
            pending.arguments = b""
            board.drop_needs(pending)
            if pending.is_cancelled:
                board.cancel(pending)

    def _add_patiently(self, session: Session, first: int, plans: Sequence[CallPlan]) -> None:
        """Add calls, again while the master restarts or is at a limit."""
        connection = self._client.connection
        pause = connection.pause()
        while True:
            try:
                self._client.add(session.session_id, first, plans)
            except (ClusterUnreachableError, UnavailableError) as error:
                if self._board.is_over or session.is_over:
                    raise
                if not isinstance(error, LimitError):
                    pause.after(error)
                    connection.look_again()
                    continue
                # What is released makes room.
                self._send_cancels()
                self._send_releases()
                self._clock.sleep(LIMIT_SECONDS)
                pause.reset()
            else:
                return

    def _add_singly(self, session: Session, calls: Sequence[Pending]) -> None:
        """Find out which of several calls the master refuses."""
        for pending in calls:
            if self._is_given_up(pending):
                continue
            try:
                self._add(session, [pending])
            except MrcoreError as error:
                self._board.fail([pending], error)

    def _send_cancels(self) -> None:
        by_session: dict[Session, list[int]] = {}
        with self._board.changed:
            while self._board.cancels:  # a finalizer may add some meanwhile
                pending = self._board.cancels.popleft()
                by_session.setdefault(pending.session, []).append(pending.index)
        for session, indexes in by_session.items():
            if not session.is_over:
                self._quietly(functools.partial(self._client.cancel, session.session_id, indexes))

    def _send_releases(self) -> None:
        released = self._board.released
        self._release_at = None
        by_session: dict[Session, list[int]] = {}
        for _ in range(len(released)):
            session, index = released.popleft()
            by_session.setdefault(session, []).append(index)
        for session, indexes in by_session.items():
            session.held.difference_update(indexes)
            if session.options.keep or not session.is_over:
                self._quietly(functools.partial(self._client.release, session.session_id, indexes))

    def _close_idle(self) -> None:
        """Close sessions that have got their last call, and those that are too many."""
        board = self._board
        with board.changed:
            idle = [one for one in board.sessions.values() if one.is_idle]
            for session in idle[: max(0, len(idle) - IDLE_SESSIONS)]:
                board.retire(session)
            done = [one for one in board.open if one.is_closing and one.is_idle]
            for session in done:
                session.is_over = True
                board.open.discard(session)
        for session in done:
            if not session.is_attached:
                cancel = not session.options.keep
                ask = functools.partial(self._client.close, session.session_id, cancel=cancel)
                self._quietly(ask)

    def _quietly(self, ask: Callable[[], None]) -> None:
        """Ask for something whose failure harms nobody: the master cleans up in the end."""
        try:
            ask()
        except MrcoreError:
            return


def _plan(pending: Pending) -> CallPlan:
    return CallPlan(
        function=pending.function,
        arguments=pending.arguments,
        arguments_object=pending.arguments_object,
        needs=tuple(need.task for need in pending.needs),
        each=pending.each,
        objects=pending.objects,
    )
