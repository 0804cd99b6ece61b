"""Logs of user code, as `ReadLog` returns them: one object an attempt, below `STATE/logs`.

A second object of a followed attempt has what it had printed at some moment. It counts until the
attempt has ended, and its log is there.
"""

from __future__ import annotations

import re
from typing import Final

from mrcore.errors import NotFoundError, UsageError
from mrcore.model import object_names
from mrcore.model.partial_log import decode_partial
from mrcore.model.stages import parse_task_name, task_name
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.storage.base import ObjectInfo, Storage

LOGS_MAX: Final = 100
TAIL_BYTES: Final = 65_536
TAIL_BYTES_MAX: Final = 2**20
RESPONSE_BYTES_MAX: Final = 32 * 2**20
_NAME: Final = re.compile(r"([a-z0-9-]+)@(\d+)\.(\d+)\.log(?:\.partial)?")
_NUMBER: Final = re.compile(r"\d+\.\d+")


def read_logs(
    storage: Storage,
    state_uri: str,
    request: pb.ReadLogRequest,
    job_id: str,
) -> pb.ReadLogResponse:
    """Return the ends of the logs that the request names, oldest attempt first; blocks.

    Raises NotFoundError where nothing was printed.
    """
    if request.attempt and _NUMBER.fullmatch(request.attempt) is None:
        raise UsageError("An attempt's number is written as in 5.2: `mrcore show` lists them.")
    tail = min(request.tail_bytes or TAIL_BYTES, TAIL_BYTES_MAX)
    found: list[tuple[tuple[int, int], str, ObjectInfo]] = []
    prefix = object_names.log_prefix(state_uri, job_id)
    task = f"{task_name(request.stage, request.index)}@" if request.stage else ""
    for info in storage.list(prefix + task):
        match = _NAME.fullmatch(info.uri.removeprefix(prefix))
        if match is None or parse_task_name(match[1]) is None:
            continue
        if request.attempt not in ("", f"{match[2]}.{match[3]}"):
            continue
        name = f"{match[1]}@{match[2]}.{match[3]}"
        number = (int(match[2]), int(match[3]))
        if info.uri.endswith(object_names.PARTIAL) and found and found[-1][1] == name:
            continue  # the log of the whole attempt has just been listed
        found.append((number, name, info))
    if not found:
        raise NotFoundError(
            f"Nothing that was printed is known of {_asked(request, job_id)}: user code "
            "printed nothing there, or the attempt still runs."
        )
    found.sort(key=lambda one: one[0])
    response = pb.ReadLogResponse()
    left = RESPONSE_BYTES_MAX
    for _, name, info in found[-LOGS_MAX:]:
        if left <= 0:
            break
        text, size_bytes = _read(storage, info, tail)
        response.logs.add(attempt=name, text=text, size_bytes=size_bytes)
        left -= len(text)
    return response


def _read(storage: Storage, info: ObjectInfo, tail: int) -> tuple[bytes, int]:
    """Return the end of a log, and the size of all of it."""
    if not info.uri.endswith(object_names.PARTIAL):
        return storage.read(info.uri, max(0, info.size_bytes - tail)), info.size_bytes
    text, size_bytes = decode_partial(storage.read(info.uri))
    return text[-tail:], size_bytes


def _asked(request: pb.ReadLogRequest, job_id: str) -> str:
    task = f"{task_name(request.stage, request.index)} of " if request.stage else ""
    attempt = f"attempt {request.attempt} of " if request.attempt else ""
    return f"{attempt}{task}{job_id}"
