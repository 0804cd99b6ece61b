"""Cluster on this machine: a real master and real workers, as child processes.

All processes are started at once, as forks of one that has imported what they need. They live in
sessions of their own, so that Ctrl-C reaches only the client, and hold one end of a pipe, the
lifeline: when the client is gone, however it went, they read its end and leave. A daemon that dies
while the job runs is started again, a few times. On the folder of a run that was interrupted the
master goes on from that run's journal.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import shutil
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mrcore.engine import history
from mrcore.engine.daemons import STOP_SECONDS, UNKNOWN, Daemon, Launcher
from mrcore.errors import MrcoreError
from mrcore.model.master import MasterRole, MasterView
from mrcore.model.snapshots import JobView
from mrcore.plugin import nesting
from mrcore.rpc.cluster import Credentials
from mrcore.storage.registry import storage_for
from mrcore.util import host
from mrcore.util.clock import SYSTEM, Clock

START_SECONDS: Final = 30.0
"""A master that has not said its address by then is given up."""
_RESTARTS: Final = 3
"""Times that a daemon of this cluster is started again before it is given up."""
_PLAIN_LOG: Final = ("--log-format", "plain")
"""People read the logs of an embedded run, in its folder."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Networks of this machine in which the first masters and workers are started."""

    masters: Sequence[tuple[str, Sequence[str]]] = ()
    """Address at which each of them listens, with TLS, and the words that start it there."""
    workers: Sequence[Sequence[str]] = ()
    """Words that start each of them there."""


HERE: Final = Placement()
"""Placement of all processes in the network of this one."""


