"""Calls of a kept session, taken up by another client than the one that has made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrcore.cluster.futures import CallFuture
from mrcore.cluster.options import CallOptions
from mrcore.cluster.pending import Pending, Session
from mrcore.errors import UnknownJobError, UsageError
from mrcore.model.stages import CALL

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient
    from mrcore.cluster.calls import Calls


def attach(calls: Calls, master: MasterClient, session_id: str) -> dict[int, CallFuture[Any]]:
    """Return the futures of all calls of a session, by number; see `Client.attach`."""
    job = master.get(session_id)
    if [stage.name for stage in job.stages] != [CALL]:
        raise UsageError(
            f"{session_id} is a job, and not a session of calls. Use job({session_id!r})."
        )
    if job.state.final:
        why = f": {job.message}" if job.message else "."
        raise UnknownJobError(f"The session {session_id} has ended, and its values are gone{why}")
    session = Session(CallOptions(keep=True))
    session.session_id = session_id
    session.is_attached = session.is_closing = True
    found: dict[int, CallFuture[Any]] = {}
    for task in master.tasks(session_id):
        pending = Pending(
            board=calls.board,
            session=session,
            function="",
            arguments=b"",
            arguments_object="",
            needs=(),
            objects=(),
            each=False,
            owner=calls.owner(),
            index=task.index,
        )
        future: CallFuture[Any] = CallFuture(pending)
        pending.future = future
        session.live[task.index] = pending
        found[task.index] = future
    session.sent = len(found)
    if found:
        calls.watch(session)
    return found
