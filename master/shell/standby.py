"""The part of a master's life in which it stands by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from mrcore.daemon.systemd import Notifier
from mrcore.errors import StorageError
from mrcore.master.core.machine import Machine
from mrcore.master.shell.assembly import Site
from mrcore.master.shell.calls import SERVICES
from mrcore.master.shell.follower import Follower, Lookout
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.roster import Roster
from mrcore.master.shell.tokens import found_on_loopback
from mrcore.rpc.cluster import Leader, credentials_of
from mrcore.rpc.probe import LeaderProbe
from mrcore.rpc.roles import Role
from mrcore.rpc.server import RpcServer
from mrcore.util.clock import SYSTEM

log = logging.getLogger("mrcore.master")

PROBE_SECONDS: Final = 2.0
"""Time that a leader has to answer."""


class Standby:
    """A master that reads along, refuses calls and names the leader, until it leads itself."""

    def __init__(self, site: Site, server: RpcServer, roster: Roster, notifier: Notifier) -> None:
        self._site = site
        self._server = server
        self._tokens = site.tokens
        self._roster = roster
        self._notifier = notifier
        self._probe = LeaderProbe(PROBE_SECONDS, lambda: site.tokens.read_own(Role.USER))
        self._lookout = Lookout(
            site.storage, site.state_uri, roster, self._probe, socket.gethostname()
        )
        self._named: Leader | None = None

    async def wait(
        self,
        machine: Machine,
        journal: Journal,
        say_ready: Callable[[], None],
        *,
        is_shared: bool,
    ) -> None:
        """Read along until this master leads in the journal; the machine has all of it then.

        `is_shared` is whether other processes of this user may look for this master.
        """
        follower = Follower(
            journal, machine, self._lookout, self._roster, SYSTEM, on_turn=self._name_leader
        )
        await asyncio.to_thread(self._lookout.read_leader)
        await asyncio.to_thread(self._tokens.load)
        self._name_leader()
        leader = self._lookout.leader
        with contextlib.ExitStack() as stack:
            if leader is not None:
                stack.enter_context(self._found_on_loopback(leader, wanted=is_shared))
            if self._site.metrics:
                from mrcore.master.shell.metrics import measured_standby  # slow to load

                measured = measured_standby(self._site.metrics, follower.standing)
                stack.enter_context(measured)
            await self._server.stand_by(SERVICES, leader.address if leader is not None else "")
            # Whoever learns that it is up finds it among the masters. If the store fails, the
            # follower tries again.
            with contextlib.suppress(StorageError):
                await asyncio.to_thread(follower.beat_if_due)
            log.info("stands by for %s", self._site.state_uri)
            say_ready()
            async with asyncio.TaskGroup() as group:
                # A store that does not answer is not a reason to end a standby.
                status = self._notifier.watch(lambda: True, lambda: self._status(journal))
                watch = group.create_task(status)
                try:
                    await asyncio.to_thread(follower.follow)
                finally:
                    follower.stop()
                watch.cancel()
        self._probe.close()

    def _found_on_loopback(
        self, leader: Leader, *, wanted: bool
    ) -> contextlib.AbstractContextManager[None]:
        """Leave credentials for this master, which has the certificate and tokens of the leader."""
        own = credentials_of(leader, self._site.state_uri)
        own = msgspec.structs.replace(own, address=self._roster.record.address)
        return found_on_loopback(own, self._tokens, wanted=wanted)

    def _name_leader(self) -> None:
        """Name the leader to callers, and admit those whom it admits."""
        leader = self._lookout.leader
        if leader is not None and leader is not self._named:
            self._named = leader
            if not self._tokens.table:
                self._tokens.load()
            self._server.name_leader(leader.address)

    def _status(self, journal: Journal) -> str:
        leader = self._lookout.leader
        where = "nobody leads" if leader is None else f"the leader is at {leader.address}"
        return f"stands by at entry {journal.number:,}; {where}"
