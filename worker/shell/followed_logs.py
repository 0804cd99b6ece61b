"""Output of running attempts on its way to the store, while somebody follows it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from mrcore.model.ids import AttemptId
from mrcore.model.partial_log import MAX_PARTIAL_BYTES
from mrcore.tasks.child.protocol import JobFile
from mrcore.worker.shell.child_process import Running
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
        job_of: Callable[[str], JobFile],
        group: asyncio.TaskGroup,
    ) -> None:
        """Begin to store what the followed attempts have printed since the last look."""
        self._sizes = {name: size for name, size in self._sizes.items() if name in followed}
        for one in running:
            if one.attempt not in followed or one.log_path is None or one.attempt in self._writing:
                continue
            text, size = _end_of(one.log_path)
            if text and size != self._sizes.get(one.attempt):
                self._sizes[one.attempt] = size
                job = job_of(one.attempt.task.job_id)
                self._writing.add(one.attempt)
                group.create_task(self._write(job, one.attempt, text, size))

    async def _write(self, job: JobFile, attempt: AttemptId, text: bytes, size: int) -> None:
        try:
            await in_thread(self._store, job, attempt, text, size)
        finally:
            self._writing.discard(attempt)


def _end_of(path: Path) -> tuple[bytes, int]:
    """Return the end of a log, and the size of all of it; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - MAX_PARTIAL_BYTES))
            text = stream.read(MAX_PARTIAL_BYTES)
    except OSError:
        return b"", 0
    return text, max(size, len(text))
