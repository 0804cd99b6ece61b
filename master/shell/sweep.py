"""Deletion of plans, plugins and logs of jobs that the master has forgotten.

The journal stays as it is. Only what has not changed for a day goes, so that neither a submission
that is being planned nor a worker that still writes a log meets the sweep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Final

from mrcore.errors import StorageError
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.objects import KEPT_SECONDS, Objects
from mrcore.master.shell.submissions import Submissions
from mrcore.model import object_names
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

FIRST_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 3_600.0
AGE_SECONDS: Final = 86_400.0
"""Objects that changed later than this are left alone."""


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
    ) -> None:
        self._shell = shell
        self._submissions = submissions
        self._objects = objects
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock

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
        """Delete what belongs to no job that is remembered; return the number of objects.

        Raises FencedError where another master leads: it knows jobs that this one does not.
        """
        if not await self._shell.leads():
            return 0
        self._submissions.begin_sweep()
        records = self._shell.machine.cluster.durable.jobs
        digests = {record.spec.plugin.sha256 for record in records.values()}
        live = {name: record for name, record in records.items() if not record.state.final}
        named = {
            sha256
            for record in live.values()
            if record.calls is not None
            for plan in record.calls.plans.values()
            for sha256 in plan.stored
        }
        objects = object_names.objects_prefix(self._state_uri)
        named |= {
            given.uri.removeprefix(objects)
            for record in live.values()
            for given in record.spec.inputs
            if given.uri.startswith(objects)
        }
        deleted = await asyncio.to_thread(self._sweep, frozenset(records), digests)
        deleted += await asyncio.to_thread(self._objects.sweep, named, self._is_read)
        if deleted:
            log.info("deleted %d objects of forgotten jobs", deleted)
        return deleted

    def _is_read(self, job_id: str) -> bool:
        """Return whether somebody may read results of a job or a session; from any thread.

        It is asked after the results were listed: a session that was opened since has its record.
        """
        record = self._shell.machine.cluster.durable.jobs.get(job_id)
        if record is None:
            return False
        # The results of a job are for its client to read once it has ended.
        is_recent = record.ended_seconds > self._clock.wall() - KEPT_SECONDS
        return not record.state.final or (record.calls is None and is_recent)

    def _sweep(self, jobs: Collection[str], digests: Collection[str]) -> int:
        before = self._clock.wall() - AGE_SECONDS
        deleted = 0
        for prefix in (
            object_names.plans_prefix(self._state_uri),
            object_names.logs_prefix(self._state_uri),
        ):
            for folder in list(self._storage.list(prefix, recursive=False)):
                if folder.is_folder and folder.uri[len(prefix) : -1] not in jobs:
                    deleted += sum(self._delete_old(folder.uri, before))
                    self._storage.prune(folder.uri)
        prefix = object_names.plugins_prefix(self._state_uri)
        for plugin in list(self._storage.list(prefix)):
            sha256 = plugin.uri[len(prefix) :]
            if sha256 not in digests and _is_old(plugin, before):
                deleted += self._submissions.unless_wanted(sha256, self._deleting(plugin))
        return deleted

    def _delete_old(self, folder_uri: str, before: float) -> Iterator[bool]:
        for info in list(self._storage.list(folder_uri)):
            if _is_old(info, before):
                yield self._deleting(info)()

    def _deleting(self, info: ObjectInfo) -> Callable[[], bool]:
        return lambda: self._storage.delete(info.uri, generation=info.generation)


def _is_old(info: ObjectInfo, before: float) -> bool:
    return 0.0 < info.modified_seconds < before
