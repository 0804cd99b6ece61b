"""A cluster for one job on this machine: a real master and real workers, as child processes.

All processes are started at once. They live in sessions of their own, so that Ctrl-C reaches only
the client, and hold one end of a pipe, the lifeline: when the client is gone, however it went, they
read its end and leave. A daemon that dies while the job runs is started again, a few times. On the
folder of a run that was interrupted the master goes on from that run's journal.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mrcore.engine import history
from mrcore.errors import MrcoreError
from mrcore.model.snapshots import JobView
from mrcore.plugin import nesting
from mrcore.rpc.cluster import Credentials, credentials_of
from mrcore.util import host
from mrcore.util.clock import SYSTEM, Clock

START_SECONDS: Final = 30.0
"""A master that has not said its address by then is given up."""
STOP_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL, for the workers together and then for the master."""
_RESTARTS: Final = 3
"""Times that a daemon of this cluster is started again before the run is given up."""
_TAIL_BYTES: Final = 2_000
_PLAIN_LOG: Final = ("--log-format", "plain")
"""People read the logs of an embedded run, in its folder."""


def default_workers(slots: int) -> int:
    """Return how many workers of `slots` slots suit the cores and the memory of this machine."""
    room = int(host.memory_bytes() * host.MEMORY_SHARE) // (host.MIN_SLOT_BYTES * slots)
    return max(1, min(host.cores(), room))


def daemon_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a master or worker.

    PYTHONPATH moves to MRCORE_CHILD_PYTHONPATH, from which a worker restores it for its children. A
    module there may have the name of a library that only the daemons need, as `logging` or `grpc`.
    It is meant for the user's code, and must not replace the library in a daemon.
    """
    result = dict(os.environ if environment is None else environment)
    path = result.pop("PYTHONPATH", None)
    if path is not None:
        result["MRCORE_CHILD_PYTHONPATH"] = path
    return result


def daemon_command(daemon: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts the daemon `master` or `worker` with this Python."""
    return [sys.executable, "-P", "-m", f"mrcore.{daemon}", *arguments]


class _Daemon:
    """One process of the cluster: its command, its log, and whether it lives."""

    def __init__(self, module: str, arguments: Sequence[str], log_path: Path) -> None:
        self.module = module
        self.arguments = list(arguments)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cwd: Path, pass_fds: Sequence[int], extra: Sequence[str] = ()) -> None:
        """Start, or start again."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                daemon_command(self.module, [*self.arguments, *extra]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=daemon_environment(),
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        """Return the id of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return how the process ended; None while it lives."""
        assert self._process is not None
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to leave."""
        if self._process is not None:
            self._process.terminate()

    def wait_or_kill(self, seconds: float) -> None:
        """Wait until it has left; after `seconds` it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            # The system may hold it in a call, to a device that does not answer: it is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)

    def log_tail(self) -> str:
        """Return the end of what it printed, for an error message."""
        with contextlib.suppress(OSError), self._log_path.open("rb") as log:
            log.seek(max(0, self._log_path.stat().st_size - _TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip()
        return ""


class EmbeddedCluster:
    """A master and `workers` workers with `slots` slots each, for as long as the `with` block."""

    def __init__(
        self,
        *,
        workers: int,
        slots: int = 1,
        memory_bytes: int = 0,
        cwd: Path,
        folder: history.RunFolder | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        nesting.check_allowed()
        self._cwd = cwd
        self._clock = clock
        self._restarts = 0
        self._credentials: Credentials | None = None
        self._goes_on = folder is not None
        self.folder = folder or history.RunFolder.create(clock)
        path, state_uri = self.folder.path, self.folder.state_uri
        self._master = _Daemon(
            "master",
            ["--state", state_uri, "--expect-slots", str(workers * slots), *_PLAIN_LOG],
            path / "master.log",
        )
        share = memory_bytes or host.slot_bytes(max(1, workers * slots))
        arguments = ["--state", state_uri, "--slots", str(slots), "--memory", str(share)]
        arguments += ["--scratch", str(path / "scratch"), *_PLAIN_LOG]
        self._workers = [
            # A process that is started again under its former name tells the master at once that
            # what the former one held is gone: no lease has to end first.
            _Daemon("worker", [*arguments, "--id", name], path / f"{name}.log")
            for name in (f"worker-{number + 1}" for number in range(workers))
        ]
        self._lifeline_read, self._lifeline_write = os.pipe()
        self._ready_read = -1

    def __enter__(self) -> Self:
        try:
            self._start_master("127.0.0.1:0")
            if self._goes_on:
                self._wait_for_master()  # until then the state names the former one
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
        from mrcore.rpc.credentials import read_leader

        if self._credentials is None:
            if not self._goes_on:
                self._wait_for_master()
            leader = read_leader(self.folder.state_uri)
            self._credentials = credentials_of(leader, self.folder.state_uri)
        return self._credentials

    def process_ids(self) -> tuple[int, ...]:
        """Return the ids of the master and the workers."""
        return tuple(daemon.process_id for daemon in (self._master, *self._workers))

    def record(self, job: JobView) -> None:
        """Write down what is known of the job, for `mrcore jobs`, `show` and `logs`."""
        self.folder.record(job)

    def restart_dead(self) -> None:
        """Start daemons that died again; raise MrcoreError with the end of their log otherwise."""
        for daemon in (self._master, *self._workers):
            code = daemon.exit_code()
            if code is None:
                continue
            self._restarts += 1
            if self._restarts > _RESTARTS:
                raise self._exit_error(daemon, code)
            if daemon is self._master:
                # Workers and client know it by its address.
                self._start_master(self.credentials().address)
            else:
                self._start_worker(daemon)

    def close(self, stop_seconds: float = STOP_SECONDS) -> None:
        """Stop the workers, then the master, each with SIGTERM and at last SIGKILL."""
        for group in (self._workers, [self._master]):
            for daemon in group:
                daemon.terminate()
            end = self._clock.monotonic() + stop_seconds
            for daemon in group:
                daemon.wait_or_kill(end - self._clock.monotonic())
        for handle in (self._lifeline_read, self._lifeline_write, self._ready_read):
            if handle >= 0:
                os.close(handle)
        self._lifeline_read = self._lifeline_write = self._ready_read = -1
        shutil.rmtree(self.folder.path / "scratch", ignore_errors=True)
        self.folder.close()

    def _start_master(self, address: str) -> None:
        if self._ready_read >= 0:
            os.close(self._ready_read)
        self._ready_read, ready_write = os.pipe()
        try:
            self._master.start(
                self._cwd,
                (ready_write, self._lifeline_read),
                (
                    *("--listen", address, "--ready-fd", str(ready_write)),
                    # The former master leaves with its client, and may not be gone yet.
                    *(("--take-over",) if self._goes_on else ()),
                    *self._lifeline_option(),
                ),
            )
        finally:
            os.close(ready_write)

    def _start_worker(self, worker: _Daemon) -> None:
        worker.start(self._cwd, (self._lifeline_read,), self._lifeline_option())

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

    def _exit_error(self, daemon: _Daemon, code: int) -> MrcoreError:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        tail = daemon.log_tail()
        mark = f"mrcore {daemon.module}: "
        sentences = [line for line in tail.splitlines() if line.startswith(mark)]
        if sentences:
            return MrcoreError(
                f"The embedded {daemon.module} {how}: {sentences[-1].removeprefix(mark)}"
            )
        printed = f"; it printed:\n{tail}" if tail else " and printed nothing."
        return MrcoreError(f"The embedded {daemon.module} {how}{printed}")
