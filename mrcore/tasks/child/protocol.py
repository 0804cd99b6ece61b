"""Protocol between a worker's agent and its child processes.

*Orders* go down a socket that keeps messages apart, and of which the agent holds both ends: to take
back what the child has not begun, it reads the child's end itself. The kernel gives each message to
one reader, so an order is either run or taken back, never both, and no handshake is needed.

*Reports* come up a stream, each behind its length.

The *board* is a page of memory that both map: what the child does at this moment. It is written
without a system call, and can be read after the child has died.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from mrcore.errors import DataError, InternalError
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.skipping import is_key
from mrcore.model.task import (
    FailureKind,
    Mark,
    Progress,
    Skip,
    TaskFailure,
    TaskResult,
    TaskWork,
)
from mrcore.plugin.running import NOTED, note_in
from mrcore.util.decoding import UNREADABLE


class JobFile(msgspec.Struct, frozen=True):
    """Common part of the orders of a job; one file in the worker's scratch."""

    spec: JobSpec
    state_uri: str


class Order(msgspec.Struct, frozen=True):
    """One attempt to run: a `TaskSpec` without its job, which lies in a `JobFile`."""

    attempt: AttemptId
    work: TaskWork
    inputs_version: int = 0
    memory_bytes: int = 0
    mark_records: bool = False
    skip: tuple[Skip, ...] = ()


class LostOrderError(InternalError):
    """The file of a long order cannot be read."""

    def __init__(self, attempt: AttemptId, error: OSError) -> None:
        super().__init__(str(error))
        self.attempt = attempt
        self.error = error


class Finished(msgspec.Struct, frozen=True):
    """End of an attempt."""

    attempt: AttemptId
    result: TaskResult


OWN_DEFECT: Final = 70
"""Exit status of a child whose own code, not the user's, has raised."""
LOST_DESCRIPTORS: Final = 71
"""Exit status of a child whose orders or reports have lost their descriptor."""
MAX_INLINE_BYTES: Final = 32 << 10
"""A longer order goes through a file: the kernel bounds the length of a message."""
MAX_REPORT_BYTES: Final = 32 << 20
"""A report must fit into one message to the master, behind others."""
_INLINE: Final = b"\x00"
_FILE: Final = b"\x01"
_LENGTH: Final = struct.Struct("<I")


class _Elsewhere(msgspec.Struct, frozen=True):
    """The message of a long order: the file where it lies."""

    attempt: AttemptId
    path: bytes


_encoder: Final = msgspec.msgpack.Encoder()
_order_decoder: Final = msgspec.msgpack.Decoder(Order)
_elsewhere_decoder: Final = msgspec.msgpack.Decoder(_Elsewhere)
_report_decoder: Final = msgspec.msgpack.Decoder(Finished)


def write_job(folder: Path, job_id: str, job: JobFile) -> None:
    """Write what children must know of a job before they get its orders."""
    draft = folder / f".{job_id}"
    draft.write_bytes(_encoder.encode(job))
    draft.replace(folder / job_id)


def read_job(folder: Path, job_id: str) -> JobFile:
    """Read what `write_job` wrote."""
    return msgspec.msgpack.decode((folder / job_id).read_bytes(), type=JobFile)


def pack_order(order: Order, folder: Path) -> bytes:
    """Return the message for an order; a long one is left in `folder` and named by it."""
    data = _encoder.encode(order)
    if len(data) <= MAX_INLINE_BYTES:
        return _INLINE + data
    task = order.attempt.task
    path = folder / f"{task.job_id}-{task.stage}-{task.index}@{order.attempt.number}.order"
    path.write_bytes(data)
    return _FILE + _encoder.encode(_Elsewhere(order.attempt, os.fsencode(path)))


def unpack_order(message: bytes) -> Order:
    """Return the order of a message; the file of a long one is removed.

    Raises LostOrderError.
    """
    if message[:1] == _INLINE:
        return _order_decoder.decode(memoryview(message)[1:])
    elsewhere = _elsewhere_decoder.decode(memoryview(message)[1:])
    path = Path(os.fsdecode(elsewhere.path))
    try:
        order = _order_decoder.decode(path.read_bytes())
    except OSError as error:
        raise LostOrderError(elsewhere.attempt, error) from None
    with contextlib.suppress(OSError):
        path.unlink()
    return order


def discard_order(message: bytes) -> AttemptId:
    """Return whose order a message is; the file of a long one is removed if it is still there."""
    if message[:1] == _INLINE:
        return _order_decoder.decode(memoryview(message)[1:]).attempt
    elsewhere = _elsewhere_decoder.decode(memoryview(message)[1:])
    with contextlib.suppress(OSError):
        Path(os.fsdecode(elsewhere.path)).unlink()
    return elsewhere.attempt


def order_sockets() -> tuple[socket.socket, socket.socket]:
    """Return the agent's end and the child's end of a queue of orders."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def report_sockets() -> tuple[socket.socket, socket.socket]:
    """Return the agent's end and the child's end of a stream of reports."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def pack_report(report: Finished) -> bytes:
    """Return a report behind its length; one that is too long fails its attempt."""
    data = _encoder.encode(report)
    if len(data) > MAX_REPORT_BYTES:
        message = (
            f"the result of the attempt has {len(data):,} bytes, and at most {MAX_REPORT_BYTES:,} "
            "can be reported: count under fewer names, or let fewer bad records pass"
        )
        failure = TaskFailure(kind=FailureKind.USER, message=message)
        data = _encoder.encode(Finished(report.attempt, failure))
    return _LENGTH.pack(len(data)) + data


