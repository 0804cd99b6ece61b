"""Streams that report how calls end: one for each session, each in a thread of its own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mrcore.calls import payload
from mrcore.client.calls import CallClient
from mrcore.cluster.callbacks import delivering
from mrcore.cluster.outcomes import error_of
from mrcore.cluster.pending import Board, Pending, Session
from mrcore.errors import DefectError, MrcoreError, NotFoundError, RemoteError
from mrcore.model.task import MAX_PRINTED_BYTES
from mrcore.plugin.tracebacks import last_line

if TYPE_CHECKING:
    from mrcore.cluster.futures import CallFuture
    from mrcore.rpc.v1.call_service_pb2 import EndedCall, WatchCallsResponse

_DEFECT: Final = (
    "mrcore itself failed while it took results. Call again, and please report what is on stderr"
)

_NO_ANSWER: Final = "waiting for the master, which does not answer"


class Watches:
    """The watches of all sessions of a client, on a connection of their own."""

    def __init__(
        self,
        board: Board,
        client: CallClient,
        *,
        show: Callable[[bytes], None],
        read: Callable[[Pending], Any],
    ) -> None:
        """Prepare; `show` takes what calls have printed, `read` reads a long value."""
        self._board = board
        self._client = client
        self._show = show
        self._read = read
        self._threads: set[int] = set()

    @property
    def is_here(self) -> bool:
        """Return whether the calling thread is one of the watches: in it futures end."""
        return threading.get_ident() in self._threads

    def start(self, session: Session) -> None:
        """Watch a session until it ends."""
        name = f"mrcore-watch-{session.session_id}"
        threading.Thread(target=self._watch, args=(session,), name=name, daemon=True).start()

    def close(self) -> None:
        """End all watches."""
        self._client.connection.close()

    def _watch(self, session: Session) -> None:
        self._threads.add(threading.get_ident())
        try:
            with delivering():
                self._follow(session)
        finally:
            self._threads.discard(threading.get_ident())

    def _follow(self, session: Session) -> None:
        pause = self._client.connection.pause()
        try:
            while not (session.is_over or self._board.is_over):
                for news in self._client.watch(session.session_id, pause):
                    self._take(session, news)
                session.note = _NO_ANSWER  # until the first message of the next stream
        except MrcoreError as error:
            if not (session.is_over or self._board.is_over):
                self._board.end_session(session, error)
        except Exception as error:
            # Without this thread every call of the session would wait for ever.
            self._board.end_session(session, DefectError(f"{_DEFECT} ({last_line(error)})."))
            raise

    def _take(self, session: Session, news: WatchCallsResponse) -> None:
        session.note = news.note
        for index in news.started:
            pending = session.live.get(index)
            future = None if pending is None else pending.future
            if future is not None:
                future.mark_started()
        for ended in news.ended:
            self._take_end(session, ended)
        if news.ended:
            with self._board.changed:
                self._board.changed.notify_all()

    def _take_end(self, session: Session, ended: EndedCall) -> None:
        board = self._board
        with board.changed:
            pending = session.live.pop(ended.index, None)
            if pending is None:
                return  # it was reported before, or its future was given up
        if ended.released:
            self._lose(pending)
            return
        with board.changed:
            future, pending.future = pending.future, None
            kind, keep = ended.WhichOneof("outcome"), session.options.keep
            has_value = kind != "failure" and not pending.is_cancelled
            pending.is_held = has_value and (keep or kind == "value_bytes")
            if has_value and kind == "value_bytes":
                session.held.add(ended.index)
            elif not keep:
                board.free(pending)
        self._show_printed(pending, ended.printed)
        if future is not None:
            self._end(pending, future, ended)

    def _lose(self, pending: Pending) -> None:
        """Fail a call whose value another client has freed before its end was reported here."""
        pending.is_closed = True
        problem = f"The value of {pending.name} of {pending.session.session_id} was freed."
        self._board.fail([pending], NotFoundError(f"{problem} Call the function again."))

    def _show_printed(self, pending: Pending, printed: bytes) -> None:
        if len(printed) >= MAX_PRINTED_BYTES:
            self._show(
                f"mrcore: {pending.name} printed more than {MAX_PRINTED_BYTES >> 10} KiB, and this "
                f"is the end of it. Print all by: mrcore logs {pending.session.session_id} --task "
                f"{pending.name}\n".encode()
            )
        if printed:
            self._show(printed)

    def _end(self, pending: Pending, future: CallFuture[Any], ended: EndedCall) -> None:
        kind = ended.WhichOneof("outcome")
        if ended.cancelled:
            future.end_cancelled()
        elif kind == "failure":
            on_failure, pending.on_failure = pending.on_failure, None
            if on_failure is not None and on_failure(future, ended.failure):
                return
            error = error_of(ended.failure)
            if pending.story:
                error.add_note(pending.story)
            future.end_failed(error)
        elif kind == "value_bytes":
            future.set_reader(functools.partial(self._read, pending))
            future.end(None)
        else:
            try:
                value = load(pending, ended.value)
            except Exception as error:  # noqa: BLE001 - methods of the user's classes run here
                future.end_failed(error)
            else:
                future.end(value)


def load(pending: Pending, data: bytes) -> Any:
    """Return the value of a call; raise what loading raises, or RemoteError if that ends programs.

    SystemExit and KeyboardInterrupt would end the caller, or the thread that delivers the value.
    """
    try:
        return payload.load_outcomes(data) if pending.each else payload.load_value(data)
    except Exception:
        raise
    except BaseException as error:
        raise RemoteError(
            f"The value of {pending.name} cannot be loaded here ({last_line(error)}). Return data."
        ) from error
