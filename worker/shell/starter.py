"""Starter of children: the fork server, while it lives, and the number of each child."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from mrcore.util.forks import ForkServerGoneError
from mrcore.worker.core.limits import Limits
from mrcore.worker.shell import exit_reasons
from mrcore.worker.shell.child_process import ChildProcess
from mrcore.worker.shell.fork_server import ForkServer
from mrcore.worker.shell.orphans import Orphans, child_mark
from mrcore.worker.shell.starts import Starts

log = logging.getLogger("mrcore.worker")


class Starter:
    """Owner of the fork server. Children can be started only while that is ready.

    It calls `on_change` when the server has become ready or has ended, and `on_bad_start` with a
    reason when the system refuses a process, or the server has ended before its first child.
    """

    def __init__(
        self,
        environment: dict[str, str],
        scratch: Path,
        limits: Limits,
        starts: Starts,
        orphans: Orphans,
        *,
        provide_folders: Callable[[], None],
        on_change: Callable[[], None],
        on_bad_start: Callable[[str], None],
    ) -> None:
        self.started = 0
        """Children so far, those that could not be started included."""
        self._scratch = scratch
        self._limits = limits
        self._starts = starts
        self._orphans = orphans
        self._provide_folders = provide_folders
        self._on_change = on_change
        self._on_bad_start = on_bad_start
        self._server = ForkServer(environment, limits.fork_seconds)
        self._loop: asyncio.AbstractEventLoop | None = None

    def may_start(self) -> bool:
        """Return whether a child can be started now; if there is no server, start one."""
        if not self._starts.may_start():
            return False
        try:
            self._provide_folders()
            if self._server.process_id is None:
                self._server.start(self._scratch)
                self._listen()
        except OSError as error:
            self._on_bad_start(exit_reasons.system_reason(error, self._scratch))
        return self._server.is_ready

    def start(self) -> ChildProcess | None:
        """Start a child; return None if the system refuses it, or the server is gone."""
        self.started += 1
        try:
            return ChildProcess(
                self._scratch, self._server, self.started, self._limits, self._orphans
            )
        except ForkServerGoneError:
            self._end_server()
        except OSError as error:
            self._on_bad_start(exit_reasons.system_reason(error, self._scratch))
        return None

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the server in this loop from now on."""
        self._loop = loop
        self._listen()

    def process_ids(self) -> set[int]:
        """Return the id of the server, if there is one."""
        return set() if self._server.process_id is None else {self._server.process_id}

    def marks(self) -> set[str]:
        """Return the mark of the server: a fork may still carry it."""
        return {child_mark(self._scratch, 0)}

    def close(self) -> None:
        """End the server."""
        self._unlisten()
        self._server.close()

    def _listen(self) -> None:
        if self._loop is not None and self._server.process_id is not None:
            self._loop.add_reader(self._server.descriptor, self._on_readable)

    def _unlisten(self) -> None:
        if self._loop is not None and self._server.process_id is not None:
            self._loop.remove_reader(self._server.descriptor)

    def _on_readable(self) -> None:
        if not self._server.look():
            self._end_server()
            self.may_start()  # so that the next child need not wait for its imports
        self._on_change()

    def _end_server(self) -> None:
        self._unlisten()
        process_id, has_forked = self._server.process_id, self._server.has_forked
        status, printed = self._server.close()
        reason = exit_reasons.start_reason(status, printed, self._scratch)
        if has_forked:
            log.warning("the fork server %d is started again: %s", process_id, reason)
        else:
            self._on_bad_start(reason)
