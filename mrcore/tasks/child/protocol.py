"""Protocol between a worker's agent and its child processes.

*Orders* go down a socket that keeps messages apart, and of which the agent holds both ends: to take
back what the child has not begun, it reads the child's end itself. The kernel gives each message to
one reader, so an order is either run or taken back, never both, and no handshake is needed.

*Reports* come up a stream, each behind its length.

What a child does at this moment is on its `board`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import DataError, InternalError
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import (
    FailureKind,
    Skip,
    TaskFailure,
    TaskResult,
    TaskWork,
)
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
    careful: bool = False


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
# Made here, since it takes a child a fifth of a small task: fork servers have it.
_job_decoder: Final = msgspec.msgpack.Decoder(JobFile)
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
    return _job_decoder.decode((folder / job_id).read_bytes())


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
