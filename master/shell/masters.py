"""The masters of a cluster as the leader sees them, and the leader's own signs of life."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from mrcore.errors import StorageError
from mrcore.master.core.succession import BEAT_SECONDS
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.roster import Listed, Roster
from mrcore.model.master import MasterRole, MasterView
from mrcore.rpc.cluster import Leader
from mrcore.rpc.masters import master_views
from mrcore.rpc.server import RpcServer
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

LIST_SECONDS: Final = 10.0
"""Time between two looks for standbys: a listing costs money on a bucket."""
LONELY_SECONDS: Final = 60.0
"""Time between two signs of life while there is no standby. They are for people to see."""


class Masters:
    """Owner of the leader's record, and of what is known of the standbys."""

    def __init__(
        self, shell: Shell, roster: Roster, leader: Leader, server: RpcServer, clock: Clock
    ) -> None:
        self._shell = shell
        self._roster = roster
        self._leader = leader
        self._server = server
        self._clock = clock
        self._listed_at = self._beat_at = float("-inf")

    async def run(self) -> None:
        """Leave signs of life while there are standbys, and name all masters to callers."""
        while True:
            try:
                await asyncio.to_thread(self._turn)
            except StorageError as error:
                log.warning("the masters cannot be listed", extra={"error": str(error)})
            self._name()
            await asyncio.sleep(BEAT_SECONDS)

    async def views(self) -> tuple[MasterView, ...]:
        """Return the masters as they are now, the leader first."""
        await asyncio.to_thread(self._roster.read)
        return self._name()

    def _name(self) -> tuple[MasterView, ...]:
        """Name the masters that are known to callers, and return them."""
        views = self._known()
        self._server.name_masters([view.address for view in views])
        return views

    def _turn(self) -> None:
        first = self._roster.record.role is not MasterRole.LEADER
        alone = len(self._roster.listed) < 2
        now = self._clock.monotonic()
        if first or not alone or now - self._beat_at >= LONELY_SECONDS:
            self._beat_at = now
            self._roster.beat(MasterRole.LEADER, self._leader.epoch, self._shell.entry)
        if now - self._listed_at >= LIST_SECONDS:
            self._roster.read()
            self._roster.sweep()
            self._listed_at = now

    def _known(self) -> tuple[MasterView, ...]:
        wall = self._clock.wall()
        others = master_views(self._others(), None, wall)
        own = self._roster.record
        return (
            MasterView(
                master_id=own.master_id,
                address=own.address,
                role=MasterRole.LEADER,
                host=own.host,
                process_id=own.process_id,
                epoch=self._leader.epoch,
                entry=self._shell.entry,
                started_at=own.started_at,
            ),
            *others,
        )

    def _others(self) -> list[Listed]:
        own = self._roster.record.master_id
        return [one for one in self._roster.listed if one[1].master_id != own]
