"""The cluster of a rehearsal: real daemons that are hurt, and that come back when they should."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mrcore.chaos.core.settings import Settings, cables
from mrcore.chaos.disk import ScratchDisk, can_mount
from mrcore.chaos.janitor import Janitor
from mrcore.chaos.memory import WorkerMemory, make_memory
from mrcore.chaos.network import Network
from mrcore.chaos.processes import newest, send, task_children
from mrcore.client.client import MasterClient
from mrcore.engine.daemons import Daemon
from mrcore.engine.embedded import HERE, EmbeddedCluster, Placement
from mrcore.errors import MrcoreError
from mrcore.rpc.credentials import find_credentials
from mrcore.storage.injected import FaultRates, write_rates
from mrcore.storage.registry import FAULTS_VARIABLE
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.proc import descendants

SLOW_STEP_SECONDS: Final = 0.05
"""Time for which a slowed worker runs, before it stands still for nine times as long."""
TEND_SECONDS: Final = 0.1
"""Time between two looks at the processes."""


class Site:
    """A cluster and the means to hurt it. Every method may be called by any thread."""

    def __init__(
        self,
        cluster: EmbeddedCluster,
        janitor: Janitor,
        faults_path: Path,
        clock: Clock,
        *,
        network: Network | None = None,
        disk: ScratchDisk | None = None,
        memory: WorkerMemory | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.cluster = cluster
        self.janitor = janitor
        self.network = network
        self.disk = disk
        self.memory = memory
        self.notes = notes
        """Sentences on what is done in another way than on a machine that has everything."""
        self.faults_path = faults_path
        self._clock = clock
        self._lock = threading.Lock()
        self._rates = FaultRates()
        self._cut_off: set[int] = set()
        """Processes that cannot reach the store."""
        self._dead_until: dict[Daemon, float] = {}
        """Daemons that were killed, and the time from which they may be started again."""
        self._stopping = threading.Event()
        self._error: MrcoreError | None = None
        self._thread = threading.Thread(target=self._tend, name="mrcore-chaos-tend", daemon=True)
        self._thread.start()

    def client(self) -> MasterClient:
        """Return a client of whichever master leads."""
        uri = self.cluster.state_uri
        return MasterClient(
            self.cluster.credentials(),
            find=lambda: find_credentials(None, uri, None, reach_seconds=None),
        )

    def check(self) -> None:
        """Raise what has gone wrong with the processes beyond what was done to them."""
        if self._error is not None:
            raise self._error

    def leader(self) -> Daemon:
        """Return the master that leads, as far as the state shows."""
        process_id = self.cluster.leader_process()
        masters = self.cluster.masters
        return next((one for one in masters if _is(one, process_id)), masters[0])

    def standby(self) -> Daemon | None:
        """Return a master that lives and does not lead; None where there is none."""
        leader = self.leader()
        others = (one for one in self.cluster.masters if one is not leader)
        return next((one for one in others if one.exit_code() is None), None)

    def worker(self, number: int) -> Daemon:
        """Return a worker by its number, from 0."""
        workers = self.cluster.workers
        return workers[number % len(workers)]

    @contextlib.contextmanager
    def master_cut_off(self, master: Daemon, *, with_store: bool) -> Iterator[None]:
        """Cut a master off from all others for the length of the block."""
        assert self.network is not None
        cable = self.network.masters[self.cluster.masters.index(master)]
        process_ids = {master.process_id} if with_store else set()
        with self.network.cut(cable):
            try:
                self._change_store(lambda: self._cut_off.update(process_ids))
                yield
            finally:
                self._change_store(lambda: self._cut_off.difference_update(process_ids))

    def has_caught_up(self, master: Daemon, heard_seconds: float) -> bool:
        """Return whether a master has read the whole journal, by a record that is not older."""
        return any(
            view.process_id == master.process_id
            and view.behind == 0
            and view.heard_seconds < heard_seconds
            for view in self.cluster.master_views()
        )

    def kill(self, daemon: Daemon, dead_seconds: float) -> None:
        """Kill a daemon; it is started again after this time."""
        with self._lock:
            self._dead_until[daemon] = self._clock.monotonic() + dead_seconds
        daemon.kill()

    @contextlib.contextmanager
    def stopped(self, daemon: Daemon) -> Iterator[None]:
        """Stop a daemon and its processes for the length of the block, as a machine that hangs."""
        ids = [daemon.process_id, *descendants(daemon.process_id)]
        with self.janitor.undone_by("kill", "-CONT", *map(str, ids)):
            try:
                send(ids, signal.SIGSTOP)
                yield
            finally:
                send(ids, signal.SIGCONT)

    @contextlib.contextmanager
    def slowed(self, worker: Daemon) -> Iterator[None]:
        """Let user code on a worker run at a tenth of its speed, as with a bad disk."""
        over = threading.Event()

        def brake() -> None:
            while not over.wait(SLOW_STEP_SECONDS):
                children = task_children(worker.process_id)
                with self.janitor.undone_by("kill", "-CONT", *map(str, children)):
                    try:
                        send(children, signal.SIGSTOP)
                        over.wait(9 * SLOW_STEP_SECONDS)
                    finally:
                        send(children, signal.SIGCONT)

        thread = threading.Thread(target=brake, name="mrcore-chaos-brake", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def kill_child(self, worker: Daemon) -> int | None:
        """Have a process of user code killed for want of memory; return its id.

        Return 0 where the kernel has killed another process of the worker, and None where no user
        code runs there.
        """
        child = newest(task_children(worker.process_id))
        if child is None:
            return None
        if self.memory is not None:
            return child if self.memory.run_short(worker.name, child) else 0
        send([child], signal.SIGKILL)
        return child

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[str]:
        """Fill a disk for the length of the block; yield which one."""
        if self.disk is not None:
            with self.disk.full():
                yield "the scratch disk of the workers"
            return
        self.set_faults(full=True)
        try:
            yield "the store, for each write"
        finally:
            self.set_faults(full=False)

    def set_faults(self, **changes: object) -> None:
        """Change what goes wrong with the store from now on."""
        self._change_store(lambda: None, **changes)

    def _change_store(self, change: Callable[[], object], **changes: object) -> None:
        with self._lock:
            change()
            values = {name: getattr(self._rates, name) for name in FaultRates.__struct_fields__}
            self._rates = FaultRates(**{**values, **changes, "cut_off": tuple(self._cut_off)})
            write_rates(self.faults_path, self._rates)

    def close(self) -> None:
        """Stop tending; the processes are the cluster's."""
        self._stopping.set()
        self._thread.join()

    def _tend(self) -> None:
        while not self._stopping.wait(TEND_SECONDS):
            now = self._clock.monotonic()
            with self._lock:
                self._dead_until = {
                    one: until for one, until in self._dead_until.items() if until > now
                }
                spare = set(self._dead_until)
            try:
                self.cluster.restart_dead(spare)
            except MrcoreError as error:
                self._error = error
                return
            if self.memory is not None:
                self._hold_workers(self.memory)

    def _hold_workers(self, memory: WorkerMemory) -> None:
        """Put workers that have started into their groups, before they start children."""
        for worker in self.cluster.workers:
            with contextlib.suppress(OSError, MrcoreError):  # it has died just now
                memory.hold(worker.name, worker.process_id, descendants(worker.process_id))


