"""`Client`: jobs and calls on a cluster, from a program or a notebook."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar, Unpack

from mrcore.calls import payload
from mrcore.client.arguments import HasJobId, JobInputs, JobOptions
from mrcore.client.calls import CallClient
from mrcore.client.client import MasterClient
from mrcore.client.python_names import python_errors
from mrcore.cluster import backends
from mrcore.cluster.calling import Caller
from mrcore.cluster.calls import Calls
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.gathering import Valued, gather_values
from mrcore.cluster.jobs import Followers, JobFuture
from mrcore.cluster.mapping import Mapping, MapResult, SlotCount
from mrcore.cluster.monitor import Monitor, id_of
from mrcore.cluster.options import call_options, check_arguments
from mrcore.cluster.scattered import Scattered
from mrcore.cluster.status import Status, online_slots, status_of
from mrcore.errors import MrcoreError, UsageError
from mrcore.model.resources import Wanted
from mrcore.model.snapshots import AttemptLog, FleetView, JobView, TaskView, WorkerView
from mrcore.plugin import nesting
from mrcore.plugin.culprit import name_of
from mrcore.rpc.cluster import Credentials, format_address, parse_address

if TYPE_CHECKING:
    from mrcore.cluster.executor import ClusterExecutor

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
X = TypeVar("X")
Y = TypeVar("Y")

Modules: TypeAlias = Iterable[str | types.ModuleType]
_OPTIONS: Final = (
    "retries", "timeout", "resources", "priority", "max_attempts", "fallback", "keep",
)  # fmt: skip
_RECENT: Final = 1_000
"""Jobs that `status` looks at: the newest ones."""


class Client:
    """A cluster that is up, by the address of its master or the place of its state.

    Use it as a context manager, or call `close`. All methods may be called from any thread.
    """

    def __init__(
        self,
        master: str | None = None,
        *,
        state: str | os.PathLike[str] | None = None,
        credentials: str | os.PathLike[str] | None = None,
        token: str | None = None,
        show_prints: bool = True,
        modules: Modules = (),
    ) -> None:
        """Connect to a cluster.

        `master` is HOST:PORT, `state` the place of the cluster's state. The token is found as on
        the command line: in the state, in the file `credentials`, or in that of a master of the
        same user on this machine; `token` gives it for an address without TLS. What calls print is
        shown here unless `show_prints` is False. `modules` are modules of this machine that calls
        may import; those that a function names in an import are found, and need not be given.

        Raises ClusterUnreachableError where no master answers, UsageError for what cannot be.
        """
        if token is not None:
            if not isinstance(token, str) or not isinstance(master, str) or state is not None:
                raise UsageError("A token needs an address. Write connect(ADDRESS, token=TEXT).")
            found = MasterClient(
                Credentials(address=format_address(*parse_address(master)), token=token)
            )
        else:
            found = MasterClient(master, state=state, credentials=credentials)
        self._set_up(found, show_prints=show_prints, modules=modules)

    def _set_up(self, master: MasterClient, *, show_prints: bool, modules: Modules) -> None:
        self.show_prints = show_prints
        """Whether what calls print is shown here."""
        self._master = master
        # Threads refer to what is made here, and must not keep a client that nobody can reach.
        owner: Callable[[], Client | None] = weakref.ref(self)
        self._calls = Calls(
            CallClient(master.connection),
            show=functools.partial(_show, owner),
            owner=owner,
            modules=modules,
        )
        self.caller = Caller(self._calls)
        self._followers = Followers(master, owner)
        self._is_closed = False
        self.monitor = Monitor(master, self._calls.board.check_open)
        """Tables of masters, workers, tasks and files."""
        backends.opened(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the calls of this client that have not ended, and close the connection.

        Jobs go on; `job(job_id)` of another client finds them.
        """
        if self._is_closed:
            return
        self._is_closed = True
        backends.closed(self)
        self._calls.close()
        self._followers.close()
        self._master.close()

    def __repr__(self) -> str:
        """Return the address and whether it is closed."""
        closed = ", closed" if self._is_closed else ""
        return f"<{type(self).__name__} of the cluster at {self.address}{closed}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled: connections and processes belong to this program."""
        raise TypeError("a cluster object stays in the program that has made it")

    def _repr_html_(self) -> str:
        from mrcore.cluster.tables import paragraph

        if self._is_closed:
            return paragraph(repr(self)[1:-1])
        return self.status()._repr_html_()

    @property
    def address(self) -> str:
        """Return HOST:PORT of the master that leads."""
        return self._master.credentials.address

    @property
    def master(self) -> MasterClient:
        """Return the client of the master, which has each of its questions as a method."""
        return self._master

    # Jobs

    @python_errors()
    def submit(
        self,
        plugin: str | os.PathLike[str] | None = None,
        *,
        inputs: JobInputs,
        output: str | os.PathLike[str],
        **options: Unpack[JobOptions],
    ) -> JobFuture:
        """Start a job and return its future; the arguments are those of `mrcore.run`.

        Give `plugin`, or functions: `map=`, `reduce=` and so on. Raises UsageError and its children
        for what cannot work, before any task runs. The future raises RunFailedError if it fails.
        """
        self.check_open()
        return self._followers.follow(
            self._master.submit_job(plugin, inputs=inputs, output=output, **options)
        )

    def job(self, job: str | HasJobId) -> JobFuture:
        """Return the future of a job that runs or has ended; raise UnknownJobError."""
        self.check_open()
        return self._followers.follow(self._master.get(id_of(job)))

    def jobs(self) -> list[JobView]:
        """Return all jobs that the cluster knows, sessions of calls among them, newest first."""
        self.check_open()
        return list(self._master.list())

    def tasks(self, job: str | HasJobId) -> list[TaskView]:
        """Return the tasks of a job by stage and index; raise UnknownJobError."""
        self.check_open()
        return list(self._master.tasks(id_of(job)))

    def logs(self, job: str | HasJobId, *, tail_bytes: int = 0) -> list[AttemptLog]:
        """Return what the attempts of a job printed, oldest first; raise UnknownJobError.

        `tail_bytes` bounds each log from its end; 0 is 64 KiB.
        """
        self.check_open()
        return list(self._master.read_log(id_of(job), tail_bytes=tail_bytes))

    # Calls

    def call(
        self,
        function: Callable[..., T],
        /,
        *arguments: Any,
        retries: int = 0,
        timeout: float | str | None = None,
        resources: Wanted | None = None,
        priority: int = 0,
        max_attempts: int = 4,
        fallback: Callable[..., T] | None = None,
        keep: bool = False,
        **keywords: Any,
    ) -> CallFuture[T]:
        """Call a function on a worker and return the future of its value.

        Futures of other calls and scattered values may be anywhere among the arguments; the call
        waits for them, and their values go from worker to worker. A call is tried again `retries`
        times when the function raises, and up to `max_attempts` times in all when its process dies
        or its worker is lost. An attempt that takes longer than `timeout` (seconds, or "30s") is
        stopped, as if the function had raised TimeoutError. `resources` is a dict with "cpu",
        "memory" and "labels". When the call has failed for good, `fallback` gets the same
        arguments. With `keep` it goes on when this client has vanished.

        Raises UsageError for options and keywords that cannot be, PicklingError for a function or
        an argument that cannot travel.
        """
        self.check_open()
        check_arguments(function, arguments, keywords, _OPTIONS)
        options = call_options(
            retries=retries,
            timeout=timeout,
            resources=resources,
            priority=priority,
            max_attempts=max_attempts,
            keep=keep,
        )
        return self.caller.call(function, arguments, keywords, options, fallback)

    def map(
        self,
        function: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        chunksize: int | Literal["auto"] = "auto",
        retries: int = 0,
        timeout: float | str | None = None,
        resources: Wanted | None = None,
        priority: int = 0,
        max_attempts: int = 4,
        progress: bool | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> MapResult[T]:
        """Call a function for each item and return an iterator over the results, in order.

        Several iterables are taken side by side, up to the end of the shortest. Items are sent in
        chunks: of `chunksize`, or of a length that follows from how long items take. They are taken
        from the iterables as results are drawn, so neither has to fit in memory. With
        `errors="return"` an exception stands in the place of its result; otherwise the first one is
        raised and the rest cancelled. `timeout` is for one item, and makes each a call of its own.
        `progress` shows a bar on stderr, by default on a terminal and in a notebook.
        """
        self.check_open()
        options = call_options(
            retries=retries,
            timeout=timeout,
            resources=resources,
            priority=priority,
            max_attempts=max_attempts,
        )
        mapping = Mapping(
            calls=self._calls,
            options=options,
            function=function,
            slots=SlotCount(self.slots),
            chunksize=1 if timeout is not None else chunksize,
        )
        return MapResult(
            mapping, iterables, name=name_of(function), progress=progress, errors=errors
        )

    def scatter(self, value: T) -> Scattered[T]:
        """Send a value to the cluster once, and return what stands for it in many calls.

        Raises PicklingError for a value that cannot travel.
        """
        self.check_open()
        data = payload.dump_value(value)
        return Scattered(self._calls.store_now(data), len(data), self._read_scattered)

    def _read_scattered(self, sha256: str) -> Any:
        return payload.load_value(self._calls.read_object(sha256))

    def gather(
        self,
        futures: Iterable[Valued[T]],
        *,
        errors: Literal["raise", "return", "skip"] = "raise",
    ) -> list[T]:
        """Wait for calls and return their values in order; scattered values may be among them.

        The first exception is raised; with `errors="return"` it stands in the place of its value,
        and with "skip" it is left out. Ctrl-C cancels all of them.
        """
        return gather_values(futures, errors)

    def mapreduce(
        self,
        data: Iterable[X],
        map_func: Callable[[list[X]], Iterable[tuple[K, V]]],
        reduce_func: Callable[[list[V]], Y],
        workers: int | None = None,
    ) -> list[tuple[K, Y]]:
        """Map and reduce a list in memory, and return a list of (key, result) in the order of keys.

        `map_func` gets a list of items and returns pairs; `reduce_func` gets all values of one key,
        in the order of the items. `workers` is the number of tasks that work at the same time, by
        default one for each slot. Beyond 64 MiB of items or pairs a job does it, and raises
        RunFailedError for what the functions raise.
        """
        from mrcore.cluster.in_memory import mapreduce

        self.check_open()
        tasks = self.slots() if workers is None else workers
        return mapreduce(self, data, map_func, reduce_func, tasks)

    def attach(self, session_id: str) -> dict[int, CallFuture[Any]]:
        """Return the futures of calls that another client has made with `keep`, by number.

        `session_id` is the `job_id` of their futures, as `jobs()` and `mrcore jobs` show it. They
        are kept for an hour after the last client has left.

        Raises UnknownJobError where no such session goes on, UsageError for a job.
        """
        from mrcore.cluster.attaching import attach

        self.check_open()
        return attach(self._calls, self._master, session_id)

    def executor(self) -> ClusterExecutor:
        """Return a `concurrent.futures.Executor`; to shut it down leaves the cluster up."""
        from mrcore.cluster.executor import ClusterExecutor

        self.check_open()
        return ClusterExecutor(self)

    # The cluster

    def workers(self) -> list[WorkerView]:
        """Return the workers by id."""
        self.check_open()
        return list(self._master.workers())

    def status(self) -> Status:
        """Return workers, slots, memory and tasks in numbers; it prints well."""
        import itertools

        self.check_open()
        jobs = itertools.islice(self._master.list(), _RECENT)
        return status_of(self.address, self._master.workers(), jobs)

    def drain(self, worker_id: str) -> WorkerView:
        """Ask a worker to finish what it has and leave; raise UnknownWorkerError."""
        self.check_open()
        return self._master.drain(worker_id)

    def fleet(self) -> FleetView | None:
        """Return the machines that the master makes and deletes; None where it has none."""
        self.check_open()
        return self._master.fleet()

    def check_open(self) -> None:
        """Raise UsageError when this client was closed, or within the code of a job."""
        nesting.check_allowed()
        self._calls.board.check_open()

    def fail(self, problem: MrcoreError) -> None:
        """End all calls and jobs of this client with an error: the cluster is gone."""
        self._calls.fail(problem)
        self._followers.fail(problem)

    def slots(self) -> int:
        """Return how many calls can run at once, at least 1."""
        return max(1, online_slots(self.workers()))


def _show(owner: Callable[[], Client | None], printed: bytes) -> None:
    """Print what a call has printed, unless the client hides it."""
    client = owner()
    if client is not None and client.show_prints:
        # The user's own stream may raise anything, or be None: then nobody reads it.
        with contextlib.suppress(Exception):
            sys.stdout.write(printed.decode("utf-8", "replace"))
            sys.stdout.flush()
