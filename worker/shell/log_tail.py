"""Output of dead children on its way to the store."""

from __future__ import annotations

from collections.abc import Callable

from mrcore.model.ids import AttemptId
from mrcore.tasks.child.attempt_log import MAX_LOG_BYTES
from mrcore.tasks.child.protocol import JobFile
from mrcore.worker.core.limits import Limits
from mrcore.worker.shell.child_process import ChildProcess
from mrcore.worker.shell.threads import in_thread


class LogTails:
    """The logs of attempts that have died, in memory as far as the limit of all together allows."""

    def __init__(
        self, store_log: Callable[[JobFile, AttemptId, bytes], None], limits: Limits
    ) -> None:
        self.held_bytes = 0
        self._store_log = store_log
        self._limits = limits

    def take(self, child: ChildProcess) -> bytes:
        """Return the end of what a child has printed: less while much is held already."""
        room = self._limits.log_tails_bytes_max - self.held_bytes
        text = child.log_tail(min(MAX_LOG_BYTES, max(room, self._limits.log_tail_bytes_min)))
        self.held_bytes += len(text)
        return text

    async def store(self, job: JobFile, attempt: AttemptId, text: bytes) -> None:
        """Store what `take` has returned."""
        if text:
            await in_thread(self._store_log, job, attempt, text)
        self.drop(text)

    def drop(self, text: bytes) -> None:
        """Forget what `take` has returned."""
        self.held_bytes -= len(text)
