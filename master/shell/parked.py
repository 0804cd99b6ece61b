"""Requests of workers that wait for their answer: the newest of each worker and session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mrcore.errors import UnavailableError
from mrcore.master.core.commands import Command, Reply, Superseded

if TYPE_CHECKING:
    from mrcore.master.core.events import Synced
    from mrcore.master.core.volatile import Worker

Answer: TypeAlias = Reply | Superseded


class _Request(NamedTuple):
    """A request that waits."""

    event: Synced
    future: asyncio.Future[Answer]
    came_at: float


class ParkedRequests:
    """Futures of the calls that wait, by worker and session. Owned by one event loop."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, event: Synced, worker: Worker | None, now: float) -> asyncio.Future[Answer]:
        """Enter a request and return the future of its answer; it replaces an earlier one.

        `worker` is the machine's record of the sender. Raises UnavailableError for a request that
        the machine would ignore, whose caller would wait in vain.
        """
        key = (event.worker_id, event.session)
        earlier = self._requests.get(key)
        newest = worker.sequence if worker is not None and worker.session == event.session else -1
        if worker is not None and worker.session < event.session:
            # The former process asks again and learns then that it was superseded.
            former = self._requests.get((worker.id, worker.session))
            self._refuse(former, "A new process has this worker's id.")
        if event.sequence <= newest:
            raise UnavailableError("A later request of this worker has been heard.")
        if earlier is not None and event.sequence <= earlier.event.sequence:
            raise UnavailableError("A later request of this worker is being answered.")
        self._refuse(earlier, "This worker has sent a later request.")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._requests[key] = _Request(event, future, now)
        return future

    def remove(self, event: Synced, future: asyncio.Future[Answer]) -> None:
        """Forget a request whose caller has gone, unless a later one has replaced it."""
        key = (event.worker_id, event.session)
        newest = self._requests.get(key)
        if newest is not None and newest.future is future:
            del self._requests[key]

    def is_wanted(self, command: Command) -> bool:
        """Return whether somebody still waits for what a command does."""
        return not isinstance(command, Reply | Superseded) or self._asked(command) is not None

    def answer(self, answer: Answer) -> None:
        """Send an answer to the call that waits for it, if there is one."""
        future = self._asked(answer)
        if future is not None and not future.done():
            future.set_result(answer)

    def refuse_epoch(self, epoch: int, problem: str) -> None:
        """Answer the requests that name this epoch with UNAVAILABLE."""
        for request in self._requests.values():
            if request.event.epoch == epoch:
                self._refuse(request, problem)

    def refuse_before(self, came_at: float, problem: str) -> None:
        """Answer the requests that came before some time with UNAVAILABLE."""
        for request in self._requests.values():
            if request.came_at < came_at:
                self._refuse(request, problem)

    def refuse_all(self, problem: str) -> None:
        """Answer every request with UNAVAILABLE."""
        for request in self._requests.values():
            self._refuse(request, problem)

    def _asked(self, answer: Answer) -> asyncio.Future[Answer] | None:
        """Return the future of the request that this is the answer to."""
        request = self._requests.get((answer.worker_id, answer.session))
        if request is None or request.event.sequence != answer.sequence:
            return None
        return request.future

    @staticmethod
    def _refuse(request: _Request | None, problem: str) -> None:
        if request is not None and not request.future.done():
            request.future.set_exception(UnavailableError(problem))
