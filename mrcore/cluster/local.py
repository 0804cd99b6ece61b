"""`LocalCluster`: masters and workers on this machine, for as long as a program wants them."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

from mrcore.client.client import MasterClient
from mrcore.client.option_values import count, path_text
from mrcore.client.request import folder_uri
from mrcore.cluster.client import Client, Modules
from mrcore.engine.daemons import STOP_SECONDS
from mrcore.engine.embedded import EmbeddedCluster
from mrcore.errors import MrcoreError, UsageError
from mrcore.model.master import MAX_MASTERS
from mrcore.model.resources import resources_of
from mrcore.plugin import nesting
from mrcore.rpc.credentials import find_credentials
from mrcore.storage.registry import storage_for
from mrcore.util import host
from mrcore.util.units import parse_size

MAX_WORKERS: Final = 1_000
TEND_SECONDS: Final = 0.25
"""Time between two looks at the processes."""
FORGIVE_SECONDS: Final = 60.0
"""Age after which the death of a process no longer counts."""


class LocalCluster(Client):
    """A cluster of processes on this machine: masters, and workers with `slots` slots each.

    It lives until the end of its `with` block, `shutdown`, or the end of the program, however that
    comes. A process that dies is started again. Code that is not in `__main__` is imported by the
    workers from where this program has it.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        masters: int = 1,
        slots: int = 1,
        memory: int | str | None = None,
        cpus: float | None = None,
        labels: str | Iterable[str] = (),
        state: str | os.PathLike[str] | None = None,
        show_prints: bool = True,
        modules: Modules = (),
    ) -> None:
        """Start a cluster.

        `workers` is the number of processes, by default what cores and memory allow. `memory` is
        that of one slot, in bytes or as "512MiB". `cpus` is what calls and jobs with `resources`
        may take of each worker together, by default all of the machine; `labels` are those of each
        worker. `state` is the place of the cluster's state, to go on with it later; by default it
        is temporary. `modules` are those of `mrcore.connect`. Of several `masters` one leads, and
        another one takes over within seconds when it dies.

        Raises UsageError for numbers that cannot be, MrcoreError where the processes do not start.
        """
        nesting.check_allowed()
        slots = _positive("slots", slots)
        number = host.default_workers(slots) if workers is None else _workers(workers)
        memory_bytes = _memory(memory)
        offers = resources_of({"cpu": cpus or 0, "labels": labels})
        host.check_slots(max(1, number * slots), memory_bytes)
        several = _masters(masters)
        place = None if state is None else folder_uri(path_text("state", state), Path.cwd())
        self._state_uri = place
        self._daemons = EmbeddedCluster(
            workers=number,
            masters=several,
            slots=slots,
            memory_bytes=memory_bytes,
            cpus=offers.cpus,
            labels=offers.labels,
            cwd=Path.cwd(),
            state_uri=place,
            forgive_seconds=FORGIVE_SECONDS,
        )
        self._daemons.__enter__()
        try:
            found = self._daemons.credentials()
            state_uri = self._daemons.state_uri
            master = MasterClient(
                found, find=lambda: find_credentials(None, state_uri, None, reach_seconds=None)
            )
            self._set_up(master, show_prints=show_prints, modules=modules)
        except BaseException:
            self._daemons.close(stop_seconds=0.0)
            raise
        self._stopping = threading.Event()
        self._process_id = os.getpid()
        self._worker_slots = slots
        threading.Thread(
            target=_tend,
            args=(weakref.ref(self), self._daemons, self._stopping),
            name="mrcore-tend",
            daemon=True,
        ).start()
        self._at_exit = _close_at_exit(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nobody waits for work that was interrupted or went wrong.
        self._shut(stop_seconds=STOP_SECONDS if kind is None else 1.0, cleanup=None)

    @property
    def state(self) -> str:
        """Return the place of the state, for `mrcore jobs --state` and others."""
        from mrcore.model import object_names

        return object_names.shown(self._daemons.state_uri)

    @property
    def logs_folder(self) -> Path:
        """Return the folder with the logs of the processes."""
        return self._daemons.folder.path

    def process_ids(self) -> tuple[int, ...]:
        """Return the ids of the masters and the workers, in this order."""
        return self._daemons.process_ids()

    def slots(self) -> int:
        """Return how many calls can run at once, at least 1.

        Workers that start count, and none that was asked to leave, though the master may not know.
        """
        return max(1, self._daemons.worker_count * self._worker_slots)

    def scale(self, workers: int | None = None, masters: int | None = None) -> None:
        """Change the number of workers or masters while jobs run.

        New workers take tasks as soon as they are up. Those that are too many finish what they have
        within 25 s, and leave. The master that leads stays.
        """
        self.check_open()
        several = None if masters is None else _masters(masters)
        number = None if workers is None else _workers(workers)
        if several is not None:
            self._daemons.scale_masters(several)
        if number is not None:
            self._daemons.scale(number)

    def close(self) -> None:
        """Stop the cluster; its state is removed unless its place was given."""
        self._shut(stop_seconds=STOP_SECONDS, cleanup=None)

    def shutdown(self, cleanup: bool = True) -> None:
        """Stop the cluster; with `cleanup` no process and no file is left, else its state and logs.

        Outputs of jobs stay in any case.
        """
        self._shut(stop_seconds=STOP_SECONDS, cleanup=cleanup)

    def _shut(self, *, stop_seconds: float, cleanup: bool | None) -> None:
        if os.getpid() != self._process_id:
            return  # a fork of the program, which has no cluster
        self._stopping.set()
        atexit.unregister(self._at_exit)
        super().close()
        self._daemons.close(stop_seconds)
        if cleanup or (cleanup is None and self._state_uri is None):
            shutil.rmtree(self._daemons.folder.path, ignore_errors=True)
            if cleanup and self._state_uri is not None:
                _remove(self._state_uri)

    def __del__(self) -> None:
        """Stop the processes of a cluster that nobody can reach any more."""
        if "_at_exit" in vars(self):
            with contextlib.suppress(Exception):
                self._shut(stop_seconds=1.0, cleanup=None)


def _tend(
    cluster: weakref.ref[LocalCluster], daemons: EmbeddedCluster, stopping: threading.Event
) -> None:
    """Start processes again that have died, until the cluster is shut down."""
    while not stopping.wait(TEND_SECONDS):
        try:
            daemons.restart_dead()
        except MrcoreError as error:
            found = cluster()
            if found is not None:
                found.fail(error)
            return


def _close_at_exit(cluster: LocalCluster) -> Callable[[], None]:
    """Close the cluster at the end of the program, if it is still there; return what does it."""
    reference = weakref.ref(cluster)

    def close() -> None:
        found = reference()
        if found is not None:
            found.close()

    atexit.register(close)
    return close


def _remove(state_uri: str) -> None:
    storage = storage_for(state_uri)
    for one in list(storage.list(f"{state_uri}/")):
        storage.delete(one.uri)


def _positive(name: str, value: object) -> int:
    number = count(name, value)
    if number < 1:
        raise UsageError(f"{name} is {number}. Give a number of at least 1.")
    return number


def _workers(value: object) -> int:
    number = count("workers", value)
    if not 0 <= number <= MAX_WORKERS:
        raise UsageError(f"workers is {number}. Give a number from 0 to {MAX_WORKERS:,}.")
    return number


def _masters(value: object) -> int:
    number = _positive("masters", value)
    if number > MAX_MASTERS:
        raise UsageError(f"masters is {number}. Give a number from 1 to {MAX_MASTERS}.")
    return number


def _memory(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as error:
            raise UsageError(f"memory: {error}.") from None
    return count("memory", value)
