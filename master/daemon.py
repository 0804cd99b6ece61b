"""One life of a master: bind, take over, serve, drain.

The order of the start is the order of safety: the port first, so that this master cannot take
itself for the former one; then whether the former one lives; the lock of a state on files; the
journal, which decides; the leader object; and only then does anybody get an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from random import SystemRandom  # noqa: TID251 - the one generator, made here and passed in
from typing import Final

import msgspec

from mrcore.daemon import logs
from mrcore.daemon.collector import collecting_later, keep_all
from mrcore.daemon.systemd import Notifier
from mrcore.errors import AlreadyExistsError, MrcoreError, StorageError, UsageError
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.options import Options
from mrcore.master.shell.assembly import Assembly, Site
from mrcore.master.shell.calls import SERVICES
from mrcore.master.shell.health import Health
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.leader import (
    Cluster,
    announce,
    new_leader,
    open_cluster,
    open_tls,
    protect_state,
    read_leader,
    retire,
)
from mrcore.master.shell.lifeline import watch_lifeline
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.plans import Plans
from mrcore.master.shell.roster import Roster
from mrcore.master.shell.standby import Standby
from mrcore.master.shell.tokens import Tokens, found_on_loopback
from mrcore.model import object_names
from mrcore.model.master import MasterRole
from mrcore.rpc.certificates import TlsKey
from mrcore.rpc.cluster import (
    Leader,
    credentials_of,
    format_address,
    is_loopback,
)
from mrcore.rpc.masters import MasterRecord
from mrcore.rpc.probe import answers
from mrcore.rpc.roles import Role
from mrcore.rpc.server import RpcServer, stop_on_signals
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM

log = logging.getLogger("mrcore.master")

LIVE_SECONDS: Final = 2.0
"""Silence after which a former leader is taken for dead."""
GRACE_SECONDS: Final = 1.0
"""Time for running calls to finish when the master ends; parked ones are woken at once."""
QUIESCE_SECONDS: Final = 3.0
"""Time for commits and clean-ups to finish, and for the last write of the leader object.

