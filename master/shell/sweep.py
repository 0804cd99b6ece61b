"""Deletion of plans, plugins, logs and temporaries of jobs that have expired or are forgotten.

The journal stays as it is. What belongs to no known job goes once it has not changed for a day. So
neither a submission that is being planned nor a worker that still writes a log meets the sweep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from mrcore.errors import StorageError
from mrcore.master.core.expiry import Needs, needs_of
from mrcore.master.shell.leftovers import Kind, Leftovers, prune
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.objects import KEPT_SECONDS, Objects
from mrcore.master.shell.submissions import Submissions
from mrcore.model import object_names
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

FIRST_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 3_600.0


class Sweep:
    """The sweep of a state, which would grow by what belongs to nobody any more."""

    def __init__(
        self,
        shell: Shell,
        submissions: Submissions,
        objects: Objects,
        *,
        storage: Storage,
        state_uri: str,
        clock: Clock,
        kept_seconds: float,
    ) -> None:
        self._shell = shell
        self._submissions = submissions
        self._objects = objects
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock
        self._kept_seconds = kept_seconds

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = PAUSE_SECONDS
            try:
                await self.sweep()
            except StorageError as error:
                log.warning("could not sweep the state", extra={"error": str(error)})

    async def sweep(self) -> int:
        """Delete what belongs to no job that is kept; return the number of objects.

        Raises FencedError where another master leads: it knows jobs that this one does not.
        """
        if not await self._shell.leads():
            return 0
        self._submissions.begin_sweep()
        prefix = object_names.objects_prefix(self._state_uri)
        ended_before = self._clock.wall() - self._kept_seconds
        needs = await self._shell.read(
            lambda machine: needs_of(machine.cluster.durable, ended_before, prefix)
        )
        deleted = await asyncio.to_thread(self._sweep, needs)
        deleted += await asyncio.to_thread(self._objects.sweep, needs.objects, self._is_read)
        if deleted:
            log.info("deleted %d objects of forgotten jobs", deleted)
        return deleted

    def _is_read(self, job_id: str) -> bool:
        """Return whether somebody may read results of a job or a session; from any thread.

        It is asked after the results were listed: a session that was opened since has its record.
        One that has ended is read until its end is durable: the next master may go on with it.
        """
        record = self._shell.machine.cluster.durable.jobs.get(job_id)
        if record is not None:
            # The results of a job are for its client to read once it has ended.
            is_recent = record.ended_seconds > self._clock.wall() - KEPT_SECONDS
            if not record.state.final or (record.calls is None and is_recent):
                return True
        self._shell.wait_flushed()
        return False

    def _sweep(self, needs: Needs) -> int:
        left = Leftovers(self._storage, self._state_uri, needs, self._clock.wall())
        deleted = 0
        for folder in left.folders(Kind.PLANS, Kind.LOGS, Kind.TEMPORARIES):
            deleted += sum(self._deleting(info)() for info in folder.objects)
            prune(self._storage, folder)
        prefix = object_names.plugins_prefix(self._state_uri)
        for plugin in left.plugins():
            sha256 = plugin.uri.removeprefix(prefix)
            deleted += self._submissions.unless_wanted(sha256, self._deleting(plugin))
        return deleted

    def _deleting(self, info: ObjectInfo) -> Callable[[], bool]:
        return lambda: self._storage.delete(info.uri, generation=info.generation)