def _is(daemon: Daemon, process_id: int) -> bool:
    try:
        return daemon.process_id == process_id
    except (OSError, MrcoreError):
        return False


def _notes(network: Network | None, *, has_memory: bool) -> tuple[str, ...]:
    notes = []
    if not has_memory:
        why = "limits need root" if os.geteuid() != 0 else "no control group can limit memory here"
        notes.append(f"Memory kills came by a signal, since {why}.")
    if network is not None and not network.is_slow:
        notes.append("This system has no /dev/net/tun: cables were cut, but not slow.")
    return tuple(notes)


@contextlib.contextmanager
def open_site(
    settings: Settings,
    *,
    slots: int,
    memory_bytes: int,
    cwd: Path,
    state_uri: str | None = None,
    clock: Clock = SYSTEM,
) -> Iterator[Site]:
    """Start a cluster that can be hurt; whatever was done to the system is undone at the end.

    With `state_uri` its masters go on with the state that is there.
    """
    with contextlib.ExitStack() as stack:
        janitor = stack.enter_context(Janitor())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrcore-chaos-")))
        stack.enter_context(janitor.undone_by("rm", "-rf", str(folder)))
        faults_path = folder / "faults.json"
        write_rates(faults_path, FaultRates())
        network = Network(janitor) if settings.partition else None
        placement = HERE
        if network is not None:
            stack.enter_context(network.lay(settings.masters, cables(settings.workers)))
            placement = Placement(
                [(cable.address, cable.prefix) for cable in network.masters],
                [cable.prefix for cable in network.workers],
            )
        cluster = EmbeddedCluster(
            workers=settings.workers,
            masters=settings.masters,
            slots=slots,
            memory_bytes=memory_bytes,
            cwd=cwd,
            state_uri=state_uri,
            forgive_seconds=0.0,  # they die because they are killed
            variables={FAULTS_VARIABLE: str(faults_path)},
            placement=placement,
        )
        disk = None
        if settings.full_disk and can_mount():
            disk = ScratchDisk(cluster.folder.path / "scratch", janitor)
            stack.enter_context(disk.mounted())
        memory = make_memory(janitor) if settings.memory_kills else None
        if memory is not None:
            stack.enter_context(memory.made())
        stack.enter_context(cluster)
        cluster.credentials()
        site = Site(
            cluster,
            janitor,
            faults_path,
            clock,
            network=network,
            disk=disk,
            memory=memory,
            notes=_notes(network, has_memory=memory is not None or not settings.memory_kills),
        )
        stack.callback(site.close)
        yield site