The next master finishes what is left.
"""
LOCK_SECONDS: Final = 1.0
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class _EndedError(Exception):
    """The end of a master that has drained: it cancels what still runs beside it."""


async def run(options: Options) -> None:
    """Be the master until a signal says to end; raise MrcoreError for what prevents it."""
    async with stop_on_signals() as stop:
        watch_lifeline(options.lifeline_fd)
        life = _Life(options, Notifier(os.environ))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_leave_early(stop, life))
                await life.live(stop)
        except BaseExceptionGroup as errors:
            error = _cause(errors)
        if isinstance(error, _EndedError):
            log.info("has ended in an orderly way")
        else:
            raise error


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error to tell: the group itself where a defect is among them."""
    errors = list(_leaves(group))
    if any(not isinstance(error, MrcoreError | _EndedError) for error in errors):
        return group
    return next((error for error in errors if isinstance(error, MrcoreError)), errors[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


async def _leave_early(stop: asyncio.Event, life: _Life) -> None:
    """End a master that is stopped before it serves: its start may wait long for a store."""
    await stop.wait()
    if not life.serving:
        raise _EndedError


class _Life:
    """One life of a master, from bind to drain."""

    def __init__(self, options: Options, notifier: Notifier) -> None:
        self._options = options
        self._notifier = notifier
        self._state_uri = options.state_uri
        self._storage = storage_for(options.state_uri)
        self._tokens = Tokens(self._storage, self._state_uri, SYSTEM)
        self._site = Site(
            self._storage,
            self._state_uri,
            SystemRandom(),
            self._tokens,
            starting=self._starting,
            expect_slots=options.expect_slots,
            session_seconds=options.session_seconds,
            kept_seconds=options.kept_seconds,
            fleet=options.fleet,
            metrics=options.metrics,
        )
        self._ready_fd = options.ready_fd
        self.serving = False
        """Set when there is something to drain."""

    async def live(self, stop: asyncio.Event) -> None:
        """Take over, serve until `stop`, drain; end with _EndedError in an exception group."""
        options, storage, state_uri = self._options, self._storage, self._state_uri
        self._protect_state()
        former, _ = await asyncio.to_thread(read_leader, storage, state_uri)
        tls = await asyncio.to_thread(open_tls, storage, state_uri, SYSTEM) if options.tls else None
        server = RpcServer(self._tokens.table)
        port = server.bind(options.host, options.port, tls, mutual=options.mutual_tls)
        address = format_address(self._advertised_host(), port)
        if former is not None and former.serving and former.address != address:
            await self._refuse_beside(former)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tokens.run())
            if not options.standby:
                await self._take_lock(group)
            cluster = await asyncio.to_thread(open_cluster, storage, state_uri)
            logs.add_to_all_lines(cluster=os.environ.get("MRCORE_CLUSTER") or cluster.cluster_id)
            machine = Machine(Limits(), self._site.rng)
            journal = Journal(storage, state_uri, secrets.token_hex(8), SYSTEM)
            roster = self._new_roster(journal, address)
            try:
                if options.standby:
                    await self._stand_by(server, machine, journal, roster)
                    await self._take_lock(group, from_former=True)
                else:
                    await asyncio.to_thread(self._replay, machine, journal)
                keep_all()
                leader = await self._announce(cluster, machine, address, tls)
                assembly = Assembly(self._site, group, server, Shell(machine, journal, SYSTEM))
                plans = Plans(storage, state_uri)
                await assembly.begin(cluster, leader, plans, roster, stop)
                await self._answer_until(stop, group, server, assembly.shell, leader)
            finally:
                await self._leave_roster(roster)
            await self._retire(leader)
            await assembly.retire_fleet()
            raise _EndedError

    def _new_roster(self, journal: Journal, address: str) -> Roster:
        record = MasterRecord(
            master_id=journal.writer,
            address=address,
            role=MasterRole.STANDBY,
            host=socket.gethostname(),
            process_id=os.getpid(),
            started_at=SYSTEM.wall(),
        )
        return Roster(self._storage, self._state_uri, record, SYSTEM)

    async def _stand_by(
        self, server: RpcServer, machine: Machine, journal: Journal, roster: Roster
    ) -> None:
        standby = Standby(self._site, server, roster, self._notifier)
        await standby.wait(
            machine,
            journal,
            lambda: self._say_ready(roster.record.address),
            is_shared=self._is_shared,
        )

    async def _announce(
        self,
        cluster: Cluster,
        machine: Machine,
        address: str,
        tls: TlsKey | None,
    ) -> Leader:
        """Make this master the one that the leader object names, and return that object."""
        storage, state_uri = self._storage, self._state_uri
        leader = new_leader(cluster, machine.cluster.epoch, address, tls)
        # The tokens of a state stay, so that nobody has to look for them again.
        await asyncio.to_thread(self._tokens.open, tls if self._options.mutual_tls else None)
        await asyncio.to_thread(announce, storage, state_uri, leader)
        log.info("leads %s at %s", state_uri, address, extra={"epoch": leader.epoch})
        return leader

    async def _leave_roster(self, roster: Roster) -> None:
        """Remove the record of this master, if the store answers in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIESCE_SECONDS):
                await asyncio.to_thread(roster.leave)

    async def _retire(self, leader: Leader) -> None:
        """Record that this master has ended, if the store answers in time."""
        try:
            async with asyncio.timeout(QUIESCE_SECONDS):
                await asyncio.to_thread(retire, self._storage, self._state_uri, leader)
        except (TimeoutError, StorageError) as error:
            # The next master finds nobody at this address, which is as good.
            why = str(error) or "no answer in time"
            log.warning("the leader object still names this master", extra={"error": why})

    def _protect_state(self) -> None:
        if protect_state(self._storage, self._state_uri):
            where = self._storage.shown(self._state_uri)
            log.warning("other users can read the jobs and plugins in %s", where)

    @property
    def _is_shared(self) -> bool:
        """Return whether other processes of this user may look for this master.

        With a lifeline the cluster belongs to one process, which knows its state.
        """
        return is_loopback(self._options.host) and self._options.lifeline_fd is None

    def _advertised_host(self) -> str:
        if self._options.advertise:
            return self._options.advertise
        host = self._options.host
        return socket.gethostname() if host in _WILDCARDS else host

    async def _refuse_beside(self, former: Leader) -> None:
        """Raise UsageError if the former leader is alive, unless `--take-over` is set."""
        if self._options.take_over or self._options.standby:
            return
        own = await asyncio.to_thread(self._tokens.read_own, Role.USER)
        if await answers(credentials_of(former, self._state_uri, own), LIVE_SECONDS):
            raise UsageError(
                f"A master already leads {self._state_uri}, at {former.address}. Stop it, or add "
                "--take-over to replace it."
            )

    async def _take_lock(self, group: asyncio.TaskGroup, *, from_former: bool = False) -> None:
        """Hold the lock of the state for the life of this process.

        A former master that is replaced keeps it until it has noticed.
        """
        uri = object_names.lock_uri(self._state_uri)
        try:
            self._lock = await asyncio.to_thread(self._storage.lock, uri)
        except AlreadyExistsError:
            if not (from_former or self._options.take_over):
                raise UsageError(
                    f"Another master on this machine holds {self._state_uri}. Stop it, or add "
                    "--take-over to replace it."
                ) from None
            group.create_task(self._lock_later(uri))

    async def _lock_later(self, uri: str) -> None:
        """Take the lock once the replaced master has noticed, and left."""
        while True:
            try:
                self._lock = await asyncio.to_thread(self._storage.lock, uri)
            except AlreadyExistsError:
                await asyncio.sleep(LOCK_SECONDS)
            else:
                return

    def _replay(self, machine: Machine, journal: Journal) -> None:
        """Become the master in the journal, and bring the machine to where it ends; blocks."""
        with collecting_later():
            for read in journal.take_over():
                journal.feed(read, machine)
                self._starting(f"replays the journal: entry {read.number:,}")

    def _starting(self, step: str) -> None:
        """Keep systemd from ending a start that takes long, since it replays a long journal."""
        self._notifier.starting(step, SYSTEM.monotonic())

    async def _answer_until(
        self,
        stop: asyncio.Event,
        group: asyncio.TaskGroup,
        server: RpcServer,
        shell: Shell,
        leader: Leader,
    ) -> None:
        """Let others in until `stop`, then drain."""
        with (
            # Whoever gets an answer at this port finds the credentials for it.
            found_on_loopback(
                credentials_of(leader, self._state_uri),
                self._tokens,
                wanted=self._is_shared,
            ),
            self._watched(group, Health(shell, SYSTEM)),
        ):
            await server.start(SERVICES)
            self.serving = True
            self._say_ready(leader.address)
            await stop.wait()
            log.info("drains")
            self._notifier.send(STOPPING=1)
            server.draining.set()
            shell.dismiss()
            await server.drain(GRACE_SECONDS)
        await shell.quiesce(QUIESCE_SECONDS)

    def _say_ready(self, address: str) -> None:
        """Report that this master serves or stands by: once."""
        self._notifier.send(READY=1)
        descriptor, self._ready_fd = self._ready_fd, None
        if descriptor is not None:
            line = msgspec.json.encode({"address": address, "state_uri": self._state_uri})
            # The process that waited may be gone by now; that is not a failure.
            with contextlib.suppress(BrokenPipeError):
                os.write(descriptor, line + b"\n")
            os.close(descriptor)

    @contextlib.contextmanager
    def _watched(self, group: asyncio.TaskGroup, health: Health) -> Iterator[None]:
        """Let systemd and Prometheus see how this master does."""
        with contextlib.ExitStack() as stack:
            if self._options.metrics:
                from mrcore.master.shell.metrics import measured  # slow to load, and seldom wanted

                stack.enter_context(measured(self._options.metrics, health))
            group.create_task(self._notifier.watch(health.healthy, health.status))
            yield
