"""The process in which user code runs: one for each slot of a worker, reused within a job.

Calls of all sessions share their processes, so that a new session costs no new ones.

    python -P -m mrcore.tasks.child.main ORDERS REPORTS BOARD PARENT FOLDER </dev/null >LOG 2>&1

A worker's children are forks of its `fork_server`, which run `main` with the same arguments.
ORDERS, REPORTS and BOARD are inherited descriptors (see `protocol`), PARENT is the agent's
process id, FOLDER the worker's scratch. Whatever user code prints goes to LOG, which is emptied
before each attempt and stored beside the job's state after it, unless nothing was printed.

This process imports neither gRPC nor the daemons' packages, so that modules of the user's with
those names are the user's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import gc
import logging
import mmap
import os
import resource
import shutil
import socket
import sys
import traceback
from collections import OrderedDict
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import MrcoreError
from mrcore.model.task import (
    MAX_PRINTED_BYTES,
    FailureKind,
    TaskFailure,
    TaskResult,
    TaskSpec,
)
from mrcore.plugin import by_value, nesting
from mrcore.plugin.tracebacks import user_traceback
from mrcore.tasks.call import Calls
from mrcore.tasks.child.attempt_log import AttemptLog, identity
from mrcore.tasks.child.board import Board
from mrcore.tasks.child.protocol import (
    LOST_DESCRIPTORS,
    OWN_DEFECT,
    Finished,
    JobFile,
    LostOrderError,
    Order,
    pack_report,
    read_job,
    unpack_order,
)
from mrcore.tasks.child.stages import Stages
from mrcore.tasks.child.streams import StandardStreams
from mrcore.tasks.run import scratch_failure, tellable
from mrcore.tasks.shipped import ShippedModules
from mrcore.util.clock import SYSTEM
from mrcore.util.parent import end_with_parent
from mrcore.util.texts import text_of

PLUGINS: Final = "plugins"
JOBS: Final = "jobs"
MAX_ORDER_BYTES: Final = 64 << 10
MAX_JOBS: Final = 64
"""Sessions whose files a process keeps in memory: a client opens one after the other."""
_TICK_NS: Final = 10**9
"""More than any two changes of a folder with the same stamp lie apart."""
_libc: Final = ctypes.CDLL(None)


def main() -> None:
    """Run orders until the agent is gone."""
    orders, reports, board, parent = (int(argument) for argument in sys.argv[1:5])
    end_with_parent(parent)
    for descriptor in (orders, reports, board):
        os.set_inheritable(descriptor, False)
    by_value.give_main_away()
    nesting.forbid_jobs()
    log = AttemptLog()
    streams = StandardStreams(log.descriptor)
    _prepare_process(log)
    scratch = Path(sys.argv[5]).absolute()  # user code may change the current folder
    child = Child(
        socket.socket(fileno=orders), socket.socket(fileno=reports), Board(board), log, streams,
        folder=scratch, work=scratch / f"child-{os.getpid()}",
    )  # fmt: skip
    # Threads that user code has left behind must not keep the process.
    os._exit(_serve(child, log))


def _serve(child: Child, log: AttemptLog) -> int:
    """Run orders, and return the exit status; where our own code dies, the agent learns of what."""
    try:
        child.serve()
    except BaseException as error:  # noqa: BLE001 - the log has the traceback
        with contextlib.suppress(OSError):
            os.write(log.descriptor, traceback.format_exc().encode(errors="backslashreplace"))
        lost = isinstance(error, OSError) and error.errno in (errno.EBADF, errno.ENOTSOCK)
        return LOST_DESCRIPTORS if lost else OWN_DEFECT
    return 0


def _prepare_process(log: AttemptLog) -> None:
    # When memory runs out, the kernel shall take a child and not its agent.
    with contextlib.suppress(OSError):  # in some containers /proc cannot be written
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    faulthandler.enable(log.descriptor)
    shape = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=shape)


class Child:
    """Runner of orders, one by one, which reports each."""

    def __init__(
        self,
        orders: socket.socket,
        reports: socket.socket,
        board: Board,
        log: AttemptLog,
        streams: StandardStreams,
        *,
        folder: Path,
        work: Path,
    ) -> None:
        self._orders = orders
        self._reports = reports
        self._ends = self._identities()
        self._board = board
        self._log = log
        self._streams = streams
        self._folder = folder
        self._work = work
        self._jobs: OrderedDict[str, JobFile] = OrderedDict()
        self._settled_bytes = 0
        """Resident memory when all that can be given back was."""
        self._changed_ns = 0
        """Latest change of the folder for temporary files, as its file system has it."""
        self._empty_since_ns: int | None = None
        """Such a time, if the folder was seen to be empty well after it."""
        self._stages = Stages(folder / PLUGINS, work)
        self._calls = Calls(ShippedModules(folder / PLUGINS))

    def serve(self) -> None:
        """Run orders until there can come no more."""
        self._work.mkdir()
        self._board.note_functions()
        gc.freeze()  # what the imports have made lives as long as the process
        while message := self._orders.recv(MAX_ORDER_BYTES):
            self._board.begin(SYSTEM.monotonic())
            finished = self._obey(message)
            self._check_ends()
            self._reports.sendall(pack_report(finished))
            failed = isinstance(finished.result, TaskFailure)
            if failed and self._stages.is_spoiled(finished.attempt.task.job_id):
                return  # the next task gets a process without the remains of this one

    def _obey(self, message: bytes) -> Finished:
        try:
            order = unpack_order(message)
        except LostOrderError as lost:
            return Finished(lost.attempt, tellable(scratch_failure("", lost.error, self._folder)))
        result = tellable(self._run(order))
        self._clean_up(order.memory_bytes)
        job = self._jobs.get(order.attempt.task.job_id)
        if job is not None:
            printed = self._log.keep(job, order.attempt)
            if printed and job.spec.session is not None:
                result = msgspec.structs.replace(result, printed=printed[-MAX_PRINTED_BYTES:])
        return Finished(order.attempt, result)

    def _identities(self) -> tuple[tuple[int, int], ...]:
        return tuple(identity(end.fileno()) for end in (self._orders, self._reports))

    def _check_ends(self) -> None:
        """Raise OSError where user code has closed our sockets.

        A connection of its own may have got their numbers: it must get no report, and a wait for
        orders on it would have no end.
        """
        if self._identities() != self._ends:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _run(self, order: Order) -> TaskResult:
        try:
            job = self._job(order.attempt.task.job_id)
            spec = TaskSpec(
                attempt=order.attempt,
                job=job.spec,
                state_uri=job.state_uri,
                work=order.work,
                inputs_version=order.inputs_version,
                memory_bytes=order.memory_bytes,
                mark_records=order.mark_records,
                careful=order.careful,
                skip=order.skip,
            )
            if job.spec.session is not None:
                self._streams.restore()
                return self._calls.run(spec, self._board)
            return self._stages.run(spec, job, self._board)
        except (SystemExit, KeyboardInterrupt) as error:
            return _user_exit(error)
        except MrcoreError as error:
            return TaskFailure(kind=FailureKind.INFRASTRUCTURE, message=str(error))
        except OSError as error:  # what user code raises is caught where it is called
            known = self._jobs.get(order.attempt.task.job_id)
            state_uri = known.state_uri if known is not None else ""
            return scratch_failure(state_uri, error, self._folder)
        except BaseException as error:  # noqa: BLE001 - a defect of ours fails an attempt, not the child
            with contextlib.suppress(Exception):  # user code may have closed the stream
                traceback.print_exc()
            # What it met is met again elsewhere: twice is enough, as for data.
            return TaskFailure(
                kind=FailureKind.DATA,
                message=f"mrcore itself failed ({type(error).__name__}: {text_of(error)}): "
                "please report it with the traceback in the attempt's log",
            )

    def _job(self, job_id: str) -> JobFile:
        job = self._jobs.get(job_id)
        if job is None:
            job = self._jobs[job_id] = read_job(self._folder / JOBS, job_id)
            if len(self._jobs) > MAX_JOBS:
                self._jobs.popitem(last=False)
        return job

    def _clean_up(self, memory_bytes: int) -> None:
        """Remove what the attempt has left in its folder, and give back much unused memory."""
        allowed = max(memory_bytes / 2, 1.2 * self._settled_bytes)
        # The peak is cheaper to ask for, and in most processes it stays below.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak > allowed and resident_bytes() > allowed:
            gc.collect()
            sys.modules["pyarrow"].default_memory_pool().release_unused()
            _libc.malloc_trim(0)
            self._settled_bytes = resident_bytes()
        # User code may have removed the folder, or made there what cannot be removed.
        with contextlib.suppress(OSError):
            if not self._is_known_as_empty():
                self._empty_folder()

    def _is_known_as_empty(self) -> bool:
        """Return whether the folder is as it was when it was last seen to be empty.

        The time of its last change tells, if the look came long after it: stamps are ticks.
        """
        self._changed_ns = self._work.stat().st_mtime_ns
        return self._changed_ns == self._empty_since_ns

    def _empty_folder(self) -> None:
        """Remove what lies in the folder."""
        seen_ns = int(SYSTEM.wall() * 1e9)
        is_empty = True
        with os.scandir(self._work) as entries:
            for entry in entries:
                is_empty = False
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink(missing_ok=True)
        settled = is_empty and self._changed_ns < seen_ns - _TICK_NS
        self._empty_since_ns = self._changed_ns if settled else None


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    # Without a file object: this is asked after each task, and a small one takes little longer.
    descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 256).split()[1]) * mmap.PAGESIZE
    finally:
        os.close(descriptor)


def _user_exit(error: BaseException) -> TaskFailure:
    if isinstance(error, SystemExit):
        code = text_of(error.code, repr)
        message = f"user code called sys.exit({code}): return, or raise an exception instead"
    else:
        message = "user code raised KeyboardInterrupt"
    return TaskFailure(kind=FailureKind.USER, message=message, traceback=user_traceback(error))


if __name__ == "__main__":
    main()
