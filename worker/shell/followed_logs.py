"""Output of running attempts on its way to the store, while somebody follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

from mrcore.model.ids import AttemptId
from mrcore.model.partial_log import MAX_PARTIAL_BYTES
from mrcore.tasks.child.protocol import JobFile
from mrcore.worker.shell.child_process import Running, end_of_log
from mrcore.worker.shell.jobs import Jobs
from mrcore.worker.shell.threads import in_thread


class FollowedLogs:
    """The logs that are stored again and again while their attempts run: one write each at a time.

    An object of its own takes them. So a slow write cannot replace the log that the child stores
    when the attempt has ended.
    """

    def __init__(self, store: Callable[[JobFile, AttemptId, bytes, int], None]) -> None:
        self._store = store
        self._sizes: dict[AttemptId, int] = {}
        """Bytes that each followed attempt had printed at the last look."""
        self._writing: set[AttemptId] = set()

    def look(
        self,
        followed: Collection[AttemptId],
        running: Iterable[Running],
        jobs: Jobs,
        group: asyncio.TaskGroup,
    ) -> None:
        """Begin to store what the followed attempts have printed since the last look."""
        self._sizes = {name: size for name, size in self._sizes.items() if name in followed}
        for one in running:
            if one.attempt not in followed or one.log_path is None or one.attempt in self._writing:
                continue
            text, size = end_of_log(one.log_path, MAX_PARTIAL_BYTES)
            if text and size != self._sizes.get(one.attempt):
                self._sizes[one.attempt] = size
                job = jobs[one.attempt.task.job_id]
                self._writing.add(one.attempt)
                group.create_task(self._write(job, one.attempt, text, size))

    async def _write(self, job: JobFile, attempt: AttemptId, text: bytes, size: int) -> None:
        try:
            await in_thread(self._store, job, attempt, text, size)
        finally:
            self._writing.discard(attempt)
