"""One child process: how it is forked, given orders, heard, measured and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrcore.errors import DataError
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.task import Progress
from mrcore.tasks.child.board import Board, BoardView
from mrcore.tasks.child.environment import MARK
from mrcore.tasks.child.fork_server import CHILD_DESCRIPTORS, CHILD_MODULE
from mrcore.tasks.child.protocol import (
    MAX_INLINE_BYTES,
    Finished,
    Order,
    ReportReader,
    discard_order,
    order_sockets,
    pack_order,
    report_sockets,
)
from mrcore.util.forks import ForkRequest
from mrcore.util.proc import descendants, folder_is_gone, proportional_bytes, resident_bytes
from mrcore.util.readable import is_readable
from mrcore.worker.core.limits import Limits
from mrcore.worker.core.record_clock import RecordClock
from mrcore.worker.shell.fork_server import ForkServer
from mrcore.worker.shell.orphans import Orphans, child_mark, end_processes

_READ_BYTES: Final = 1 << 18
_MEASURE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that has begun."""

    attempt: AttemptId
    elapsed_seconds: float
    progress: Progress
    log_path: Path | None = None
    """File that its output goes to now; None if it has ended and its report was not read."""


def order_for(assignment: Assignment, memory_bytes: int, *, mark_records: bool = False) -> Order:
    """Return an assignment, which has its work, as an order to a child with this memory limit.

    Records are marked with `mark_records`, or if the master wants it.
    """
    assert assignment.work is not None
    return Order(
        attempt=assignment.attempt,
        work=assignment.work,
        inputs_version=assignment.inputs_version,
        memory_bytes=memory_bytes,
        mark_records=assignment.mark_records or mark_records,
        careful=assignment.mark_records,
        skip=assignment.skip,
    )


