"""All calls of one client: made by its threads, sent by one, and ended by the watches."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from mrcore.client.calls import CallClient
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.options import CallOptions
from mrcore.cluster.pending import Board, Pending, Session
from mrcore.cluster.sender import Sender
from mrcore.cluster.shipping import Shipping
from mrcore.cluster.watches import Watches, load
from mrcore.errors import MrcoreError, UsageError
from mrcore.model.calls import MAX_INLINE_ARGUMENTS
from mrcore.util.clock import SYSTEM, Clock

SESSION_CALLS: Final = 10_000
"""Calls after which a session is closed and another one opened."""
QUEUE_CALLS: Final = 20_000
"""Calls that wait to be sent; whoever adds more waits."""
QUEUE_BYTES: Final = 64 << 20
REFRESH_SECONDS: Final = 1_200.0
"""Age after which a stored object is kept for another hour, or stored again."""
_LOOK_SECONDS: Final = 1.0
_STORED: Final = 10_000
"""Stored objects that are remembered."""


class Calls:
    """The calls of one client. Threads start with the first call."""

    def __init__(
        self,
        client: CallClient,
        *,
        show: Callable[[bytes], None],
        owner: Callable[[], object] = lambda: None,
        modules: Iterable[str | types.ModuleType] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        """Prepare; `show` takes what calls have printed.

        `modules` are those of this machine that calls may import, beside those that are found.
        `owner` returns the client. Threads refer to this object, and must not keep the client.
        """
        self.owner = owner
        self._client = client
        self._clock = clock
        self._stored: dict[str, float] = {}
        self.shipping = Shipping(modules, clock)
        self.board = Board()
        streams = CallClient(client.connection.again())
        self._watches = Watches(self.board, streams, show=show, read=self.read)
        self._sender = Sender(
            self.board,
            client,
            opened=self._watches.start,
            lost=self._lose,
            failed=self.fail,
            clock=clock,
        )

    def store(self, data: bytes) -> str:
        """Store an object before the calls that are added from now on; return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self.board.changed:
            self.board.check_open()
            if self._is_due(sha256, -REFRESH_SECONDS):
                self._put(sha256, data)
                self._sender.start()
        return sha256

    def store_now(self, data: bytes) -> str:
        """Store an object and return its SHA-256."""
        self.board.check_open()
        sha256 = hashlib.sha256(data).hexdigest()
        self._client.put(sha256, data)
        self._stored[sha256] = self._clock.monotonic()
        return sha256

    def keep(self, sha256: str) -> None:
        """Keep a stored object for another hour, if it may be about to go."""
        with self.board.changed:
            if self._is_due(sha256, 0.0):
                self._put(sha256, b"")

    def make(
        self,
        options: CallOptions,
        function: str,
        arguments: bytes,
        *,
        needs: Sequence[Pending] = (),
        objects: Sequence[str] = (),
        each: bool = False,
    ) -> Pending:
        """Return a call that can be added."""
        is_long = len(arguments) > MAX_INLINE_ARGUMENTS
        stored = self.store(arguments) if is_long else ""
        with self.board.changed:
            self.board.check_open()
            return Pending(
                board=self.board,
                session=self._session(options),
                function=function,
                arguments=b"" if is_long else arguments,
                arguments_object=stored,
                needs=tuple(needs),
                objects=tuple(objects),
                each=each,
                owner=self.owner(),
            )

    def add(self, pending: Pending, future: CallFuture[Any]) -> None:
        """Send a call; its end goes to `future`. Waits while too many calls wait to be sent."""
        board = self.board
        with board.changed:
            self._wait_for_room()
            pending.future = future
            board.outbox.append(pending)
            board.outbox_bytes += len(pending.arguments)
            self._sender.start()
            board.changed.notify_all()

    def wait_sent(self, pending: Pending) -> None:
        """Wait until the master has a call, or it has ended without."""
        board = self.board
        if self._watches.is_here or self._sender.is_here:
            return
        with board.changed:
            while pending.future is not None and not board.is_over:
                if 0 <= pending.index < pending.session.sent:
                    return
                board.changed.wait(_LOOK_SECONDS)

    def watch(self, session: Session) -> None:
        """Take part in a session that another client has made."""
        with self.board.changed:
            self.board.check_open()
            self.board.open.add(session)
        self._watches.start(session)

    def read(self, pending: Pending) -> Any:
        """Return a long value of a call; raise UsageError or NotFoundError where it is gone."""
        if pending.is_closed:
            raise UsageError(f"The value of {pending.name} was freed. Call the function again.")
        self.board.check_open()
        return load(pending, self._client.read_value(pending.task))

    def read_object(self, sha256: str) -> bytes:
        """Return a stored object; raise NotFoundError where it is gone."""
        self.board.check_open()
        return self._client.read_object(sha256)

    def fail(self, problem: MrcoreError) -> None:
        """End all calls with an error: the cluster is gone."""
        with self.board.changed:
            self.board.problem = problem
            self.board.changed.notify_all()
        for future in self.board.drop_all():
            future.end_failed(problem)

    def close(self, wait_seconds: float = 5.0) -> None:
        """Cancel what has not ended, close the sessions and stop the threads."""
        board = self.board
        with board.changed:
            if board.is_closed:
                return
            was_well = board.problem is None
            opened = list(board.open)
            left = board.drop_all()
            board.is_closed = True
            board.changed.notify_all()
        for future in left:
            future.end_cancelled()
        own = [session for session in opened if not session.is_attached]
        for session in own if was_well else ():
            try:
                self._client.close(
                    session.session_id, cancel=not session.options.keep, retry_seconds=0.0
                )
            except MrcoreError:
                break  # nobody answers: the master closes what has no watch
        self._watches.close()
        self._sender.join(wait_seconds)

    def _session(self, options: CallOptions) -> Session:
        session = self.board.sessions.get(options)
        if session is not None and session.assigned >= SESSION_CALLS:
            self.board.retire(session)
            session = None
        if session is None:
            session = self.board.sessions[options] = Session(options)
        session.assigned += 1
        session.waiting += 1
        return session

    def _is_due(self, sha256: str, unknown: float) -> bool:
        """Return whether an object has to be stored or kept; `unknown` is its age if unknown."""
        now = self._clock.monotonic()
        return now - self._stored.get(sha256, now + unknown) >= REFRESH_SECONDS

    def _put(self, sha256: str, data: bytes) -> None:
        if len(self._stored) >= _STORED:
            del self._stored[next(iter(self._stored))]
        self._stored[sha256] = self._clock.monotonic()
        self.board.puts.append((sha256, data))
        self.board.outbox_bytes += len(data)
        self.board.changed.notify_all()

    def _lose(self, sha256: str) -> None:
        """Forget an object that could not be stored: the next call stores it again."""
        self._stored.pop(sha256, None)

    def _wait_for_room(self) -> None:
        board = self.board
        board.check_open()
        # A fallback is called in the thread that makes room: it never waits.
        if self._watches.is_here or self._sender.is_here:
            return
        while len(board.outbox) >= QUEUE_CALLS or board.outbox_bytes >= QUEUE_BYTES:
            board.changed.wait(_LOOK_SECONDS)
            board.check_open()