class ReportReader:
    """Cuts a stream into reports."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Finished]:
        """Take what has arrived, and yield what is complete; raise DataError for nonsense."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if length > MAX_REPORT_BYTES:
                raise DataError(f"a child reports {length:,} bytes: something wrote into its pipe")
            if len(self._buffer) < end:
                break
            try:
                yield _report_decoder.decode(bytes(self._buffer[start + _LENGTH.size : end]))
            except UNREADABLE as error:
                raise DataError(f"a child's report cannot be read: {error}") from None
            start = end
        del self._buffer[:start]


@dataclass(frozen=True, slots=True)
class BoardView:
    """Content of the board."""

    begun: int
    """Orders that the child has taken so far, the running one included."""
    started_at: float
    """Start of the running one: `Clock.monotonic()`, which all processes share."""
    progress: Progress
    function: str
    """Name of the user's function that runs; empty for code of ours."""
    mark: Mark | None
    """The record that `map` is at, or the key of `reduce`, where these are marked."""


class Board:
    """The page that a child writes and its agent reads.

    It is a `ProgressSink` for the task. Values that belong together are guarded by a version that
    is odd while they change; the mark is not, since it is read when the writer is dead.
    """

    _MAX_STATUS = 1_024
    _MAX_URI = 4_096
    _VERSION = struct.Struct("<Q")
    _STATE = struct.Struct("<QddQQH")
    _MARK = struct.Struct("<Q")
    _MARK_URI = struct.Struct("<H")
    _STATE_AT = 8
    _STATUS_AT = _STATE_AT + _STATE.size
    _MARK_AT = (_STATUS_AT + _MAX_STATUS + 7) & ~7
    _MARK_URI_AT = _MARK_AT + _MARK.size
    _FUNCTION_AT = _MARK_URI_AT + _MARK_URI.size
    _URI_AT = _FUNCTION_AT + 1
    SIZE = _URI_AT + _MAX_URI

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, self.SIZE)
        self._version = 0
        self._begun = 0
        self._started_at = 0.0
        self._progress = Progress()
        self._status = b""
        self._marked_uri: str | None = None

    @classmethod
    def create(cls) -> tuple[Self, int]:
        """Return a new board and the descriptor of its memory, for the child."""
        descriptor = os.memfd_create("mrcore-board")
        try:
            os.ftruncate(descriptor, cls.SIZE)
            return cls(descriptor), descriptor
        except OSError:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()

    def note_functions(self) -> None:
        """Have this process note the user's function that runs on this board."""
        note_in(self._page, self._FUNCTION_AT)

    def begin(self, now: float) -> None:
        """Note that the next order has been taken."""
        self._begun += 1
        self._started_at = now
        self._status = b""
        self._marked_uri = None
        self._MARK_URI.pack_into(self._page, self._MARK_URI_AT, 0)
        self._page[self._FUNCTION_AT] = 0
        self.update(0.0, 0, 0)

    def begin_item(self, now: float, done: int, items: int) -> None:
        """Note that the next item of a call begins: a limit on its time starts anew."""
        self._started_at = now
        self.update(done / items, done, 0)

    def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002 - ProgressSink
        """Note how far the task is."""
        self._progress = Progress(fraction, records, bytes)
        self._write()

    def status(self, text: str) -> None:
        """Note what user code says of itself."""
        self._status = text.encode("utf-8", "replace")[: self._MAX_STATUS]
        self._write()

    def mark(self, piece_uri: str, offset: int) -> None:
        """Note the record that is about to be mapped; this is called for every record."""
        self._MARK.pack_into(self._page, self._MARK_AT, offset)
        if piece_uri is not self._marked_uri:
            uri = piece_uri.encode("utf-8", "surrogateescape")[: self._MAX_URI]
            self._page[self._URI_AT : self._URI_AT + len(uri)] = uri
            self._MARK_URI.pack_into(self._page, self._MARK_URI_AT, len(uri))
            self._marked_uri = piece_uri

    def _write(self) -> None:
        page, progress, status = self._page, self._progress, self._status
        self._version += 1
        self._VERSION.pack_into(page, 0, self._version)
        self._STATE.pack_into(
            page, self._STATE_AT, self._begun, self._started_at,
            progress.fraction, progress.records, progress.bytes, len(status),
        )  # fmt: skip
        page[self._STATUS_AT : self._STATUS_AT + len(status)] = status
        self._version += 1
        self._VERSION.pack_into(page, 0, self._version)

    def read(self) -> BoardView:
        """Return what the child says at this moment (or said last)."""
        page = self._page
        for _ in range(100):
            (before,) = self._VERSION.unpack_from(page, 0)
            state = self._STATE.unpack_from(page, self._STATE_AT)
            begun, started_at, fraction, records, size, length = state
            length = min(length, self._MAX_STATUS)
            status = page[self._STATUS_AT : self._STATUS_AT + length]
            (after,) = self._VERSION.unpack_from(page, 0)
            if before == after and not before & 1:
                break
        # A child that died while it wrote leaves the version odd: what is there is good enough.
        progress = Progress(fraction, records, size, status.decode("utf-8", "replace"))
        number = page[self._FUNCTION_AT]
        function = NOTED[number] if number < len(NOTED) else ""
        # Whatever dies elsewhere than in `map` does not die of the record that map had last, and
        # likewise with `reduce` and its key.
        mark = self._read_mark()
        if mark is not None and function != ("reduce" if is_key(mark) else "map"):
            mark = None
        return BoardView(begun, started_at, progress, function, mark)

    def _read_mark(self) -> Mark | None:
        (length,) = self._MARK_URI.unpack_from(self._page, self._MARK_URI_AT)
        if not 0 < length <= self._MAX_URI:
            return None
        uri = self._page[self._URI_AT : self._URI_AT + length].decode("utf-8", "surrogateescape")
        (offset,) = self._MARK.unpack_from(self._page, self._MARK_AT)
        return Mark(uri, offset)
