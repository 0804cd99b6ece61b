"""Reasons why a child died or could not start, in words for the author of the job."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

from mrcore.calls.exceptions import dump_timeout
from mrcore.model.formats import record_phrase
from mrcore.model.job import JobSpec
from mrcore.model.skipping import (
    is_item,
    is_key,
    is_pair,
    marked_function,
    pair_place,
    shown_key,
)
from mrcore.model.stages import CALL, MAP, stage_name
from mrcore.model.task import MAX_PRINTED_BYTES, FailureKind, Mark, Split, TaskFailure
from mrcore.tasks.child.protocol import LOST_DESCRIPTORS, OWN_DEFECT, Order
from mrcore.util.texts import one_line

_SIGNALS = {
    signal.SIGSEGV: "crashed with a segmentation fault",
    signal.SIGBUS: "crashed with a bus error",
    signal.SIGABRT: "aborted",
    signal.SIGFPE: "crashed with an arithmetic error",
    signal.SIGILL: "crashed on an illegal instruction",
    signal.SIGKILL: "was killed, most likely by the kernel because the machine ran out of memory",
    signal.SIGTERM: "was terminated",
}
_OWN_DEATHS = {
    OWN_DEFECT: "was ended by a defect of mrcore: please report it with the traceback in the "
    "attempt's log",
    LOST_DESCRIPTORS: "lost its connection to the worker, since user code closed descriptors that "
    "it had not opened: close only your own",
}


def death_failure(
    order: Order,
    spec: JobSpec,
    status: int,
    kill_reason: str | None,
    function: str,
    mark: Mark | None,
    printed: bytes = b"",
) -> TaskFailure:
    """Return the failure of an attempt whose process has died.

    `status` is as `Popen.returncode` gives it; `kill_reason` is why the agent killed it, if it did;
    `function` is the user's function that ran, `mark` the record, key or item that it was at,
    `printed` the end of the log.
    """
    stage = stage_name(spec, order.attempt.task.stage)
    task = f"{stage} {'' if stage == CALL else 'task '}{order.attempt.task.index}"
    if spec.session is not None and _is_late(kill_reason, spec):
        return _late_call(task, spec, mark, printed)
    own = _OWN_DEATHS.get(status) if not function else None
    what = kill_reason or own or f"{_cause(status)} without a traceback"
    return TaskFailure(
        kind=FailureKind.DATA if own and status == OWN_DEFECT else FailureKind.USER,
        message=one_line(f"the process of {task}{_place(order, function, mark)} {what}"),
        died=True,
        mark=mark,
        printed=b"" if spec.session is None else printed[-MAX_PRINTED_BYTES:],
    )


def _is_late(kill_reason: str | None, spec: JobSpec) -> bool:
    """Return whether a process was killed for the time limit of its attempt."""
    limit = spec.task_timeout_seconds
    return limit is not None and kill_reason == timeout_reason(limit, spec)


def _late_call(call: str, spec: JobSpec, mark: Mark | None, printed: bytes) -> TaskFailure:
    """Return the failure of a call that took longer than its own limit.

    It counts against the retries of the call, as what its function raises does, and not as a death
    of its process: another try would mostly take as long.
    """
    message = (
        f"{call} ran longer than the {spec.task_timeout_seconds:g} s that timeout= allows: give "
        "it more time, or leave timeout= out"
    )
    return TaskFailure(
        kind=FailureKind.USER,
        message=message,
        exception=dump_timeout(message),
        mark=mark,
        printed=printed[-MAX_PRINTED_BYTES:],
    )


def _place(order: Order, function: str, mark: Mark | None) -> str:
    """Return what the process was at work on, as far as that is known; files as the user wrote."""
    pieces = order.work.read.pieces if isinstance(order.work.read, Split) else ()
    if mark is not None and is_item(mark):
        return f", at work on item {mark.offset} of its list,"
    if mark is not None:
        for piece in pieces:
            if piece.uri == mark.uri:
                return f", at work on {record_phrase(piece.format, mark.offset, piece.shown)},"
        if is_pair(mark):
            later_map, key = pair_place(mark)
            return f", at work on a pair with the key {key} in {later_map},"
        if is_key(mark):
            return f", at work on the key {shown_key(mark)} in {marked_function(mark)},"
        return f", at work on the record at offset {mark.offset} of {mark.uri},"
    if function not in ("", MAP, CALL):
        return f", in {function},"
    files = sorted({piece.shown for piece in pieces})
    return f", at work on {files[0]}," if len(files) == 1 else ""


def _cause(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    number = -status
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"was ended by signal {number}"
    return f"{_SIGNALS.get(known, f'was ended by {known.name}')} (signal {number})"


def memory_reason(used_bytes: int, limit_bytes: int, spec: JobSpec) -> str:
    """Return why a child that is too large is killed."""
    option = "--memory allows a slot" if spec.session is None else "a call may use"
    return (
        f"used {used_bytes >> 20:,} MiB of the {limit_bytes >> 20:,} MiB that {option}: hold less "
        "at once, or give more"
    )


def timeout_reason(limit_seconds: float, spec: JobSpec) -> str:
    """Return why a child that is too slow is killed."""
    option = "--task-timeout" if spec.session is None else "timeout="
    return f"ran longer than the {limit_seconds:g} s that {option} allows"


def record_timeout_reason(limit_seconds: float) -> str:
    """Return why a child that is too slow with one record is killed."""
    return f"took longer than the {limit_seconds:g} s that --record-timeout allows for one"


def system_reason(error: OSError, scratch: Path) -> str:
    """Return what the system has refused this worker, and what to do."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f"no space is left for temporary files below {scratch}: free some, or start the "
                "worker with another --scratch"
            )
        case errno.EMFILE | errno.ENFILE:
            return (
                "the limit of open files is reached: use fewer --slots, or raise the limit "
                "(ulimit -n, or LimitNOFILE= of systemd)"
            )
        case errno.EAGAIN:
            return (
                "the limit of processes is reached: use fewer --slots, or raise the limit "
                "(ulimit -u, or TasksMax= of systemd)"
            )
        case errno.ENOMEM:
            return "the machine has no memory left: use fewer --slots"
        case _:
            return str(error)


def start_reason(status: int, printed: bytes, scratch: Path) -> str:
    """Return why a child has died before it took an order, as far as that can be known."""
    lines = printed.decode(errors="replace").strip().splitlines()
    if lines:
        return lines[-1]
    try:
        space = os.statvfs(scratch)
    except OSError as error:
        return system_reason(error, scratch)
    if not space.f_bavail or (space.f_files and not space.f_favail):
        # What it had to say did not get into its log.
        return system_reason(OSError(errno.ENOSPC, ""), scratch)
    return f"it {_cause(status)} and printed nothing"