def end_of_log(path: Path, limit_bytes: int) -> tuple[bytes, int]:
    """Return the end of a log, and the size of all of it; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            start = max(0, os.fstat(stream.fileno()).st_size - limit_bytes)
            stream.seek(start)
            text = stream.read()
    except OSError:
        return b"", 0
    return text, start + len(text)


class ChildProcess:
    """A child and what the agent knows of it. Nothing here blocks longer than a fork takes."""

    def __init__(
        self,
        scratch: Path,
        server: ForkServer,
        number: int,
        limits: Limits,
        orphans: Orphans,
    ) -> None:
        self.mark = child_mark(scratch, number)
        """Carried by all its processes in their environment, to find them by."""
        self.group: str | None = None
        """Group of the orders that it takes, as `Jobs` has it; None before the first one."""
        self.memory_bytes = 0
        """Memory limit of its latest order."""
        self.sent: deque[Order] = deque()
        """Orders in its hands, oldest first: neither finished nor taken back."""
        self.idle_since = 0.0
        self.doomed = False
        """It was killed, and its death is yet to be heard."""
        self.kill_reason: str | None = None
        """In words for the user, where the agent has killed it for what it did."""
        self.killed_at: BoardView | None = None
        """The board when it was killed for that: it may have gone on for a moment."""
        self.reports_ended = False
        """Its end of the reports is closed: nothing more will come."""
        self.log_path = scratch / f"child-{number}.log"
        self.record_clock = RecordClock()
        self._orphans = orphans
        self._status: int | None = None
        """Its exit status, once it is collected."""
        self._shared_bytes = 0
        """Bytes of its resident memory that are only counted more than once."""
        self._measured_at = float("-inf")
        self._scratch = scratch
        self._limits = limits
        self._finished = 0
        self._heard_bytes = 0
        """Bytes of the reports that were read last."""
        self._reader = ReportReader()
        with contextlib.ExitStack() as undo:
            self._board, board = Board.create()
            undo.callback(self._board.close)
            undo.callback(self._remove_log)
            with os.fdopen(board, "rb") as child_board:
                self._orders, self._child_orders = map(undo.enter_context, order_sockets())
                self._reports, reports = map(undo.enter_context, report_sockets())
                self.process_id = self._start(reports.fileno(), child_board.fileno(), server)
                reports.close()
            undo.callback(self._undo_start)
            # Readable once the child is dead.
            self.exit_descriptor = os.pidfd_open(self.process_id)
            undo.pop_all()
        self.report_descriptor = self._reports.fileno()

    def _start(self, reports: int, board: int, server: ForkServer) -> int:
        # Readable too: the child stores what it has printed itself.
        log = os.open(self.log_path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        request = ForkRequest(
            command=(
                *(sys.executable, "-P", "-m", CHILD_MODULE, *map(str, CHILD_DESCRIPTORS)),
                *(str(os.getpid()), str(self._scratch)),
            ),
            numbers=CHILD_DESCRIPTORS,
            variables={MARK: self.mark},
            cwd=str(self._scratch) if folder_is_gone("self") else None,
        )
        try:
            return server.fork(request, (self._child_orders.fileno(), reports, board, log))
        finally:
            os.close(log)

    def _undo_start(self) -> None:
        os.kill(self.process_id, signal.SIGKILL)
        os.waitpid(self.process_id, 0)

    def send(self, order: Order, group: str) -> bool:
        """Send it one more order of this group; return False when its queue is full."""
        if len(self.sent) > self._limits.ahead_max:
            return False
        try:
            self._orders.send(pack_order(order, self._scratch), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        self.group = group
        self.memory_bytes = order.memory_bytes
        self.sent.append(order)
        return True

    def recall(self) -> list[Order]:
        """Take back every order that it has not begun, oldest first."""
        back: set[AttemptId] = set()
        with contextlib.suppress(BlockingIOError):
            # By the flag, since O_NONBLOCK would be the child's as well.
            while message := self._child_orders.recv(2 * MAX_INLINE_BYTES, socket.MSG_DONTWAIT):
                back.add(discard_order(message))
        # By name: the child may take one while those before and after it are read here.
        recalled = [order for order in self.sent if order.attempt in back]
        self.sent = deque(order for order in self.sent if order.attempt not in back)
        return recalled

    def read_reports(self) -> list[Finished]:
        """Return the reports that have arrived; raise DataError for what is none."""
        heard: list[Finished] = []
        self._heard_bytes = 0
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while data := self._reports.recv(_READ_BYTES, socket.MSG_DONTWAIT):
                self._heard_bytes += len(data)
                heard.extend(self._reader.feed(data))
            self.reports_ended = True
        for report in heard:
            if not self.sent or self.sent[0].attempt != report.attempt:
                raise DataError(f"a child reports {report.attempt}, which it was not to run")
            self.sent.popleft()
            self._finished += 1
        return heard

    def has_much_to_do(self) -> bool:
        """Return whether its next reports may wait a moment: they are short, and it has orders."""
        limits = self._limits
        return len(self.sent) > limits.much_ahead and self._heard_bytes < limits.reports_bytes_max

    def begun(self) -> Sequence[Order]:
        """Return the orders that it has taken and of which no report was read, oldest first."""
        taken = self._board.read().begun - self._finished
        return [self.sent[index] for index in range(min(taken, len(self.sent)))]

    def running(self) -> Order | None:
        """Return the order that it runs, if it has taken one."""
        begun = self.begun()
        return begun[-1] if begun else None

    def attempts(self, now: float) -> Iterator[Running]:
        """Yield every attempt that it has begun and of which no report was read."""
        if not self.sent:
            return
        view, begun = self.view(), self.begun()
        for order in begun:
            log_path = self.log_path if order is begun[-1] else None
            yield Running(order.attempt, max(0.0, now - view.started_at), view.progress, log_path)

    def view(self) -> BoardView:
        """Return what its board says."""
        return self._board.read()

    def holds(self, attempt: AttemptId) -> bool:
        """Return whether this attempt is in its hands."""
        return any(order.attempt == attempt for order in self.sent)

    def kill(self, reason: str | None = None, at: BoardView | None = None) -> None:
        """Kill it and all that it has started; its death is then heard as any other.

        `at` is the board at which the reason was found.
        """
        if self._status is not None:
            return
        self.doomed = True
        if self.kill_reason is None:
            self.kill_reason, self.killed_at = reason, at
        # Those that have left the process group are found by their descent, while there is one.
        family = self._family()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process_id, signal.SIGKILL)
        end_processes(family)

    def _family(self) -> list[int]:
        """Return the child and all processes that it has started, as far as they are known."""
        return [self.process_id, *descendants(self.process_id), *self._orphans.of(self.mark)]

    def exits_within(self, seconds: float) -> bool:
        """Wait until it is dead; return False if the system still holds it after `seconds`."""
        return is_readable(self.exit_descriptor, seconds)

    def reap(self) -> int:
        """Collect the dead child: its exit status, negative for a signal. Its group dies too."""
        # Before the wait: until then nobody else can get this process id, and group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process_id, signal.SIGKILL)
        if self._status is None:
            _, status = os.waitpid(self.process_id, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def close(self) -> None:
        """Release its descriptors and files; it must be dead and reaped."""
        os.close(self.exit_descriptor)
        for end in (self._orders, self._child_orders, self._reports):
            end.close()
        self._board.close()
        self._remove_log()

    def _remove_log(self) -> None:
        with contextlib.suppress(OSError):
            self.log_path.unlink()

    def resident_bytes(self) -> int:
        """Return the resident memory of the child and of all processes that it has started."""
        return sum(map(resident_bytes, self._family()))

    def used_bytes(self, limit_bytes: int, now: float) -> int:
        """Return the memory of the child and all its processes, exact where it is near the limit.

        Resident memory counts what forks share once for each of them, but is cheap to read. What
        they really use is asked for only when it matters, and once a second at most while the
        answer allows it.
        """
        family = self._family()
        resident = sum(map(resident_bytes, family))
        if resident <= limit_bytes:
            self._shared_bytes = 0
            return resident
        is_old = now >= self._measured_at + _MEASURE_SECONDS
        if is_old or resident - self._shared_bytes > limit_bytes:
            self._shared_bytes = max(0, resident - sum(map(proportional_bytes, family)))
            self._measured_at = now
        return resident - self._shared_bytes

    def log_tail(self, limit_bytes: int) -> bytes:
        """Return the end of its log; nothing where it cannot be read, or was swept away."""
        return end_of_log(self.log_path, limit_bytes)[0]

    def trim_log(self, limit_bytes: int) -> None:
        """Empty a log that has grown beyond the limit, so that it cannot fill the disk."""
        with contextlib.suppress(OSError):
            if self.log_path.stat().st_size > limit_bytes:
                os.truncate(self.log_path, 0)
                with self.log_path.open("ab") as log:
                    log.write(b"[mrcore dropped earlier output: too much was printed]\n")