class EmbeddedCluster:
    """Masters and workers with `slots` slots each, for as long as the `with` block.

    `restart_dead` has to be called now and then: it starts daemons again that have died.
    """

    def __init__(
        self,
        *,
        workers: int,
        masters: int = 1,
        slots: int = 1,
        memory_bytes: int = 0,
        cpus: float = 0.0,
        labels: Sequence[str] = (),
        cwd: Path,
        folder: history.RunFolder | None = None,
        state_uri: str | None = None,
        forgive_seconds: float = math.inf,
        variables: Mapping[str, str] | None = None,
        placement: Placement = HERE,
        clock: Clock = SYSTEM,
    ) -> None:
        """Prepare a cluster; entering the block starts it.

        `folder` is that of a run that was interrupted, and whose state the master goes on from.
        With `state_uri` the state is there, and not in the folder. A death of a daemon no longer
        counts after `forgive_seconds`. All masters but the first stand by. `variables` are added to
        the environment of the daemons.
        """
        nesting.check_allowed()
        self._cwd = cwd
        self._clock = clock
        self._forgive_seconds = forgive_seconds
        self._variables = variables
        self._placement = placement
        self._prefixes: dict[Daemon, tuple[str, ...]] = {}
        """Prefixes of the commands of daemons in networks of their own."""
        self._hosts: dict[Daemon, str] = {}
        """Addresses of masters in networks of their own."""
        self._deaths: deque[float] = deque()
        self._credentials: Credentials | None = None
        self._takes_over = folder is not None
        self._waits = folder is not None or state_uri is not None or masters > 1
        """Whether others begin only once the first master serves."""
        self._lock = threading.RLock()
        self._closed = False
        self.folder = folder or history.RunFolder.create(clock)
        self.state_uri = state_uri or self.folder.state_uri
        self._master_arguments = ["--state", self.state_uri, *_PLAIN_LOG]
        self._master_arguments += ["--expect-slots", str(workers * slots)]
        if placement.masters:
            self._master_arguments.append("--tls")
        self._named_masters = 0
        self._masters = [self._new_master() for _ in range(masters)]
        self._master = self._masters[0]
        self._slot_bytes = memory_bytes or host.slot_bytes(max(1, workers * slots))
        self._worker_arguments = ["--state", self.state_uri, "--slots", str(slots)]
        self._worker_arguments += ["--memory", str(self._slot_bytes)]
        if cpus:
            self._worker_arguments += ["--cpus", f"{cpus:g}"]
        for label in labels:
            self._worker_arguments += ["--label", label]
        self._worker_arguments += ["--scratch", str(self.folder.path / "scratch"), *_PLAIN_LOG]
        self._launchers: list[Launcher] = []
        self._named = 0
        self._leaving: list[Daemon] = []
        self._workers = [self._new_worker() for _ in range(workers)]
        self._lifeline_read, self._lifeline_write = os.pipe()
        self._ready_read = -1

    def __enter__(self) -> Self:
        try:
            self._start_master(self._any_port(self._master))
            if self._waits:
                self._wait_for_master()  # until then the state names the former one, or nobody
            for master in self._masters[1:]:
                self._start_standby(master)
            for worker in self._workers:
                self._start_worker(worker)
            history.sweep(history.KEEP_SECONDS, clock=self._clock)
        except BaseException:
            self.close(stop_seconds=0.0)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nobody waits for the work of a run that was interrupted or went wrong.
        self.close(STOP_SECONDS if kind is None else 1.0)

    def credentials(self) -> Credentials:
        """Wait until the master serves, and return how to call it."""
        if self._credentials is None:
            if not self._waits:
                self._wait_for_master()
            self._credentials = self.find()
        return self._credentials

    def find(self) -> Credentials:
        """Return how to call the master that leads now."""
        from mrcore.rpc.credentials import state_credentials

        return state_credentials(self.state_uri)

    def process_ids(self) -> tuple[int, ...]:
        """Return the ids of the masters and the workers."""
        return tuple(daemon.process_id for daemon in (*self._masters, *self._workers))

    @property
    def masters(self) -> tuple[Daemon, ...]:
        """Return the masters: the first began as the leader."""
        return tuple(self._masters)

    @property
    def workers(self) -> tuple[Daemon, ...]:
        """Return the workers, none that was asked to leave."""
        return tuple(self._workers)

    @property
    def worker_count(self) -> int:
        """Return the number of workers that run or start; none that was asked to leave."""
        return len(self._workers)

    def record(self, job: JobView) -> None:
        """Write down what is known of the job, for `mrcore jobs`, `show` and `logs`."""
        self.folder.record(job)

    def scale(self, workers: int) -> None:
        """Start workers, or let the newest ones finish what they have and leave."""
        with self._lock:
            while not self._closed and len(self._workers) < workers:
                worker = self._new_worker()
                self._start_worker(worker)
                self._workers.append(worker)
            while len(self._workers) > workers:
                worker = self._workers.pop()
                worker.terminate()
                self._leaving.append(worker)

    def scale_masters(self, masters: int) -> None:
        """Start masters that stand by, or end the newest ones that do not lead."""
        with self._lock:
            while not self._closed and len(self._masters) < masters:
                master = self._new_master()
                self._start_standby(master)
                self._masters.append(master)
            if len(self._masters) > masters:
                leader = self.leader_process()
                for master in reversed([one for one in self._masters if one.process_id != leader]):
                    if len(self._masters) > masters:
                        self._masters.remove(master)
                        master.terminate()
                        self._leaving.append(master)

    def leader_process(self) -> int:
        """Return the id of the process that leads, as far as the state shows."""
        found = self.master_views()
        leaders = (one.process_id for one in found if one.role is MasterRole.LEADER)
        return next(filter(None, leaders), self._masters[0].process_id)

    def master_views(self) -> tuple[MasterView, ...]:
        """Return the masters as the state shows them."""
        from mrcore.rpc.masters import masters_of

        return masters_of(storage_for(self.state_uri), self.state_uri, self._clock.wall())

    def restart_dead(self, spare: Collection[Daemon] = ()) -> None:
        """Start daemons again that died; raise MrcoreError with their last words if that fails.

        Those of `spare` stay dead.
        """
        with self._lock:
            if self._closed:
                return
            self._leaving = [worker for worker in self._leaving if worker.exit_code() is None]
            for daemon in (*self._masters, *self._workers):
                code = None if daemon in spare else daemon.exit_code()
                if code is not None:
                    self._start_again(daemon, code)

    def close(self, stop_seconds: float = STOP_SECONDS) -> None:
        """Stop the workers, then the masters, each with SIGTERM and at last SIGKILL."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for launcher in self._launchers:
            launcher.stop()
        for group in ([*self._workers, *self._leaving], self._masters):
            for daemon in group:
                daemon.terminate()
            end = self._clock.monotonic() + stop_seconds
            for daemon in group:
                daemon.wait_or_kill(end - self._clock.monotonic())
        for launcher in self._launchers:
            launcher.close()
        for handle in (self._lifeline_read, self._lifeline_write, self._ready_read):
            if handle >= 0:
                os.close(handle)
        self._lifeline_read = self._lifeline_write = self._ready_read = -1
        shutil.rmtree(self.folder.path / "scratch", ignore_errors=True)
        self.folder.close()

    def _start_again(self, daemon: Daemon, code: int) -> None:
        now = self._clock.monotonic()
        while self._deaths and now - self._deaths[0] > self._forgive_seconds:
            self._deaths.popleft()
        self._deaths.append(now)
        if len(self._deaths) > _RESTARTS:
            raise self._exit_error(daemon, code)
        if daemon in self._masters and len(self._masters) > 1:
            self._start_standby(daemon)
        elif daemon in self._masters:
            self._master = daemon
            # Workers and client know it by its address.
            self._start_master(self.credentials().address)
        else:
            self._start_worker(daemon)

    def _new_worker(self) -> Daemon:
        # A process that is started again under its former name tells the master at once that
        # what the former one held is gone: no lease has to end first.
        self._named += 1
        name = f"worker-{self._named}"
        log_path = self.folder.path / f"{name}.log"
        worker = Daemon("worker", [*self._worker_arguments, "--id", name], log_path)
        if self._named <= len(self._placement.workers):
            self._prefixes[worker] = tuple(self._placement.workers[self._named - 1])
        return worker

    def _start_master(self, address: str) -> None:
        if self._ready_read >= 0:
            os.close(self._ready_read)
        self._ready_read, ready_write = os.pipe()
        try:
            self._start(
                self._master,
                (ready_write, self._lifeline_read),
                (
                    *("--listen", address, "--ready-fd", str(ready_write)),
                    # The former master leaves with its client, and may not be gone yet.
                    *(("--take-over",) if self._takes_over else ()),
                    *self._lifeline_option(),
                ),
            )
        finally:
            os.close(ready_write)

    def _new_master(self) -> Daemon:
        self._named_masters += 1
        name = "master" if self._named_masters == 1 else f"master-{self._named_masters}"
        master = Daemon("master", self._master_arguments, self.folder.path / f"{name}.log")
        if self._named_masters <= len(self._placement.masters):
            host, prefix = self._placement.masters[self._named_masters - 1]
            self._hosts[master], self._prefixes[master] = host, tuple(prefix)
        return master

    def _start_standby(self, master: Daemon) -> None:
        options = ("--listen", self._any_port(master), "--standby", *self._lifeline_option())
        self._start(master, (self._lifeline_read,), options)

    def _any_port(self, master: Daemon) -> str:
        return f"{self._hosts.get(master, '127.0.0.1')}:0"

    def _start_worker(self, worker: Daemon) -> None:
        self._start(worker, (self._lifeline_read,), self._lifeline_option())

    def _start(self, daemon: Daemon, descriptors: Sequence[int], extra: Sequence[str]) -> None:
        """Start a daemon by a launcher that is there, or by a new one."""
        prefix = self._prefixes.get(daemon, ())
        for launcher in self._launchers:
            if launcher.prefix != prefix:
                continue
            with contextlib.suppress(OSError):  # gone, or the environment has changed a lot
                daemon.start(launcher, self._cwd, descriptors, extra)
                return
        launcher = Launcher(self.folder.path, self._slot_bytes, self._variables, prefix)
        self._launchers.append(launcher)
        daemon.start(launcher, self._cwd, descriptors, extra)

    def _lifeline_option(self) -> tuple[str, str]:
        return "--lifeline-fd", str(self._lifeline_read)

    def _wait_for_master(self) -> None:
        """Wait for the one line on the ready pipe; its end without a line is a death."""
        readable, _, _ = select.select([self._ready_read], [], [], START_SECONDS)
        if not readable:
            raise MrcoreError(
                f"The embedded master has not started within {START_SECONDS:g} s: "
                f"{self._master.log_tail() or 'it printed nothing'}"
            )
        if not os.read(self._ready_read, 256):
            self._master.wait_or_kill(STOP_SECONDS)
            raise self._exit_error(self._master, self._master.exit_code() or 0)

    def _exit_error(self, daemon: Daemon, code: int) -> MrcoreError:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == UNKNOWN:
            how = "ended, as did the process that had started it"
        tail = daemon.log_tail()
        mark = f"mrcore {daemon.module}: "
        sentences = [line for line in tail.splitlines() if line.startswith(mark)]
        if sentences:
            return MrcoreError(
                f"The embedded {daemon.module} {how}: {sentences[-1].removeprefix(mark)}"
            )
        printed = f"; it printed:\n{tail}" if tail else " and printed nothing."
        return MrcoreError(f"The embedded {daemon.module} {how}{printed}")
